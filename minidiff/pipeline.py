"""From a name to a video: load a trained model and call it.

    video = minidiff.load("mmnist32")(3, n=4, seed=0)     # four clips of a 3
    video = minidiff.load("mmnist64-text")("a 3 moving left and a 7 moving up", guidance=3.0)
    video.tensor                                          # (N, T, C, H, W) in [0, 1]
    video.save("three.gif")
"""
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from minidiff.data import media
from minidiff.data.prompts import encode, split_phrases, split_words
from minidiff.denoiser import DenoiseFn, Denoiser, network_times
from minidiff.guidance import autoguided, check_known, clipped, guided, inpainted
from minidiff.layers import without_temporal_attention
from minidiff.recipes import ON_PATHS, RENOISED, TWO_TIMES, Recipe, build_model, check_recipe
from minidiff.runtime import files
from minidiff.runtime.checks import TEXT, YES_OR_NO, check, check_all, number, whole
from minidiff.runtime.files import CHECKPOINTS
from minidiff.runtime.memory import check_memory, explain_memory_errors
from minidiff.runtime.old_files import with_new_names
from minidiff.runtime.precision import autocast
from minidiff.runtime.seeds import FLOAT, MAX_SEED, check_seed, generator
from minidiff.runtime.suggestions import did_you_mean
from minidiff.samplers import SAMPLERS, State, last
from minidiff.schedules import next_times, timesteps
from minidiff.vae import VAE

SAMPLING = dict(steps=20, guidance=1.5, sampler="ddpm", shift=3.0, interval=None, autoguidance=0.0)
"""How a model is sampled unless its recipe says otherwise."""
OTHER_SETTINGS = dict(seed=0, frames=None, exact=False, rescale=0.0)
AUTOGUIDANCE_INTERVAL = 0.5, 1.0        # the times of autoguidance: motion is decided in noise
Teacher = Callable[[Tensor | None], DenoiseFn]   # conditions (B, ...) -> its guided denoise(x, t)
MAX_STEPS = 100_000
MAX_FRAMES = 10**9
BYTES_PER_VALUE = 400        # of memory in the network for one number of a clip: an estimate


class GeneratedVideo(media.NotebookVideo):
    """Clips that a model made; a notebook shows them.

    `tensor` (N, T, C, H, W) in [0, 1]; the `prompts`, one text for each clip; the `labels` (N,) if
    the model's conditions are classes; if it was kept, the `trajectory`: the sampler's states,
    which are latents for a latent model (`Pipeline.decode` turns them into clips).
    """

    def __init__(self, tensor: Tensor, prompts: list[str], labels: Tensor | None = None,
                 trajectory: list[State] | None = None):
        kinds = list(dict.fromkeys(prompts))
        asked = ("; " if labels is None else ", ").join(kinds if len(kinds) == 1 else prompts)
        super().__init__(tensor, f"asked for {asked}" if asked else "")
        self.tensor, self.prompts, self.labels = self.clips, prompts, labels
        self.trajectory = trajectory


class Request(NamedTuple):
    """What a call asks for: conditions (N, ...) or None, texts, labels and the null condition.

    null: what guidance leads away from, one for all clips or (N, ...); None: the null condition.
    """
    n: int
    cond: Tensor | None
    prompts: list[str]
    labels: Tensor | None = None
    null: Tensor | None = None

    def conditions(self, rows: slice) -> tuple[Tensor | None, Tensor | None]:
        """The conditions of some of the clips, and the null conditions of the same clips."""
        one_each = self.null is not None and self.null.ndim == self.cond.ndim
        return (None if self.cond is None else self.cond[rows],
                self.null[rows] if one_each else self.null)


