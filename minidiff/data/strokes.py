"""Handwritten digits without a data set: drawn from curves, as many as are wanted.

A glyph, one way of writing a digit, is a list of points that the pen passes, joined by Catmull-Rom
curves. Such a curve is linear in its points, so a glyph is a matrix W, and a block of digits by
different hands is one batched product and one distance:

    path = W (points + jitter), then warped, turned, slanted and stretched
    ink  = clamp((width / 2 - distance from pixel to path) / EDGE_WIDTH + 1/2, 0, 1)

The format is that of MNIST: white on black, the digit's ink in a box of 20 of 28 pixels, moved by
whole pixels until its centre of mass is at pixel (14, 14). The points come from how people write;
their spread was chosen by hand, by comparing drawn digits with real ones. No optimiser saw a real
pixel. benchmarks/studies/strokes_to_mnist.py measures how much of MNIST a network reads that was
trained on these digits only.

E. Catmull and R. Rom, A class of local interpolating splines, 1974.
"""
from functools import cache
from numbers import Integral

import torch
from einops import einsum, rearrange
from torch import Tensor
from torch.nn.functional import pad

from minidiff.runtime.memory import check_memory
from minidiff.runtime.seeds import FLOAT, check_seed

BLOCK_SIZE = 32         # digits drawn together, from one generator
POINTS_PER_PATH = 112   # points along a path: a bit more than half a pixel apart
EDGE_WIDTH = 1.1        # pixels over which ink fades out

