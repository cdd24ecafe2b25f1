"""The few named trainings, each a function of keyword arguments that returns all its settings.

A recipe holds the model, the dataset, how the model is trained and how it is sampled. A
checkpoint has the name of its recipe.
"""
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from inspect import getdoc, signature
from math import inf
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minidiff import schedules
from minidiff.data import digits
from minidiff.data.batches import Dataset, MovingMNIST, batch_sizes, check_batch, load_clips
from minidiff.data.digits import Digits
from minidiff.data.moving_mnist import PAIR_SETS, batch_numbers, frame_size
from minidiff.data.prompts import MAX_DIGITS, TOKEN_IDS, VOCABULARY
from minidiff.data.strokes import LETTERS
from minidiff.denoiser import Denoiser
from minidiff.runtime.checks import (
    NOTHING,
    TEXT,
    YES_OR_NO,
    check_all,
    either,
    list_of,
    number,
    one_of,
    whole,
)
from minidiff.runtime.distributed import shard, sharded_draw
from minidiff.runtime.precision import autocast
from minidiff.runtime.seeds import MAX_SEED
from minidiff.runtime.suggestions import did_you_mean
from minidiff.train import Objective, Record, TrainState, denoising_objective, train
from minidiff.unet import TEMPORAL_LAYERS, TIME_MODES
from minidiff.vae import VAE

NETWORKS = {  # name -> "module:class"; a network of an extension is imported when it is built
    "unet": "minidiff.unet:UNet", "dit": "minidiff.dit:DiT", "vae": "minidiff.vae:VAE",
    "object_slots": "minidiff.extensions.object_slots:ObjectSlots",
    "shortcut": "minidiff.extensions.shortcut:ShortcutUNet",
    "arc": "minidiff.extensions.arcflow:ArcUNet",
    "given": "minidiff.extensions.conditioning:GivenUNet",
    "control": "minidiff.extensions.control:ControlUNet",
    "lora": "minidiff.extensions.lora:AdaptedUNet"}
SCHEDULES = {"flow": schedules.Flow, "cosine": schedules.Cosine,
             "linear betas": schedules.Discrete.linear, "cosine betas": schedules.Discrete.cosine}


METHODS = {  # how a student of few calls is trained -> "module:function(recipe, network, device)"
    "progressive": "minidiff.extensions.distillation:progressive",
    "consistency": "minidiff.extensions.distillation:consistency",
    "reflow": "minidiff.extensions.reflow:reflow",
    "shortcut": "minidiff.extensions.shortcut:shortcut",
    "arc": "minidiff.extensions.arcflow:arc",
    "matching": "minidiff.extensions.distribution_matching:matching"}
TRAININGS = METHODS | {  # and other trainings than by `build_objective`
    "conditioning": "minidiff.extensions.conditioning:conditioning",
    "control": "minidiff.extensions.control:control",
    "adapter": "minidiff.extensions.lora:adapter"}
TWO_TIMES = ("shortcut", "arc")         # methods whose network is told where its step ends
ON_PATHS = ("progressive", "consistency", "reflow", "arc")  # methods that walk the teacher's steps
RENOISED = ("consistency", "matching")  # methods whose guesses are clips, noised anew in sampling


