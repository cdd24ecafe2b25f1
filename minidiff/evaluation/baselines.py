"""Baselines: clips that no model made, each with what the scoreboard must say of it.

Seven know nothing of the data (static, shuffled, a random walk, noise, ...). The others are real
clips with one thing changed, sorted by kind: a defect, little variety, looks that change, copies of
training digits, dirt, false walls. Fair ones are real clips with a change that hardly shows.

    studio = Studio(digits.load("builtin", "test"), n=256)
    clips = BASELINES["ten images"].make(studio)                   # (256, 8, 1, 32, 32) in [0, 1]
"""
from collections.abc import Callable
from functools import cached_property, partial
from math import pi
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.data.digits import Digits
from minidiff.data.images import warp
from minidiff.data.moving_mnist import (
    Clips,
    bounce,
    choose_sprites,
    default_sprite,
    moving_mnist,
    place_sprites,
    resize_sprites,
)
from minidiff.runtime.seeds import generator
from minidiff.runtime.settings import none_means_default


class Baseline(NamedTuple):
    """One kind of clips, and the limits of its SCORE at n = 256."""
    make: Callable[["Studio"], Tensor]
    kind: str
    part: str | None = None        # the part that is meant to catch it
    at_most: float = 1.0
    at_least: float = 0.0
    digits: int | None = None      # for clips of so many digits only; None: for any number


BASELINES: dict[str, Baseline] = {}


def baseline(name: str, kind: str, **limits) -> Callable:
    """Register a function studio -> clips under a name."""
    def register(make: Callable) -> Callable:
        BASELINES[name] = Baseline(make, kind, **limits)
        return make
    return register


class Studio:
    """Real clips taken apart into images and paths, from which baselines are put together.

    n clips, T frames, K digits of s pixels. digits: digits that no training has seen; train: those
    of the training, for copies; other: digits of another source. The other settings are those of
    `moving_mnist`.
    """

    @none_means_default
    def __init__(self, digits: Digits, n: int, seed: int = 0, size: int = 32, frames: int = 8,
                 sprite: int | None = None, num_digits: int = 1, train: Digits | None = None,
                 other: Digits | None = None):
        self.digits, self.train, self.other = digits, train, other
        self.n, self.seed, self.size, self.frames = n, seed, size, frames
        self.sprite, self.num_digits = sprite or default_sprite(size), num_digits

    def generator(self, purpose: str) -> torch.Generator:
        """Random numbers for one purpose."""
        return generator(f"baselines: {purpose}", self.seed)

    def film(self, step: int = 7, digits: Digits | None = None, **settings) -> Clips:
        """Real clips, or clips with other settings of `moving_mnist`."""
        usual = dict(size=self.size, frames=self.frames, seed=self.seed, step=step,
                     sprite=self.sprite, num_digits=self.num_digits)
        return moving_mnist(digits or self.digits, self.n, **usual | settings)

    @cached_property
    def real(self) -> Clips:
        """The real clips, whose labels and paths most baselines share."""
        return self.film()

    @property
    def corners(self) -> Tensor:
        """The corners (n, T, K, 2) of the real clips' digits."""
        return self.real.positions - self.sprite / 2

    def images(self, labels: Tensor, digits: Digits | None = None,
               purpose: str = "images") -> Tensor:
        """Images (*, s, s) of digits with these labels (*), drawn at random."""
        digits = digits or self.digits
        rows = choose_sprites(digits.labels, labels.reshape(-1, 1), (labels.numel(), 1),
                              self.generator(purpose)).flatten()
        return resize_sprites(digits.images[rows], self.sprite)[:, 0].view(
            *labels.shape, self.sprite, self.sprite)

    @cached_property
    def own(self) -> Tensor:
        """One image for each digit of the real clips, (n, 1, K, s, s)."""
        return self.images(self.real.labels)[:, None]

    def draw(self, images: Tensor | None = None, corners: Tensor | None = None) -> Tensor:
        """Clips (n, T, 1, S, S) in [0, 1] of images (n, T or 1, K, s, s) at corners (n, T, K, 2).

        The real images and corners unless given.
        """
        corners = self.corners if corners is None else corners
        images = self.own if images is None else images
        images = images.expand(-1, corners.shape[1], -1, -1, -1)
        x = place_sprites(images.flatten(0, 1)[:, :, None], corners.flatten(0, 1)[:, None],
                          self.size)                                     # (n T, 1, K, 1, S, S)
        return x[:, 0].amax(1).clamp(0, 1).unflatten(0, corners.shape[:2])

    def touching(self) -> Tensor:
        """Whether two squares of a frame of the real clips overlap or touch, (n, T) bool."""
        d = (self.corners[:, :, :, None] - self.corners[:, :, None]).abs().amax(-1)
        d = d + 1e6 * torch.eye(self.num_digits)
        return (d < self.sprite).flatten(2).any(-1)


