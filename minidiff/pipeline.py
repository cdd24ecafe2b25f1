"""From a name to a video: load a trained model and call it.

    video = minidiff.load("mmnist32")(3, n=4, seed=0)     # four clips of a 3
    video = minidiff.load("mmnist64-text")("a 3 moving left and a 7 moving up", guidance=3.0)
    video.tensor                                          # (N, T, 1, H, W) in [0, 1]
    video.save("three.gif")
"""
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from numbers import Integral
from pathlib import Path

import torch
from torch import Tensor, nn

from minidiff.data import media
from minidiff.data.prompts import encode
from minidiff.denoiser import Denoiser
from minidiff.guidance import autoguided, clipped, guided
from minidiff.layers import without_temporal_attention
from minidiff.recipes import Recipe, build_model
from minidiff.runtime import files
from minidiff.runtime.files import CHECKPOINTS
from minidiff.runtime.old_files import with_new_names
from minidiff.runtime.precision import autocast
from minidiff.runtime.seeds import generator
from minidiff.samplers import SAMPLERS, State, last
from minidiff.schedules import timesteps
from minidiff.vae import VAE

SAMPLING = dict(steps=20, guidance=1.5, sampler="ddpm", shift=3.0, interval=None, autoguidance=0.0)
"""How a model is sampled where its recipe says no other."""
AUTOGUIDANCE_INTERVAL = 0.5, 1.0                 # the times of autoguidance: how things move is decided in noise


class GeneratedVideo(media.NotebookVideo):
    """Clips that a model made, which show themselves in a notebook.

    `tensor` (N, T, C, H, W) in [0, 1]; what was `asked` for, words a clip, and the `labels` (N,) of
    a model that is told classes; if it was kept, the `trajectory`: the sampler's states, which are
    latents for a latent model (`Pipeline.decode` shows them).
    """

    def __init__(self, tensor: Tensor, prompts: list[str], labels: Tensor | None = None,
                 trajectory: list[State] | None = None):
        kinds = list(dict.fromkeys(prompts))
        super().__init__(tensor, "asked for " + ("; " if labels is None else ", ").join(
            kinds if len(kinds) == 1 else prompts))
        self.tensor, self.prompts, self.labels = self.clips, prompts, labels
        self.trajectory = trajectory


