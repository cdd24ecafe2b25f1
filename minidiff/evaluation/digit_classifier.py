"""The digit classifier: a small CNN that names the digit of a frame, or says that it shows none.

It sees a window of 16 x 16 samples around the ink's centre and has eleven classes: ten digits and
junk. It also gives 32 features. It is never used as a loss and shares no digit with any generator:
it learns from drawn digits of its own seed and from MNIST's "val" rows. Junk is what bad generators
make: noise, blur, halves, overlaps, cross-fades, smears, shuffled quarters, faint and blank frames
(an outlier class: Hendrycks 2019, Deep Anomaly Detection with Outlier Exposure).
"""
from collections.abc import Iterator
from functools import cache
from math import cos, pi
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minidiff.data.digits import Digits, mnist, strokes
from minidiff.data.moving_mnist import place_sprites, resize_sprites
from minidiff.evaluation.tracking import crop_windows, ink_centres
from minidiff.layers import group_norm
from minidiff.runtime.files import CHECKPOINTS, digest, load_tensors, load_weights, save_tensors
from minidiff.runtime.seeds import generator
from minidiff.runtime.settings import none_means_default

SHIPPED_CLASSIFIER = CHECKPOINTS / "recogniser.safetensors"
JUNK_CLASS, CONFIDENCE_THRESHOLD = 10, 0.9
TRAIN_STEPS = 3000
STROKES_SEED = 77        # no split of `digits.built_in` uses it


class DigitClassifier(nn.Module):
    """Windows (N, 16, 16) in [0, 1] -> log-odds (N, 11) and features (N, 32); 74,000 weights."""

    def __init__(self, features: int = 32):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(),                 # a norm would hide faintness
            nn.Conv2d(16, 32, 3, 2, 1), group_norm(32), nn.SiLU(),     # 8 x 8
            nn.Conv2d(32, 32, 3, padding=1), group_norm(32), nn.SiLU(),
            nn.Conv2d(32, 48, 3, 2, 1), group_norm(48), nn.SiLU(),     # 4 x 4
            nn.Conv2d(48, 48, 3, padding=1), group_norm(48), nn.SiLU())
        self.features = nn.Linear(48 * 16, features)
        self.read = nn.Linear(features, 11)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.features(self.body(2 * x[:, None]).flatten(1))                  # (N, 32)
        return self.read(F.silu(h)), h


def predict_digits(log_odds: Tensor) -> tuple[Tensor, Tensor]:
    """Log-odds (N, 11) -> the likeliest digit (N,) and whether the classifier is sure (N,).

    It is sure if the digit's probability, among digits and junk, is at least .9.
    """
    p = log_odds.softmax(-1)[:, :JUNK_CLASS]
    best, digit = p.max(-1)
    return digit, best >= CONFIDENCE_THRESHOLD


def load_digit_classifier(path: str | Path = SHIPPED_CLASSIFIER) -> tuple[DigitClassifier, str]:
    """The shipped classifier in evaluation mode, and the sha256 of its tensors.

    Nothing is unpickled and no global generator moves. Raises FileNotFoundError if there is no such
    file, ValueError for a damaged or foreign one.
    """
    return read_digit_classifier(Path(path or SHIPPED_CLASSIFIER).expanduser())


@cache
def read_digit_classifier(path: Path) -> tuple[DigitClassifier, str]:
    """`load_digit_classifier`, kept in memory."""
    tensors, _ = load_tensors(path)
    net = new_classifier(seed=0)                        # its weights are replaced
    load_weights(net, {k: v.float() for k, v in tensors.items()}, path)
    return net.eval().requires_grad_(False), digest(tensors)


