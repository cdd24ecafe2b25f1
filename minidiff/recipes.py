"""The few named trainings, each a function of keyword arguments that says all there is to say.

The model, the clips it learns from, how it is trained and sampled: a checkpoint's name is its
recipe's.
"""
from collections.abc import Callable, Iterator
from functools import partial
from inspect import getdoc, signature
from itertools import count
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minidiff import schedules
from minidiff.data.digits import Digits
from minidiff.data.moving_mnist import Clips, moving_mnist, sample_captions
from minidiff.data.prompts import MAX_DIGITS, TOKEN_IDS, VOCABULARY, encode
from minidiff.denoiser import Denoiser
from minidiff.dit import DiT
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
from minidiff.train import Objective, denoising_objective
from minidiff.unet import TEMPORAL_LAYERS, TIME_MODES, UNet
from minidiff.vae import VAE

NETWORKS = {"unet": UNet, "dit": DiT, "vae": VAE}
SCHEDULES = {"flow": schedules.Flow, "cosine": schedules.Cosine,
             "linear betas": schedules.Discrete.linear, "cosine betas": schedules.Discrete.cosine}


class Recipe(NamedTuple):
    """Keyword arguments, in groups; all fit into JSON, so a checkpoint can carry them."""
    name: str
    model: dict         # network, its settings; schedule, prediction; latent: name of the VAE
    clips: dict         # size (of every batch in turn, if several), frames, ... of moving_mnist
    training: dict      # batch, lr, ema, steps, p_drop, times, ...
    sampling: dict = {}  # noqa: RUF012 (nobody changes it): what differs from pipeline.SAMPLING

    @property
    def classes(self) -> int | None:
        """The number of class ids, where the model is told a class."""
        return self.model["net"].get("classes")

    @property
    def vocabulary(self) -> int | None:
        """The number of token ids, where the model reads prompts."""
        return self.model["net"].get("vocab_size")

    @property
    def null(self) -> int | None:
        """The null condition: one class id more, or the id of no word."""
        return 0 if self.vocabulary else self.classes


FLOW_MATCHING = dict(schedule="flow", prediction="flow")
DENOISING_SETTINGS = dict(times="logit-normal", p_drop=0.1)
AUTOGUIDANCE = dict(autoguidance=0.5)                          # sampling: frames that agree


def mmnist32(channels=(64, 96, 128), attention: int = 2, time: str = "factorised", batch: int = 16,
             lr: float = 3e-3, ema: float = 0.999, times: str = "logit-normal",
             steps: int = 10_000) -> Recipe:
    """32x32, 8 frames, one bouncing digit, told which: a U-Net of 2.8 M parameters, by flow."""
    net = dict(channels=list(channels), attention_levels=attention, time=time, classes=10)
    return Recipe("mmnist32", dict(network="unet", net=net, **FLOW_MATCHING),
                  dict(size=32, frames=8, num_digits=1),
                  dict(batch=batch, lr=lr, ema=ema, times=times, p_drop=0.1, steps=steps), AUTOGUIDANCE)


def mmnist32_dit(dim: int = 192, depth: int = 6, time: str = "full", batch: int = 16,
                 lr: float = 2e-3, ema: float = 0.999, steps: int = 10_000) -> Recipe:
    """The same clips by a Diffusion Transformer as large: 256 patches of 2 frames, 4x4 pixels."""
    net = dict(dim=dim, depth=depth, time=time, patch=[2, 4, 4], classes=10)
    return Recipe("mmnist32-dit", dict(network="dit", net=net, **FLOW_MATCHING),
                  dict(size=32, frames=8, num_digits=1),
                  dict(batch=batch, lr=lr, ema=ema, steps=steps, **DENOISING_SETTINGS), AUTOGUIDANCE)


def mmnist64_vae(channels=(64,), bottleneck_channels: int = 96, latent_channels: int = 1, beta: float = 1e-4,
                 refiner_channels=(), batch: int = 8, lr: float = 2e-3, ema: float = 0.998,
                 decoder_only: bool = False, latent_noise: float = 0.0, steps: int = 2600) -> Recipe:
    """64x64, 16 frames, one or two digits of 20 px, to 8x16x16 places of 1 number and back.

    Three batches of four have frames of 32 px: as many digits for a quarter of the time.
    decoder_only: go on with the decoder of a trained VAE, whose latents stay what they are; refine:
    widths of the U-Net by which it looks at the whole clip; noised: half of the clips it draws from
    latents noised to times from 0 to this.
    """
    net = dict(channels=list(channels), bottleneck_channels=bottleneck_channels,
               latent_channels=latent_channels, beta=beta, refiner_channels=list(refiner_channels))
    return Recipe("mmnist64-vae", dict(network="vae", net=net),
                  dict(size=[32, 32, 32, 64], frames=16, num_digits=[1, 2], sprite=20, speed=[2, 6]),
                  dict(batch=batch, lr=lr, ema=ema, decoder_only=decoder_only, latent_noise=latent_noise,
                       steps=steps))