class Recipe(NamedTuple):
    """Keyword arguments, in groups; all fit into JSON, so a checkpoint can carry them."""
    name: str
    model: dict         # network, its settings; schedule, prediction; latent: name of the VAE
    clips: dict         # dataset ("moving-mnist" unless given); size, frames and what else it takes
    training: dict      # batch, lr, ema, steps, p_drop, times, ...
    sampling: dict = {}  # noqa: RUF012 (never changed): what differs from pipeline.SAMPLING

    @property
    def classes(self) -> int | None:
        """The number of class ids, if conditions are classes."""
        return self.model["net"].get("classes")

    @property
    def vocabulary(self) -> int | None:
        """The number of token ids, if conditions are prompts."""
        return self.model["net"].get("vocab_size")

    @property
    def conditions(self) -> str | None:
        """What the model's conditions are: "text", "class" or None."""
        return "text" if self.vocabulary else "class" if self.classes else None

    @property
    def class_names(self) -> list[str]:
        """A word for each class: the recipe's own, or its number."""
        return self.clips.get("class_names") or [str(i) for i in range(self.classes or 0)]

    @property
    def null(self) -> int | None:
        """The null condition: one class id more, or the id of no word; None without conditions."""
        return 0 if self.vocabulary else self.classes

    @property
    def calls(self) -> int | None:
        """How many network calls a student of a larger model was made for; None for others."""
        return self.training.get("calls")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape (T, C, H, W) of a clip of the full size."""
        net = self.model["net"]
        channels = self.clips.get("channels") or (1 if self.model.get("latent") else
                                                  net.get("in_channels", 1))
        largest = max(map(frame_size, frame_sizes(self)), key=lambda size: size[0] * size[1])
        return (self.clips["frames"], channels, *largest)


FLOW_MATCHING = dict(schedule="flow", prediction="flow")
DENOISING_SETTINGS = dict(times="logit-normal", p_drop=0.1)
AUTOGUIDANCE = dict(autoguidance=0.5)                # sampling: digits keep their shape and motion


def mmnist32(channels=(64, 96, 128), attention: int = 2, time: str = "factorised", batch: int = 16,
             lr: float = 3e-3, ema: float = 0.999, times: str = "logit-normal",
             steps: int = 10_000) -> Recipe:
    """32x32, 8 frames, one bouncing digit of a class: a U-Net of 2.8 M parameters, by flow."""
    net = dict(channels=list(channels), attention_levels=attention, time=time, classes=10)
    return Recipe("mmnist32", dict(network="unet", net=net, **FLOW_MATCHING),
                  dict(size=32, frames=8, num_digits=1),
                  dict(batch=batch, lr=lr, ema=ema, times=times, p_drop=0.1, steps=steps),
                  AUTOGUIDANCE)


def mmnist32_dit(dim: int = 192, depth: int = 6, time: str = "full", batch: int = 16,
                 lr: float = 2e-3, ema: float = 0.999, steps: int = 10_000) -> Recipe:
    """The clips of mmnist32 by a Diffusion Transformer: 256 patches of 2 frames, 4x4 px."""
    net = dict(dim=dim, depth=depth, time=time, patch=[2, 4, 4], classes=10)
    return Recipe("mmnist32-dit", dict(network="dit", net=net, **FLOW_MATCHING),
                  dict(size=32, frames=8, num_digits=1),
                  dict(batch=batch, lr=lr, ema=ema, steps=steps, **DENOISING_SETTINGS),
                  AUTOGUIDANCE)


def mmnist64_vae(channels=(64,), bottleneck_channels: int = 96, latent_channels: int = 1,
                 beta: float = 1e-4, refiner_channels=(), batch: int = 8, lr: float = 2e-3,
                 ema: float = 0.998, decoder_only: bool = False, latent_noise: float = 0.0,
                 steps: int = 2600) -> Recipe:
    """64x64, 16 frames, one or two digits of 20 px, to 8x16x16 latent numbers and back.

    Three batches of four have frames of 32 px: as many digits for a quarter of the time.
    decoder_only: train only the decoder of a trained VAE, so that its latents stay the same.
    refiner_channels: widths of a U-Net in the decoder that sees the whole clip. latent_noise: half
    of the clips are decoded from latents with noise, of times from 0 to this.
    """
    net = dict(channels=list(channels), bottleneck_channels=bottleneck_channels,
               latent_channels=latent_channels, beta=beta, refiner_channels=list(refiner_channels))
    return Recipe("mmnist64-vae", dict(network="vae", net=net),
                  dict(size=[32, 32, 32, 64], frames=16, num_digits=[1, 2], sprite=20,
                       speed=[2, 6]),
                  dict(batch=batch, lr=lr, ema=ema, decoder_only=decoder_only,
                       latent_noise=latent_noise, steps=steps))


def mmnist64_text(channels=(32, 96, 160), attention: int = 2, time: str = "full",
                  vae: str = "mmnist64-vae", batch: int = 16, lr: float = 3e-3, ema: float = 0.999,
                  images: float = 0.0, pool: int = 1500, times: str = "uniform", shift: float = 3.0,
                  network: str = "unet", number=(1, 2), object_slots: bool = True,
                  steps: int = 10_000) -> Recipe:
    """64x64, 16 frames, one or two digits that do what a prompt says: a U-Net on the VAE's latents.

    shift: headings are decided at high noise, t > .9, and are learnt only there.
    Guidance acts while t >= .5, when digits and headings are decided; later it spoils detail.
    images: the share of batches that are single frames. pool: the number of different batches;
    then they come again with other captions. network: "dit" is a transformer as large. number:
    digits in a clip, or the least and the most. object_slots: the U-Net makes one pass for each
    object of a prompt.
    """
    net = dict(in_channels=1, time=time, vocab_size=len(VOCABULARY))
    if network == "unet":
        net |= dict(channels=list(channels), attention_levels=attention, patch=1)
        if object_slots:
            network, net["separator"] = "object_slots", TOKEN_IDS["and"]
    else:
        net |= dict(dim=192, depth=6, patch=[1, 4, 4])
    return Recipe("mmnist64-text", dict(network=network, net=net, latent=vae, **FLOW_MATCHING),
                  dict(size=64, frames=16, sprite=20,
                       num_digits=number if isinstance(number, int) else list(number)),
                  dict(batch=batch, lr=lr, ema=ema, images=images, pool=pool, steps=steps,
                       times=times, shift=shift, p_drop=0.1),
                  dict(guidance=2.5, interval=[0.5, 1.0], autoguidance=0.3))


def mmnist32_4(teacher: str = "mmnist32", method: str = "progressive", calls: int = 4,
               substeps: int = 5, batch: int = 16, lr: float = 3e-4, ema: float = 0.99,
               pool: int = 1500, critic: float = 0.0, shift: float = 1.7,
               steps: int = 500) -> Recipe:
    """A student of mmnist32 that needs 4 network calls a clip instead of 55, guidance folded in.

    shift: 1.7, so that the last call is at t = .36. What one call makes of t = .5, where shift 3
    has its last call, is blurred, and blurred otherwise in each frame.
    """
    return student_recipe("mmnist32-4", mmnist32(), teacher, method, calls, substeps, shift,
                          batch=batch, lr=lr, ema=ema, pool=pool, critic=critic, steps=steps)


def mmnist64_text_4(teacher: str = "mmnist64-text", method: str = "progressive", calls: int = 4,
                    substeps: int = 5, batch: int = 12, lr: float = 3e-4, ema: float = 0.99,
                    pool: int = 1500, critic: float = 0.0, shift: float = 3.0, number=(1, 2),
                    steps: int = 500) -> Recipe:
    """A student of mmnist64-text that needs 4 network calls a clip, guidance folded in."""
    return student_recipe("mmnist64-text-4", mmnist64_text(number=number), teacher, method, calls,
                          substeps, shift, batch=batch, lr=lr, ema=ema, pool=pool, critic=critic,
                          steps=steps)


def mmnist32_frames(batch: int = 16, lr: float = 2e-3, ema: float = 0.999,
                    steps: int = 3000) -> Recipe:
    """mmnist32 that is told some frames or regions of a clip and makes the rest."""
    _, model, clips, training, sampling = mmnist32(batch=batch, lr=lr, ema=ema, steps=steps)
    return Recipe("mmnist32-frames", model | {"network": "given"}, clips,
                  training | {"method": "conditioning"}, sampling)


def mmnist32_path(base: str = "mmnist32", batch: int = 16, lr: float = 2e-3, ema: float = 0.998,
                  shift: float = 3.0, steps: int = 1500) -> Recipe:
    """A branch on the frozen mmnist32 that makes the digit follow a path."""
    _, model, clips, training, sampling = mmnist32(batch=batch, lr=lr, ema=ema, steps=steps)
    return Recipe("mmnist32-path", model | {"network": "control", "base": base}, clips,
                  training | {"method": "control", "shift": shift}, sampling)


def letter_a(base: str = "mmnist32", rank: int = 4, drawings: int = 100, batch: int = 16,
             lr: float = 3e-3, ema: float = 0.99, steps: int = 300) -> Recipe:
    """mmnist32 learns the letter A from a hundred drawings, as a class of its own: an adapter."""
    recipe = adapter_recipe("letter-a", 1, base, rank, batch=batch, lr=lr, ema=ema, steps=steps)
    names = [*map(str, range(10)), "A"]
    return recipe._replace(clips=recipe.clips | dict(
        letter="A", drawings=drawings, class_names=names, pairs="all"))


def style_strokes(base: str = "mmnist32", rank: int = 4, batch: int = 16, lr: float = 3e-3,
                  ema: float = 0.99, steps: int = 300) -> Recipe:
    """mmnist32, trained on handwriting, learns to draw the built-in digits: an adapter."""
    return adapter_recipe("style-strokes", 0, base, rank, batch=batch, lr=lr, ema=ema, steps=steps)


def adapter_recipe(name: str, new_classes: int, base: str, rank: int, **training) -> Recipe:
    """Low-rank changes of mmnist32, perhaps with new classes."""
    _, model, clips, plan, sampling = mmnist32(**training)
    net = model["net"] | dict(classes=10 + new_classes, rank=rank, adapters={name: new_classes})
    return Recipe(name, model | {"network": "lora", "base": base, "net": net}, clips,
                  plan | {"method": "adapter"}, sampling)


def student_recipe(name: str, base: Recipe, teacher: str, method: str, calls: int, substeps: int,
                   shift: float = 3.0, **training) -> Recipe:
    """A student with the network and the clips of another recipe, sampled in a few calls.

    method: one of `METHODS`. substeps: steps of the teacher in one of the student's. pool: the
    number of different batches (reflow: of pairs). critic: the weight of matching's critic. shift:
    of the times at which the student is called, and of its teacher's steps. Raises ValueError for a
    method that needs another network than the base has, or that has no critic.
    """
    if training.get("critic") and method != "matching":
        raise ValueError(f"Only the method matching has a critic; leave out critic, which {method} "
                         "does not use.")
    training |= dict(teacher=teacher, method=method, calls=calls, substeps=substeps)
    model = base.model
    if method in TWO_TIMES:
        if model["network"] != "unet":
            raise ValueError(f"The method {method} is made for a plain U-Net, and {base.name} has "
                             "another network; choose progressive, consistency or matching.")
        model = model | {"network": method, "net": model["net"] | {"calls": calls, "shift": shift}}
    sampler = "consistency" if method in RENOISED else "ddim"
    return Recipe(name, model, base.clips, training,
                  dict(steps=calls, guidance=1.0, sampler=sampler, shift=shift))


def time_ablation(mode: str, channels=(32, 64), batch: int = 16, lr: float = 3e-3,
                  ema: float = 0.998, temporal_layers=TEMPORAL_LAYERS,
                  steps: int = 1500) -> Recipe:
    """mmnist32 made small, to compare the ways in which frames exchange information."""
    net = dict(channels=list(channels), attention_levels=1, time=mode,
               temporal_layers=list(temporal_layers), classes=10)
    return Recipe(f"time-{mode}", dict(network="unet", net=net, **FLOW_MATCHING),
                  dict(size=32, frames=8, num_digits=1),
                  dict(batch=batch, lr=lr, ema=ema, steps=steps, **DENOISING_SETTINGS))


def tiny(channels=(32, 64), patch: int = 4, batch: int = 4, lr: float = 3e-3,
         steps: int = 100) -> Recipe:
    """mmnist32 made small for tests: trained in seconds, its clips show nothing."""
    net = dict(channels=list(channels), patch=patch, attention_levels=1, classes=10, emb_dim=64)
    return Recipe("tiny", dict(network="unet", net=net, **FLOW_MATCHING),
                  dict(size=32, frames=8, num_digits=1),
                  dict(batch=batch, lr=lr, ema=0.99, steps=steps, **DENOISING_SETTINGS))


RECIPES: dict[str, Callable[..., Recipe]] = {
    f.__name__.replace("_", "-"): f
    for f in (mmnist32, mmnist32_dit, mmnist32_4, mmnist32_frames, mmnist32_path, letter_a,
              style_strokes, mmnist64_vae, mmnist64_text, mmnist64_text_4, tiny)}
RECIPES |= {f"time-{mode}": partial(time_ablation, mode) for mode in TIME_MODES}


WIDTH, SIDE, SHARE = whole(1, 4096), whole(1, 4096), number(0, 1)
DIGIT_COUNT = whole(1, MAX_DIGITS)
SETTINGS = {  # a recipe's settings -> what each may be
    "attention": whole(0, 8), "base": TEXT, "batch": whole(1, 65_536), "beta": number(0, 1),
    "bottleneck_channels": WIDTH, "calls": whole(1, 1000), "channels": list_of(WIDTH, 1, 8),
    "critic": number(0, 100), "decoder_only": YES_OR_NO,
    "depth": whole(1, 64), "dim": WIDTH, "drawings": whole(1, 100_000),
    "ema": number(0, 1, without_high=True), "images": SHARE,
    "latent_channels": whole(1, 64), "latent_noise": SHARE, "lr": number(0, 1, without_low=True),
    "method": one_of(*METHODS),
    "network": one_of("unet", "dit"), "number": either(DIGIT_COUNT, list_of(DIGIT_COUNT, 2, 2)),
    "object_slots": YES_OR_NO, "patch": whole(1, 16), "pool": whole(1, 10**9),
    "rank": whole(1, 512), "refiner_channels": list_of(WIDTH, 0, 8),
    "shift": number(0, 1000, without_low=True),
    "steps": whole(1, 10**9), "substeps": whole(1, 1000), "teacher": TEXT,
    "temporal_layers": list_of(one_of(*TEMPORAL_LAYERS), 0, 2),
    "time": one_of(*TIME_MODES), "times": one_of("logit-normal", "uniform"), "vae": TEXT,
}
FACTS = {  # the parts of a recipe that a file holds -> what each fact in them may be
    "model": {"network": one_of(*NETWORKS), "schedule": one_of(*SCHEDULES), "prediction": TEXT,
              "latent": either(NOTHING, TEXT), "base": either(NOTHING, TEXT)},
    "clips": {"size": either(SIDE, list_of(either(SIDE, list_of(SIDE, 2, 2)))),
              "frames": whole(1, 4096),
              "num_digits": either(whole(1, 100), list_of(whole(1, 100), 2, 2)),
              "sprite": either(NOTHING, whole(1, 4096)),
              "channels": either(NOTHING, whole(1, 64)), "dataset": TEXT,
              "class_names": either(NOTHING, list_of(TEXT, 0, 10_000)),
              "letter": one_of(*LETTERS), "drawings": SETTINGS["drawings"],
              "pairs": one_of(*PAIR_SETS),
              "speed": either(NOTHING, list_of(number(0, 4096), 2, 2))},
    "training": {k: SETTINGS[k] for k in ("batch", "lr", "ema", "steps", "times", "images", "shift",
                                          "decoder_only", "latent_noise", "calls", "substeps",
                                          "teacher", "critic")}
                | {"method": one_of(*TRAININGS), "p_drop": SHARE,
                   "pool": either(NOTHING, SETTINGS["pool"])},
    "sampling": {"steps": whole(1, 10**6), "guidance": number(0, 1e6), "sampler": TEXT,
                 "shift": SETTINGS["shift"], "autoguidance": number(0, 1e6),
                 "interval": either(NOTHING, list_of(number(0, 1), 2, 2)),
                 "seed": whole(0, MAX_SEED), "frames": either(NOTHING, whole(1, 10**6)),
                 "exact": YES_OR_NO, "rescale": SHARE},
}


def check_recipe(facts: object) -> Recipe:
    """The recipe that a file describes. Raises ValueError for facts that describe none."""
    if not isinstance(facts, dict):
        raise ValueError(f"a recipe must be a dictionary, got {facts!r}")
    groups = Recipe._field_defaults | facts
    if wrong := groups.keys() ^ set(Recipe._fields):
        raise ValueError(f"a recipe has {', '.join(Recipe._fields)}; wrong or missing: "
                         f"{', '.join(sorted(map(str, wrong)))}")
    for group, kinds in FACTS.items():
        check_all(groups[group], kinds, f"the recipe's {group}")
    check_all(groups, {"name": TEXT}, "a recipe")
    needed = {"model": ("network", "net"), "clips": ("size", "frames")}
    for group, names in needed.items():
        if missing := [name for name in names if name not in groups[group]]:
            raise ValueError(f"the recipe's {group} lacks {', '.join(missing)}")
    check_all(groups["model"]["net"], {}, "the network's settings")
    recipe, names = Recipe(**groups), groups["clips"].get("class_names")
    if names and len(names) != recipe.classes:
        raise ValueError(f"the recipe names {len(names)} classes, but its network has "
                         f"{recipe.classes or 'none'}")
    return recipe


def get_recipe(name: str, **settings) -> Recipe:
    """The named recipe with some settings changed.

    Raises ValueError that names the recipes, or the settings that this one has, or the values that
    a setting may have.
    """
    if name not in RECIPES:
        raise ValueError(f"Unknown recipe {name!r}{did_you_mean(name, RECIPES)}; "
                         f"choose one of {', '.join(RECIPES)}.")
    known = signature(RECIPES[name]).parameters
    if unknown := sorted(settings.keys() - known.keys()):
        raise ValueError(f"{name} has no setting {', '.join(unknown)}"
                         f"{did_you_mean(unknown[0], known)}; it has {', '.join(known)}.")
    check_all(settings, SETTINGS, f"The settings of {name}")
    used = {k: p.default for k, p in known.items()} | settings
    levels = len(used["channels"]) if "attention" in used else 0
    if used.get("attention", 0) > levels:
        raise ValueError(f"attention must be a whole number from 0 to {levels}, the number of "
                         f"levels in channels, got {used['attention']}.")
    if isinstance(used.get("number"), (list, tuple)) and used["number"][0] > used["number"][1]:
        raise ValueError(f"number must be the least and the most digits, got {used['number']!r}.")
    return RECIPES[name](**settings)


def summary(name: str) -> str:
    """The recipe in a sentence; its name if Python runs without docstrings."""
    made = RECIPES[name]
    return (getdoc(getattr(made, "func", made)) or name).partition("\n")[0]


def network_class(name: str) -> type[nn.Module]:
    """The class of a network by its name in `NETWORKS`. Raises KeyError for another name."""
    return import_name(NETWORKS[name])


def import_name(name: str) -> Callable:
    """What a name "module:attribute" stands for."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def build_model(model: dict) -> nn.Module:
    """A new denoiser, or VAE, from a recipe's `model`, with random weights."""
    net = network_class(model["network"])(**model["net"])
    if isinstance(net, VAE):
        return net
    return Denoiser(net, SCHEDULES[model["schedule"]](), model["prediction"])


