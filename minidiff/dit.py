"""A Diffusion Transformer for images and videos alike: space-time patches in, patches out.

A clip is cut into patches, each a token; blocks let tokens look at one another, and a condition
scales, shifts and gates what every block does (adaLN-Zero: all gates start at 0, so the network
starts as the identity). Where tokens are enters twice: absolutely in space, because walls are at
fixed places, and as rotations of queries and keys along (T, H, W), which tell distances only, so
that clips of other lengths run. Text is read by cross-attention.

Papers: DiT (Peebles 2023), rotary positions (Su 2021), QK-norm (Henry 2020; Esser 2024), space and
time in turn (Latte, Ma 2024), depthwise 3-tap mixing (SANA, Xie 2024).
"""
import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import Tensor, nn

from minidiff.layers import (
    CrossAttention,
    TimeEmbedding,
    Words,
    attend,
    axes_embedding,
    check_condition,
    condition,
    rotate,
    rotations,
    zero,
)

ROWS = {  # what makes a row of tokens that look at one another
    "all": "b t s d -> b 1 (t s) d", "space": "b t s d -> b t s d",
    "time": "b t s d -> b s t d", "past": "b t s d -> b s t d", "self": "b t s d -> b (t s) 1 d"}
ALONE = {"all": "space", "space": "space", "time": "self", "past": "self"}
LOOKS = {  # how block i of a mode groups the tokens of x (B, T, S, D), S places a frame
    "full": ("all",), "factorised": ("space", "time"), "causal": ("space", "past"),
    "none": ("space",)}


class SelfAttention(nn.Module):
    """Attention among tokens, with normed and rotated queries and keys: (B, T, S, D) -> like it.

    look: "all" tokens of a clip, those of the same frame ("space"), those at the same place in all
    frames ("time"), in this frame and those before ("past") or itself ("self"). alone: those of the
    same frame at most (`layers.frames_alone`).
    """

    def __init__(self, dim: int, head_dim: int, look: str):
        super().__init__()
        self.look, self.alone, self.heads = look, False, dim // head_dim
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.q_scale, self.k_scale = (nn.Parameter(torch.ones(head_dim)) for _ in range(2))

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """places: (2, T, S, head_dim / 2), as of `rotations`."""
        T, S = x.shape[1:3]
        look = ALONE[self.look] if self.alone else self.look
        rows = rearrange(self.qkv(x), ROWS[look])                           # (B, R, L, 3 D)
        q, k, v = rearrange(rows, "b r l (three h d) -> three b r h l d", three=3, h=self.heads)
        turns = rearrange(places, ROWS[look])[:, :, None]               # (2, R, 1, L, d / 2)
        q, k = (rotate(F.rms_norm(y, y.shape[-1:], scale.to(y.dtype)), turns)
                for y, scale in ((q, self.q_scale), (k, self.k_scale)))
        past = None
        if look == "past":
            past = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()
        h = rearrange(attend(q, k, v, past), "b r h l d -> b r l (h d)")
        back = " -> ".join(reversed(ROWS[look].split(" -> ")))
        return self.out(rearrange(h, back, t=T, s=S))


class LocalMix(nn.Module):
    """Every channel mixed with its neighbours in the frame and in time, and added: (B, T, S, D).

    Depthwise: 3x3 taps in space, 3 in time. time: as in `DiT`; "none" keeps frames apart, "causal"
    looks at the frame and the two before. Starts as the identity.
    """

    def __init__(self, dim: int, time: str):
        super().__init__()
        self.pad = (0, 0, 2, 0) if time == "causal" else (0, 0, 1, 1)
        self.space = zero(nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False))
        self.time = None
        if time != "none":
            self.time = zero(nn.Conv2d(dim, dim, (3, 1), groups=dim, bias=False))

    def forward(self, x: Tensor, height: int) -> Tensor:
        B = len(x)
        frames = rearrange(x, "b t (h w) d -> (b t) d h w", h=height)            # channels last
        mixed = rearrange(self.space(frames), "(b t) d h w -> b t (h w) d", b=B)
        if self.time is not None:
            tall = F.pad(rearrange(x, "b t s d -> b d t s"), self.pad)     # T high and S wide
            mixed = mixed + rearrange(self.time(tall), "b d t s -> b t s d")
        return x + mixed


