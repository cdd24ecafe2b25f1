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
from minidiff.runtime.folders import check_free_space, check_output_file, lock_folder
from minidiff.runtime.machine import device_name
from minidiff.training.profiles import Profile
from minidiff.training.training_run import TrainingRun, absolute_source, load_notes, maker
from minidiff.visual import figures, report

SHIPPED_CHECKPOINT = "mmnist32"
OUTPUTS = "clips.gif", "contact_sheet.png", "trajectory.png", "score.json", "report.html"
OUTPUT_BYTES = 4_000_000                                   # at most, all of the outputs together


def open_training_run(out: Path, source: str, profile: Profile, minutes: float | None, seed: int,
                      device) -> TrainingRun:
    """A new training in the folder, or the interrupted one of a demo with the same settings.

    Raises FileExistsError if the folder holds anything that would be replaced and that the demo did
    not make, BlockingIOError if it is in use, OSError if the disk is full.
    """
    saved = out / "training.safetensors"
    if out.is_dir():
        lock_folder(out).discard()                  # raises if another process is there
    if saved.exists():
        notes = load_notes(saved)
        recipe = profile.get_recipe(notes["total"])
        settings = dict(recipe=recipe._asdict(), digits=absolute_source(source), seed=seed)
        if notes.get("made_by") != "demo":
            raise FileExistsError(f"{out} holds another training, which the demo did not begin. "
                                  "Choose another --out folder.")
        if any(notes[name] != value for name, value in settings.items()):
            raise FileExistsError(f"{out} holds another training of the demo. Choose another --out "
                                  f"folder, or delete {saved}.")
        return TrainingRun(out, resume=True, device=device)
    model = out / "model.safetensors"
    there = [name for name in OUTPUTS if (out / name).exists()]
    if there and not (model.exists() and maker(model) == "demo"):
        raise FileExistsError(f"{out} holds {', '.join(there)}, which the demo would replace. "
                              "Choose another --out folder.")
    check_output_file(out / OUTPUTS[0])
    check_free_space(out, OUTPUT_BYTES)
    steps = None if minutes else profile.steps
    run = TrainingRun(out, profile.get_recipe(), source, minutes or profile.minutes, steps, seed,
                      device=device, made_by="demo")
    run.recipe = profile.get_recipe(run.total_steps)
    return run


def evaluate_and_report(out: Path, run: TrainingRun, n: int, seed: int, command: str,
                        bar: Callable[..., Iterable]) -> dict:
    """Write what follows the training: clips, trajectory, score and report. Returns the row.

    n: how many clips are scored. bar: a progress bar, as `commands.progress_bar`.
    """
    model = pipeline.load(out / "model.safetensors", run.device)
    ten = model(seed=seed, keep_trajectory=True)
    media.save(ten.tensor, out / "clips.gif")
    media.save(ten.tensor, out / "contact_sheet.png")
    strip = figures.trajectory(ten.trajectory, model.denoiser.schedule, sample=3)
    with files.atomic_write(out / "trajectory.png") as draft:
        strip.savefig(draft, format="png", dpi=130)
    row = evaluate.evaluate_model(model, n, seed + 1, run.source, bar)
    files.write_text(out / "score.json", json.dumps(row, indent=1))
    real, others = reference_rows(run.source)
    report.write_report(out / "report.html", "A video diffusion model, trained here",
                        report_facts(run, command), clips=ten.tensor, prompts=ten.labels.tolist(),
                        trajectory=strip, curve=figures.loss_curve(run.read_log()), own_row=row,
                        shipped_row=shipped_row(), real_row=real, baseline_rows=others)
    return row


def reference_rows(source: str) -> tuple[dict | None, dict[str, dict]]:
    """The rows of real clips and of the baselines that are stored with the reference."""
    ref = references.reference_for(references.reference_name(source), 32, 8)
    others = dict(ref.metadata["rows"])
    return others.pop("real", None), others


def shipped_row() -> dict | None:
    """The row of the checkpoint that comes with the package, or None without it."""
    card = pipeline.CHECKPOINTS / f"{SHIPPED_CHECKPOINT}.json"
    return json.loads(card.read_text(encoding="utf-8"))["score"] if card.exists() else None


def more_time(run: TrainingRun) -> str:
    """What a longer training gives: the shipped model of the same kind of clips, from its card."""
    card = pipeline.CHECKPOINTS / f"{SHIPPED_CHECKPOINT}.json"
    if not card.exists():
        return "not known: the shipped checkpoint is missing"
    facts = json.loads(card.read_text(encoding="utf-8"))
    times = facts["clips"] / (run.state.step * run.recipe.training["batch"])
    return (f"{SHIPPED_CHECKPOINT}, a wider network, saw {facts['clips']:,} clips, {times:.0f} "
            f"times as many: SCORE {facts['score']['SCORE']:.2f}")


def report_facts(run: TrainingRun, command: str) -> dict[str, object]:
    """The facts of the training that the report shows."""
    facts, count = run.metadata(), sum(p.numel() for p in run.state.model.parameters())
    sampling = pipeline.SAMPLING | run.recipe.sampling
    return {"recipe": run.recipe.name, "digits": facts["digits"], "steps": facts["steps"],
            "clips seen": facts["clips"], "minutes": facts["minutes"], "parameters": count,
            "sampled with": f"{sampling['sampler']}, {sampling['steps']} steps, "
                            f"guidance {sampling['guidance']:g}",
            "with more time": more_time(run), "seed": facts["seed"],
            "machine": device_name(run.device),
            "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
            "date": date.today().isoformat(), "command": command}