class Training(NamedTuple):
    """What a recipe trains with.

    loop: `(state, batches, steps, seed=seed)` yields a `Record` a step. objective: the loss of the
    model that is kept, as `train.train` takes it.
    """
    state: TrainState
    loop: Callable[..., Iterator[Record]]
    objective: Objective


def build_training(recipe: Recipe, device="cpu") -> Training:
    """A new model on the device, its optimisers, and the loop that trains it as the recipe says."""
    network = build_model(recipe.model).to(device)
    if method := recipe.training.get("method"):
        return import_name(TRAININGS[method])(recipe, network, device)
    return training_by(build_objective(recipe), recipe, network)


def training_by(objective: Objective, recipe: Recipe, network: nn.Module) -> Training:
    """The training of a network by one loss, with the recipe's learning rate and average."""
    state = TrainState(network, recipe.training["lr"], recipe.training["ema"])
    return Training(state, partial(train, objective=objective), objective)


def build_objective(recipe: Recipe) -> Objective:
    """The loss that a recipe's model is trained on: a denoiser's, or a VAE's."""
    if recipe.model["network"] == "vae":
        return vae_objective(recipe.training.get("latent_noise", 0.0))
    settings = {k: recipe.training[k] for k in ("p_drop", "times", "shift") if k in recipe.training}
    return denoising_objective(recipe.null, **settings)


