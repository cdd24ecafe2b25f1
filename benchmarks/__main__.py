"""Time minidiff and its peers side by side.

    python -m benchmarks sample            # or train, memory, roofline, data, all
    python -m benchmarks all --quick       # three blocks of everything, shown and not stored

From the clone's root, on a machine that does nothing else. Rows go to benchmarks/tables/NAME.csv;
those already there are left alone: remove the file to measure anew. Peers: `pip install
video-diffusion-pytorch diffusers`, here or in an environment of their own (--peers its/bin/python).
"""
import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.rows import ROWS
from benchmarks.setting import Setting, all_cores
from benchmarks.turns import BLOCKS


def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("name", choices=[*ROWS, "all"])
    p.add_argument("--blocks", type=int, default=BLOCKS, help="of turns A B B A, 15 unless given")
    p.add_argument("--batch", type=int, default=4, help="clips a step and a call of sample, train")
    p.add_argument("--cores", help="such as 0,1; all that this process may use unless given")
    p.add_argument("--peers", default=sys.executable, help="the Python that has the peers")
    p.add_argument("--quick", action="store_true", help="three blocks, shown and not stored")
    args = p.parse_args(argv)
    cores = [int(c) for c in args.cores.split(",")] if args.cores else all_cores()
    setting = Setting(cores, args.peers, args.blocks, args.batch)
    with tempfile.TemporaryDirectory() as gone:
        if args.quick:
            setting = setting._replace(blocks=3, batch=1, folder=Path(gone))
        for name in ROWS if args.name == "all" else [args.name]:
            ROWS[name](setting)


if __name__ == "__main__":
    main()
