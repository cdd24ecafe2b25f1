"""Chapter 04, a Diffusion Transformer: the student's exercises and the inputs of their checks."""
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.course.checking.exercise import Case, Exercise, Question, dtype_name, seeded_randn
from minidiff.course.exercises.ch03 import curves, labelled_sheet  # noqa: F401 (the notebook's)
from minidiff.layers import zero_module

DTYPES = torch.float32, torch.float64
CUTS = ((2, 4, 1, 6, 8), (2, 3, 4)), ((1, 4, 3, 6, 6), (2, 2, 3)), ((3, 2, 1, 4, 4), (2, 4, 2))


def cut_cases() -> list[Case]:
    """Videos of several shapes with the patches to cut them into."""
    return [Case(f"x {shape}, patches of {'x'.join(map(str, patch))}, {dtype_name(dtype)}",
                 (seeded_randn(seed, *shape, dtype=dtype), patch))
            for seed, ((shape, patch), dtype) in enumerate(product(CUTS, DTYPES))]


def join_cases() -> list[Case]:
    """Tokens with the patches and the grid that they are joined on."""
    cases = []
    for seed, ((shape, patch), dtype) in enumerate(product(CUTS, DTYPES)):
        grid = tuple(n // p for n, p in zip((shape[1], *shape[3:]), patch, strict=True))
        size = shape[2] * patch[0] * patch[1] * patch[2]
        tokens = seeded_randn(seed, shape[0], grid[0] * grid[1] * grid[2], size, dtype=dtype)
        cases.append(
            Case(
                f"tokens {tuple(tokens.shape)}, patches of "
                f"{'x'.join(map(str, patch))}, {dtype_name(dtype)}",
                (tokens, patch, grid),
            )
        )
    return cases


def softly(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The attention that the cases hand in: chapter 03's."""
    return (q @ k.transpose(-1, -2) / q.shape[-1]**0.5).softmax(-1) @ v


def lean(y: Tensor) -> Tensor:
    """A stand-in for rotation: it changes q and k, each place and each channel otherwise."""
    places = torch.arange(y.shape[-2], dtype=y.dtype)[:, None]
    return y * (1 + places / 5) + 0.3 * y.roll(1, -1)


def heads_cases() -> list[Case]:
    """Tokens with the layers and the number of heads of a self-attention."""
    cases = []
    for seed, (B, N, D, heads, dtype) in enumerate((
            (2, 5, 8, 2, DTYPES[0]), (1, 4, 12, 3, DTYPES[1]), (3, 6, 4, 1, DTYPES[1]),
            (2, 4, 16, 4, DTYPES[1]))):
        h = seeded_randn(seed, B, N, D, dtype=dtype)
        weight, last = (seeded_randn(seed + k, *s, dtype=dtype) / D**0.5 for k, s in
                        ((30, (3 * D, D)), (60, (D, D))))
        qkv, out = (nn.Linear(D, n, dtype=dtype).requires_grad_(False) for n in (3 * D, D))
        for layer, w in ((qkv, weight), (out, last)):
            layer.weight.copy_(w)
            layer.bias.copy_(seeded_randn(seed + 90, len(w), dtype=dtype) / 3)
        cases.append(
            Case(
                f"h {tuple(h.shape)}, {heads} head{'s' * (heads > 1)}, {dtype_name(dtype)}",
                (h, qkv, out, heads, lean, softly),
            )
        )
    return cases


def rotate_cases() -> list[Case]:
    """Queries of three shapes with an angle for each place and pair of channels."""
    cases = []
    for seed, (shape, dtype) in enumerate(product(((2, 3, 5, 8), (1, 4, 4), (6, 12)), DTYPES)):
        x = seeded_randn(seed, *shape, dtype=dtype)
        phi = 2 * seeded_randn(seed + 30, shape[-2], shape[-1] // 2, dtype=dtype)
        cases.append(Case(f"x {shape}, phi {tuple(phi.shape)}, {dtype_name(dtype)}", (x, phi)))
    return cases


def angles_cases() -> list[Case]:
    """Grids of places, each with its number of channel pairs per axis."""
    return [Case(f"a grid of {'x'.join(map(str, grid))}, {shares} pairs", (grid, shares))
            for grid, shares in (((2, 3, 4), (2, 3, 3)), ((4, 2, 2), (4, 6, 6)),
                                 ((1, 3, 2), (2, 2, 4)), ((3, 5, 1), (3, 2, 2)))]


def block_cases() -> list[Case]:
    """Tokens and an embedding with the layers of a DiT block."""
    cases = []
    for seed, (B, N, D, dtype) in enumerate(((2, 3, 4, DTYPES[0]), (3, 5, 6, DTYPES[1]),
                                             (1, 2, 8, DTYPES[1]))):
        h, emb = (
            seeded_randn(seed, B, N, D, dtype=dtype),
            seeded_randn(seed + 30, B, 5, dtype=dtype),
        )
        modulate = nn.Linear(5, 6 * D, dtype=dtype).requires_grad_(False)
        modulate.weight.copy_(seeded_randn(seed + 60, 6 * D, 5, dtype=dtype))
        modulate.bias.copy_(seeded_randn(seed + 90, 6 * D, dtype=dtype))
        cases.append(Case(f"h {tuple(h.shape)}, emb {tuple(emb.shape)}, {dtype_name(dtype)}",
                          (h, emb, modulate, norm, mixed, bent)))
    return cases


def norm(h: Tensor) -> Tensor:
    """Layer norm over the channels, without learnt weights."""
    return F.layer_norm(h, h.shape[-1:])


def mixed(h: Tensor) -> Tensor:
    """A stand-in for attention: tokens see one another."""
    return 0.4 * h + h.roll(1, 1) - 0.5 * h.mean(1, keepdim=True) + 0.2


def bent(h: Tensor) -> Tensor:
    """A stand-in for the two-layer network: each token alone, and not linear."""
    return torch.tanh(1.5 * h) - 0.3 * h.roll(1, -1)


def colleague(net: nn.Module) -> nn.Module:
    """The bug hunt's broken network: last layers of attention and mlp begin at 0, as gates do."""
    for block in net.blocks:
        zero_module(block.look.out)
        zero_module(block.mlp[-1])
    return net


EXERCISES = (
    Exercise(
        "c04-cut", "cut", "A clip becomes tokens", 2, 8, 2,
        ("Each axis that is cut becomes two: which patch, and where in the patch. Then the three "
         "'which' go together, and the three 'where' with the channels.",
         "einops names them: T is (t a), H is (h b), W is (w c), where a, b, c is the patch. Two "
         "names in brackets: the first one counts slowly, the second one fast.",
         'rearrange(x, "n (t a) k (h b) (w c) -> n (t h w) (a b c k)", a=a, b=b, c=c)'),
        cut_cases, ("minidiff.dit.DiT.patchify",)),
    Exercise(
        "c04-join", "join", "And back", 1, 5, 1,
        ("The same pattern, with left and right exchanged.",
         "einops needs the numbers that it cannot see from the shape: how many patches there are "
         "along T, H and W (t, h, w), and how large they are (a, b, c).",
         'rearrange(tokens, "n (t h w) (a b c k) -> n (t a) k (h b) (w c)", t=t, h=h, w=w, a=a, '
         "b=b, c=c), where t, h, w = grid and a, b, c = patch."),
        join_cases, ("minidiff.dit.DiT.unpatchify",)),
    Exercise(
        "c04-heads", "self_attention", "Several heads", 2, 12, 3,
        ("One layer makes queries, keys and values. Each is split among the heads, each head "
         "attends on its own, and their outputs are put side by side again.",
         "qkv(h) is (B, N, 3 D): all queries, all keys, all values; in each, head after head. "
         "Attention works on the last two axes, so the heads must come before N.",
         'q, k, v = rearrange(qkv(h), "b n (three heads d) -> three b heads n d", three=3, '
         'heads=heads); attend with turn(q), turn(k), v; then "b heads n d -> b n (heads d)", '
         "and out."),
        heads_cases, ("minidiff.layers.Attention.forward",)),
    Exercise(
        "c04-rotate", "rotate", "Places as rotations", 2, 8, 2,
        ("Each pair of numbers is a point in the plane. Turn it by its angle.",
         "A point (a, b) turned by phi is (a cos phi - b sin phi, a sin phi + b cos phi).",
         "a, b = x.chunk(2, -1); concatenate a * phi.cos() - b * phi.sin() and a * phi.sin() + "
         "b * phi.cos() along the last axis."),
        rotate_cases, ("minidiff.layers.apply_rope",)),
    Exercise(
        "c04-angles", "grid_angles", "Places in space and time", 2, 10, 2,
        ("A token's place is three numbers: its frame, its row, its column. Each of them sets some "
         "of the angles.",
         "torch.cartesian_prod(torch.arange(T), torch.arange(H), torch.arange(W)) lists the places "
         "in the order of the tokens, (N, 3). torch.logspace(0, -2, n) are n speeds from 1 to "
         "1/100.",
         "For each of the three columns: column[:, None] * torch.logspace(0, -2, share), that is "
         "(N, share). Concatenate the three along the last axis."),
        angles_cases, gradients=False),
    Exercise(
        "c04-block", "dit_block", "A block that starts as the identity", 2, 12, 2,
        ("Two branches, one after the other: attention, then the mlp. The input of each is normed, "
         "scaled and shifted; its output is gated and added to h.",
         "modulate(emb) is (B, 6 D): shift, scale and gate of attention, then shift, scale and "
         "gate of the mlp. They need an axis for the tokens: [:, None].",
         "h = h + gate * attend(norm(h) * (1 + scale) + shift); then the same with mlp and the "
         "other three, on the new h."),
        block_cases),
)

QUESTIONS = (
    Question("c04-half", "predict",
             "Patches of 4x4 pixels become patches of 2x2; depth and width stay. By which factor "
             "does the work of a forward pass grow?",
             ("4: four times as many tokens", "More than 4, less than 16",
              "16: each token looks at each")),
    Question("c04-shuffle", "predict",
             "The tokens are shuffled, go through your attention (no rotation) and are put back in "
             "order. How much of the result has changed?",
             ("All of it", "The tokens near a border", "Nothing")),
    Question("c04-zero", "predict",
             "All gates of a fresh network are 0, and so is its last layer. In which training step "
             "do the blocks' own weights (attention, mlp) get a gradient for the first time?",
             ("In the first", "In the second", "In the third", "Never: 0 times anything is 0")),
    Question("c04-bug", "bughunt",
             "Gradients of the last layer, the gates and the blocks' weights in the first steps, "
             "yours and the colleague's. What is the bug?",
             ("The learning rate is too small",
              "The gates begin at 0, so the blocks have no effect",
              "Gates and the branches' last layers begin at 0, both",
              "The square root of d is missing in attention: its softmax saturates"), 1, 4),
)