def vae_objective(latent_noise: float = 0.0) -> Objective:
    """The objective of a VAE. latent_noise: half of the latents get noise of times 0 to this."""
    def objective(vae: VAE, x: Tensor, _: None, g: torch.Generator) -> Tensor:
        shape = vae.latent_shape(x.shape[1:])
        draw = dict(generator=g, device=x.device, dtype=torch.float32)
        noise = sharded_draw(len(x), lambda n: torch.randn(n, *shape, **draw))
        if not latent_noise:
            return vae.loss(x, noise)
        t = sharded_draw(len(x), lambda n: 2 * torch.rand(n, **draw) - 1)
        return vae.loss(x, noise, latent_noise * t.clamp(min=0))
    return objective


def moving_mnist_dataset(recipe: Recipe, source: str | Path | Digits) -> MovingMNIST:
    """Bouncing digits as a recipe wants them. source: digits, or what `digits.load` takes."""
    clips = recipe.clips
    if "letter" in clips:
        source = digits.letters(clips["letter"], "train", clips["drawings"], recipe.classes - 1)
    elif not isinstance(source, Digits):
        source = digits.load(source, "train")
    settings = {k: v for k, v in clips.items() if k not in (
        "dataset", "channels", "class_names", "letter", "drawings")}
    return MovingMNIST(source, recipe.conditions, recipe.training.get("pool"), **settings)