# A digit, then the points of the pen's path: "x y" in a box of 100 by 100, y down. A bar lifts the
# pen, a point given twice is a corner.
GLYPHS = """
0 50 2, 20 12, 5 50, 20 90, 50 98, 82 88, 95 50, 80 12, 50 2            # round
0 62 8, 40 2, 15 25, 10 70, 35 100, 70 85, 85 40, 68 5, 45 10           # the end crosses the start
0 75 15, 60 0, 30 10, 10 50, 20 90, 50 100, 80 80, 90 40, 70 8, 40 2, 25 12
0 30 8, 8 40, 20 90, 50 100, 85 80, 92 35, 68 2                         # open
1 50 0, 51 50, 50 100
1 62 0, 54 35, 46 70, 38 100
1 55 0, 46 35, 46 70, 52 100
1 30 20, 50 2, 50 2, 50 50, 50 100                                      # serif
1 25 25, 50 2, 50 2, 50 50, 50 98 | 25 98, 75 98                        # serif and base
2 20 15, 60 0, 80 25, 55 65, 20 92, 12 80, 30 72, 55 88, 95 88          # loop at the foot
2 10 30, 30 5, 70 5, 80 30, 60 60, 25 90, 8 98, 30 88, 60 98, 95 90
2 12 25, 35 2, 75 8, 80 35, 50 65, 12 97, 12 97, 50 95, 90 97           # corner at the foot
2 5 8, 45 4, 85 6, 80 25, 45 65, 5 98, 5 98, 50 97, 98 94               # like a z
2 28 12, 52 0, 62 16, 42 55, 8 92, 8 92, 50 86, 98 82                   # small head
2 20 30, 25 8, 60 0, 85 20, 75 55, 45 88, 12 92, 8 72, 35 65, 65 82, 98 95
2 15 35, 15 10, 45 0, 75 12, 78 40, 60 70, 35 95, 10 90, 15 72, 45 75, 70 95, 95 85
2 15 15, 45 0, 75 15, 70 55, 40 92, 12 90, 15 68, 40 68, 70 88, 100 100
2 15 20, 45 0, 80 15, 82 55, 55 92, 20 98, 5 78, 25 60, 60 68, 100 82   # large loop
2 30 15, 60 0, 80 20, 72 55, 50 90, 15 98, 0 80, 20 62, 55 72, 75 88, 100 85
3 15 12, 45 0, 80 12, 78 35, 42 47, 42 47, 80 55, 88 80, 50 100, 10 88
3 15 5, 80 5, 80 5, 45 42, 45 42, 85 60, 75 92, 35 100, 8 88            # flat top
3 15 15, 50 0, 78 18, 60 42, 38 50, 45 40, 75 55, 82 82, 50 100, 12 92  # loop in the middle
3 10 10, 50 2, 85 15, 60 40, 35 48, 65 50, 80 68, 60 92, 25 100
3 20 5, 55 2, 60 20, 40 45, 40 45, 75 52, 78 80, 45 98, 10 95           # small head
3 5 15, 45 0, 90 15, 75 42, 40 52, 40 52, 75 58, 70 82, 45 98, 20 92    # large head
3 10 15, 20 0, 60 5, 60 30, 30 45, 30 45, 55 48, 62 75, 40 100, 0 90, 10 75
4 25 2, 15 50, 15 55, 50 55, 88 50 | 75 5, 70 50, 66 100                # open
4 15 5, 12 40, 40 52, 75 42 | 82 0, 72 50, 65 100                       # open and round
4 30 0, 12 45, 20 58, 85 50 | 62 30, 58 65, 55 100
4 10 10, 12 45, 35 58, 70 40, 82 5, 82 5, 75 50, 65 100                 # without lifting the pen
4 60 0, 10 62, 10 62, 92 62 | 68 25, 66 60, 66 100                      # closed
4 65 5, 10 55, 10 55, 50 58, 95 55 | 65 5, 60 50, 55 100
4 30 0, 0 60, 0 60, 50 62, 100 55 | 80 15, 72 60, 65 100
5 82 3, 28 5, 28 5, 20 42, 20 42, 60 36, 88 65, 60 97, 12 93            # one stroke
5 80 0, 40 5, 28 45, 28 45, 60 42, 78 62, 60 92, 30 100, 15 85, 30 78   # curled end
5 88 4, 50 4, 35 20, 30 40, 60 52, 70 75, 45 98, 8 95                   # like an s
5 30 5, 20 45, 20 45, 65 42, 80 70, 50 100, 10 90 | 30 5, 60 5, 90 2    # the flag last
5 35 12, 28 45, 55 52, 68 75, 45 98, 10 92 | 42 10, 70 6, 98 2          # the flag apart
5 30 15, 20 45, 45 48, 60 65, 50 92, 20 100, 0 90 | 30 15, 65 8, 100 0
5 40 10, 25 40, 50 48, 65 70, 50 95, 20 98, 10 80, 30 75 | 45 10, 98 8
6 75 2, 45 25, 20 70, 35 100, 65 90, 60 65, 30 75
6 50 0, 20 40, 12 80, 45 100, 80 80, 65 55, 30 60, 15 80
6 35 0, 12 45, 12 80, 40 100, 80 92, 95 70, 75 55, 40 65, 25 85         # wide bowl
6 70 0, 45 30, 30 65, 35 95, 60 95, 70 75, 55 65, 40 78, 38 95          # small bowl
6 30 0, 8 35, 5 75, 35 100, 75 95, 90 70, 70 48, 40 60, 35 85, 50 95    # curls inwards
6 95 5, 50 25, 10 65, 25 98, 75 95, 90 75, 70 62, 35 72, 20 85
7 10 8, 50 6, 88 5, 88 5, 65 45, 42 100
7 8 25, 12 8, 50 8, 90 5, 90 5, 60 50, 50 100                           # serif
7 5 30, 20 5, 60 5, 80 20, 70 55, 60 100                                # an arch
7 20 0, 25 15, 60 10, 85 5, 85 5, 65 50, 55 100
7 10 8, 88 5, 88 5, 60 50, 40 100 | 30 55, 80 50                        # crossed
7 5 15, 45 8, 80 5, 80 5, 65 50, 55 100 | 35 58, 98 45
7 5 10, 50 8, 90 3, 90 3, 55 50, 30 100 | 10 50, 50 48, 95 45
8 80 10, 55 0, 35 15, 50 42, 62 70, 45 100, 22 85, 35 60, 60 40, 80 12  # from the top right
8 75 12, 45 0, 20 18, 45 45, 80 72, 60 98, 25 95, 18 72, 50 45, 82 20, 68 5
8 50 48, 20 30, 30 4, 70 4, 78 30, 50 48, 18 70, 30 98, 70 98, 82 70, 50 48
8 50 45, 25 25, 45 0, 75 12, 65 38, 30 62, 25 90, 55 100, 78 80, 60 55, 35 38
8 55 0, 25 12, 30 38, 70 60, 75 88, 45 100, 20 85, 35 60, 70 38, 75 12, 50 0
8 65 20, 40 5, 15 15, 25 40, 60 60, 60 90, 35 98, 30 80, 55 50, 98 5    # open
8 95 15, 55 0, 10 12, 15 32, 60 48, 95 70, 75 95, 25 98, 10 80, 45 52, 95 20
8 60 8, 25 2, 10 20, 35 42, 70 60, 75 90, 40 100, 20 82, 45 55, 80 30, 95 0
9 72 10, 40 5, 20 30, 40 45, 70 30, 75 8, 70 50, 62 100
9 80 15, 45 0, 15 25, 35 50, 75 38, 82 12, 80 15, 78 50, 68 100         # straight tail
9 78 30, 50 52, 18 38, 25 8, 60 0, 80 20, 80 50, 60 85, 30 100          # curved tail
9 75 12, 45 0, 18 22, 30 45, 65 38, 80 10, 80 10, 80 55, 65 95, 25 92   # hook
9 65 30, 40 40, 25 22, 45 2, 70 10, 72 40, 70 70, 68 100                # small head
9 75 8, 30 20, 8 45, 30 52, 65 38, 80 10, 65 55, 50 100                 # pointed head
9 85 8, 50 2, 15 20, 20 45, 55 45, 85 15, 75 12, 70 55, 62 100
"""

