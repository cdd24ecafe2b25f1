"""Ship a trained model: copy it into the package, score it as stored, write its card and picture.

    python benchmarks/ship.py runs/mmnist32 \\
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

from minidiff import evaluate, files, pipeline, scoreboard
from minidiff.references import reference_name


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
    p.add_argument("--n", type=int, default=512)
    p.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    args = p.parse_args()
    model = pipeline.load(args.folder / "model.safetensors")
    rows = [row(model, args.n, seed) for seed in args.seeds]
    name, about = model.recipe.name, model.about
    target = pipeline.CHECKPOINTS / f"{name}.safetensors"
    tensors, _ = files.load_tensors(args.folder / "model.safetensors")
    source = reference_name(about["digits"], gone=True)                  # a name, not a folder
    shipped = about | {"digits": source}
    card = {"name": name, "sha256": files.save_tensors(target, tensors, shipped),
            "megabytes": round(target.stat().st_size / 1e6, 2),
            "parameters": sum(t.numel() for t in tensors.values()),
            "command": args.command, "digits": args.digits,
            **{k: about[k] for k in ("seed", "steps", "clips", "minutes")},
            "machine": args.machine,
            "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
            "date": date.today().isoformat(),
            "sampling": {"sampler": "ddpm", "steps": 20, "guidance": 1.5, "shift": 3.0},
            "score": scoreboard.combine(rows),
            "limits": "Trained on digits of 14 px in frames of 32 px; the (digit, direction) pairs "
                      "in minidiff.moving_mnist.HELD_OUT were never shown to it."}
    files.write_text(target.with_suffix(".json"), json.dumps(card, indent=1))
    model(seed=args.seeds[0]).save(target.with_suffix(".gif"))
    print(json.dumps(card["score"], indent=1))


def row(model: pipeline.Pipeline, n: int, seed: int) -> dict:
    batches = tqdm(evaluate.clips(model, n, seed), total=-(-n // 32), desc=f"seed {seed}")
    return evaluate.judge(list(batches), model.about["digits"], seed)


if __name__ == "__main__":
    main()
