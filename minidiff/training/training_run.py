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
from minidiff.pipeline import checkpoint_path, load_recipe_vae, save_model
from minidiff.recipes import (
    Recipe,
    build_model,
    build_objective,
    latent_stats_clips,
    training_batches,
)
from minidiff.runtime import files
from minidiff.runtime.distributed import broadcast, is_main_process, shard
from minidiff.runtime.old_files import with_new_names
from minidiff.train import Record, TrainState, steps_within, train
from minidiff.vae import VAE


class TrainingRun:
    """One training in one folder, which it locks until `close`. Iterate over `steps()` to train.

    minutes or steps: the budget; minutes become steps at the start, by a probe on this machine.
    begin: a trained model (name or file) whose weights are the first ones; all of them must fit,
    layers that it lacks stay as they are.
    resume: go on from the folder's last save, which says recipe, digits, seed and budget; steps (in
    all) or minutes (from now) lengthen it, and the learning rate is then that of the longer budget.
    Raises FileExistsError if the folder already holds a training and `resume` is off,
    FileNotFoundError if there is nothing to resume, ValueError for a budget that is not positive or
    already spent, or for another recipe's folder, BlockingIOError if another training is there.
    Of several processes (`distributed`) the first one locks, logs and saves.
    """

    def __init__(self, folder: Path, recipe: Recipe | None = None, source: str = "builtin",
                 minutes: float | None = None, steps: int | None = None, seed: int = 0,
                 resume: bool = False, device="cpu", init_from: str | Path | None = None):
        self.folder, self.state_path = Path(folder), Path(folder) / "training.safetensors"
        if not resume and (recipe is None or not (steps or minutes or 0) > 0):
            raise ValueError("A training needs a recipe and a budget: "
                             "more than 0 steps or more than 0 minutes.")
        self.lock = files.lock_folder(self.folder) if is_main_process() else None
        try:
            if resume:
                self.resume(recipe, minutes, steps, device)
            else:
                self.start(recipe, source, minutes, steps, seed, device, init_from)
        except BaseException:
            self.close()
            raise

    def start(self, recipe: Recipe, source: str, minutes: float | None, steps: int | None,
              seed: int, device, init_from: str | Path | None) -> None:
        if self.state_path.exists():
            raise FileExistsError(f"{self.folder} already holds a training. "
                                  "Give --resume to go on with it, or another --out folder.")
        torch.manual_seed(seed)
        self.recipe, self.source, self.seed, self.device = recipe, str(source), seed, device
        self.prepare()
        self.initial_model = None if init_from is None else self.load_initial_weights(init_from)
        self.check_latent_stats()
        for draft in self.folder.glob(".*-*.safetensors"):       # what a kill left half-written
            draft.unlink(missing_ok=True)
        self.total_steps = steps or self.steps_within(minutes)
        self.seconds = 0.0

    def resume(self, recipe: Recipe | None, minutes: float | None, steps: int | None,
               device) -> None:
        if not self.state_path.exists():
            raise FileNotFoundError(f"{self.folder} holds no training to resume: "
                                    f"there is no {self.state_path.name} in it.")
        notes = load_notes(self.state_path)
        self.recipe, self.source = Recipe(**notes["recipe"]), notes["digits"]
        self.seed, self.device = notes["seed"], device
        if recipe is not None and recipe.name != self.recipe.name:
            raise ValueError(f"{self.folder} holds a training of {self.recipe.name}, "
                             f"not of {recipe.name}; resume that, or choose another --out.")
        self.total_steps, self.seconds, self.initial_model = notes["total"], notes["seconds"], notes.get("begun")
        self.prepare()
        self.state.load(self.state_path)
        if minutes:
            steps = self.state.step + self.steps_within(minutes)
        self.total_steps = steps or self.total_steps
        if self.total_steps < self.state.step:
            raise ValueError(f"{self.folder} already holds {self.state.step} steps, "
                             f"more than the {self.total_steps} asked for.")

    def prepare(self) -> None:
        """The run, the digits, a latent model's VAE, and the settings that the plan asks for."""
        model, training = self.recipe.model, self.recipe.training
        shard(training["batch"])                                      # or say that it does not fit
        self.state = TrainState(build_model(model).to(self.device), training["lr"], training["ema"])
        self.digits = digits.load(self.source, "train")
        self.vae = load_recipe_vae(self.recipe, self.device)
        if model["network"] == "vae":
            self.latent_stats_clips = latent_stats_clips(self.recipe, self.digits, self.seed)
            if training.get("decoder_only"):
                self.state.model.freeze_encoder()
        self.settings = dict(objective=build_objective(self.recipe), seed=self.seed)

    def check_latent_stats(self) -> None:
        """Raises ValueError if a VAE's training needs trained latents and there are none."""
        model, training = self.state.model, self.recipe.training
        needs = [key for key in ("decoder_only", "latent_noise") if training.get(key)]
        if isinstance(model, VAE) and needs and not model.has_latent_stats():
            raise ValueError(f"{needs[0]} needs the encoder of a trained VAE, whose latents have a "
                             "known mean and standard deviation: begin with one, such as "
                             "--begin mmnist64-vae.")

    def load_initial_weights(self, name: str | Path) -> dict:
        """Take over a trained model's weights; returns what is to be remembered of it.

        Layers that it lacks stay as they are: attention, for example, begins as the identity.
        Additional input channels begin with weights of 0.
        """
        tensors, about = files.load_tensors(checkpoint_path(name))
        weights = with_new_names(tensors, about)[0]
        for model in (self.state.model, self.state.ema.model):
            files.load_into_larger(model, weights, Path(name))
        return {"model": str(name), "sha256": files.digest(tensors),
                **{k: about.get(k) for k in ("digits", "seed", "steps", "clips", "minutes")}}

    def batches(self, start: int) -> Iterator[tuple]:
        """The training's batches from number `start` on."""
        return training_batches(self.recipe, self.digits, self.seed, start, self.device, self.vae)

    def steps_within(self, minutes: float) -> int:
        """How many steps fit into so many minutes here."""
        return broadcast(steps_within(60 * minutes, self.state, self.batches(self.state.step),
                                   **self.settings))

    def steps(self, save_every: float = 60.0) -> Iterator[Record]:
        """Train to the end, a `Record` a step. Saves every so many seconds, and however it ends."""
        began, last = time.perf_counter(), time.perf_counter()
        before = self.seconds
        log = CSVLogger(self.folder / "log.csv", self.state.step) if is_main_process() else None
        # the log goes first to the disk: it may be ahead of the weights, never behind them
        try:
            for record in train(self.state, self.batches(self.state.step), self.total_steps,
                                **self.settings):
                self.seconds = before + time.perf_counter() - began
                if log:
                    log.add(record, self.seconds)
                yield record
                if log and time.perf_counter() - last > save_every:
                    log.flush()
                    self.save()
                    last = time.perf_counter()
        finally:
            if log:
                log.close()
                self.save()

    def save(self) -> None:
        self.state.notes = dict(recipe=self.recipe._asdict(), digits=self.source, seed=self.seed,
                              total=self.total_steps, seconds=self.seconds, begun=self.initial_model)
        self.state.save(self.state_path)
        if isinstance(self.state.ema.model, VAE) and not self.recipe.training.get("decoder_only"):
            self.state.ema.model.fit_latent_stats(self.latent_stats_clips.to(self.device))
        save_model(self.folder / "model.safetensors", self.state.ema.model, self.metadata())

    def metadata(self) -> dict:
        """What the model's file says about its making."""
        return dict(recipe=self.recipe._asdict(), digits=self.source, seed=self.seed,
                    steps=self.state.step, total=self.total_steps,
                    clips=self.state.step * self.recipe.training["batch"],
                    minutes=round(self.seconds / 60, 2),
                    **({"vae": self.vae.metadata["sha256"]} if self.vae else {}),
                    **({"begun": self.initial_model} if self.initial_model else {}))

    def read_log(self) -> list[Record]:
        """All records so far, those from before a resume too."""
        with (self.folder / "log.csv").open(newline="") as f:
            return [Record(int(r["step"]), *(float(r[k]) for k in ("loss", "grad_norm", "lr")))
                    for r in csv.DictReader(f)]

    def close(self) -> None:
        if self.lock:
            self.lock.close()


def load_notes(path: Path) -> dict:
    """What a saved training says of itself. Raises ValueError that names a file of another kind."""
    about = files.load_tensors(path)[1]
    if "notes" not in about:
        raise ValueError(f"{path} holds no training that could be resumed.")
    return about["notes"]


class CSVLogger:
    """A CSV file of records. Opened again after a kill, it drops the lines of unsaved steps."""

    def __init__(self, path: Path, step: int):
        old = path.read_text().splitlines()[1:] if path.exists() and step else []
        kept = [row for row in old
                if row.split(",")[0].isdigit() and int(row.split(",")[0]) <= step]
        files.write_text(path, "\n".join(["step,loss,grad_norm,lr,seconds", *kept, ""]))
        self.file = path.open("a", newline="")
        self.writer = csv.writer(self.file)

    def add(self, record: Record, seconds: float) -> None:
        self.writer.writerow([record.step, f"{record.loss:.6g}", f"{record.grad_norm:.4g}",
                            f"{record.lr:.4g}", f"{seconds:.2f}"])

    def flush(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()
