"""Time minidiff and its peers side by side, or race against the clock.

    python -m benchmarks sample            # or train, memory, roofline, data, all
    python -m benchmarks all --quick       # three blocks of everything, shown and not stored
    python -m benchmarks speedrun --class cpu-10min                # how good after ten minutes?
    python -m benchmarks time-to-score --class cpu-10min           # how long until its SCORE?

From the clone's root, on a machine that does nothing else. Rows go to benchmarks/tables/NAME.csv;
those already there are left alone: remove the file to measure anew. Peers: `pip install
video-diffusion-pytorch diffusers`, here or in an environment of their own (--peers its/bin/python).
"""
import argparse
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.speed.benchmark_config import OURS, SETS, Setting, all_cores
from benchmarks.speed.comparisons import ROWS
from benchmarks.speed.paired_timing import BLOCKS
from benchmarks.speed.peers import SIDES
from benchmarks.speedrun.fixed_budget import speedrun
from benchmarks.speedrun.time_to_score import time_to_score
from benchmarks.speedrun.variants import CLASSES, IDEAS, RECORD, Class


def side_by_side(args, setting: Setting) -> None:
    """The rows of speed, one or all."""
    if min(args.sets, args.blocks, args.batch) < 1:
        raise SystemExit("--sets, --blocks and --batch must be at least 1.")
    setting = setting._replace(blocks=args.blocks, batch=args.batch,
                               sets=min(args.sets, args.blocks))
    if args.quick:
        setting = setting._replace(blocks=3, batch=1, sets=1)
    for name in ROWS if args.name == "all" else [args.name]:
        ROWS[name](setting)


def side_by_side_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--peers", default=sys.executable, help="the Python that has the peers")
    p.add_argument("--blocks", type=int, default=BLOCKS, help="of turns A B B A, 15 unless given")
    p.add_argument("--batch", type=int, default=4, help="clips a step and a call of sample, train")
    p.add_argument("--quick", action="store_true", help="three blocks, shown and not stored")
    p.add_argument("--sets", type=int, default=SETS,
                   help=f"sets of processes that share the blocks, {SETS} unless given: of two "
                        "that do the same one may be faster while it lives")


def race(args, setting: Setting) -> None:
    """The speedrun of a class."""
    among, setting = entered(args.among, setting)
    speedrun(setting, among, args.ideas, args.seeds, args.seconds)


def entered(name: str, setting: Setting) -> tuple[Class, Setting]:
    """The class, and the setting with its cores."""
    among = CLASSES[name]
    if among.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(f"{among.name} needs a GPU, and torch sees none.")
    if len(setting.cores) < (among.cores or 1):
        raise SystemExit(f"{among.name} needs {among.cores} cores, not {len(setting.cores)}.")
    return among, setting._replace(cores=setting.cores[:among.cores])


def race_options(p: argparse.ArgumentParser) -> None:
    class_option(p)
    p.add_argument("--ideas", nargs="+", choices=IDEAS, default=[RECORD], metavar="IDEA",
                   help=f"{RECORD} alone unless given; there are: {', '.join(IDEAS)}")
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument("--seconds", type=float,
                   help="another budget and 32 clips: a trial, shown and not stored")


def class_option(p: argparse.ArgumentParser) -> None:
    p.add_argument("--class", dest="among", choices=CLASSES, required=True)


def reach(args, setting: Setting) -> None:
    """The time to a SCORE."""
    among, setting = entered(args.among, setting)
    time_to_score(setting, among, args.sides, args.seeds)


def reach_options(p: argparse.ArgumentParser) -> None:
    class_option(p)
    p.add_argument("--peers", default=sys.executable, help="the Python that has the peers")
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    p.add_argument("--sides", nargs="+", choices=SIDES, default=[OURS], metavar="SIDE",
                   help=f"ours alone unless given; there are: {'; '.join(SIDES)}")


COMMANDS = {name: (side_by_side, side_by_side_options, "side by side") for name in (*ROWS, "all")}
COMMANDS |= {"speedrun": (race, race_options, "SCORE after a fixed time"),
             "time-to-score": (reach, reach_options, "time to a fixed SCORE")}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, (_, options, about) in COMMANDS.items():
        command = commands.add_parser(name, help=about)
        command.add_argument("--cores", help="such as 0,1; all it may use unless given")
        options(command)
    return p


def main(argv: list[str] | None = None) -> None:
    args = parser().parse_args(argv)
    cores = [int(c) for c in args.cores.split(",")] if args.cores else all_cores()
    with tempfile.TemporaryDirectory() as gone:
        setting = Setting(cores, getattr(args, "peers", sys.executable))
        if vars(args).get("quick") or vars(args).get("seconds"):
            setting = setting._replace(folder=Path(gone))
        COMMANDS[args.name][0](args, setting)


if __name__ == "__main__":
    main()
