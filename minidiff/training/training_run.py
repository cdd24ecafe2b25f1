"""A training that lives in a folder: stopped, killed and resumed, it equals one that never was.

    FOLDER/training.safetensors   everything that training needs to go on
    FOLDER/model.safetensors      the averaged weights, in half precision: what one samples from
    FOLDER/log.csv                a line per step: step, loss, gradient norm, learning rate, seconds
"""
import csv
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from minidiff.data import digits
from minidiff.pipeline import checkpoint, save_model, vae_of
from minidiff.recipes import Recipe, build, objective, stream, whole_clips
from minidiff.runtime import files
from minidiff.runtime.distributed import agreed, leads, rows
from minidiff.train import Record, Run, steps_within, train
from minidiff.vae import VAE


class Fit:
    """One training in one folder, which it locks until `close`. Iterate over `steps()` to train.

    minutes or steps: the budget; minutes become steps at the start, by a probe on this machine.
    begin: a trained model (name or file) whose weights are the first ones; all of them must fit,
    layers that it lacks stay as they are.
    resume: go on from the folder's last save, which says recipe, digits, seed and budget; steps (in
    all) or minutes (from now) lengthen it, and the learning rate is then that of the longer budget.
    Raises FileExistsError if the folder already holds a training and `resume` is off,
    FileNotFoundError if there is nothing to resume, ValueError for a budget that is not positive or
    already spent, or for another recipe's folder, BlockingIOError if another training is there.
    Of several processes (`parallel`) the first one locks, logs and saves.
    """

    def __init__(self, folder: Path, plan: Recipe | None = None, source: str = "builtin",
                 minutes: float | None = None, steps: int | None = None, seed: int = 0,
                 resume: bool = False, device="cpu", begin: str | Path | None = None):
        self.folder, self.saved = Path(folder), Path(folder) / "training.safetensors"
        if not resume and (plan is None or not (steps or minutes or 0) > 0):
            raise ValueError("A training needs a recipe and a budget: "
                             "more than 0 steps or more than 0 minutes.")
        self.lock = files.lock(self.folder) if leads() else None
        try:
            if resume:
                self.resume(plan, minutes, steps, device)
            else:
                self.start(plan, source, minutes, steps, seed, device, begin)
        except BaseException:
            self.close()
            raise

    def start(self, plan: Recipe, source: str, minutes: float | None, steps: int | None,
              seed: int, device, begin: str | Path | None) -> None:
        if self.saved.exists():
            raise FileExistsError(f"{self.folder} already holds a training. "
                                  "Give --resume to go on with it, or another --out folder.")
        torch.manual_seed(seed)
        self.plan, self.source, self.seed, self.device = plan, str(source), seed, device
        self.prepare()
        self.begun = None if begin is None else self.begin_with(begin)
        for draft in self.folder.glob(".*-*.safetensors"):       # what a kill left half-written
            draft.unlink(missing_ok=True)
        self.total = steps or self.steps_within(minutes)
        self.seconds = 0.0

    def resume(self, plan: Recipe | None, minutes: float | None, steps: int | None,
               device) -> None:
        if not self.saved.exists():
            raise FileNotFoundError(f"{self.folder} holds no training to resume: "
                                    f"there is no {self.saved.name} in it.")
        notes = notes_of(self.saved)
        self.plan, self.source = Recipe(**notes["recipe"]), notes["digits"]
        self.seed, self.device = notes["seed"], device
        if plan is not None and plan.name != self.plan.name:
            raise ValueError(f"{self.folder} holds a training of {self.plan.name}, "
                             f"not of {plan.name}; resume that, or choose another --out.")
        self.total, self.seconds, self.begun = notes["total"], notes["seconds"], notes.get("begun")
        self.prepare()
        self.run.load(self.saved)
        if minutes:
            steps = self.run.step + self.steps_within(minutes)
        self.total = steps or self.total
        if self.total < self.run.step:
            raise ValueError(f"{self.folder} already holds {self.run.step} steps, "
                             f"more than the {self.total} asked for.")

    def prepare(self) -> None:
        """The run, the digits, a latent model's VAE, and the settings that the plan asks for."""
        model, training = self.plan.model, self.plan.training
        rows(training["batch"])                                      # or say that it does not fit
        self.run = Run(build(model).to(self.device), training["lr"], training["ema"])
        self.digits = digits.load(self.source, "train")
        self.vae = vae_of(self.plan, self.device)
        if model["network"] == "vae":
            self.yardstick = whole_clips(self.plan, self.digits, self.seed)
            if training.get("decoder_only"):
                self.run.model.freeze_encoder()
        self.settings = dict(objective=objective(self.plan), seed=self.seed)

    def begin_with(self, name: str | Path) -> dict:
        """Take over a trained model's weights; returns what is to be remembered of it.

        Layers that it lacks stay as they are: attention, for example, begins as the identity.
        """
        tensors, about = files.load_tensors(checkpoint(name))
        for model in (self.run.model, self.run.ema.model):
            files.load_weights(model, model.state_dict() | tensors, Path(name))
        return {"model": str(name), "sha256": files.digest(tensors),
                **{k: about.get(k) for k in ("digits", "seed", "steps", "clips", "minutes")}}

    def batches(self, start: int) -> Iterator[tuple]:
        """The training's batches from number `start` on."""
        return stream(self.plan, self.digits, self.seed, start, self.device, self.vae)

    def steps_within(self, minutes: float) -> int:
        """How many steps fit into so many minutes here."""
        return agreed(steps_within(60 * minutes, self.run, self.batches(self.run.step),
                                   **self.settings))

    def steps(self, every: float = 60.0) -> Iterator[Record]:
        """Train to the end, a `Record` a step. Saves every so many seconds, and however it ends."""
        began, last = time.perf_counter(), time.perf_counter()
        before = self.seconds
        log = Log(self.folder / "log.csv", self.run.step) if leads() else None
        # the log goes first to the disk: it may be ahead of the weights, never behind them
        try:
            for record in train(self.run, self.batches(self.run.step), self.total,
                                **self.settings):
                self.seconds = before + time.perf_counter() - began
                if log:
                    log.add(record, self.seconds)
                yield record
                if log and time.perf_counter() - last > every:
                    log.flush()
                    self.save()
                    last = time.perf_counter()
        finally:
            if log:
                log.close()
                self.save()

    def save(self) -> None:
        self.run.notes = dict(recipe=self.plan._asdict(), digits=self.source, seed=self.seed,
                              total=self.total, seconds=self.seconds, begun=self.begun)
        self.run.save(self.saved)
        if isinstance(self.run.ema.model, VAE) and not self.plan.training.get("decoder_only"):
            self.run.ema.model.calibrate(self.yardstick.to(self.device))
        save_model(self.folder / "model.safetensors", self.run.ema.model, self.facts())

    def facts(self) -> dict:
        """What the model's file says about its making."""
        return dict(recipe=self.plan._asdict(), digits=self.source, seed=self.seed,
                    steps=self.run.step, total=self.total,
                    clips=self.run.step * self.plan.training["batch"],
                    minutes=round(self.seconds / 60, 2),
                    **({"vae": self.vae.about["sha256"]} if self.vae else {}),
                    **({"begun": self.begun} if self.begun else {}))

    def log(self) -> list[Record]:
        """All records so far, those from before a resume too."""
        with (self.folder / "log.csv").open(newline="") as f:
            return [Record(int(r["step"]), *(float(r[k]) for k in ("loss", "grad_norm", "lr")))
                    for r in csv.DictReader(f)]

    def close(self) -> None:
        if self.lock:
            self.lock.close()


def notes_of(path: Path) -> dict:
    """What a saved training says of itself. Raises ValueError that names a file of another kind."""
    about = files.load_tensors(path)[1]
    if "notes" not in about:
        raise ValueError(f"{path} holds no training that could be resumed.")
    return about["notes"]


class Log:
    """A CSV file of records. Opened again after a kill, it drops the lines of unsaved steps."""

    def __init__(self, path: Path, step: int):
        old = path.read_text().splitlines()[1:] if path.exists() and step else []
        kept = [row for row in old
                if row.split(",")[0].isdigit() and int(row.split(",")[0]) <= step]
        files.write_text(path, "\n".join(["step,loss,grad_norm,lr,seconds", *kept, ""]))
        self.file = path.open("a", newline="")
        self.rows = csv.writer(self.file)

    def add(self, record: Record, seconds: float) -> None:
        self.rows.writerow([record.step, f"{record.loss:.6g}", f"{record.grad_norm:.4g}",
                            f"{record.lr:.4g}", f"{seconds:.2f}"])

    def flush(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()