def new_classifier(seed: int) -> DigitClassifier:
    """An untrained classifier; torch's global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DigitClassifier()


# Training

def augment_digits(images: Tensor, g: torch.Generator) -> Tensor:
    """Digits (N, 1, h, w) at random rotated, scaled, sheared, bent, made bolder and greyer."""
    n = len(images)
    scales = torch.tensor([0.12, 0.12, 0.08, 0.08])[:, None]
    turn, shear, high, wide = torch.randn(4, n, generator=g) * scales
    x, y = [wide.exp() * turn.cos(), shear - turn.sin()], [turn.sin(), high.exp() * turn.cos()]
    shift = 0.04 * torch.randn(n, 2, 1, generator=g)
    linear = torch.stack([torch.stack(x, -1), torch.stack(y, -1)], 1)      # (N, 2, 2)
    affine = torch.cat([linear, shift], -1)                                # (N, 2, 3)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    wobble = F.interpolate(torch.randn(n, 2, 5, 5, generator=g), images.shape[-2:],
                           mode="bicubic", align_corners=True)
    grid = grid + 0.055 * rearrange(wobble, "n d h w -> n h w d")
    x = F.grid_sample(images, grid, align_corners=False)
    bold = torch.rand(n, 1, 1, 1, generator=g) - 0.4                       # > 0 bolder, < 0 thinner
    x = (x + bold.clamp(min=0) * (F.max_pool2d(x, 3, 1, 1) - x)
         + bold.clamp(max=0) * (x + F.max_pool2d(-x, 3, 1, 1)))
    return (x * (0.85 + 0.15 * torch.rand(n, 1, 1, 1, generator=g))).clamp(0, 1)


def place_at_random(sprites: Tensor, g: torch.Generator, spread: float = 1.,
                    size: int = 24) -> Tensor:
    """Sprites (N, 1, 14, 14) near the middle of frames (N, size, size), at sub-pixel positions."""
    corners = (size - 14 - spread) / 2 + spread * torch.rand(len(sprites), 1, 1, 2, generator=g)
    return place_sprites(sprites[:, None], corners, size)[:, 0, 0, 0]


def add_pixel_noise(frames: Tensor, g: torch.Generator) -> Tensor:
    """Frames (N, H, W) with a little noise in half of them, up to .06, which is not junk."""
    amount = 0.12 * (torch.rand(len(frames), 1, 1, generator=g) - 0.5).clamp(min=0)
    return (frames + amount * torch.randn(frames.shape, generator=g)).clamp(0, 1)


def box_blur(frames: Tensor, kernel: int = 3) -> Tensor:
    """Each pixel the mean of its kernel x kernel neighbours."""
    return F.avg_pool2d(frames[:, None], kernel, 1, kernel // 2)[:, 0]


# Each maker of junk takes frames a and b (N, 24, 24) of two different digits, returns (N, 24, 24)

def junk_noise(a: Tensor, b: Tensor, g: torch.Generator) -> Tensor:
    """Noise, fine or coarse, added to a digit or alone."""
    n, size = len(a), a.shape[-1]
    fine, amount = torch.rand(a.shape, generator=g), torch.rand(n, 1, 1, generator=g)
    coarse = F.interpolate(torch.rand(n, 1, 7, 7, generator=g), (size, size), mode="bicubic")[:, 0]
    noise = torch.where(torch.rand(n, 1, 1, generator=g) < 0.5, fine, 1.6 * coarse - 0.5 * amount)
    return (noise * (0.3 + 0.7 * amount) + a * (torch.rand(n, 1, 1, generator=g) < 0.3)).clamp(0, 1)


def junk_blur(a: Tensor, b: Tensor, g: torch.Generator) -> Tensor:
    """A digit blurred by a box of 3 or 5 pixels, or twice by 3."""
    which = torch.randint(4, (len(a), 1, 1), generator=g)
    more = torch.where(which == 2, box_blur(a, 5), box_blur(box_blur(a)))
    return torch.where(which < 2, box_blur(a), more)


def junk_half(a: Tensor, b: Tensor, g: torch.Generator) -> Tensor:
    """A digit without one side, about half of it."""
    n, size = len(a), a.shape[-1]
    at = torch.arange(size) - size / 2 + 0.5
    angle = torch.randint(8, (n, 1, 1), generator=g) * pi / 4
    side = at[:, None] * angle.sin() + at * angle.cos()
    return a * (side > 2 * torch.rand(n, 1, 1, generator=g) - 0.7).float()


def junk_overlap(a: Tensor, b: Tensor, g: torch.Generator) -> Tensor:
    """Two digits on top of each other."""
    shift = torch.randint(-4, 5, (2,), generator=g).tolist()
    return torch.maximum(a, b.roll(shift, (1, 2)))


def junk_fade(a: Tensor, b: Tensor, g: torch.Generator) -> Tensor:
    """A mixture of two digits, as in a cross-fade."""
    w = 0.35 + 0.3 * torch.rand(len(a), 1, 1, generator=g)
    return w * a + (1 - w) * b


def junk_smear(a: Tensor, b: Tensor, g: torch.Generator) -> Tensor:
    """The mean of a digit over a path of 3 to 7 pixels, as in motion blur."""
    far, angle = 3 + 4 * torch.rand((), generator=g), 2 * pi * torch.rand((), generator=g)
    path = torch.linspace(-0.5, 0.5, 6)[:, None] * far * torch.stack([angle.sin(), angle.cos()])
    return torch.stack([a.roll(s, (1, 2)) for s in path.round().int().tolist()]).mean(0)


def junk_shuffled(a: Tensor, b: Tensor, g: torch.Generator) -> Tensor:
    """The quarters of a digit in exchanged places."""
    middle = a[:, 5:19, 5:19].roll((7, 7), (1, 2))
    upright = torch.rand(len(a), 1, 1, generator=g) < 0.5
    return F.pad(torch.where(upright, middle, middle.flip(1)), (5, 5, 5, 5))


def junk_faint(a: Tensor, b: Tensor, g: torch.Generator) -> Tensor:
    """Digits too faint to be ink, blank frames and blots."""
    n = len(a)
    blot = box_blur(box_blur((a > 0.2).float(), 5), 5) * 1.5
    kind = torch.randint(4, (n, 1, 1), generator=g)
    faint = a * 0.3 * torch.rand(n, 1, 1, generator=g)
    rest = torch.where(kind == 2, blot.clamp(0, 1), torch.zeros_like(a))
    return torch.where(kind < 2, faint, rest)


JUNK_MAKERS = (junk_noise, junk_blur, junk_half, junk_overlap, junk_fade, junk_smear,
               junk_shuffled, junk_faint)


def make_junk(images: Tensor, labels: Tensor, g: torch.Generator) -> Tensor:
    """Junk frames (N, 24, 24) from sprites (N, 1, 14, 14); each of `JUNK_MAKERS` makes a share.

    Junk of two digits never has the same digit twice.
    """
    twins = labels.roll(1) == labels
    b = torch.where(twins[:, None, None, None], images.flip(-1, -2), images.roll(1, 0))
    parts = [x.tensor_split(len(JUNK_MAKERS))
             for x in (place_at_random(images, g), place_at_random(b, g))]
    return torch.cat([make(a, b, g) for make, a, b in zip(JUNK_MAKERS, *parts, strict=True)])


def centred_windows(frames: Tensor) -> Tensor:
    """Frames (N, H, W) with sprites of 14 px -> the classifier's windows (N, 16, 16)."""
    return crop_windows(frames, ink_centres(frames, 14)[0], 14)