def mmnist64_text(channels=(32, 96, 160), attention: int = 2, time: str = "full",
                  vae: str = "mmnist64-vae", batch: int = 16, lr: float = 3e-3, ema: float = 0.999,
                  images: float = 0.0, pool: int = 1500, times: str = "uniform", shift: float = 3.0,
                  network: str = "unet", number=(1, 2), object_slots: bool = True,
                  steps: int = 10_000) -> Recipe:
    """64x64, 16 frames, one or two digits that do what a prompt says: a U-Net on the VAE's latents.

    shift: headings are settled where noise is strong, t > .9, and are learnt only there.
    Guidance acts while t >= .5, where digits and headings are decided, and spoils detail after.
    images: the share of batches that are single frames. pool: how many batches there are before
    they come again. network: "dit" is a transformer as large. number: digits in a clip, or the
    least and the most. apart: the U-Net draws the things of a prompt apart.
    """
    net = dict(in_channels=1, time=time, vocab_size=len(VOCABULARY))
    if network == "unet":
        net |= dict(channels=list(channels), attention_levels=attention, patch=1)
        net |= dict(separator=TOKEN_IDS["and"]) if object_slots else {}
    else:
        net |= dict(dim=192, depth=6, patch=[1, 4, 4])
    return Recipe("mmnist64-text", dict(network=network, net=net, latent=vae, **FLOW_MATCHING),
                  dict(size=64, frames=16, sprite=20,
                       num_digits=number if isinstance(number, int) else list(number)),
                  dict(batch=batch, lr=lr, ema=ema, images=images, pool=pool, steps=steps,
                       times=times, shift=shift, p_drop=0.1),
                  dict(guidance=2.5, interval=[0.5, 1.0], autoguidance=0.3))


def time_ablation(mode: str, channels=(32, 64), batch: int = 16, lr: float = 3e-3, ema: float = 0.998,
          temporal_layers=TEMPORAL_LAYERS, steps: int = 1500) -> Recipe:
    """mmnist32 made small, to compare the ways in which frames may meet."""
    net = dict(channels=list(channels), attention_levels=1, time=mode, temporal_layers=list(temporal_layers), classes=10)
    return Recipe(f"time-{mode}", dict(network="unet", net=net, **FLOW_MATCHING),
                  dict(size=32, frames=8, num_digits=1),
                  dict(batch=batch, lr=lr, ema=ema, steps=steps, **DENOISING_SETTINGS))


def tiny(channels=(32, 64), patch: int = 4, batch: int = 4, lr: float = 3e-3,
         steps: int = 100) -> Recipe:
    """mmnist32 made small: nothing to look at, everything to test. Seconds."""
    net = dict(channels=list(channels), patch=patch, attention_levels=1, classes=10, emb_dim=64)
    return Recipe("tiny", dict(network="unet", net=net, **FLOW_MATCHING),
                  dict(size=32, frames=8, num_digits=1),
                  dict(batch=batch, lr=lr, ema=0.99, steps=steps, **DENOISING_SETTINGS))


RECIPES: dict[str, Callable[..., Recipe]] = {
    f.__name__.replace("_", "-"): f
    for f in (mmnist32, mmnist32_dit, mmnist64_vae, mmnist64_text, tiny)}
RECIPES |= {f"time-{mode}": partial(time_ablation, mode) for mode in TIME_MODES}