def own_clips_dataset(recipe: Recipe, source: str | Path) -> Dataset:
    """Clips of one's own. source: a folder of GIFs or an .npy file (`data.batches.load_clips`)."""
    return load_clips(source)


DATASETS: dict[str, Callable[..., Dataset]] = {"moving-mnist": moving_mnist_dataset,
                                               "clips": own_clips_dataset}


def build_dataset(recipe: Recipe, source: str | Path | Digits | Dataset) -> Dataset:
    """The dataset that a recipe names, made from a source, or the source itself if it is one.

    Raises ValueError for an unknown dataset, or one whose clips do not fit the recipe's model.
    """
    if isinstance(source, Digits) or not isinstance(source, Dataset):
        name = recipe.clips.get("dataset", "moving-mnist")
        if name not in DATASETS:
            raise ValueError(f"Unknown dataset {name!r}{did_you_mean(name, DATASETS)}; "
                             f"choose one of {', '.join(DATASETS)}.")
        source = DATASETS[name](recipe, source)
    needs = dict(channels=recipe.shape[1], classes=recipe.classes, words=recipe.vocabulary)
    has = dict(channels=source.shape[1], classes=source.num_classes, words=source.vocab_size)
    for name, least in needs.items():
        other = has[name] != least if name == "channels" else has[name] is None or has[name] > least
        if least and other:
            raise ValueError(f"{recipe.name} is made for {least} {name}, but the data has "
                             f"{has[name] or 'no'} {name}; change the recipe, or give other data.")
    return source