class Pipeline:
    """A trained denoiser, what is known `about` its making, and the VAE of its latents, if any."""

    def __init__(self, denoiser: Denoiser, metadata: dict, vae: VAE | None = None):
        self.denoiser, self.metadata, self.vae = denoiser.eval(), metadata, vae
        self.recipe = Recipe(**metadata["recipe"])
        self.device = next(denoiser.parameters()).device
        self.sampling = SAMPLING | self.recipe.sampling

    def to(self, device) -> "Pipeline":
        for module in (self.denoiser, self.vae):
            if module is not None:
                module.to(device)
        self.device = torch.device(device)
        return self

    def sample_shape(self, frames: int | None = None) -> tuple[int, int, int, int]:
        """The shape (T, C, H, W) of one sample's noise: a clip's, or its latents'.

        frames: the recipe's unless given. Raises ValueError for a number that cannot be made.
        """
        c = self.recipe.clips
        T = c["frames"] if frames is None else frames
        patch = self.recipe.model["net"].get("patch")
        whole = self.vae.temporal_factor if self.vae else patch[0] if isinstance(patch, list) else 1
        if not isinstance(T, Integral) or T < 1 or (T > 1 and T % whole):
            kind = "1 or more" if whole == 1 else f"1, or a multiple of {whole},"
            raise ValueError(f"This model makes clips of {kind} frames, not of {frames!r}.")
        clip = int(T), 1, c["size"], c["size"]
        return clip if self.vae is None else self.vae.latent_shape(clip)

    def decode(self, x: Tensor, exact: bool = False) -> Tensor:
        """Samples as clips in [0, 1]: a latent model's through its VAE. exact: in float32."""
        if self.vae is not None:
            with torch.no_grad(), self.precision(exact):
                x = self.vae.decode(x).float()
        return media.to_unit(x)

    def precision(self, exact: bool) -> AbstractContextManager:
        """The context to compute in: the device's usual one or, exact, float32."""
        return nullcontext() if exact else autocast(self.device)

    def run_sampler(self, cond: Tensor, null: Tensor | None = None, *, first_index: int = 0,
              frames: int | None = None, seed: int = 0, exact: bool = False,
              rescale: float = 0.0, **settings) -> Iterator[State]:
        """The sampler itself, a `State` per step, for conditions (N, ...) made for the network.

        Clip i's noise depends on (seed, first + i) alone, whatever the batch. null: what guidance
        leads away from, the null condition unless given. exact: compute in float32, so that the
        clip does not either (to 1e-3). settings: steps, guidance, sampler, shift (see
        `schedules.timesteps`), interval and autoguidance, the model's own unless given; interval
        (None: guide at all times) and rescale as in `guided`; autoguidance: the weight of guidance
        away from frames that look at themselves alone, while t >= .5, a call more a step.
        Raises ValueError for unknown settings or samplers, or guidance that is not 0 or more.
        """
        if unknown := settings.keys() - SAMPLING.keys():
            raise ValueError(f"Unknown settings {', '.join(sorted(unknown))}; there are "
                             f"{', '.join(SAMPLING)}, seed, frames, exact and rescale.")
        with_defaults = self.sampling | settings
        sampler, weight = with_defaults["sampler"], with_defaults["autoguidance"]
        if sampler not in SAMPLERS:
            raise ValueError(f"Unknown sampler {sampler!r}; choose one of {', '.join(SAMPLERS)}.")
        for name in ("guidance", "autoguidance"):
            value = with_defaults[name]
            if isinstance(value, str) or not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be a number, 0 or more, got {value!r}.")
        generators = [generator("sampling", seed, first_index + i) for i in range(len(cond))]
        shape = self.sample_shape(frames)

        def randn(*_) -> Tensor:
            noise = [torch.randn(shape, generator=g) for g in generators]
            return torch.stack(noise).to(self.device)

        def compute(denoiser: Denoiser, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
            with self.precision(exact):
                return denoiser(x, t, cond).float()

        cond = cond.to(self.device)
        null = torch.tensor(self.recipe.null) if null is None else null
        guess = guided(partial(compute, self.denoiser), cond, null.to(self.device),
                       with_defaults["guidance"], with_defaults["interval"], rescale)
        if weight:
            worse = partial(compute, without_temporal_attention(self.denoiser), cond=cond)
            guess = autoguided(guess, worse, weight, AUTOGUIDANCE_INTERVAL)
        guess = guess if self.vae is not None else clipped(guess)      # latents know no such range
        noisy = dict(randn_like=randn) if SAMPLERS[sampler].stochastic else {}
        ts = timesteps(with_defaults["steps"], with_defaults["shift"])
        return SAMPLERS[sampler](guess, self.denoiser.schedule, randn(), ts, **noisy)

    def make_labels(self, digit: int | None, n: int) -> Tensor:
        """(n,) labels: the digit asked for, or 0, 1, 2, ... in turn.

        Raises ValueError for a digit that is no class, or n < 1.
        """
        classes = self.recipe.classes
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}.")
        if digit is None:
            return torch.arange(n) % classes
        if not isinstance(digit, Integral) or isinstance(digit, bool) or not 0 <= digit < classes:
            raise ValueError(f"There is no prompt {digit!r} for this model; "
                             f"give a digit from 0 to {classes - 1}.")
        return torch.full((n,), int(digit))

    def check_labels(self, labels: Tensor) -> Tensor:
        """Labels as a tensor (N,), or a ValueError unless each is one of the classes."""
        if not self.recipe.classes:
            raise ValueError("This model takes no labels but prompts: 'a 3 moving left', say.")
        labels, classes = torch.as_tensor(labels).cpu(), self.recipe.classes
        if labels.ndim != 1 or not len(labels) or labels.is_floating_point():
            raise ValueError(f"labels must be whole numbers (N,), got {tuple(labels.shape)} "
                             f"of {labels.dtype}.")
        if labels.min() < 0 or labels.max() >= classes:
            raise ValueError(f"labels must be from 0 to {classes - 1}, got {labels.tolist()}.")
        return labels

    def expand_prompts(self, prompt: str | Sequence[str | None] | None, n: int | None) -> list[str | None]:
        """One prompt a clip: n times the same, or a list of them."""
        if isinstance(prompt, int):
            raise ValueError(f"This model reads words, not the label {prompt}: "
                             "'a 3 moving left', say.")
        several = not (prompt is None or isinstance(prompt, str))
        if several and n is not None:
            raise ValueError("Give a list of prompts, or one prompt and n, not both.")
        if not several and n is not None and n < 1:
            raise ValueError(f"n must be at least 1, got {n}.")
        prompts = list(prompt) if several else [prompt] * (n or 1)
        if not prompts:
            raise ValueError("The list of prompts is empty.")
        return prompts

    def __call__(self, prompt: int | str | Sequence[str | None] | None = None, *,
                 n: int | None = None, labels: Tensor | None = None, negative_prompt: str | None = None,
                 batch: int = 64, keep_trajectory: bool = False, first_index: int = 0,
                 **settings) -> GeneratedVideo:
        """Make clips of what is asked for.

        prompt: a digit, for a model that is told classes (None: all in turn), or `labels`, one a
        clip; words, for a model that reads (see `minidiff.data.prompts`), or a list of them, one a clip;
        None leaves everything open.
        n: how many; 1 unless given, 10 of all digits.
        negative: words that guidance leads away from.
        settings: steps, guidance, sampler, seed, frames, shift, interval, autoguidance, rescale and
        exact, as in `steps`. keep_trajectory: keep every state of every step.
        Raises ValueError for a prompt that the model cannot take, and as `steps`.
        """
        null = None
        if self.recipe.vocabulary:
            if labels is not None:
                self.check_labels(labels)
            prompts = self.expand_prompts(prompt, n)
            cond, asked = encode(prompts), [p or "anything" for p in prompts]
            null = None if negative_prompt is None else encode(negative_prompt)
        else:
            if negative_prompt is not None:
                raise ValueError("Only a model that reads prompts can be told what not to show.")
            if labels is None:
                labels = self.make_labels(prompt, (10 if prompt is None else 1) if n is None else n)
            elif prompt is not None or n is not None:
                raise ValueError("Give labels, or a prompt and n, not both.")
            cond = labels = self.check_labels(labels)
            asked = [str(d) for d in labels.tolist()]
        parts, states = [], []
        for i in range(0, len(cond), batch):
            steps = self.run_sampler(cond[i:i + batch], null, first_index=first_index + i, **settings)
            if keep_trajectory:
                steps = list(steps)
                states.append(steps)
            parts.append(self.decode(last(steps), settings.get("exact", False)).cpu())
        trajectory = [State(s[0].t, torch.cat([p.x for p in s]), torch.cat([p.x0 for p in s]))
                      for s in zip(*states, strict=True)]
        return GeneratedVideo(torch.cat(parts), asked, labels, trajectory or None)


