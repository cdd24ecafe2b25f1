"""A new letter by adapters of several ranks: is it learnt, and what is forgotten?

    python -m benchmarks.studies.adapter_rank --digits FOLDER --ranks 1,4,16

Each adapter is trained by `python -m minidiff train letter-a --set rank=R`, unless --out
holds its finished training. The base, mmnist32, is the first row. Columns:

    letter     the share of frames of the letter's clips that its own recogniser reads as the letter
    PROMPT, SCORE, ...   the scoreboard's, of the ten old digits
    kilobytes  the adapter's file
    merged     the largest difference of a call with the merged weights from one with the adapter
"""
import argparse
import tempfile
from pathlib import Path

import torch

from benchmarks.results_table import ResultsTable
from minidiff import pipeline
from minidiff.course.exercises.ch11 import LETTER, read_as, reader_of
from minidiff.data.strokes import LETTERS
from minidiff.evaluation import evaluate
from minidiff.evaluation.rows import HEADLINE_METRICS
from minidiff.pipeline import Pipeline
from minidiff.recipes import get_recipe
from minidiff.training.training_run import TrainingRun

COLUMNS = ("rank", "seed", "n", "letter", "letter_half", "SCORE_half", *HEADLINE_METRICS,
           "kilobytes", "minutes", "merged")
TABLES = Path(__file__).parents[1] / "tables"
READER_STEPS = 400


def trained_adapter(rank: int, digits: str, folder: Path) -> Pipeline:
    """The adapter of a rank, from a finished training in the folder or from a new one."""
    if not (folder / "model.safetensors").exists():
        recipe = get_recipe("letter-a", rank=rank)
        run = TrainingRun(folder, recipe, digits, steps=recipe.training["steps"])
        for record in run.steps():
            print(f"\rrank {rank}, step {record.step}", end="", flush=True)
        run.close()
        print()
    return pipeline.load(folder / "model.safetensors")


def letter_figures(model: Pipeline, reader: torch.nn.Module, n: int, seed: int) -> dict:
    """How many frames of n clips of the letter are read as the letter."""
    labels = torch.full((n,), LETTER)
    read = read_as(reader, 2 * model(labels=labels, seed=seed).tensor - 1, labels)
    return {"letter": read.mean().item(), "letter_half": 1.96 * read.std().item() / n**0.5}


def merged_difference(model: Pipeline) -> float:
    """The largest difference of the merged network from the adapted one, on one input."""
    x = torch.randn(2, *model.sample_shape(), generator=torch.manual_seed(0))
    t, labels = torch.tensor([0.3, 0.9]), torch.tensor([3, LETTER])
    with torch.no_grad():
        net = model.denoiser.net
        return (net(x, t, labels) - net.merged()(x, t, labels)).abs().max().item()


def main() -> None:
    """Train, measure and store the figures."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--digits", default="builtin", help="of the old classes: a folder or builtin")
    p.add_argument("--ranks", type=lambda text: [int(r) for r in text.split(",")],
                   default="1,4,16")
    p.add_argument("--n", type=int, default=128, help="clips of the old digits, 32 or more")
    p.add_argument("--seed", type=int, default=100, help="of sampling")
    p.add_argument("--out", type=Path, help="the folder of trainings, rank-1 and so on, kept or "
                   "found there; a temporary one unless given")
    args = p.parse_args()
    table = ResultsTable("adapter_rank", COLUMNS, ("rank", "seed"), TABLES)
    reader = reader_of(LETTERS["A"], READER_STEPS)
    out = args.out or Path(tempfile.mkdtemp())
    for rank in [0, *args.ranks]:
        if table.has(rank=rank, seed=args.seed):
            continue
        folder = out / f"rank-{rank}"
        model = (trained_adapter(rank, args.digits, folder) if rank else pipeline.load("mmnist32"))
        row = evaluate.evaluate_model(model, args.n, args.seed, model.metadata["digits"])
        low, high = row["interval"]["SCORE"]
        figures = {k: row[k] for k in HEADLINE_METRICS} | {"SCORE_half": (high - low) / 2}
        if rank:
            figures |= letter_figures(model, reader, args.n // 2, args.seed) | {
                "kilobytes": (folder / "model.safetensors").stat().st_size / 1000,
                "minutes": model.metadata["minutes"], "merged": merged_difference(model)}
        table.add(rank=rank, seed=args.seed, n=args.n, **figures)
        print(f"rank {rank:2}   letter {figures.get('letter', float('nan')):.3f}   "
              f"PROMPT {row['PROMPT']:.3f}   SCORE {row['SCORE']:.3f}   "
              f"{figures.get('kilobytes', 0):.0f} kB", flush=True)


if __name__ == "__main__":
    main()
