"""The demonstration: train a small video model, sample from it, score it, and write a report."""
import json
import platform
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

import torch

from minidiff import pipeline
from minidiff.data import media
from minidiff.evaluation import evaluate, references
from minidiff.runtime import files
from minidiff.training.profiles import Profile
from minidiff.training.training_run import TrainingRun, load_notes
from minidiff.visual import figures, report

SHIPPED_CHECKPOINT = "mmnist32"


def open_training_run(out: Path, source: str, profile: Profile, minutes: float | None, seed: int,
             device) -> TrainingRun:
    """A fresh training in the folder, or the interrupted one that was asked for in these words."""
    saved, plan = out / "training.safetensors", profile.get_recipe()
    if saved.exists():
        files.lock_folder(out).close()                                  # or another process works there
        notes = load_notes(saved)
        if (notes["recipe"], notes["digits"], notes["seed"]) == (plan._asdict(), str(source), seed):
            return TrainingRun(out, resume=True, device=device)
        raise FileExistsError(f"{out} holds another training. Choose another --out folder, "
                              f"or delete {saved}.")
    steps = None if minutes else profile.steps
    return TrainingRun(out, plan, source, minutes or profile.minutes, steps, seed, device=device)


def evaluate_and_report(out: Path, fit: TrainingRun, n: int, seed: int, command: str,
         bar: Callable[..., Iterable]) -> dict:
    """All that follows the training: clips, trajectory, score and report. Returns the row."""
    model = pipeline.load(out / "model.safetensors", fit.device)
    ten = model(seed=seed, keep_trajectory=True)
    media.save(ten.tensor, out / "clips.gif")
    media.save(ten.tensor, out / "contact_sheet.png")
    strip = figures.trajectory(ten.trajectory, model.denoiser.schedule, sample=3)
    with files.atomic_write(out / "trajectory.png") as draft:
        strip.savefig(draft, format="png", dpi=130)
    row = evaluate.evaluate_model(model, n, seed + 1, fit.source, bar)
    files.write_text(out / "score.json", json.dumps(row, indent=1))
    real, trivial = reference_rows(fit.source, n)
    report.write_report(out / "report.html", "A video diffusion model, trained here", report_facts(fit, command),
                 clips=ten.tensor, prompts=ten.labels.tolist(), trajectory=strip,
                 curve=figures.loss_curve(fit.read_log()), own_row=row, shipped_row=shipped_row(),
                 real_row=real, baseline_rows=trivial)
    return row


def reference_rows(source: str, n: int) -> tuple[dict | None, dict[str, dict]]:
    """The rows of real clips and of the trivial answers, computed beforehand for the nearest n."""
    rows = references.reference_for(references.reference_name(source), 32, 8).metadata["rows"]
    trivial = dict(rows[min(rows, key=lambda k: abs(int(k) - n))])
    return trivial.pop("real", None), trivial


def shipped_row() -> dict | None:
    card = pipeline.CHECKPOINTS / f"{SHIPPED_CHECKPOINT}.json"
    return json.loads(card.read_text())["score"] if card.exists() else None


def report_facts(fit: TrainingRun, command: str) -> dict[str, object]:
    """What the report says was trained."""
    about, count = fit.metadata(), sum(p.numel() for p in fit.state.model.parameters())
    how = pipeline.SAMPLING | fit.recipe.sampling
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return {"recipe": fit.recipe.name, "digits": about["digits"], "steps": about["steps"],
            "clips seen": about["clips"], "minutes": about["minutes"], "parameters": count,
            "sampled with": f"{how['sampler']}, {how['steps']} steps, guidance {how['guidance']:g}",
            "seed": about["seed"], "machine": machine_name(fit.device), "versions": versions,
            "date": date.today().isoformat(), "command": command}


def machine_name(device) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    name = torch.cpu.get_capabilities().get("cpu_name", platform.machine())
    return f"{name}, {torch.get_num_threads()} threads"