LETTERS = {  # the same for letters, to teach a trained model something new; they have no label
    "A": """
- 10 100, 48 0, 48 0, 88 100 | 26 62, 74 60                               # the bar last
- 5 98, 30 45, 52 2, 52 2, 70 50, 95 100 | 22 66, 50 64, 80 66            # wide
- 22 100, 45 30, 58 0, 58 0, 66 45, 78 98 | 30 58, 74 62                  # narrow
- 8 100, 30 40, 55 0, 55 0, 72 50, 86 100, 86 100, 55 70, 25 64           # without lifting the pen
- 12 100, 15 50, 30 10, 50 0, 70 10, 85 50, 88 100 | 14 58, 86 56         # round at the top
""",
}


def catmull_rom(points: Tensor, steps: int = 32) -> Tensor:
    """The curve through points (K, D), `steps` to a piece: ((K - 1) steps + 1, D)."""
    before, after = 2 * points[:1] - points[1:2], 2 * points[-1:] - points[-2:-1]
    a, b, c, d = torch.cat([before, points, after])[:, None].unfold(0, 4, 1).unbind(-1)
    t = torch.arange(steps, **FLOAT)[:, None] / steps                           # (steps, 1)
    x = b + ((c - a) * t + (2*a - 5*b + 4*c - d) * t**2 + (3*b - a - 3*c + d) * t**3) / 2
    return torch.cat([rearrange(x, "k t d -> (k t) d"), points[-1:]])


def parse_glyph(glyph: str) -> tuple[Tensor, Tensor]:
    """The points (K, 2) of a glyph, and W (POINTS_PER_PATH, K): equal steps of ink along it."""
    lines = [[[float(v) / 100 for v in p.split()] for p in s.split(",")] for s in glyph.split("|")]
    lines = [torch.tensor(s, **FLOAT) for s in lines]
    curves = [catmull_rom(torch.eye(len(s), **FLOAT)) for s in lines]          # weights of points
    ink = [(w @ s).diff(dim=0).norm(dim=-1) for w, s in zip(curves, lines, strict=True)]
    ink = torch.cat([pad(step, (1, 0)) for step in ink]).cumsum(0)              # a lift has none
    even = torch.linspace(0, 1, POINTS_PER_PATH, **FLOAT) * ink[-1]
    return torch.cat(lines), torch.block_diag(*curves)[torch.searchsorted(ink, even)]


