"""Ship a trained model: copy it into the package, score it as stored, write its card and picture.

    python -m benchmarks.release.release_checkpoint runs/mmnist32 \\
        --command "python -m minidiff train mmnist32 --digits FOLDER --steps 12000" \\
        --digits "MNIST, rows 0-7999 of the test file" --n 512 --seeds 100 101 102

Nothing was chosen by these seeds: sampling settings are the defaults of the command line.
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
from minidiff.vae import VAE


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path,
                   help="a finished training: its model.safetensors is shipped")
    p.add_argument("--command", required=True, help="the command that trained it, for the card")
    p.add_argument("--digits", required=True,
                   help="where its digits came from, in words, for the card")
    machine = torch.cpu.get_capabilities().get("cpu_name", platform.machine())
    p.add_argument("--machine", default=machine, help="for the card")
    p.add_argument("--clips", type=int,
                   help="clips seen in all its trainings, where it went through several")
    p.add_argument("--minutes", type=float, help="the same, minutes")
    p.add_argument("--source", help="the folder of the digits, where real clips are needed")
    p.add_argument("--n", type=int, default=512)
    p.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    args = p.parse_args()
    model = pipeline.load(args.folder / "model.safetensors")
    about, latent = model.metadata, isinstance(model, VAE)
    source = args.source or about["digits"]
    judge = evaluate.evaluate_vae if latent else evaluate.evaluate_model
    rows = [judge(model, args.n, seed, source, progress_bar) for seed in args.seeds]
    name = about["recipe"]["name"]
    target = pipeline.CHECKPOINTS / f"{name}.safetensors"
    tensors, _ = files.load_tensors(args.folder / "model.safetensors")
    shipped = portable_metadata({k: v for k, v in about.items() if k != "sha256"})
    card = {"name": name, "sha256": files.save_tensors(target, tensors, shipped),
            "megabytes": round(target.stat().st_size / 1e6, 2),
            "parameters": sum(t.numel() for t in tensors.values()),
            "command": args.command, "digits": args.digits,
            "seed": about["seed"], "clips": args.clips or about["clips"],
            "minutes": args.minutes or about["minutes"],
            "machine": args.machine,
            "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
            "date": date.today().isoformat(),
            **({} if latent else {"sampling": model.sampling}),
            "score": scoreboard.combine_rows(rows),
            "limits": f"Trained on clips of {about['recipe']['clips']}; the (digit, direction) "
                      "pairs in minidiff.data.moving_mnist.HELD_OUT were never shown to it."}
    files.write_text(target.with_suffix(".json"), json.dumps(card, indent=1))
    if not latent:
        asked = evaluate.evaluation_conditions(model, 10, args.seeds[0])
        clips = next(evaluate.sample_clips(model, asked, args.seeds[0]))
        clips.save(target.with_suffix(".gif"))
        print("\n".join(clips.prompts))
    print(json.dumps(card["score"], indent=1))


def portable_metadata(about: dict) -> dict:
    """Facts that hold anywhere: digits by name, and a model that it began with by its hash."""
    about = about | {"digits": reference_name(about["digits"], allow_missing=True)}
    if about.get("begun"):
        begun = {k: v for k, v in about["begun"].items() if k != "model"}
        about["begun"] = portable_metadata(begun)
    return about


def progress_bar(steps, total: int, text: str, unit: str):
    return tqdm(steps, total=total, desc=text, unit=unit)


if __name__ == "__main__":
    main()