def save_model(path: Path, model: nn.Module, metadata: dict) -> str:
    """Weights in half precision with the facts that rebuild the model; returns their sha256."""
    weights = {k: v.half() if v.is_floating_point() else v
               for k, v in model.state_dict().items()}
    return files.save_tensors(path, weights, metadata)


def load(name: str | Path, device="cpu") -> Pipeline | VAE:
    """A shipped checkpoint by its name, or a `model.safetensors` by its path.

    A VAE comes as the module itself, with its facts as `about`. Raises ValueError for a name that
    is not there (naming those that are), a damaged, foreign or altered file, or a latent model
    whose VAE is another now; FileNotFoundError for a path where nothing is.
    """
    path = checkpoint_path(name)
    tensors, about = files.load_tensors(path)
    sha256 = files.digest(tensors)
    tensors, about = with_new_names(tensors, about)
    if "recipe" not in about or "notes" in about:
        raise ValueError(f"{path} holds no model but {', '.join(about) or 'nothing known'}.")
    try:
        model = build_model(Recipe(**about["recipe"]).model)
    except (KeyError, TypeError, ValueError) as e:
        raise ValueError(f"{path} describes a model that this version cannot build ({e!r}).") from e
    files.load_weights(model, tensors, path)
    model = model.to(device, memory_format=torch.channels_last)
    if isinstance(model, VAE):
        model.metadata = about | {"sha256": sha256}
        return model.eval().requires_grad_(False)
    vae = load_recipe_vae(Recipe(**about["recipe"]), device)
    if vae is not None and vae.metadata["sha256"] != about["vae"]:
        raise ValueError(f"{path} was trained on the latents of another VAE than the present "
                         f"{about['recipe']['model']['latent']}; give it back its own.")
    return Pipeline(model, about, vae)


def checkpoint_path(name: str | Path) -> Path:
    """The file of a checkpoint that comes with the package, or the .safetensors file itself.

    Raises ValueError for a name that is not there.
    """
    if Path(name).suffix == ".safetensors":
        return Path(name)
    if str(name) not in shipped_checkpoints():
        raise ValueError(f"There is no checkpoint {str(name)!r}; "
                         f"choose one of {', '.join(shipped_checkpoints())}, or give a .safetensors file.")
    return CHECKPOINTS / f"{name}.safetensors"


def load_recipe_vae(recipe: Recipe, device="cpu") -> VAE | None:
    """The VAE whose latents a recipe's model works on, or None for one that works on pixels.

    Raises ValueError where its name stands for something else, and as `load`.
    """
    name = recipe.model.get("latent")
    if name is None:
        return None
    vae = load(name, device)
    if not isinstance(vae, VAE):
        raise ValueError(f"{name} is no VAE, so {recipe.name} cannot work on its latents.")
    return vae


def shipped_checkpoints() -> list[str]:
    """The names of the checkpoints that come with the package: those with a card."""
    return sorted(p.stem for p in CHECKPOINTS.glob("*.json"))