def training_batches(recipe: Recipe, source: str | Path | Digits | Dataset, seed: int,
                     start: int = 0, device="cpu",
                     vae: VAE | None = None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The recipe's endless training batches (x0, cond), from number `start` on.

    source: the dataset, or what it is made from (`build_dataset`). vae: encodes clips, for a recipe
    of a latent model. Batch k depends on (seed, k) alone, and of several processes each gets its
    rows. If a recipe has a pool of batches, which come again and again, each is encoded once.
    """
    dataset, pool = build_dataset(recipe, source), recipe.training.get("pool") or inf
    share, size = recipe.training.get("images", 0), recipe.training["batch"]
    latents = {}                                                     # of the pool's batches so far
    numbered = zip(batch_numbers(start), dataset.batches(size, seed, start, device), strict=False)
    for k, (x, cond) in numbered:
        if k == start:
            check_batch(x, cond)
        number = int(k % pool)
        if int((number + 1) * share) > int(number * share):       # this batch is of single frames
            x = x[:, :1]
        rows = shard(len(x))
        x, cond = x[rows], cond if recipe.conditions else None
        if vae is not None:
            x = latents[number] if number in latents else encode_latents(vae, x)
            if pool < inf:
                latents[number] = x
        yield x, None if cond is None else cond[rows].to(device)


@torch.no_grad()
def encode_latents(vae: VAE, x: Tensor) -> Tensor:
    """Clips (B, T, C, H, W) as float32 latents."""
    with autocast(x.device):
        return vae.encode(x).float()


def frame_sizes(recipe: Recipe) -> list:
    """The sizes of the training's batches, in turn, each a side or (height, width) in pixels.

    The model is for the largest one. Two numbers, such as [32, 48], are one size, not two.
    """
    return batch_sizes(recipe.clips["size"])


def latent_stats_clips(recipe: Recipe, source: str | Path | Digits | Dataset, seed: int,
                       n: int = 64) -> Tensor:
    """n clips of the recipe's full size, to measure the mean and variance of a VAE's latents."""
    return next(full_size_dataset(recipe, source).batches(n, seed))[0]


def full_size_dataset(recipe: Recipe, source: str | Path | Digits | Dataset) -> Dataset:
    """The recipe's dataset with all clips of the largest of its sizes."""
    full = recipe._replace(clips=recipe.clips | {"size": list(recipe.shape[2:])})
    source = getattr(source, "digits", source)                        # Moving-MNIST is made anew
    return build_dataset(full, source)
