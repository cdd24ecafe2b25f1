"""A training run stored in a folder. Stopped, killed and resumed, it gives the same result as one
that was not interrupted.

    FOLDER/training.safetensors   everything that the training needs to go on
    FOLDER/model.safetensors      the averaged weights, in half precision; `sample` takes this file
    FOLDER/log.csv                a line per step: step, loss, gradient norm, learning rate, seconds
"""
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from minidiff.pipeline import base_sha256, checkpoint_path, load_recipe_vae, save_model
from minidiff.recipes import (
    Recipe,
    build_dataset,
    build_training,
    check_recipe,
    latent_stats_clips,
    training_batches,
)
from minidiff.runtime import files
from minidiff.runtime.checks import NOTHING, TEXT, Allowed, check_all, either, number, whole
from minidiff.runtime.distributed import broadcast, is_main_process, shard
from minidiff.runtime.folders import check_free_space, clear_drafts, lock_folder
from minidiff.runtime.old_files import with_new_names
from minidiff.runtime.seeds import MAX_SEED, check_seed
from minidiff.train import Record, defer_interrupts, steps_within
from minidiff.training.cost import check_batch_memory, check_parameters, disk_space
from minidiff.training.log import CSVLogger, read_log
from minidiff.vae import VAE

STATE, MODEL, LOG = "training.safetensors", "model.safetensors", "log.csv"
NOTES = {"digits": TEXT, "seed": whole(0, MAX_SEED), "total": whole(1, 10**15),
         "seconds": number(0, 1e12), "made_by": either(NOTHING, TEXT),
         "begun": either(NOTHING, Allowed("a dictionary", lambda v: isinstance(v, dict)))}