WIDTH, SHARE = whole(1, 4096), number(0, 1)
DIGIT_COUNT = whole(1, MAX_DIGITS)
SETTINGS = {  # a recipe's settings -> what each may be
    "attention": whole(0, 8), "batch": whole(1, 65_536), "beta": number(0, 1),
    "bottleneck_channels": WIDTH, "channels": list_of(WIDTH, 1, 8), "decoder_only": YES_OR_NO,
    "depth": whole(1, 64), "dim": WIDTH, "ema": number(0, 1, without_high=True), "images": SHARE,
    "latent_channels": whole(1, 64), "latent_noise": SHARE, "lr": number(0, 1, without_low=True),
    "network": one_of("unet", "dit"), "number": either(DIGIT_COUNT, list_of(DIGIT_COUNT, 2, 2)),
    "object_slots": YES_OR_NO, "patch": whole(1, 16), "pool": whole(1, 10**9),
    "refiner_channels": list_of(WIDTH, 0, 8), "shift": number(0, 1000, without_low=True),
    "steps": whole(1, 10**9), "temporal_layers": list_of(one_of(*TEMPORAL_LAYERS), 0, 2),
    "time": one_of(*TIME_MODES), "times": one_of("logit-normal", "uniform"), "vae": TEXT,
}
FACTS = {  # the parts of a recipe that a file holds -> what each fact in them may be
    "model": {"network": one_of(*NETWORKS), "schedule": one_of(*SCHEDULES), "prediction": TEXT,
              "latent": either(NOTHING, TEXT)},
    "clips": {"size": either(whole(1, 4096), list_of(whole(1, 4096))), "frames": whole(1, 4096),
              "num_digits": either(whole(1, 100), list_of(whole(1, 100), 2, 2)),
              "sprite": either(NOTHING, whole(1, 4096)),
              "speed": either(NOTHING, list_of(number(0, 4096), 2, 2))},
    "training": {k: SETTINGS[k] for k in ("batch", "lr", "ema", "steps", "times", "images", "shift",
                                          "decoder_only", "latent_noise")}
                | {"p_drop": SHARE, "pool": either(NOTHING, SETTINGS["pool"])},
    "sampling": {"steps": whole(1, 10**6), "guidance": number(0, 1e6), "sampler": TEXT,
                 "shift": SETTINGS["shift"], "autoguidance": number(0, 1e6),
                 "interval": either(NOTHING, list_of(number(0, 1), 2, 2))},
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
    return Recipe(**groups)


def get_recipe(name: str, **settings) -> Recipe:
    """The named recipe with some settings changed.

    Raises ValueError that names the recipes, or the settings that this one has, or the values that
    a setting may have.
    """
    if name not in RECIPES:
        raise ValueError(f"Unknown recipe {name!r}; choose one of {', '.join(RECIPES)}.")
    if unknown := settings.keys() - (known := signature(RECIPES[name]).parameters).keys():
        raise ValueError(f"{name} has no setting {', '.join(sorted(unknown))}; "
                         f"it has {', '.join(known)}.")
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
    """The recipe in a sentence."""
    made = RECIPES[name]
    text = getdoc(getattr(made, "func", made))                  # python -OO leaves none
    return text.splitlines()[0] if text else name


def build_model(model: dict) -> nn.Module:
    """A fresh denoiser, or VAE, from a recipe's `model`."""
    net = NETWORKS[model["network"]](**model["net"])
    if isinstance(net, VAE):
        return net
    return Denoiser(net, SCHEDULES[model["schedule"]](), model["prediction"])


def build_objective(recipe: Recipe) -> Objective:
    """What a recipe's model is trained to do: to tell clip from noise, or to rebuild clips."""
    if recipe.model["network"] == "vae":
        return vae_objective(recipe.training.get("latent_noise", 0.0))
    settings = {k: recipe.training[k] for k in ("p_drop", "times", "shift") if k in recipe.training}
    return denoising_objective(recipe.null, **settings)


def vae_objective(latent_noise: float = 0.0) -> Objective:
    """The objective of a VAE. noised: half of the latents are noised to times from 0 to this."""
    def objective(vae: VAE, x: Tensor, _: None, g: torch.Generator) -> Tensor:
        noise = sharded_draw(len(x), lambda n: torch.randn(n, *vae.latent_shape(x.shape[1:]), generator=g,
                                                    device=x.device))
        if not latent_noise:
            return vae.loss(x, noise)
        t = sharded_draw(len(x), lambda n: 2 * torch.rand(n, generator=g, device=x.device) - 1)
        return vae.loss(x, noise, latent_noise * t.clamp(min=0))
    return objective


def training_batches(recipe: Recipe, digits: Digits, seed: int, start: int = 0, device="cpu",
           vae: VAE | None = None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The recipe's endless training batches (x0, cond), from number `start` on.

    vae: what turns clips into latents, for a recipe of a latent model. Batch k depends on (seed, k)
    alone, and of several processes each gets its rows. A recipe may have a pool of so many batches,
    which come again and again, each time in other words, and are encoded once.
    """
    sizes, pool = frame_sizes(recipe), recipe.training.get("pool") or inf
    share = recipe.training.get("images", 0)
    kept = {}                                                        # latents of the batches so far
    for k in count(start):
        which = int(k % pool)
        clips = moving_mnist(digits, recipe.training["batch"], seed=seed, step=which, device=device,
                             **recipe.clips | {"size": sizes[which % len(sizes)]})
        x = clips.x
        if int((which + 1) * share) > int(which * share):          # this one's turn to be still
            x = x[:, :1]
        mine = shard(len(x))
        x, cond = x[mine], make_conditions(recipe, clips, seed, k)
        if vae is not None:
            x = kept[which] if which in kept else encode_latents(vae, x)
            if pool < inf:
                kept[which] = x
        yield x, None if cond is None else cond[mine]


@torch.no_grad()
def encode_latents(vae: VAE, x: Tensor) -> Tensor:
    with autocast(x.device):
        return vae.encode(x).float()


def frame_sizes(recipe: Recipe) -> list[int]:
    """The sizes of the training's batches, in turn; the largest is what the model is for."""
    size = recipe.clips["size"]
    return size if isinstance(size, list) else [size]


def latent_stats_clips(recipe: Recipe, digits: Digits, seed: int, n: int = 64) -> Tensor:
    """n clips of the recipe's full size, by which a VAE's latents are calibrated."""
    return moving_mnist(digits, n, seed=seed, **recipe.clips | {"size": max(frame_sizes(recipe))}).x


def make_conditions(recipe: Recipe, clips: Clips, seed: int, step: int) -> Tensor | None:
    """What the model is told of each clip: its digit, the ids of a caption's words, or nothing."""
    if recipe.vocabulary:
        return encode(sample_captions(clips, seed, step))
    return clips.labels[:, 0] if recipe.classes else None