def lag(s: Studio) -> Tensor:
    """The numbers of the frames, (1, T, 1)."""
    return torch.arange(s.frames).view(1, -1, 1)


# Real, and seven that know nothing of the data

@baseline("real", "real", at_least=.97)
def real(s: Studio) -> Tensor:
    """Clips of held-out digits."""
    return (s.real.x + 1) / 2


@baseline("static", "trivial", part="PHY", at_most=.25)
def static(s: Studio) -> Tensor:
    """Any frame of a clip, all the time."""
    x, g = real(s), s.generator("static")
    k = torch.randint(s.frames, (s.n, 1), generator=g)
    return x[torch.arange(s.n)[:, None], k].expand_as(x).contiguous()


@baseline("first frame", "trivial", part="PHY", at_most=.25)
def first_frame(s: Studio) -> Tensor:
    """The first frame, frozen."""
    return real(s)[:, :1].expand(-1, s.frames, -1, -1, -1).contiguous()


@baseline("shuffled", "trivial", part="PHY", at_most=.25)
def shuffled(s: Studio) -> Tensor:
    """The frames in any order."""
    order = torch.rand(s.n, s.frames, generator=s.generator("shuffled")).argsort(1)
    return real(s)[torch.arange(s.n)[:, None], order]


@baseline("random walk", "trivial", part="PHY", at_most=.25)
def random_walk(s: Studio) -> Tensor:
    """Digits that take a new direction and pace at every frame; steps are as long as real ones."""
    g, shape = s.generator("random walk"), (s.n, s.frames, s.num_digits)
    angle = 2 * pi * torch.rand(shape, generator=g)
    pace = (1 + 2 * torch.rand(shape, generator=g)) * s.size / 32
    path = torch.stack([angle.sin(), angle.cos()], -1) * pace[..., None]
    path = path.cumsum(1) + torch.rand(s.n, 1, s.num_digits, 2, generator=g) * (s.size - s.sprite)
    flat = path.flatten(1, 2)
    corners, _ = bounce(flat, torch.zeros_like(flat), 1, s.size - s.sprite)      # only folded
    return s.draw(corners=corners[:, 0].view_as(path))


@baseline("mean video", "trivial", part="PHY", at_most=.25)
def mean_video(s: Studio) -> Tensor:
    """The mean of all clips."""
    x = real(s)
    return x.mean(0).expand_as(x).contiguous()


@baseline("noise", "trivial", part="ID", at_most=.25)
def noise(s: Studio) -> Tensor:
    """Uniform noise."""
    return torch.rand(s.n, s.frames, 1, s.size, s.size, generator=s.generator("noise"))


@baseline("black", "trivial", part="ID", at_most=.25)
def black(s: Studio) -> Tensor:
    """Nothing."""
    return torch.zeros(s.n, s.frames, 1, s.size, s.size)


# One defect