class Pipeline:
    """A trained denoiser, the `metadata` of its training, and the VAE of its latents, if any."""

    def __init__(self, denoiser: Denoiser, metadata: dict, vae: VAE | None = None):
        self.denoiser, self.metadata, self.vae = denoiser.eval(), metadata, vae
        self.recipe = Recipe(**metadata["recipe"])
        self.device = next(denoiser.parameters()).device
        self.sampling = SAMPLING | self.recipe.sampling

    def to(self, device) -> "Pipeline":
        """Move the model, and its VAE, to another device."""
        for module in (self.denoiser, self.vae):
            if module is not None:
                module.to(device)
        self.device = torch.device(device)
        return self

    def sample_shape(self, frames: int | None = None) -> tuple[int, int, int, int]:
        """The shape (T, C, H, W) of one sample's noise: a clip's, or its latents'.

        frames: the recipe's unless given. Raises ValueError for a number that cannot be made.
        """
        T, *rest = self.recipe.shape
        T = T if frames is None else frames
        patch = self.recipe.model["net"].get("patch")
        multiple = patch[0] if isinstance(patch, list) else 1
        if self.vae is not None:
            multiple = self.vae.temporal_factor
        allowed = whole(1, MAX_FRAMES)
        if not allowed.accepts(T) or (T > 1 and T % multiple):
            kind = "1 or more" if multiple == 1 else f"1, or a multiple of {multiple},"
            raise ValueError(f"This model makes clips of {kind} frames, not of {frames!r}.")
        clip = (int(T), *rest)
        return clip if self.vae is None else self.vae.latent_shape(clip)

    def decode(self, x: Tensor, exact: bool = False, frames: int | None = None) -> Tensor:
        """Samples as clips in [0, 1]; a latent model's samples are decoded by its VAE.

        exact: in float32. frames=1: latents (N, 1, ...) as single images and not as the pair of
        frames that they are by themselves.
        """
        if self.vae is not None:
            with torch.no_grad(), self.precision(exact):
                single = frames == 1 and x.shape[1] == 1
                x = self.vae.decode(x[:, 0])[:, None] if single else self.vae.decode(x)
            x = x.float()
        if not x.isfinite().all():
            raise ValueError("The model made NaN or infinite numbers; try exact=True, less guidance"
                             " or another sampler. If it still does, its weights are damaged.")
        return media.to_unit(x)

    def precision(self, exact: bool) -> AbstractContextManager:
        """The context to compute in: the device's usual precision or, exact, float32."""
        return nullcontext() if exact else autocast(self.device)

    def with_defaults(self, settings: dict) -> dict:
        """All settings of sampling: those given, or the model's own for those missing or None.

        interval=None is a value of its own: guide at all times. Raises ValueError for unknown
        settings or values that no sampler can use.
        """
        known = SAMPLING | OTHER_SETTINGS
        if unknown := sorted(settings.keys() - known.keys()):
            raise ValueError(f"Unknown settings {', '.join(unknown)}"
                             f"{did_you_mean(unknown[0], known)}; there are {', '.join(known)}.")
        given = {k: v for k, v in settings.items() if v is not None or k == "interval"}
        settings = OTHER_SETTINGS | self.sampling | given
        check_seed(settings["seed"])
        if not is_sampler(settings["sampler"]):
            raise ValueError(f"Unknown sampler {settings['sampler']!r}"
                             f"{did_you_mean(settings['sampler'], SAMPLERS)}; "
                             f"choose one of {', '.join(SAMPLERS)}.")
        for name in ("guidance", "autoguidance", "shift", "rescale"):
            value = settings[name]
            if not isinstance(value, Real) or not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be a number, 0 or more, got {value!r}.")
        if self.recipe.calls and (settings["guidance"] != 1 or settings["interval"] is not None
                                  or settings["autoguidance"] or settings["rescale"]):
            self.refuse_guidance("guidance, interval, autoguidance and rescale")
        check("steps", settings["steps"], whole(1, MAX_STEPS))
        check("exact", settings["exact"], YES_OR_NO)
        return settings

    def refuse_guidance(self, names: str) -> NoReturn:
        """Raises the ValueError of a student for settings of guidance."""
        raise ValueError(f"{self.recipe.name} has the guidance of its teacher, "
                         f"{self.recipe.training['teacher']}, folded in: each call is guided "
                         f"already. Leave out {names}, or sample the teacher.")

    def run_sampler(self, cond: Tensor | None, null: Tensor | None = None, *, n: int | None = None,
                    first_index: int = 0, wrap: Callable[[DenoiseFn], DenoiseFn] | None = None,
                    inputs: dict[str, Tensor] | None = None, **settings) -> Iterator[State]:
        """The sampler itself, a `State` per step.

        cond: (N, ...) as the network takes them, or None for a model without conditions; n is then
        the number of clips. The noise of clip i depends on (seed, first_index + i) alone, whatever
        the batch. null: the condition that guidance leads away from, one for all clips or (N, ...);
        the null condition unless given.
        settings: steps, guidance, sampler (a name of `SAMPLERS`, or a function that
        `samplers.sampler` made), shift (see `schedules.timesteps`), interval and autoguidance, the
        model's own unless given; seed and frames; exact: compute in float32, so that a clip does
        not depend on its batch (to 1e-3); interval (None: guide at all times) and rescale as in
        `guided`; autoguidance: the weight of guidance away from the same network without temporal
        attention, while t >= .5, one more call in each step.
        wrap: as in `__call__`. inputs: what `make_inputs` returns. Raises ValueError for unknown
        settings or values out of range.
        """
        settings, inputs = self.with_defaults(settings), inputs or {}
        sampler = SAMPLERS.get(settings["sampler"], settings["sampler"])
        shape = self.sample_shape(settings["frames"])
        indices = range(first_index, first_index + (n if cond is None else len(cond)))
        generators = [generator("sampling", settings["seed"], i) for i in indices]

        def randn(*_) -> Tensor:
            noise = [torch.randn(shape, generator=g, **FLOAT) for g in generators]
            return torch.stack(noise).to(self.device)

        denoise = self.guided_denoiser(cond, null, settings, inputs)
        if "given" in inputs:
            denoise = inpainted(denoise, inputs["given"], inputs["where"])
        if wrap is not None:
            denoise = wrap(denoise) if callable(wrap) else None
            if not callable(denoise):
                raise ValueError("wrap must be a function denoise -> denoise, such as clipped; it "
                                 "must return a function denoise(x, t) -> x0.")
        ts = timesteps(settings["steps"], settings["shift"])
        return sampler(denoise, self.denoiser.schedule, randn(), ts,
                       **({"randn_like": randn} if sampler.stochastic else {}))

    def guided_denoiser(self, cond: Tensor | None, null: Tensor | None = None,
                        settings: dict | None = None,
                        inputs: dict[str, Tensor] | None = None) -> DenoiseFn:
        """The model as `denoise(x, t) -> x0`: guided, autoguided and, for pixels, clipped.

        null, settings, inputs: as in `run_sampler`, here all settings or None, the model's own.
        """
        settings = self.with_defaults({}) if settings is None else settings
        ts = timesteps(settings["steps"], settings["shift"])
        has_two_times = self.recipe.model["network"] in TWO_TIMES
        inputs = {k: v.to(self.device) for k, v in (inputs or {}).items() if k in self.net_inputs()}

        def compute(denoiser: Denoiser, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
            more = {k: v.repeat(len(x) // len(v), *[1] * (v.ndim - 1)) for k, v in inputs.items()}
            if has_two_times:
                more["s"] = next_times(ts, network_times(t, x))
            with self.precision(settings["exact"]):
                return denoiser(x, t, cond, **more).float()

        if cond is None:
            denoise = partial(compute, self.denoiser, cond=None)
        else:
            cond = cond.to(self.device)
            null = torch.tensor(self.recipe.null) if null is None else null
            denoise = guided(partial(compute, self.denoiser), cond, null.to(self.device),
                             settings["guidance"], settings["interval"], settings["rescale"])
        if settings["autoguidance"]:
            weak = partial(compute, without_temporal_attention(self.denoiser), cond=cond)
            denoise = autoguided(denoise, weak, settings["autoguidance"], AUTOGUIDANCE_INTERVAL)
        return denoise if self.vae is not None else clipped(denoise)    # latents have no such range

    def net_inputs(self) -> tuple[str, ...]:
        """What the network takes besides x, t and a condition: given and where, or hint."""
        return getattr(self.denoiser.net, "inputs", ())

    def make_inputs(self, n: int, frames: int | None, given=None, where=None, hint=None,
                    strength: float = 1.0) -> dict[str, Tensor]:
        """What a call gives besides conditions, checked, one for each of n clips: (n, ...) each.

        Raises ValueError for what does not fit the clips, or what this model does not take.
        """
        inputs, shape = {}, self.sample_shape(frames)
        if (given is None) != (where is None):
            raise ValueError("Give both or none: given, a clip, and where, a mask of what of it is "
                             "to be kept.")
        if given is not None:
            if self.vae is not None:
                raise ValueError(f"{self.recipe.name} works on latents, where no pixel can be kept;"
                                 " choose a model of pixels, such as mmnist32-frames.")
            if isinstance(given, media.NotebookVideo):
                given = 2 * given.clips - 1
            inputs["given"], inputs["where"] = check_known(given, where, shape, n)
        if hint is None and strength != 1:
            raise ValueError("strength belongs to a hint; give both, or leave strength out.")
        if hint is not None:
            if "hint" not in self.net_inputs():
                raise ValueError(f"{self.recipe.name} takes no hint; mmnist32-path does.")
            check("strength", strength, number(0, 100))
            inputs["hint"] = check_hint(hint, (shape[0], 1, *shape[2:]), n)
            inputs["strength"] = torch.full((n,), float(strength))
        return inputs

    def make_labels(self, digit: int | str | None, n: int) -> Tensor:
        """(n,) labels: the class asked for, by its id or name, or 0, 1, 2, ... in turn.

        Raises ValueError for something that is no class, or n < 1.
        """
        classes, names = self.recipe.classes, self.recipe.class_names
        check_count(n)
        if digit is None:
            return torch.arange(n, device="cpu") % classes
        if isinstance(digit, str) and digit in self.recipe.clips.get("class_names", ()):
            digit = names.index(digit)
        if not isinstance(digit, Integral) or isinstance(digit, bool) or not 0 <= digit < classes:
            words = f", or one of {', '.join(names)}" if "class_names" in self.recipe.clips else ""
            raise ValueError(f"There is no prompt {digit!r} for this model; "
                             f"give a whole number from 0 to {classes - 1}{words}.")
        return torch.full((n,), int(digit), device="cpu")

    def check_labels(self, labels: Tensor) -> Tensor:
        """Labels as (N,) int64. Raises ValueError unless each is one of the classes."""
        if not self.recipe.classes:
            other = "prompts: 'a 3 moving left', say" if self.recipe.vocabulary else "n alone"
            raise ValueError(f"This model takes no labels but {other}.")
        labels, classes = as_tensor(labels, "labels"), self.recipe.classes
        if labels.ndim != 1 or not len(labels) or labels.dtype == torch.bool or (
                labels.is_floating_point()):
            raise ValueError(f"labels must be whole numbers (N,), got {tuple(labels.shape)} "
                             f"of {labels.dtype}.")
        labels = labels.long()                          # torch compares no uint16, for example
        if labels.min() < 0 or labels.max() >= classes:
            raise ValueError(f"labels must be from 0 to {classes - 1}, got {labels.tolist()}.")
        return labels

    def expand_prompts(self, prompt: str | Sequence[str | None] | None,
                       n: int | None) -> list[str | None]:
        """One prompt for each clip: n times the same, or a list of them."""
        if isinstance(prompt, Real):
            raise ValueError(f"This model reads words, not the label {prompt}: "
                             "'a 3 moving left', say.")
        several = not (prompt is None or isinstance(prompt, str))
        if several and n is not None:
            raise ValueError("Give a list of prompts, or one prompt and n, not both.")
        if not several and n is not None:
            check_count(n)
        prompts = list(prompt) if several else [prompt] * (n or 1)
        if not prompts:
            raise ValueError("The list of prompts is empty.")
        return prompts

    def __call__(self, prompt: int | str | Sequence[str | None] | None = None, *,
                 n: int | None = None, labels: Tensor | None = None, cond: Tensor | None = None,
                 negative_prompt: str | Sequence[str | None] | None = None,
                 batch: int | None = None, keep_trajectory: bool = False,
                 first_index: int | None = None,
                 wrap: Callable[[DenoiseFn], DenoiseFn] | None = None, given: Tensor | None = None,
                 where: Tensor | None = None, hint: Tensor | None = None, strength: float = 1.0,
                 **settings) -> GeneratedVideo:
        """Make clips by the recipe's conditions.

        prompt: for a model of classes one class (None: all in turn), or `labels`, one for each
        clip; for a model that reads, words (see `minidiff.data.prompts`), or a list of them, one
        for each clip; None leaves everything open. A model without conditions takes n only.
        n: how many; 1 unless given, one for each class if no class is.
        cond: conditions (N, ...) as the network takes them, in place of a prompt.
        negative_prompt: words that guidance leads away from, or a list of them, one for each clip.
        batch: clips at a time, 64 unless given. first_index: the number of the first clip.
        wrap: a function denoise -> denoise. It gets the model after guidance, autoguidance and
        clipping, so its result is what the sampler sees: `lambda d: inpainted(d, known, mask)`
        keeps the known pixels as they are. It is called for each batch; x is scaled to [-1, 1], or
        latents.
        given, where: clips in [-1, 1] (or a video), and a mask (T, 1, H, W), true where they are to
        be kept; one for all clips or one for each. The rest is made to fit (`guidance.inpainted`);
        a model that is told what is given, such as mmnist32-frames, makes it fit better.
        hint: for a model that takes one, such as mmnist32-path, a picture for each frame, (T, 1, H,
        W) or one for each clip, in [0, 1], that says where the digit is to be
        (`extensions.control.path_hint`); strength: how much of it is used, 1 as in training.
        settings: steps, guidance, sampler, seed, frames, shift, interval, autoguidance, rescale and
        exact, as in `run_sampler`; None is the model's own. keep_trajectory: keep all states.
        Raises ValueError for a prompt that the model cannot take, for more than the memory holds,
        and as `run_sampler`.
        """
        batch, first_index = 64 if batch is None else batch, first_index or 0
        check_count(batch, "batch")
        check("first_index", first_index, whole(0, MAX_SEED))
        if self.recipe.conditions is None and settings.get("guidance") not in (None, 1):
            warnings.warn("This model has no conditions, so guidance does nothing.", stacklevel=2)
        settings = self.with_defaults(settings)
        self.check_size(n if isinstance(n, Integral) else 1, batch, keep_trajectory, settings)
        request = self.make_request(prompt, n, labels, cond, negative_prompt)
        self.check_size(request.n, batch, keep_trajectory, settings)
        inputs = self.make_inputs(request.n, settings["frames"], given, where, hint, strength)
        self.warn_of_poor_clips(request, settings)
        states = [] if keep_trajectory else None
        clips = [self.make_batch(request, inputs, slice(i, i + batch), first_index + i, wrap,
                                 settings, states) for i in range(0, request.n, batch)]
        trajectory = [State(s[0].t, torch.cat([p.x for p in s]), torch.cat([p.x0 for p in s]))
                      for s in zip(*states or (), strict=True)]
        return GeneratedVideo(torch.cat(clips), request.prompts, request.labels, trajectory or None)

    def make_batch(self, request: Request, inputs: dict[str, Tensor], rows: slice,
                   first_index: int, wrap: Callable | None, settings: dict,
                   states: list[list[State]] | None) -> Tensor:
        """The clips of some of the rows of a request, on the CPU; their states go into `states`."""
        cond, null = request.conditions(rows)
        inputs = {k: v[rows] for k, v in inputs.items()}
        with explain_memory_errors("give a smaller batch or fewer frames"):
            steps = self.run_sampler(cond, null, n=len(range(request.n)[rows]), wrap=wrap,
                                     first_index=first_index, inputs=inputs, **settings)
            if states is not None:
                steps = list(steps)
                states.append(steps)
            return self.decode(last(steps), settings["exact"], settings["frames"]).cpu()

    def make_request(self, prompt, n: int | None, labels: Tensor | None, cond: Tensor | None,
                     negative_prompt: str | Sequence[str | None] | None) -> Request:
        """The arguments of a call as conditions of the recipe's kind. Raises as `__call__`."""
        if negative_prompt is not None and self.recipe.conditions != "text":
            raise ValueError("Only a model that reads prompts can be told what not to show.")
        if negative_prompt is not None and self.recipe.calls:
            self.refuse_guidance("the negative prompt")
        request = self.positive_request(prompt, n, labels, cond)
        if negative_prompt is None:
            return request
        null = encode(negative_prompt)
        if null.ndim > 1 and len(null) != request.n:
            raise ValueError("Give one negative prompt for all clips, or a list with one for each: "
                             f"got {len(null)} for {request.n} clips.")
        return request._replace(null=null)

    def positive_request(self, prompt, n: int | None, labels: Tensor | None,
                         cond: Tensor | None) -> Request:
        """What a call asks for, without what it asks not to show. Raises as `__call__`."""
        kind = self.recipe.conditions
        if cond is not None:
            if kind is None or labels is not None or prompt is not None or n is not None:
                raise ValueError("Give cond alone, without prompt, labels and n, and only to a "
                                 "model that has conditions.")
            cond = as_tensor(cond, "cond")
            if not cond.ndim or not len(cond):
                raise ValueError("cond must be conditions (N, ...), at least one of them; "
                                 f"got shape {tuple(cond.shape)}.")
            return Request(len(cond), cond, ["given conditions"] * len(cond))
        if kind == "text":
            if labels is not None:
                self.check_labels(labels)
            prompts = self.expand_prompts(prompt, n)
            return Request(len(prompts), encode(prompts), [p or "anything" for p in prompts])
        if kind is None:
            if prompt is not None or labels is not None:
                raise ValueError("This model has no conditions, so it takes n but no prompt and no "
                                 "labels.")
            return Request(check_count(1 if n is None else n), None, [])
        if labels is None:
            usual = self.recipe.classes if prompt is None else 1
            labels = self.make_labels(prompt, usual if n is None else n)
        elif prompt is not None or n is not None:
            raise ValueError("Give labels, or a prompt and n, not both.")
        labels = self.check_labels(labels)
        names = self.recipe.class_names
        return Request(len(labels), labels, [names[i] for i in labels.tolist()], labels)

    def check_size(self, n: int, batch: int, keep_trajectory: bool, settings: dict) -> None:
        """Raises ValueError if n clips, or the work on a batch of them, exceed the memory."""
        latent = torch.Size(self.sample_shape(settings["frames"])).numel()
        _, *rest = self.recipe.shape
        frames = settings["frames"] or self.recipe.shape[0]
        clip = torch.Size([frames, *rest]).numel()
        what = f"{n} clips of {frames} frames"
        kept = 8 * latent * (settings["steps"] + 1) if keep_trajectory else 0
        check_memory(n * (8 * clip + kept), what, "ask for fewer clips or frames"
                     + (", or do not keep the trajectory" if kept else ""))
        check_memory(min(n, batch) * BYTES_PER_VALUE * (latent if self.vae is None else clip),
                     f"A batch of {min(n, batch)} clips of {frames} frames",
                     "give a smaller batch or fewer frames", self.device)

    def warn_of_poor_clips(self, request: Request, settings: dict) -> None:
        """Warns of requests that give clips, but surely not those that were wanted."""
        calls, plan = self.recipe.calls, self.recipe.training
        if calls and settings["steps"] != calls and plan.get("method") != "shortcut":
            warnings.warn(f"{self.recipe.name} was made for {calls} calls; with another number "
                          "its clips are worse. For more calls sample its teacher, "
                          f"{plan['teacher']}.", stacklevel=3)
        if settings["steps"] == 1 and not calls:
            warnings.warn("One step shows the mean of all clips, which is nearly black; "
                          "give steps=10 or more.", stacklevel=3)
        if settings["frames"] == 1 and self.recipe.shape[0] > 1 and (
                not self.recipe.training.get("images")):
            warnings.warn(f"This model was trained on clips of {self.recipe.shape[0]} frames, not "
                          "on single images; one frame alone is of poor quality.", stacklevel=3)
        if self.recipe.vocabulary and passes_are_alike(self.denoiser.net):
            for prompt in dict.fromkeys(request.prompts):
                phrases = [" ".join(p) for p in split_phrases(split_words(prompt))]
                if len(phrases) > len(set(phrases)):
                    warnings.warn(f"'{prompt}' asks twice for the same. This model makes one pass "
                                  "for each phrase and cannot tell equal phrases apart, so it may "
                                  "show one digit, or two that merge.", stacklevel=3)


def is_sampler(value: object) -> bool:
    """Whether it is a sampler's name, or a sampler itself (made with `samplers.sampler`)."""
    return hasattr(value, "stochastic") or value in [*SAMPLERS]       # a list cannot be looked up


def passes_are_alike(net: nn.Module) -> bool:
    """Whether a network makes one pass for each phrase, and equal phrases get equal passes.

    Such a network has an embedding of a phrase's number among equal phrases
    (`extensions.object_slots`). Its rows after the first are 0 until a training has met a prompt
    with equal phrases; the shipped weights are older than this embedding.
    """
    numbers = getattr(net, "number_embedding", None)
    return numbers is not None and not numbers.weight[1:].any()


def as_tensor(values, name: str) -> Tensor:
    """Numbers as a tensor on the CPU. Raises ValueError for anything that is no numbers."""
    try:
        return torch.as_tensor(values).cpu()
    except (TypeError, ValueError, RuntimeError) as e:
        raise ValueError(f"{name} must be a tensor or a list of numbers, got {values!r}.") from e


def check_hint(hint: Tensor, shape: tuple[int, int, int, int], n: int) -> Tensor:
    """A hint for each of n clips, (n, T, 1, H, W). Raises ValueError for what is none."""
    hint = as_tensor(hint, "hint").float()
    if hint.shape not in ((n, *shape), shape):
        raise ValueError(f"hint must have the shape {tuple(shape)}, or {(n, *shape)} with one for "
                         f"each clip, got {tuple(hint.shape)}.")
    if not ((hint >= 0) & (hint <= 1)).all():
        raise ValueError("hint must lie in [0, 1]: 0 is no hint, 1 the middle of a dot.")
    return hint.expand(n, *shape)


def check_count(n: int, name: str = "n") -> int:
    """n as an int. Raises ValueError unless it is a whole number of at least 1."""
    if not isinstance(n, Integral) or isinstance(n, bool) or n < 1:
        raise ValueError(f"{name} must be at least 1 and a whole number, got {n!r}.")
    return int(n)


def save_model(path: Path, model: nn.Module, metadata: dict) -> str:
    """Write weights in half precision, and the metadata that rebuilds the model, to one file.

    A model with a base, which stays as it is, is written without the base's weights. Returns the
    sha256 of the weights.
    """
    recipe = Recipe(**metadata["recipe"])
    base = base_weights(recipe, model.net) if recipe.model.get("base") else {}
    weights = {k: v.half() if v.is_floating_point() else v
               for k, v in files.module_weights(model).items() if k not in base}
    return files.save_tensors(Path(path).expanduser(), weights, metadata)


def load(name: str | Path, device="cpu") -> Pipeline | VAE:
    """A shipped checkpoint by its name, or a `model.safetensors` by its path.

    A VAE is returned as the module itself, with its `metadata`. The global random state stays as it
    is. Raises ValueError for an unknown name (naming the known ones), a damaged, foreign or altered
    file, weights that are not finite, or a latent model whose VAE has changed; FileNotFoundError
    for a path without a file.
    """
    path = checkpoint_path(name)
    tensors, metadata = files.load_tensors(path)
    sha256 = files.digest(tensors)
    tensors, metadata = with_new_names(tensors, metadata)
    if "recipe" not in metadata or "notes" in metadata:
        raise ValueError(f"{path} holds no model but {', '.join(metadata) or 'nothing known'}.")
    if bad := [k for k, v in tensors.items() if not v.isfinite().all()]:
        raise ValueError(f"{path} holds weights that are NaN or infinite ({bad[0]} for one): its "
                         "training failed; train it again with a lower learning rate.")
    try:
        recipe = check_facts(metadata)
        with torch.random.fork_rng(devices=[]):              # the first weights are drawn, in vain
            model = build_model(recipe.model)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as e:
        raise ValueError(f"{path} describes a model that this version cannot build ({e}).") from e
    model = model.to(torch.float32)                                  # whatever torch's default is
    if recipe.model.get("base"):
        tensors = base_weights(recipe, model.net, metadata.get("base")) | tensors
    files.load_weights(model, tensors, path)
    model = model.to(device, memory_format=torch.channels_last)
    if isinstance(model, VAE):
        model.metadata = metadata | {"sha256": sha256}
        return model.eval().requires_grad_(False)
    vae = load_recipe_vae(recipe, device)
    if vae is not None and vae.metadata["sha256"] != metadata.get("vae"):
        raise ValueError(f"{path} was trained on the latents of another VAE than the present "
                         f"{recipe.model['latent']}; give it back its own.")
    return Pipeline(model, metadata, vae)


def base_weights(recipe: Recipe, net: nn.Module,
                 sha256: str | None = None) -> dict[str, Tensor]:
    """The weights of the trained model that a recipe adds to, by their names in its own network.

    sha256: what the base's weights must have. Raises ValueError for another base, and as `load`.
    """
    name = recipe.model["base"]
    tensors, metadata = files.load_tensors(checkpoint_path(name))
    if sha256 not in (None, files.digest(tensors)):
        raise ValueError(f"{recipe.name} was made for another {name} than the present one (its "
                         "sha256 differs); give it back its own, or train it again.")
    tensors = {k.removeprefix("net."): v for k, v in with_new_names(tensors, metadata)[0].items()}
    return {f"net.{k}": v for k, v in net.from_base(tensors).items()}


def base_sha256(recipe: Recipe) -> str | None:
    """The sha256 of the weights that a recipe adds to, or None if it adds to no model."""
    name = recipe.model.get("base")
    return None if name is None else files.digest(files.load_tensors(checkpoint_path(name))[0])


def load_teacher(name: str | Path, student: Recipe, device="cpu") -> Pipeline:
    """The model that a student recipe names, which its `guided_denoiser` can then learn from.

    Raises ValueError for a model that makes no clips, has no conditions, or works on other clips or
    latents than the student, as `check_student_as_teacher`, and as `load`.
    """
    try:
        teacher = load(name, device)
    except FileNotFoundError as e:
        raise FileNotFoundError(f"{e} It is the teacher of {student.name}, which cannot be trained "
                                "without it: put it back, or choose another teacher.") from None
    if not isinstance(teacher, Pipeline):
        raise ValueError(f"{name} makes no clips, so it cannot teach a student to make them.")
    if teacher.recipe.conditions is None:
        raise ValueError(f"{name} has no conditions, so it has no guidance that a student could "
                         "take over; for fewer calls of such a model, sample it with dpmpp_2m.")
    for what in ("conditions", "shape"):
        ours, theirs = (getattr(r, what) for r in (student, teacher.recipe))
        if ours != theirs:
            raise ValueError(f"{name} cannot teach {student.name}: its {what} is {theirs}, the "
                             f"student's {ours}.")
    ours, theirs = (r.model.get("latent") for r in (student, teacher.recipe))
    if ours != theirs:
        raise ValueError(f"{name} cannot teach {student.name}: it works on "
                         f"{f'the latents of {theirs}' if theirs else 'pixels'}, the student on "
                         f"{f'those of {ours}' if ours else 'pixels'}.")
    check_student_as_teacher(name, teacher.recipe, student)
    teacher.denoiser.requires_grad_(False)
    return teacher


def check_student_as_teacher(name: str | Path, teacher: Recipe, student: Recipe) -> None:
    """Raises ValueError for a teacher that is a student itself, unless it is called at its times.

    Its guesses are right for its own few steps, so the new student has to follow just these.
    """
    if not teacher.calls:
        return
    method, theirs = student.training.get("method"), teacher.training["method"]
    if method not in ON_PATHS or theirs in RENOISED:
        raise ValueError(f"{name} cannot teach by the method {method}: it is itself a student of "
                         f"{teacher.calls} calls, by {theirs}. Choose its own teacher, "
                         f"{teacher.training['teacher']}.")
    if (steps := student.training["calls"] * student.training["substeps"]) != teacher.calls:
        raise ValueError(f"{name} is itself a student of {teacher.calls} calls, so calls times "
                         f"substeps must be {teacher.calls}, got {steps}.")


def check_facts(metadata: dict) -> Recipe:
    """The recipe of a model's file. Raises ValueError for a fact of the wrong kind."""
    count = whole(0, 10**15)
    check_all(metadata, {"digits": TEXT, "seed": whole(0, MAX_SEED), "steps": count, "total": count,
                         "clips": count, "minutes": number(0, 1e9)}, "The facts")
    return check_recipe(metadata["recipe"])


def checkpoint_path(name: str | Path) -> Path:
    """The file of a checkpoint that comes with the package, or the .safetensors file itself.

    Raises ValueError for an unknown name, or for something that is no name.
    """
    if not isinstance(name, (str, Path)):
        raise ValueError(f"Give the name or the file of a model, not {name!r}.")
    if Path(name).suffix == ".safetensors":
        return Path(name).expanduser()
    if str(name) not in (known := shipped_checkpoints()):
        raise ValueError(f"There is no checkpoint {str(name)!r}{did_you_mean(name, known)}; "
                         f"choose one of {', '.join(known)}, or give a .safetensors file.")
    return CHECKPOINTS / f"{name}.safetensors"


def load_recipe_vae(recipe: Recipe, device="cpu") -> VAE | None:
    """The VAE whose latents a recipe's model works on, or None for one that works on pixels.

    Raises ValueError if the name is that of another model, and as `load`.
    """
    name = recipe.model.get("latent")
    if name is None:
        return None
    vae = load(name, device)
    if not isinstance(vae, VAE):
        raise ValueError(f"{name} is not a VAE, so {recipe.name} cannot work on its latents.")
    return vae


def shipped_checkpoints() -> list[str]:
    """The names of the checkpoints that come with the package: those with a card."""
    return sorted(p.stem for p in CHECKPOINTS.glob("*.json"))
