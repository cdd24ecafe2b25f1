"""Release a trained model: score it, store it in the package, write its card and its picture.

    python -m benchmarks.release.release_checkpoint runs/mmnist32 \\
        --command "python -m minidiff train mmnist32 --digits FOLDER --steps 12000" \\
        --digits "MNIST, rows 0-7999 of the test file" --n 512 --seeds 100 101 102

No setting was chosen with these seeds; sampling uses the model's own settings.
"""
import argparse
import json
import platform
from datetime import date
from pathlib import Path

import torch
from tqdm import tqdm

from minidiff import pipeline
from minidiff.evaluation import evaluate, scoreboard
from minidiff.evaluation.references import reference_name
from minidiff.runtime import files
from minidiff.runtime.machine import processor_name
from minidiff.vae import VAE

PICTURES = Path(__file__).parent / "pictures"
STREAMS = ("Each random stream has its own name (minidiff 0.2), so clips, times and noise are "
           "independent. On the same machine and versions the command gives the same bits.")


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path,
                   help="a finished training: its model.safetensors is shipped")
    p.add_argument("--command", required=True, help="the command that trained it, for the card")
    p.add_argument("--digits", required=True,
                   help="where its digits came from, in words, for the card")
    p.add_argument("--machine", default=processor_name(), help="for the card")
    p.add_argument("--streams", default=STREAMS,
                   help="a sentence on the random streams, for the card; give another one for "
                        "weights that were trained, or begun, before minidiff 0.2")
    p.add_argument("--clips", type=int,
                   help="clips seen in all its trainings, if it went through several")
    p.add_argument("--minutes", type=float, help="minutes of all its trainings")
    p.add_argument("--source", help="the folder of the digits, if real clips are needed")
    p.add_argument("--n", type=int, default=512)
    p.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    return p.parse_args()


def model_card(model, args: argparse.Namespace, target: Path, score: dict) -> dict:
    """The card of the model in `target`: what it is, how it was made, how good it is."""
    metadata = model.metadata
    tensors, _ = files.load_tensors(target)
    return {"name": target.stem, "sha256": files.digest(tensors),
            "megabytes": round(target.stat().st_size / 1e6, 2),
            "parameters": sum(t.numel() for t in tensors.values()),
            **base_of(metadata),
            "command": args.command, "digits": args.digits,
            "seed": metadata["seed"], "clips": args.clips or metadata["clips"],
            "minutes": args.minutes or metadata["minutes"],
            "machine": args.machine,
            "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
            "date": date.today().isoformat(), "streams": args.streams,
            **({} if isinstance(model, VAE) else {"sampling": model.sampling}),
            "score": score, "limits": limits(metadata["recipe"]["clips"])}


def base_of(metadata: dict) -> dict:
    """The model that a branch or an adapter belongs to, if it is one: its name and sha256."""
    name = metadata["recipe"]["model"].get("base")
    return {"base": {"name": name, "sha256": metadata["base"]}} if name else {}


def limits(clips: dict) -> str:
    """What a model was trained on and what it never saw, in words. clips: the recipe's settings."""
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in clips.items())
    return (f"Trained on clips of these settings: {settings}. No clip began with one of the "
            "(digit, direction) pairs in minidiff.data.moving_mnist.HELD_OUT.")


def save_picture(model, seed: int, path: Path) -> None:
    """The first clip that the model makes of each of ten conditions, as a GIF; prints the prompts.

    Nothing is picked by hand.
    """
    conditions = evaluate.evaluation_conditions(model, 10, seed)
    clips = next(evaluate.sample_clips(model, conditions, seed))
    clips.save(path)
    print("\n".join(clips.prompts))


def main() -> None:
    """Score, store and describe the model."""
    args = parse_arguments()
    model = pipeline.load(args.folder / "model.safetensors")
    metadata, latent = model.metadata, isinstance(model, VAE)
    evaluate_one = evaluate.evaluate_vae if latent else evaluate.evaluate_model
    source = args.source or metadata["digits"]
    rows = [evaluate_one(model, args.n, seed, source, progress_bar) for seed in args.seeds]
    target = pipeline.CHECKPOINTS / f"{metadata['recipe']['name']}.safetensors"
    tensors, stored = files.load_tensors(args.folder / "model.safetensors")  # names as in the file
    files.save_tensors(target, tensors, portable_metadata(stored))
    card = model_card(model, args, target, scoreboard.combine_rows(rows))
    files.write_text(target.with_suffix(".json"), json.dumps(card, indent=1))
    if not latent:
        save_picture(model, args.seeds[0], PICTURES / f"{target.stem}.gif")
    print(json.dumps(card["score"], indent=1))


def portable_metadata(metadata: dict) -> dict:
    """The description without paths of this machine.

    The digits are named; of the model that a training began with, the hash remains.
    """
    metadata = metadata | {"digits": reference_name(metadata["digits"], allow_missing=True)}
    if metadata.get("begun"):
        begun = {k: v for k, v in metadata["begun"].items() if k != "model"}
        metadata["begun"] = portable_metadata(begun)
    return metadata


def progress_bar(steps, total: int, text: str, unit: str):
    """The bar that shows how far the scoring is."""
    return tqdm(steps, total=total, desc=text, unit=unit)


if __name__ == "__main__":
    main()