@baseline("blurred", "defect", part="ID", at_most=.60)
def blurred(s: Studio) -> Tensor:
    """Each pixel the mean of 3 x 3 at size 32, of 7 x 7 at size 64."""
    x, reach = real(s), 3 * s.size // 64
    return F.avg_pool2d(x.flatten(0, 1), 2 * reach + 1, 1, reach).view_as(x)


@baseline("swapped", "defect", part="ID", at_most=.60)
def swapped(s: Studio) -> Tensor:
    """Another digit from the middle of the clip on."""
    step = torch.randint(1, 10, s.real.labels.shape, generator=s.generator("swapped"))
    second = s.images((s.real.labels + step) % 10, purpose="swapped images")[:, None]
    return s.draw(torch.where(lag(s)[..., None, None] < s.frames // 2, s.own, second))


@baseline("half missing", "defect", part="COVER", at_most=.60)
def half_missing(s: Studio) -> Tensor:
    """Five of the ten digits."""
    labels = torch.randint(5, (s.n, s.num_digits), generator=s.generator("half missing"))
    return (s.film(8, labels=labels).x + 1) / 2


@baseline("one digit", "defect", part="COVER", at_most=.40)
def one_digit(s: Studio) -> Tensor:
    """Threes only."""
    return (s.film(9, labels=torch.full((s.n, s.num_digits), 3)).x + 1) / 2


@baseline("one lost", "defect", part="ID", at_most=.60, digits=2)
def one_lost(s: Studio) -> Tensor:
    """One digit of two is missing."""
    return (s.film(11, num_digits=s.num_digits - 1).x + 1) / 2


@baseline("frozen from the middle", "defect", part="PHY", at_most=.60)
def half_frozen(s: Studio) -> Tensor:
    """The second half stands still."""
    x = real(s).clone()
    x[:, s.frames // 2:] = x[:, s.frames // 2 - 1:s.frames // 2]
    return x


# Little variety

def few_images(s: Studio, number: int) -> Tensor:
    """Clips that show the same few images of each class, on real paths."""
    pool = s.images(torch.arange(10).repeat_interleave(number), purpose="few images")
    which = torch.randint(number, s.real.labels.shape, generator=s.generator("which of few"))
    return s.draw(pool[s.real.labels * number + which][:, None])


for _number, _most in ((1, .40), (2, .60), (4, .60)):
    _name = "ten images" if _number == 1 else f"{_number} images a class"
    baseline(_name, "variety", part="COVER", at_most=_most)(partial(few_images, number=_number))


@baseline("three typical images a class", "variety", part="COVER", at_most=.60)
def typical_images(s: Studio) -> Tensor:
    """Of each class the three images that are nearest to its mean, on real paths."""
    images, pool = resize_sprites(s.digits.images, s.sprite)[:, 0], []
    for own in (images[s.digits.labels == k] for k in range(10)):
        pool.append(own[(own - own.mean(0)).flatten(1).norm(dim=1).argsort()[:3]])
    which = torch.randint(3, s.real.labels.shape, generator=s.generator("which of three"))
    return s.draw(torch.stack(pool)[s.real.labels, which][:, None])


@baseline("class means", "variety", part="COVER", at_most=.60)
def class_means(s: Studio) -> Tensor:
    """The mean image of each class, its darker half cut away, on real paths."""
    images = resize_sprites(s.digits.images, s.sprite)[:, 0]
    means = torch.stack([images[s.digits.labels == k].mean(0) for k in range(10)])
    means = ((means / means.amax((1, 2), keepdim=True) - .35) / .3).clamp(0, 1)
    return s.draw(means[s.real.labels][:, None])


@baseline("ten images, 64 paths", "variety", part="COVER", at_most=.60)
def few_paths(s: Studio) -> Tensor:
    """One image a class, and only 64 different paths."""
    pool = s.images(torch.arange(10), purpose="few images")
    return s.draw(pool[s.real.labels][:, None], s.corners[torch.arange(s.n) % 64])


@baseline("one path", "variety", part="COVER", at_most=.40)
def one_path(s: Studio) -> Tensor:
    """Every clip has the same path."""
    return s.draw(corners=s.corners[:1].expand_as(s.corners))


@baseline("80 clips repeated", "variety", part="COVER", at_most=.60)
def repeated(s: Studio) -> Tensor:
    """The same 80 clips again and again."""
    return real(s)[torch.arange(s.n) % 80]


# Looks that change

@baseline("another image in the last frame", "looks", part="LOOKS", at_most=.60)
def odd_frame(s: Studio) -> Tensor:
    """Another image of the class in the last frame alone."""
    other = s.images(s.real.labels, purpose="odd frame")[:, None]
    return s.draw(torch.where(lag(s)[..., None, None] == s.frames - 1, other, s.own))


@baseline("one frame turned by 25 degrees", "looks", part="LOOKS", at_most=.60)
def odd_turn(s: Studio) -> Tensor:
    """A frame in the middle in which the digit is turned."""
    images = s.own.expand(-1, s.frames, -1, -1, -1)
    return s.draw(warp(images, torch.where(lag(s) == s.frames // 2, 25, 0)))


@baseline("another image in every frame", "looks", part="LOOKS", at_most=.40)
def other_images(s: Studio) -> Tensor:
    """In every frame another image of the same class."""
    labels = s.real.labels[:, None].expand(-1, s.frames, -1)
    return s.draw(s.images(labels, purpose="image a frame"))


@baseline("every second frame darker", "looks", part="LOOKS", at_most=.60)
def flickering(s: Studio) -> Tensor:
    """Brightness x .6 in every second frame."""
    return s.draw(s.own * torch.where(lag(s) % 2 == 0, 1, .6)[..., None, None])


def turning(s: Studio, degrees: float) -> Tensor:
    """Digits that turn steadily, upright in the middle of the clip."""
    images = s.own.expand(-1, s.frames, -1, -1, -1)
    return s.draw(warp(images, degrees * (lag(s) - (s.frames - 1) / 2)))


for _degrees in (5, 10):
    baseline(f"turning {_degrees} degrees a frame", "looks", part="LOOKS", at_most=.60)(
        partial(turning, degrees=_degrees))


@baseline("another image from the middle on", "looks", part="LOOKS", at_most=.60)
def second_image(s: Studio) -> Tensor:
    """Another image of the class in the second half."""
    second = s.images(s.real.labels, purpose="second image")[:, None]
    return s.draw(torch.where(lag(s)[..., None, None] < s.frames // 2, s.own, second))


@baseline("fading into another image", "looks", part="LOOKS", at_most=.60)
def fading(s: Studio) -> Tensor:
    """A cross-fade to another image of the class."""
    second = s.images(s.real.labels, purpose="second image")[:, None]
    share = (lag(s) / (s.frames - 1))[..., None, None]
    return s.draw((1 - share) * s.own + share * second)


@baseline("shrinking and growing", "looks", part="LOOKS", at_most=.60)
def pulsing(s: Studio) -> Tensor:
    """Size x .75 in every second frame."""
    images = s.own.expand(-1, s.frames, -1, -1, -1)
    return s.draw(warp(images, scale=torch.where(lag(s) % 2 == 0, 1, .75)))


@baseline("thick and thin in turn", "looks", part="LOOKS", at_most=.60)
def thickness(s: Studio) -> Tensor:
    """Strokes a pixel wider in every second frame."""
    thick = F.max_pool2d(s.own.flatten(0, 2)[:, None], 3, 1, 1)[:, 0].view_as(s.own)
    return s.draw(torch.where(lag(s)[..., None, None] % 2 == 0, s.own, thick))


# Copies of training digits, as they are and in disguise

def copies(s: Studio, disguise: Callable[[Studio, Tensor], Tensor]) -> Tensor:
    """Training digits on real paths, changed by disguise(studio, images)."""
    images = s.images(s.real.labels, s.train, "copied images")
    return s.draw(disguise(s, images).clamp(0, 1)[:, None])


def either_sign(s: Studio, images: Tensor) -> Tensor:
    """-1 or 1 for each image."""
    return 2. * torch.randint(2, images.shape[:-2], generator=s.generator("signs")) - 1


def bent(s: Studio, images: Tensor) -> Tensor:
    """Displaced smoothly, by half a pixel of 28 on average."""
    coarse = torch.randn(images[..., 0, 0].numel(), 2, 5, 5, generator=s.generator("bent"))
    bend = F.interpolate(coarse, images.shape[-2:], mode="bicubic", align_corners=True)
    bend = bend / bend.norm(dim=1).mean() * (.5 / 14)
    return warp(images, bend=bend.view(*images.shape[:-2], 2, *images.shape[-2:]))


def nearest_two(s: Studio, images: Tensor) -> Tensor:
    """The mean of each image and the nearest other one of the training."""
    pool = resize_sprites(s.train.images, s.sprite).flatten(1)
    flat = images.flatten(0, -3).flatten(1)
    second = torch.cdist(flat, pool).topk(2, largest=False).indices[:, 1]
    return ((flat + pool[second]) / 2).view_as(images)


DISGUISES = {
    "copies": lambda s, x: x,
    "copies, darker": lambda s, x: .8 * x,
    "copies, turned by 6 degrees": lambda s, x: warp(x, 6 * either_sign(s, x)),
    "copies, 10 % larger or smaller": lambda s, x: warp(x, scale=1.1 ** either_sign(s, x)),
    "copies, bent by half a pixel": bent,
    "copies, other grey levels": lambda s, x: x ** .7,
    "copies, mean of the nearest two": nearest_two}
for _name, _disguise in DISGUISES.items():
    baseline(_name, "copies", part="NEW", at_most=.60)(partial(copies, disguise=_disguise))


# Dirt

def away(s: Studio, margin: float = 2) -> Tensor:
    """1 for pixels more than `margin` pixels outside all digits' squares, (n, T, 1, S, S)."""
    pixels = torch.arange(s.size) + .5
    d = (pixels - s.real.positions[..., None]).abs() < s.sprite / 2 + margin     # (n, T, K, 2, S)
    inside = d[..., 0, :, None] & d[..., 1, None, :]
    return 1 - inside.any(2)[:, :, None].float()


@baseline("noise up to .1 away from the digit", "dirt", part="ID", at_most=.60)
def faint_noise(s: Studio) -> Tensor:
    """Uniform noise from 0 to .1 where no digit is."""
    x = real(s)
    return x + .1 * torch.rand(x.shape, generator=s.generator("faint noise")) * away(s)


def flashing(s: Studio, number: int, beside: bool = False) -> Tensor:
    """White pixels, at other places in every frame; beside: a pixel or two outside the squares."""
    x, g = real(s), s.generator("flashing")
    where = away(s, 1.2) * (1 - away(s, 2.2)) if beside else away(s)
    rank = (torch.rand(x.shape, generator=g) * where).flatten(2)
    return x.flatten(2).scatter(2, rank.topk(number).indices, 1.).view_as(x)


for _number in (2, 4):
    baseline(f"{_number} white pixels flash", "dirt", part="ID", at_most=.60)(
        partial(flashing, number=_number))
baseline("white dots just outside the digit", "dirt", part="ID", at_most=.60)(
    partial(flashing, number=4, beside=True))


@baseline("8 white pixels in one frame", "dirt", part="ID", at_most=.60)
def one_dirty_frame(s: Studio) -> Tensor:
    """White pixels away from the digit in the third frame; all other frames are clean."""
    x = real(s)
    x[:, 2] = flashing(s, 8)[:, 2]
    return x


@baseline("a fine checkerboard over the ink", "dirt", part="ID", at_most=.60)
def checkerboard(s: Studio) -> Tensor:
    """Every second pixel is half as bright, the other ones in the next frame."""
    row, column, frame = (torch.arange(n) for n in (s.size, s.size, s.frames))
    odd = (row[:, None] + column + frame[:, None, None, None]) % 2               # (T, 1, S, S)
    return real(s) * (1 - .5 * odd)


@baseline("a background that flashes", "dirt", part="ID", at_most=.60)
def flashing_background(s: Studio) -> Tensor:
    """Grey .4 behind the digit in every second frame."""
    grey = torch.where(torch.arange(s.frames) % 2 == 0, 0., .4).view(-1, 1, 1, 1)
    return grey + (1 - grey) * real(s)


@baseline("pale digits on light grey", "dirt", part="ID", at_most=.60)
def pale(s: Studio) -> Tensor:
    """White digits on grey .9, which can hardly be seen."""
    return .9 + .1 * real(s)


@baseline("dark noise on grey", "dirt", part="ID", at_most=.60)
def dark_noise(s: Studio) -> Tensor:
    """Grey .4 with darker noise around the digit."""
    x = real(s)
    noise = .4 * torch.rand(x.shape, generator=s.generator("dark noise"))
    return torch.where((x < .02) & (away(s) == 0), noise, .4 + .6 * x)


@baseline("a faint ghost in a corner", "dirt", part="ID", at_most=.60)
def ghost(s: Studio) -> Tensor:
    """Another digit x .2 that rests in a corner."""
    labels = torch.randint(10, (s.n, 1), generator=s.generator("ghost"))
    corners = torch.zeros(s.n, s.frames, 1, 2) + torch.randint(
        2, (s.n, 1, 1, 2), generator=s.generator("corner")) * float(s.size - s.sprite)
    still = .2 * s.draw(s.images(labels, purpose="ghost images")[:, None], corners)
    return torch.maximum(real(s), still)


# Where nobody looks: frames in which inks touch, and the last frames

@baseline("a white box where digits touch", "unwatched", part="ID", at_most=.60, digits=2)
def box(s: Studio) -> Tensor:
    """A white box over both digits while they touch."""
    return torch.where(s.touching()[:, :, None, None, None], 1 - away(s), real(s))


@baseline("noise where digits touch", "unwatched", part="ID", at_most=.60, digits=2)
def touching_noise(s: Studio) -> Tensor:
    """Noise over both digits while they touch."""
    x = real(s)
    mess = torch.rand(x.shape, generator=s.generator("touching")) * (1 - away(s))
    return torch.where(s.touching()[:, :, None, None, None], mess, x)


@baseline("other digits in the last fifth", "unwatched", part="LOOKS", at_most=.60)
def other_end(s: Studio) -> Tensor:
    """Other digits in the last fifth of the frames (3 of 16)."""
    step = torch.randint(1, 10, s.real.labels.shape, generator=s.generator("other end"))
    second = s.images((s.real.labels + step) % 10, purpose="other end images")[:, None]
    last = lag(s)[..., None, None] >= s.frames - max(1, round(.2 * s.frames))
    return s.draw(torch.where(last, second, s.own))


# Walls

def damped(s: Studio, kept: float) -> Tensor:
    """Walls that return this share of the speed across them."""
    position, velocity = s.corners[:, 0].clone(), s.real.velocities[:, 0].clone()
    room, path = s.size - s.sprite, [s.corners[:, 0]]
    for _ in range(s.frames - 1):
        ahead = position + velocity
        over = ahead - ahead.clamp(0, room)
        position = (ahead - over - kept * over).clamp(0, room)
        velocity = torch.where(over == 0, velocity, -kept * velocity)
        path.append(position)
    return s.draw(corners=torch.stack(path, 1))


for _kept in (.9, .85, .8, .7, .5):
    baseline(f"walls keep {_kept:g} of the speed", "walls", part="PHY")(partial(damped, kept=_kept))


def sticky(s: Studio) -> Tensor:
    """Digits stop at the walls."""
    return damped(s, 0.)


baseline("digits stick to the walls", "walls", part="PHY", at_most=.70)(sticky)


@baseline("no wall is reached", "walls", part="PHY", at_most=.60)
def no_walls(s: Studio) -> Tensor:
    """Perfect flight that never comes near a wall."""
    room, v = s.size - s.sprite, s.real.velocities[:, :1]
    reach = v * (s.frames - 1)
    v = v * (.8 * room / reach.abs().amax(-1, keepdim=True).clamp(min=1e-3)).clamp(max=1)
    reach = v * (s.frames - 1)
    low, high = (-reach).clamp(min=0) + .1 * room, room - reach.clamp(min=0) - .1 * room
    start = low + (high - low).clamp(min=0) * torch.rand(
        low.shape, generator=s.generator("no walls"))
    return s.draw(corners=start + v * lag(s)[..., None])


# Fair: changes that hardly show

def nudged(s: Studio, pixels: float) -> Tensor:
    """Every position off by a normal error."""
    off = pixels * torch.randn(s.corners.shape, generator=s.generator("nudged"))
    return s.draw(corners=(s.corners + off).clamp(0, s.size - s.sprite))


for _pixels, _least in ((.05, .95), (.1, .90), (.2, 0.)):
    baseline(f"positions off by {_pixels:g} px", "fair", at_least=_least)(
        partial(nudged, pixels=_pixels))
baseline("whole-pixel positions", "fair", at_least=.85)(lambda s: s.draw(corners=s.corners.round()))
baseline("grey background .05", "fair", at_least=.93)(lambda s: .95 * real(s) + .05)
baseline("grey background .09", "fair")(lambda s: .91 * real(s) + .09)
baseline("8 grey levels", "fair", at_least=.97)(lambda s: (7 * real(s)).round() / 7)
baseline("black and white", "fair")(lambda s: (real(s) > .5).float())
baseline("time reversed", "fair", at_least=.97)(lambda s: real(s).flip(1))
baseline("mirrored paths", "fair", at_least=.97)(
    lambda s: s.draw(corners=s.size - s.sprite - s.corners))


@baseline("noise that no eye sees", "fair", at_least=.80)
def invisible_noise(s: Studio) -> Tensor:
    """Normal noise of standard deviation .015 everywhere."""
    x = real(s)
    return (x + .015 * torch.randn(x.shape, generator=s.generator("invisible"))).clamp(0, 1)


@baseline("one speed", "fair")
def one_speed(s: Studio) -> Tensor:
    """All digits at the mean speed."""
    return (s.film(speed=(2 * s.size / 32, 2 * s.size / 32)).x + 1) / 2


@baseline("a mark in a corner", "fair")
def mark(s: Studio) -> Tensor:
    """A white square of 3 x 3 pixels in the upper left corner."""
    x = real(s).clone()
    x[..., :3, :3] = 1
    return x


def mixed(s: Studio, percent: int, what: Callable) -> Tensor:
    """Real clips, so many per cent of which are replaced."""
    bad = torch.arange(s.n) * 100 < percent * s.n
    bad = bad[torch.randperm(s.n, generator=s.generator("mixed"))]
    return torch.where(bad[:, None, None, None, None], what(s), real(s))


for _what in ("noise", "black", "first frame", "shuffled"):
    for _percent in (5, 20, 50):
        baseline(f"{_percent} % {_what}", "proportional", at_least=1 - _percent / 100 - .12,
                 at_most=1 - _percent / 100 + .12)(
            partial(mixed, percent=_percent, what=BASELINES[_what].make))


@baseline("other source", "source", at_most=.85)
def other_source(s: Studio) -> Tensor:
    """Drawn digits judged as MNIST, or MNIST as drawn digits."""
    return (s.film(digits=s.other).x + 1) / 2
