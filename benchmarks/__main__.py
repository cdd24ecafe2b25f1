"""Time minidiff beside other libraries, or train for a fixed time and score the model.

    python -m benchmarks sample            # or train, memory, roofline, data, all
    python -m benchmarks all --quick       # three blocks of everything, shown and not stored
    python -m benchmarks speedrun --class cpu-10min                # how good after ten minutes?
    python -m benchmarks time-to-score --class cpu-10min           # how long until its SCORE?

Run it from the clone's root, on a machine that does nothing else. Rows go to
benchmarks/tables/NAME.csv. A row that is there is not measured again: remove the file to measure
anew. Other libraries: `pip install video-diffusion-pytorch diffusers`, here or in another
environment (--peers its/bin/python).
"""
import argparse
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.speed.benchmark_config import OURS, PROCESS_SETS, BenchmarkConfig, available_cores
from benchmarks.speed.comparisons import COMPARISONS
from benchmarks.speed.paired_timing import BLOCKS
from benchmarks.speed.peers import IMPLEMENTATIONS
from benchmarks.speedrun.fixed_budget import speedrun
from benchmarks.speedrun.time_to_score import time_to_score
from benchmarks.speedrun.variants import BUDGET_CLASSES, RECORD, VARIANTS, BudgetClass


def compare_command(args, config: BenchmarkConfig) -> None:
    """Compare speed, memory or data: one comparison or all."""
    if min(args.sets, args.blocks, args.batch) < 1:
        raise SystemExit("--sets, --blocks and --batch must be at least 1.")
    config = config._replace(blocks=args.blocks, batch=args.batch,
                             process_sets=min(args.sets, args.blocks))
    if args.quick:
        config = config._replace(blocks=3, batch=1, process_sets=1)
    for name in COMPARISONS if args.name == "all" else [args.name]:
        COMPARISONS[name](config)


def compare_options(p: argparse.ArgumentParser) -> None:
    """Options of the comparisons."""
    p.add_argument("--peers", default=sys.executable, help="the Python that has the peers")
    p.add_argument("--blocks", type=int, default=BLOCKS, help="of turns A B B A, 15 unless given")
    p.add_argument("--batch", type=int, default=4, help="clips a step and a call of sample, train")
    p.add_argument("--quick", action="store_true", help="three blocks, printed and not stored")
    p.add_argument("--sets", type=int, default=PROCESS_SETS,
                   help=f"sets of processes that share the blocks, {PROCESS_SETS} unless given: of "
                        "two equal processes one may be faster as long as it lives")


def speedrun_command(args, config: BenchmarkConfig) -> None:
    """Train the ideas of a class."""
    budget_class, config = select_class(args.budget_class, config)
    speedrun(config, budget_class, args.ideas, args.seeds, args.seconds)


def select_class(name: str, config: BenchmarkConfig) -> tuple[BudgetClass, BenchmarkConfig]:
    """The class, and the configuration with its number of cores.

    Ends the program if the machine lacks a GPU or cores that the class needs.
    """
    chosen = BUDGET_CLASSES[name]
    if chosen.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(f"{chosen.name} needs a GPU, and torch sees none.")
    if len(config.cores) < (chosen.cores or 1):
        raise SystemExit(f"{chosen.name} needs {chosen.cores} cores, not {len(config.cores)}.")
    return chosen, config._replace(cores=config.cores[:chosen.cores])


def speedrun_options(p: argparse.ArgumentParser) -> None:
    """Options of `speedrun`."""
    class_option(p)
    p.add_argument("--ideas", nargs="+", choices=VARIANTS, default=[RECORD], metavar="IDEA",
                   help=f"{RECORD} alone unless given; there are: {', '.join(VARIANTS)}")
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument("--seconds", type=float,
                   help="another budget and 32 clips: a trial, shown and not stored")


def class_option(p: argparse.ArgumentParser) -> None:
    """The option that names the class of equal time."""
    p.add_argument("--class", dest="budget_class", choices=BUDGET_CLASSES, required=True)


def time_to_score_command(args, config: BenchmarkConfig) -> None:
    """Measure the time until a SCORE."""
    budget_class, config = select_class(args.budget_class, config)
    time_to_score(config, budget_class, args.sides, args.seeds)


def time_to_score_options(p: argparse.ArgumentParser) -> None:
    """Options of `time-to-score`."""
    class_option(p)
    p.add_argument("--peers", default=sys.executable, help="the Python that has the peers")
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    p.add_argument("--sides", nargs="+", choices=IMPLEMENTATIONS, default=[OURS], metavar="SIDE",
                   help=f"ours alone unless given; there are: {'; '.join(IMPLEMENTATIONS)}")


COMMANDS = {name: (compare_command, compare_options, "minidiff and others in alternating turns")
            for name in (*COMPARISONS, "all")}
COMMANDS |= {"speedrun": (speedrun_command, speedrun_options, "SCORE after a fixed time"),
             "time-to-score": (time_to_score_command, time_to_score_options,
                               "time until a fixed SCORE")}


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    p = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, (_, options, about) in COMMANDS.items():
        command = commands.add_parser(name, help=about)
        command.add_argument("--cores", help="such as 0,1; all it may use unless given")
        options(command)
    return p


def main(argv: list[str] | None = None) -> None:
    """Run a command; trials write into a temporary folder."""
    args = parser().parse_args(argv)
    cores = [int(c) for c in args.cores.split(",")] if args.cores else available_cores()
    with tempfile.TemporaryDirectory() as temporary:
        config = BenchmarkConfig(cores, getattr(args, "peers", sys.executable))
        if vars(args).get("quick") or vars(args).get("seconds"):
            config = config._replace(folder=Path(temporary))
        COMMANDS[args.name][0](args, config)


if __name__ == "__main__":
    main()