class Block(nn.Module):
    """Local mix, attention, words and a two-layer network, each added: (B, T, S, D) -> like it.

    The condition emb (B, E) becomes shift, scale and gate of attention and network (Peebles 2023
    section 3.2, adaLN-Zero).
    """

    def __init__(self, dim: int, head_dim: int, emb_dim: int, look: str, time: str,
                 width: int | None, mlp: int):
        super().__init__()
        self.mix, self.attention = LocalMix(dim, time), SelfAttention(dim, head_dim, look)
        self.cross = CrossAttention(dim, head_dim, width) if width else None
        self.mlp = nn.Sequential(nn.Linear(dim, mlp * dim), nn.GELU("tanh"),
                                 nn.Linear(mlp * dim, dim))
        self.modulate = zero(nn.Linear(emb_dim, 6 * dim))

    def forward(self, x: Tensor, emb: Tensor, places: Tensor, words: Tensor | None,
                height: int) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = (
            self.modulate(emb)[:, None, None].chunk(6, -1))                      # (B, 1, 1, D) each
        x = self.mix(x, height)
        x = x + gate * self.attention(modulated(x, shift, scale), places)
        if self.cross is not None:
            x = self.cross(x, words)
        return x + gate2 * self.mlp(modulated(x, shift2, scale2))


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x normed over its channels, scaled and shifted."""
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift


class DiT(nn.Module):
    """`net(x, t, cond) -> like x`, x (B, C, H, W) or (B, T, C, H, W).

    t: (B,) in [0, 1]; cond: (B,) class ids, (B, L) token ids, or None, the null condition.
    dim, depth, head_dim: the width of a token, the number of blocks, the width of a head.
    patch: frames, rows and columns of a patch. A single image counts as `patch[0]` equal frames.
    time: "full" (every patch looks at every other), "factorised" (at its frame's, then at its
    place's in all frames), "causal" (the same, in its past) or "none" (at its frame's).
    classes: number of class ids; the id `classes` is the null condition.
    vocabulary: number of token ids; 0 is no word. words: the width of a word.
    Raises ValueError for settings or inputs that do not fit, saying which sizes would.
    """

    def __init__(self, dim: int = 192, depth: int = 8, patch: tuple[int, int, int] = (2, 4, 4),
                 in_channels: int = 1, time: str = "full", head_dim: int = 32, mlp: int = 3,
                 classes: int | None = None, vocabulary: int | None = None, words: int = 128,
                 emb_dim: int = 64):
        super().__init__()
        if time not in LOOKS:
            raise ValueError(f"Unknown time mode {time!r}; choose one of {', '.join(LOOKS)}.")
        if dim % head_dim or head_dim % 2:
            raise ValueError("dim must be a multiple of head_dim, and head_dim even, "
                             f"got {dim} and {head_dim}.")
        if classes and vocabulary:
            raise ValueError("A network is told classes or words, not both.")
        self.patch, self.in_channels, self.head_dim = tuple(patch), in_channels, head_dim
        self.classes, self.vocabulary = classes, vocabulary
        size = in_channels * self.patch[0] * self.patch[1] * self.patch[2]
        self.time_embedding = TimeEmbedding(emb_dim)
        self.label = nn.Embedding(classes + 1, emb_dim) if classes else None
        self.words = Words(vocabulary, words) if vocabulary else None
        self.enter = nn.Linear(size, dim)
        looks = [LOOKS[time][i % len(LOOKS[time])] for i in range(depth)]
        width = words if vocabulary else None
        self.blocks = nn.ModuleList(
            Block(dim, head_dim, emb_dim, look, time, width, mlp) for look in looks)
        self.modulate = zero(nn.Linear(emb_dim, 2 * dim))
        self.leave = zero(nn.Linear(dim, size))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        if x.ndim == 4:                                        # an image is a video with one frame
            return self(x[:, None], t, cond)[:, 0]
        self.check(x)
        check_condition(cond, len(x), self.classes, self.vocabulary)
        if x.shape[1] == 1 < self.patch[0]:
            x = repeat(x, "b 1 c h w -> b t c h w", t=self.patch[0])
            return reduce(self(x, t, cond), "b t c h w -> b 1 c h w", "mean")
        tokens, (T, H, W) = self.cut(x)
        where = axes_embedding((H, W), self.enter.out_features, x.device)        # (S, D)
        h = self.enter(tokens)
        h = h + where.to(h.dtype)                                                # (B, T, S, D)
        emb, words = condition(self, t, cond)
        emb = F.silu(emb)
        places = rotations((T, H, W), self.head_dim, x.device).to(h.dtype)       # (2, T, S, d / 2)
        for block in self.blocks:
            h = block(h, emb, places, words, H)
        shift, scale = self.modulate(emb)[:, None, None].chunk(2, -1)
        return self.join(self.leave(modulated(h, shift, scale)), H)

    def cut(self, x: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """A clip's patches as tokens (B, T', H' W', values), and (T', H', W')."""
        a, b, c = self.patch
        tokens = rearrange(x, "n (t a) k (h b) (w c) -> n t (h w) (a b c k)", a=a, b=b, c=c)
        return tokens, (x.shape[1] // a, x.shape[-2] // b, x.shape[-1] // c)

    def join(self, tokens: Tensor, height: int) -> Tensor:
        """The clip again: what `cut` undoes."""
        a, b, c = self.patch
        return rearrange(tokens, "n t (h w) (a b c k) -> n (t a) k (h b) (w c)",
                         h=height, a=a, b=b, c=c)

    def check(self, x: Tensor) -> None:
        if x.ndim != 5 or x.shape[2] != self.in_channels:
            raise ValueError(f"x must be (B, {self.in_channels}, H, W) "
                             f"or (B, T, {self.in_channels}, H, W), got {tuple(x.shape)}.")
        a, b, c = self.patch
        T, H, W = x.shape[1], *x.shape[-2:]
        if H % b or W % c or (T > 1 and T % a):
            raise ValueError(f"{T} frames of {H}x{W} cannot be cut into patches of {a}x{b}x{c}: "
                             "frames, height and width must be multiples of these.")