class TrainingRun:
    """One training in one folder, which it locks until `close`. Iterate over `steps()` to train.

    source: the digits, as for `data.digits.load`; a folder is remembered by its absolute path.
    minutes or steps: the budget; minutes become steps at the start, by a few timed steps here.
    init_from: a trained model (name or file) whose weights are the first weights; all of them must
    fit, and layers that it lacks keep their fresh weights.
    resume: go on from the folder's last save, which holds recipe, digits, seed and budget; steps
    (in all) or minutes (from now) lengthen it: the learning rate is then that of the longer budget.
    made_by: the command that this training belongs to, if it is not `train`; only that command may
    overwrite its model.
    With several processes (`runtime.distributed`), the main process locks, logs and saves.

    Raises FileExistsError if the folder already holds a training or a model and `resume` is off,
    FileNotFoundError if there is nothing to resume, ValueError for a budget that is not positive or
    already spent, or for another recipe's folder, BlockingIOError if the folder is in use,
    ValueError or OSError if memory or disk are too small. A run that is refused, or that fails
    before its first step is done, leaves nothing in the folder.
    """

    def __init__(self, folder: Path, recipe: Recipe | None = None, source: str = "builtin",
                 minutes: float | None = None, steps: int | None = None, seed: int = 0,
                 resume: bool = False, device="cpu", init_from: str | Path | None = None,
                 made_by: str | None = None):
        self.folder = Path(folder).expanduser()
        self.state_path, self.model_path = self.folder / STATE, self.folder / MODEL
        self.device, self.seconds, self.saved_step, self.lock = device, 0.0, None, None
        if not resume and (recipe is None or not (steps or minutes or 0) > 0):
            raise ValueError("A training needs a recipe and a budget: "
                             "more than 0 steps or more than 0 minutes.")
        if resume and not self.state_path.exists():
            raise FileNotFoundError(f"{self.folder} holds no training to resume: "
                                    f"there is no {STATE} in it.")
        self.lock = lock_folder(self.folder) if is_main_process() else None
        try:
            if self.lock:
                clear_drafts(self.folder, STATE, MODEL, LOG)
            if resume:
                self.resume(recipe, minutes, steps)
            else:
                self.made_by = made_by
                self.start(recipe, source, minutes, steps, seed, init_from)
        except BaseException:
            self.close()
            raise

    def start(self, recipe: Recipe, source: str, minutes: float | None, steps: int | None,
              seed: int, init_from: str | Path | None) -> None:
        """Prepare a new training; nothing is written yet."""
        self.check_unused()
        self.recipe, self.seed = check_recipe(recipe._asdict()), check_seed(seed)
        self.source = absolute_source(source)
        check_parameters(recipe, self.device)
        self.prepare()
        init_from = init_from or recipe.training.get("teacher")
        self.initial_model = None if init_from is None else self.load_initial_weights(init_from)
        self.check_latent_stats()
        check_batch_memory(recipe, self.training, self.dataset, self.vae, self.device)
        self.total_steps = steps or self.steps_within(minutes)

    def check_unused(self) -> None:
        """Raise FileExistsError if the folder holds a training, or a model of another command."""
        if self.state_path.exists():
            raise FileExistsError(f"{self.folder} already holds a training. "
                                  "Give --resume to go on with it, or another --out folder.")
        own = self.made_by is not None and maker(self.model_path) == self.made_by
        if self.model_path.exists() and not own:
            raise FileExistsError(f"{self.folder} already holds a model, {MODEL}. "
                                  "Choose another --out folder, or move it away.")
        read_log(self.folder / LOG)                     # another file of this name is not replaced

    def resume(self, recipe: Recipe | None, minutes: float | None, steps: int | None) -> None:
        """Load the folder's last save."""
        notes = load_notes(self.state_path)
        self.recipe, self.source = check_recipe(notes["recipe"]), notes["digits"]
        self.seed, self.made_by = notes["seed"], notes.get("made_by")
        if recipe is not None and recipe.name != self.recipe.name:
            raise ValueError(f"{self.folder} holds a training of {self.recipe.name}, "
                             f"not of {recipe.name}; resume that, or choose another --out.")
        self.total_steps, self.seconds = notes["total"], notes["seconds"]
        self.initial_model = notes.get("begun")
        self.prepare()
        self.state.load(self.state_path)
        self.saved_step = self.state.step
        if minutes:
            steps = self.state.step + self.steps_within(minutes)
        self.total_steps = steps or self.total_steps
        if self.total_steps < self.state.step:
            raise ValueError(f"{self.folder} already holds {self.state.step} steps, "
                             f"more than the requested {self.total_steps}.")

    def prepare(self) -> None:
        """Make the state, the digits, a latent model's VAE and the arguments of `train`."""
        model, training = self.recipe.model, self.recipe.training
        shard(training["batch"])                                  # raises if it cannot be shared
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.manual_seed(self.seed)
            self.training = build_training(self.recipe, self.device)
            self.vae = load_recipe_vae(self.recipe, self.device)
        self.state = self.training.state
        if self.lock:
            self.check_room()
        self.dataset = build_dataset(self.recipe, self.source)
        if model["network"] == "vae":
            self.latent_stats_clips = latent_stats_clips(self.recipe, self.dataset, self.seed)
            if training.get("decoder_only"):
                self.state.model.freeze_encoder()

    def check_latent_stats(self) -> None:
        """Raises ValueError if a VAE's training needs trained latents and there are none."""
        model, training = self.state.model, self.recipe.training
        needs = [key for key in ("decoder_only", "latent_noise") if training.get(key)]
        if isinstance(model, VAE) and needs and not model.has_latent_stats():
            raise ValueError(f"{needs[0]} needs the encoder of a trained VAE, whose latents have a "
                             "known mean and standard deviation: begin with one, such as "
                             "--begin mmnist64-vae.")

    def load_initial_weights(self, name: str | Path) -> dict:
        """Take over a trained model's weights; returns what is noted about that model.

        Layers that it lacks keep their fresh weights: attention, for example, begins as the
        identity. Additional input channels begin with weights of 0.
        """
        tensors, metadata = files.load_tensors(checkpoint_path(name))
        weights = with_new_names(tensors, metadata)[0]
        for model in (self.state.model, self.state.ema.model):
            files.load_into_larger(model, weights, Path(name))
        return {"model": str(name), "sha256": files.digest(tensors),
                **{k: metadata.get(k) for k in ("digits", "seed", "steps", "clips", "minutes")}}

    def check_room(self) -> None:
        """Raise OSError unless the folder's disk can take the files of this training.

        A save writes a draft beside the old file, so the larger file counts twice.
        """
        state, model = disk_space(self.state)
        there = sum(p.stat().st_size for p in (self.state_path, self.model_path) if p.exists())
        check_free_space(self.folder, max(state, 2 * state + model - there))

    def batches(self, start: int) -> Iterator[tuple]:
        """The training's batches from number `start` on."""
        return training_batches(self.recipe, self.dataset, self.seed, start, self.device, self.vae)

    def steps_within(self, minutes: float) -> int:
        """How many steps fit into so many minutes on this machine."""
        return broadcast(steps_within(60 * minutes, self.state, self.batches(self.state.step),
                                      self.training.loop, seed=self.seed))

    def steps(self, save_every: float = 60.0) -> Iterator[Record]:
        """Train to the end and yield a `Record` a step.

        Saves after the first step, then at growing intervals of at most `save_every` seconds, and
        at the end, even if the end is an error. save_every=inf: at the end only.
        """
        began = last = time.perf_counter()
        before = self.seconds
        log = CSVLogger(self.folder / LOG, self.state.step) if is_main_process() else None
        with self.saved_at_the_end(log):
            batches = self.batches(self.state.step)
            for record in self.training.loop(self.state, batches, self.total_steps, seed=self.seed):
                self.seconds = before + time.perf_counter() - began
                if log:
                    log.add(record, self.seconds)
                yield record
                waited = time.perf_counter() - last
                if log and save_every < float("inf") and waited > min(save_every, last - began):
                    self.save(log)
                    last = time.perf_counter()

    @contextmanager
    def saved_at_the_end(self, log: CSVLogger | None) -> Iterator[None]:
        """Save after the block, however it ends; Ctrl-C cannot stop the save.

        If not even one step was made, or saved, the log is deleted.
        """
        try:
            yield
        finally:
            with defer_interrupts() as pressed:
                try:
                    if log and self.state.step not in (0, self.saved_step):
                        self.save(log)
                finally:
                    if log and self.saved_step is None:
                        log.discard()
                    elif log:
                        log.close()
            if pressed:
                raise KeyboardInterrupt

    def save(self, log: CSVLogger | None = None) -> None:
        """Write the log, the state and the model, each whole or not at all.

        Raises OSError that says which step the folder still holds.
        """
        with defer_interrupts() as pressed:
            try:
                if log:                     # it may be ahead of the weights, but never behind them
                    log.flush()
                self.save_state()
                self.save_model()
            except OSError as e:
                held = f"the state of step {self.saved_step}" if self.saved_step else "no state"
                raise OSError(f"{e} {self.folder} holds {held}.") from e
        if pressed:
            raise KeyboardInterrupt

    def save_state(self) -> None:
        """Write training.safetensors."""
        self.state.notes = dict(recipe=self.recipe._asdict(), digits=self.source, seed=self.seed,
                                total=self.total_steps, seconds=self.seconds,
                                begun=self.initial_model, made_by=self.made_by)
        self.state.save(self.state_path)
        self.saved_step = self.state.step

    def save_model(self) -> None:
        """Write model.safetensors, the averaged weights; a VAE's latents are normalised first."""
        model = self.state.ema.model
        if isinstance(model, VAE) and not self.recipe.training.get("decoder_only"):
            model.fit_latent_stats(self.latent_stats_clips.to(self.device))
        save_model(self.model_path, model, self.metadata())

    def metadata(self) -> dict:
        """The facts about its training that the model's file holds."""
        extras = {"vae": self.vae.metadata["sha256"] if self.vae else None,
                  "base": base_sha256(self.recipe),
                  "begun": self.initial_model, "made_by": self.made_by}
        return dict(recipe=self.recipe._asdict(), digits=self.source, seed=self.seed,
                    steps=self.state.step, total=self.total_steps,
                    clips=self.state.step * self.recipe.training["batch"],
                    minutes=round(self.seconds / 60, 2), **{k: v for k, v in extras.items() if v})

    def read_log(self) -> list[Record]:
        """All records so far, those from before a resume too. Raises ValueError for a bad log."""
        return read_log(self.folder / LOG)

    def close(self) -> None:
        """Let go of the folder; if this run never made a step, remove what it made there."""
        if self.lock and self.saved_step is None:
            self.lock.discard()
        elif self.lock:
            self.lock.close()


def absolute_source(source: str | Path) -> str:
    """The name of digits ("builtin", "mnist"), or the absolute path of their folder."""
    if str(source) in ("builtin", "mnist"):
        return str(source)
    return str(Path(source).expanduser().resolve())


def maker(path: Path) -> str | None:
    """The command that made a model's file, or None if the file, or such a note, is not there."""
    try:
        return files.load_tensors(path)[1].get("made_by")
    except (ValueError, FileNotFoundError):
        return None


def load_notes(path: Path) -> dict:
    """The notes of a saved training: recipe, digits, seed, total steps, seconds.

    Raises ValueError that names a file of another kind, or whose notes make no sense.
    """
    metadata = files.load_tensors(path)[1]
    if "notes" not in metadata:
        raise ValueError(f"{path} holds no training that could be resumed.")
    notes = metadata["notes"]
    try:
        check_all(notes, NOTES, "the notes")
        if missing := {"recipe", "digits", "seed", "total", "seconds"} - notes.keys():
            raise ValueError(f"the notes lack {', '.join(sorted(missing))}")
        check_recipe(notes["recipe"])
    except ValueError as e:
        raise ValueError(f"{path} describes a model that this version cannot build "
                         f"({e}).") from None
    return notes