def classifier_batch(digits: Digits, g: torch.Generator,
                     batch: int = 256) -> tuple[Tensor, Tensor]:
    """A training batch: windows (batch, 16, 16) and labels (batch,), a quarter of them junk.

    Its rows come alternately from the first and the second half of the digits.
    """
    half = len(digits.images) // 2
    rows = torch.randint(half, (batch,), generator=g) + half * (torch.arange(batch) % 2)
    labels = digits.labels[rows]
    sprites = resize_sprites(augment_digits(digits.images[rows], g), 14)
    cut = batch * 3 // 4
    frames = torch.cat([add_pixel_noise(place_at_random(sprites[:cut], g), g),
                        make_junk(sprites[cut:], labels[cut:], g)])
    junk = torch.full((batch - cut,), JUNK_CLASS)
    return centred_windows(frames), torch.cat([labels[:cut], junk])


def classifier_digits(folder: str | Path, seed: int = STROKES_SEED, n: int = 10_000) -> Digits:
    """The classifier's training digits: n of MNIST's "val" digits, repeated, and n drawn ones."""
    real, (drawn, labels) = mnist(Path(folder).expanduser(), "val"), strokes(n, seed=seed)
    rows = torch.arange(n) % len(real.images)
    images, labels = torch.cat([real.images[rows], drawn]), torch.cat([real.labels[rows], labels])
    return Digits(images, labels, "recogniser")


def classifier_lr(step: int, steps: int, lr: float) -> float:
    """The learning rate of a step: 100 steps of warm-up, and a cosine down to 2 % of lr."""
    return lr * min(1, (step + 1) / 100) * (0.02 + 0.49 * (1 + cos(pi * step / steps)))


@none_means_default
def train_digit_classifier(folder: str | Path, seed: int = 0, steps: int = TRAIN_STEPS,
                           lr: float = 3e-3,
                           path: str | Path = SHIPPED_CLASSIFIER) -> Iterator[dict]:
    """Train the classifier on `classifier_digits` and write it to `path`.

    Yields step, loss and accuracy after each step, and the file's sha256 at the end. folder:
    MNIST's files. The result depends on seed and number of threads only; it takes about three
    minutes on one core. The weights are averaged over the last tenth of the steps. References name
    the classifier they were made with: build them anew afterwards (`baselines.ship_reference`).
    """
    digits, g = classifier_digits(folder), generator("digit classifier", seed)
    net = new_classifier(seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0.05)
    mean = {k: torch.zeros_like(v) for k, v in net.state_dict().items()}
    tail = max(1, steps // 10)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = classifier_lr(step, steps, lr)
        x, y = classifier_batch(digits, g)
        log_odds, _ = net(x)
        loss = F.cross_entropy(log_odds, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step >= steps - tail:
            mean = {k: mean[k] + v / tail for k, v in net.state_dict().items()}
        right = (log_odds.argmax(-1) == y).float().mean().item()
        yield {"step": step + 1, "loss": loss.item(), "accuracy": right}
    metadata = {"what": "recogniser", "digits": f"strokes of seed {STROKES_SEED}, MNIST val",
                "seed": seed, "steps": steps}
    sha256 = save_tensors(Path(path).expanduser(), {k: v.half() for k, v in mean.items()}, metadata)
    read_digit_classifier.cache_clear()
    yield {"step": steps, "evaluator": sha256}
