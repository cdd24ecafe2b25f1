"""Four ways to let frames meet, at equal compute: the table of the chapter on time.

    python benchmarks/attention_modes.py [--minutes 8] [--digits builtin] [--n 256]

The recipes `time-none` (frames never meet), `time-factorised`, `time-full` and `time-causal` are
trained for the same processor minutes each, with the same seed and clips, and judged on the
same sampling seed. Minutes are the processor's, so that other work on the machine does not count.
"""
import argparse
import platform
import tempfile
import time
from datetime import date
from pathlib import Path

import torch
from tqdm import tqdm

from minidiff import evaluate, pipeline
from minidiff.fit import Fit
from minidiff.recipes import recipe
from minidiff.unet import TIME_MODES

KEYS = "SCORE", "ID", "PHY", "smooth", "bounce", "motion", "FIT", "COVER", "flicker", "off_half"


def steps_within(minutes: float, mode: str, digits: str, seed: int) -> int:
    """How many steps a mode gets: by the processor time of ten, after three to warm up."""
    with tempfile.TemporaryDirectory() as folder:
        fit, took = Fit(folder, recipe(f"time-{mode}"), digits, steps=13, seed=seed), []
        for _ in fit.steps():
            took.append(time.process_time())
        fit.close()
    return round(60 * minutes * 10 / (took[12] - took[2]))


def trained(mode: str, args) -> Path:
    """The mode's folder: trained, trained to its end if it was interrupted, or as it is."""
    folder = args.out / mode
    if (folder / "training.safetensors").exists():
        fit = Fit(folder, recipe(f"time-{mode}"), resume=True)
    else:
        steps = steps_within(args.minutes, mode, args.digits, args.seed)
        fit = Fit(folder, recipe(f"time-{mode}"), args.digits, steps=steps, seed=args.seed)
    for _ in tqdm(fit.steps(), total=fit.total, initial=fit.run.step, desc=mode):
        pass
    fit.close()
    return folder


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=float, default=8.0)
    p.add_argument("--digits", default="builtin")
    p.add_argument("--n", type=int, default=256)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", type=Path, default=Path("runs/time"))
    args = p.parse_args()
    print(f"{date.today()}  torch {torch.__version__}  {torch.get_num_threads()} threads  "
          f"{torch.cpu.get_capabilities().get('cpu_name', platform.machine())}  seed {args.seed}")
    print(f"{'mode':>10} {'steps':>6} " + " ".join(f"{k:>20}" for k in KEYS))
    for mode in TIME_MODES:
        model = pipeline.load(trained(mode, args) / "model.safetensors")
        row = evaluate.row(model, args.n, 100, args.digits)
        cells = []
        for k in KEYS:
            low, high = row["interval"].get(k) or (None, None)
            limits = f" ({low:.2f} to {high:.2f})" if low is not None else ""
            cells.append(f"{row[k]:.3f}{limits}")
        print(f"{mode:>10} {model.about['steps']:>6} " + " ".join(f"{c:>20}" for c in cells),
              flush=True)


if __name__ == "__main__":
    main()