@cache
def glyphs(table: str = GLYPHS) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A table's points (V, K, 2) and W (V, POINTS_PER_PATH, K); each label's count, first row."""
    lines = [line.split("#")[0].strip() for line in table.strip().splitlines()]
    labels = [int(line[0].replace("-", "0")) for line in lines]
    count = torch.tensor(labels, device="cpu").bincount()                       # (10,), or (1,)
    pens = [parse_glyph(line[2:]) for line in lines]
    most = max(len(points) for points, _ in pens)
    points = torch.stack([pad(p, (0, 0, 0, most - len(p))) for p, _ in pens])
    w = torch.stack([pad(w, (0, most - len(p))) for p, w in pens])
    return points, w, count, count.cumsum(0) - count


def sample_paths(n: int, g: torch.Generator,
                 table: str = GLYPHS) -> tuple[Tensor, Tensor, Tensor]:
    """n digits by n hands: paths (N, M, 2) without unit, pen widths (N,) for size 28, labels."""
    points, w, count, first = glyphs(table)
    real = {"generator": g} | FLOAT
    labels = torch.randint(len(count), (n,), generator=g, device="cpu")
    way = first[labels] + (torch.rand(n, **real) * count[labels]).long()
    p = points[way] - .5                                                        # (N, K, 2)
    p = p + .03 * torch.randn(p.shape, **real)
    waves = torch.cat([(3 * p).sin(), (3 * p).cos()], -1)                       # (N, K, 4)
    p = p + .06 * waves @ torch.randn(n, 4, 2, **real)
    turn, slant, bold = torch.randn(3, n, **real)
    turn, slant, wide = .16 * turn, .24 * slant - .1, .6 + .6 * torch.rand(n, **real)
    x = torch.stack([wide * turn.cos(), slant - turn.sin()], -1)
    y = torch.stack([wide * turn.sin(), turn.cos()], -1)
    path = einsum(w[way], p, torch.stack([x, y], 1), "n m k, n k i, n j i -> n m j")
    return path, 2.5 * (.3 * bold).exp().clamp(.5, 2), labels


def rasterise(path: Tensor, width: Tensor, size: int) -> Tensor:
    """Ink (N, size, size) in [0, 1] of pens of width (N,) along paths (N, M, 2) in pixels."""
    pixel = torch.arange(size, **FLOAT)[:, None] + .5
    x, y = ((rearrange(path, "n m d -> d n 1 m") - pixel) ** 2).unbind()        # (N, size, M)
    distance = (x[:, None] + y[:, :, None]).amin(-1).sqrt()                     # (N, size, size)
    return ((width[:, None, None] / 2 - distance) / EDGE_WIDTH + .5).clamp(0, 1)


def centre_paths(path: Tensor, width: Tensor, size: int) -> Tensor:
    """The paths in pixels: ink fits the box, its mass is on the pixel in the middle."""
    low, high = path.amin(1, keepdim=True), path.amax(1, keepdim=True)
    rim = (width[:, None, None] + EDGE_WIDTH - 1) / 2                           # ink past the path
    path = (path - low) * (20 * size / 28 - 2 * rim) / (high - low).amax(-1, keepdim=True)
    path = path + rim + size // 7
    ink, pixel = rasterise(path, width, size), torch.arange(size, **FLOAT) + .5
    mass = torch.stack([ink.sum(1) @ pixel, ink.sum(2) @ pixel], -1) / ink.sum((1, 2))[:, None]
    return path + (size // 2 + .5 - mass).round()[:, None]                      # whole pixels


def strokes(n: int, seed: int = 0, size: int = 28,
            table: str = GLYPHS) -> tuple[Tensor, Tensor]:
    """n handwritten-looking digits: images (n, 1, size, size) float32 in [0, 1], labels (n,) int64.

    White ink on black, labels uniform. Digit i depends on seed and i alone, so strokes(100, seed)
    is strokes(1000, seed) cut short; the global random state is neither read nor changed. About
    0.15 ms a digit on one core. table: the ways of writing; those of a letter in `LETTERS` give
    labels 0. Raises ValueError for n < 1, size < 14 or a bad seed.
    """
    check_seed(seed)
    if not isinstance(n, Integral) or n < 1:
        raise ValueError(f"strokes needs n >= 1 digits to draw, got n={n}; ask for at least one")
    if not isinstance(size, Integral) or size < 14:
        raise ValueError(f"size={size} pixels are too few to read a digit; use 14 or more")
    check_memory(4 * n * size**2, f"{n} digits of {size}x{size} pixels", "ask for fewer")
    images = torch.empty(n, 1, size, size, **FLOAT)
    labels = torch.empty(n, dtype=torch.int64, device="cpu")
    for i in range(0, n, BLOCK_SIZE):
        g = torch.Generator("cpu").manual_seed((seed * 1_000_003 + i // BLOCK_SIZE) % 2**64)
        path, width, label = sample_paths(BLOCK_SIZE, g, table)
        width = width * size / 28
        drawn = rasterise(centre_paths(path, width, size), width, size)
        images[i:i + BLOCK_SIZE, 0] = drawn[:n - i]
        labels[i:i + BLOCK_SIZE] = label[:n - i]
    return images, labels
