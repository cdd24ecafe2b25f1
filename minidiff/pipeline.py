"""From a name to a video: load a trained model and call it.

    video = minidiff.load("mmnist32")(3, n=4, seed=0)     # four clips of a 3
    video.tensor                                          # (4, 8, 1, 32, 32) in [0, 1]
    video.save("three.gif")
"""
from collections.abc import Iterator
from numbers import Integral
from pathlib import Path

import torch
from torch import Tensor

from minidiff import files, media
from minidiff.denoiser import Denoiser, clipped, guided
from minidiff.files import CHECKPOINTS
from minidiff.precision import autocast
from minidiff.recipes import Recipe, build
from minidiff.samplers import SAMPLERS, State, ddpm, last
from minidiff.schedules import timesteps
from minidiff.seeds import generator


class Video(media.Video):
    """Clips that a model made, which show themselves in a notebook.

    `tensor` (N, T, C, H, W) in [0, 1], the `labels` (N,) asked for, and, if it was kept, the
    `trajectory`: the sampler's states.
    """

    def __init__(self, tensor: Tensor, labels: Tensor, trajectory: list[State] | None = None):
        asked = ", ".join(str(d) for d in labels.tolist())
        super().__init__(tensor, f"asked for {asked}")
        self.tensor, self.labels, self.trajectory = self.clips, labels, trajectory


class Pipeline:
    """A trained denoiser, and `about` it: recipe, digits, seed, steps, clips and minutes."""

    def __init__(self, denoiser: Denoiser, about: dict):
        self.denoiser, self.about = denoiser.eval(), about
        self.recipe = Recipe(**about["recipe"])
        self.device = next(denoiser.parameters()).device

    def to(self, device) -> "Pipeline":
        self.denoiser.to(device)
        self.device = torch.device(device)
        return self

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """One clip's shape, (T, C, H, W)."""
        c = self.recipe.clips
        return c["frames"], 1, c["size"], c["size"]

    def steps(self, labels: Tensor, *, steps: int = 20, guidance: float = 1.5,
              sampler: str = "ddpm", seed: int = 0, shift: float = 3.0,
              first: int = 0) -> Iterator[State]:
        """The sampler itself, a `State` per step, for the labels (N,); x in [-1, 1].

        Clip i's noise depends on (seed, first + i) alone, whatever the batch. shift: see
        `schedules.timesteps`. Raises ValueError for an unknown sampler or a negative guidance.
        """
        if sampler not in SAMPLERS:
            raise ValueError(f"Unknown sampler {sampler!r}; choose one of {', '.join(SAMPLERS)}.")
        if not guidance >= 0:
            raise ValueError(f"guidance must be 0 or more, got {guidance}.")
        generators = [generator(seed, first + i) for i in range(len(labels))]

        def randn(*_) -> Tensor:
            noise = [torch.randn(self.shape, generator=g) for g in generators]
            return torch.stack(noise).to(self.device)

        def denoise(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
            with autocast(self.device):
                return self.denoiser(x, t, cond).float()

        labels = labels.to(self.device)
        guess = clipped(guided(denoise, labels, self.recipe.model["net"]["classes"], guidance))
        noisy = dict(randn_like=randn) if SAMPLERS[sampler] is ddpm else {}
        ts = timesteps(steps, shift)
        return SAMPLERS[sampler](guess, self.denoiser.schedule, randn(), ts, **noisy)

    def labels(self, digit: int | None, n: int) -> Tensor:
        """(n,) labels: the digit asked for, or 0, 1, 2, ... in turn.

        Raises ValueError for a digit that is no class, or n < 1.
        """
        classes = self.recipe.model["net"]["classes"]
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}.")
        if digit is None:
            return torch.arange(n) % classes
        if not isinstance(digit, Integral) or isinstance(digit, bool) or not 0 <= digit < classes:
            raise ValueError(f"There is no prompt {digit!r}; give a digit from 0 to {classes - 1}.")
        return torch.full((n,), int(digit))

    def checked(self, labels: Tensor) -> Tensor:
        """Labels as a tensor (N,), or a ValueError unless each is one of the classes."""
        labels, classes = torch.as_tensor(labels).cpu(), self.recipe.model["net"]["classes"]
        if labels.ndim != 1 or not len(labels) or labels.is_floating_point():
            raise ValueError(f"labels must be whole numbers (N,), got {tuple(labels.shape)} "
                             f"of {labels.dtype}.")
        if labels.min() < 0 or labels.max() >= classes:
            raise ValueError(f"labels must be from 0 to {classes - 1}, got {labels.tolist()}.")
        return labels

    def __call__(self, prompt: int | None = None, *, n: int | None = None,
                 labels: Tensor | None = None, batch: int = 64, keep_trajectory: bool = False,
                 first: int = 0, **settings) -> Video:
        """Make n clips of the digit `prompt`, or of all digits in turn, or of the given labels.

        n: 1 of a digit, 10 of all unless given. settings: steps, guidance, sampler, seed, shift, as
        in `steps`. keep_trajectory: keep every state of every step.
        """
        if labels is None:
            labels = self.labels(prompt, (10 if prompt is None else 1) if n is None else n)
        elif prompt is not None or n is not None:
            raise ValueError("Give labels, or a prompt and n, not both.")
        labels = self.checked(labels)
        parts, states = [], []
        for i in range(0, len(labels), batch):
            steps = self.steps(labels[i:i + batch], first=first + i, **settings)
            if keep_trajectory:
                steps = list(steps)
                states.append(steps)
            parts.append(last(steps))
        trajectory = [State(s[0].t, torch.cat([p.x for p in s]), torch.cat([p.x0 for p in s]))
                      for s in zip(*states, strict=True)]
        return Video(media.unit(torch.cat(parts)).cpu(), labels.cpu(), trajectory or None)


def save_model(path: Path, denoiser: Denoiser, about: dict) -> str:
    """Weights in half precision with the facts that rebuild the model; returns their sha256."""
    weights = {k: v.half() if v.is_floating_point() else v
               for k, v in denoiser.state_dict().items()}
    return files.save_tensors(path, weights, about)


def load(name: str | Path, device="cpu") -> Pipeline:
    """A shipped checkpoint by its name, or a `model.safetensors` by its path.

    Raises ValueError for a name that is not there (naming those that are), or a damaged, foreign or
    altered file, FileNotFoundError for a path where nothing is.
    """
    path = Path(name)
    if path.suffix != ".safetensors":
        path = CHECKPOINTS / f"{name}.safetensors"
        if str(name) not in shipped():
            raise ValueError(f"There is no checkpoint {str(name)!r}; "
                             f"choose one of {', '.join(shipped())}, or give a .safetensors file.")
    tensors, about = files.load_tensors(path)
    if "recipe" not in about or "notes" in about:
        raise ValueError(f"{path} holds no model but {', '.join(about) or 'nothing known'}.")
    try:
        denoiser = build(Recipe(**about["recipe"]).model)
    except (KeyError, TypeError, ValueError) as e:
        raise ValueError(f"{path} describes a model that this version cannot build ({e!r}).") from e
    files.load_weights(denoiser, tensors, path)
    return Pipeline(denoiser.to(device, memory_format=torch.channels_last), about)


def shipped() -> list[str]:
    """The names of the checkpoints that come with the package: those with a card."""
    return sorted(p.stem for p in CHECKPOINTS.glob("*.json"))
