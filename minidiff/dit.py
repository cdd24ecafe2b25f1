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
    TextEncoder,
    TimeEmbedding,
    apply_rope,
    attention,
    check_condition,
    embed_time_and_cond,
    position_embedding,
    rope_angles,
    zero_module,
)

TOKEN_GROUPS = {  # what makes a row of tokens that look at one another
    "all": "b t s d -> b 1 (t s) d", "space": "b t s d -> b t s d",
    "time": "b t s d -> b s t d", "past": "b t s d -> b s t d", "self": "b t s d -> b (t s) 1 d"}
SINGLE_FRAME_GROUPS = {"all": "space", "space": "space", "time": "self", "past": "self"}
ATTENTION_PATTERNS = {  # how block i of a mode groups the tokens of x (B, T, S, D), S places a frame
    "full": ("all",), "factorised": ("space", "time"), "causal": ("space", "past"),
    "none": ("space",)}


class SelfAttention(nn.Module):
    """Attention among tokens, with normed and rotated queries and keys: (B, T, S, D) -> like it.

    look: "all" tokens of a clip, those of the same frame ("space"), those at the same place in all
    frames ("time"), in this frame and those before ("past") or itself ("self"). alone: those of the
    same frame at most (`layers.without_temporal_attention`).
    """

    def __init__(self, dim: int, head_dim: int, token_group: str):
        super().__init__()
        self.token_group, self.without_temporal_attention, self.heads = token_group, False, dim // head_dim
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.q_scale, self.k_scale = (nn.Parameter(torch.ones(head_dim)) for _ in range(2))

    def forward(self, x: Tensor, rope: Tensor) -> Tensor:
        """places: (2, T, S, head_dim / 2), as of `rotations`."""
        T, S = x.shape[1:3]
        look = SINGLE_FRAME_GROUPS[self.token_group] if self.without_temporal_attention else self.token_group
        rows = rearrange(self.qkv(x), TOKEN_GROUPS[look])                           # (B, R, L, 3 D)
        q, k, v = rearrange(rows, "b r l (three h d) -> three b r h l d", three=3, h=self.heads)
        turns = rearrange(rope, TOKEN_GROUPS[look])[:, :, None]               # (2, R, 1, L, d / 2)
        q, k = (apply_rope(F.rms_norm(y, y.shape[-1:], scale.to(y.dtype)), turns)
                for y, scale in ((q, self.q_scale), (k, self.k_scale)))
        past = None
        if look == "past":
            past = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()
        h = rearrange(attention(q, k, v, past), "b r h l d -> b r l (h d)")
        back = " -> ".join(reversed(TOKEN_GROUPS[look].split(" -> ")))
        return self.out(rearrange(h, back, t=T, s=S))


class DepthwiseConv(nn.Module):
    """Every channel mixed with its neighbours in the frame and in time, and added: (B, T, S, D).

    Depthwise: 3x3 taps in space, 3 in time. time: as in `DiT`; "none" keeps frames apart, "causal"
    looks at the frame and the two before. Starts as the identity.
    """

    def __init__(self, dim: int, time: str):
        super().__init__()
        self.pad = (0, 0, 2, 0) if time == "causal" else (0, 0, 1, 1)
        self.spatial = zero_module(nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False))
        self.temporal = None
        if time != "none":
            self.temporal = zero_module(nn.Conv2d(dim, dim, (3, 1), groups=dim, bias=False))

    def forward(self, x: Tensor, height: int) -> Tensor:
        B = len(x)
        frames = rearrange(x, "b t (h w) d -> (b t) d h w", h=height)            # channels last
        mixed = rearrange(self.spatial(frames), "(b t) d h w -> b t (h w) d", b=B)
        if self.temporal is not None:
            tall = F.pad(rearrange(x, "b t s d -> b d t s"), self.pad)     # T high and S wide
            mixed = mixed + rearrange(self.temporal(tall), "b d t s -> b t s d")
        return x + mixed


class DiTBlock(nn.Module):
    """Local mix, attention, words and a two-layer network, each added: (B, T, S, D) -> like it.

    The condition emb (B, E) becomes shift, scale and gate of attention and network (Peebles 2023
    section 3.2, adaLN-Zero).
    """

    def __init__(self, dim: int, head_dim: int, emb_dim: int, token_group: str, time: str,
                 text_dim: int | None, mlp_ratio: int):
        super().__init__()
        self.depthwise_conv, self.attention = DepthwiseConv(dim, time), SelfAttention(dim, head_dim, token_group)
        self.cross_attention = CrossAttention(dim, head_dim, text_dim) if text_dim else None
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_ratio * dim), nn.GELU("tanh"),
                                 nn.Linear(mlp_ratio * dim, dim))
        self.modulation = zero_module(nn.Linear(emb_dim, 6 * dim))

    def forward(self, x: Tensor, emb: Tensor, rope: Tensor, text_emb: Tensor | None,
                height: int) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = (
            self.modulation(emb)[:, None, None].chunk(6, -1))                      # (B, 1, 1, D) each
        x = self.depthwise_conv(x, height)
        x = x + gate * self.attention(adaptive_layer_norm(x, shift, scale), rope)
        if self.cross_attention is not None:
            x = self.cross_attention(x, text_emb)
        return x + gate2 * self.mlp(adaptive_layer_norm(x, shift2, scale2))


def adaptive_layer_norm(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
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
                 in_channels: int = 1, time: str = "full", head_dim: int = 32, mlp_ratio: int = 3,
                 classes: int | None = None, vocab_size: int | None = None, text_dim: int = 128,
                 emb_dim: int = 64):
        super().__init__()
        if time not in ATTENTION_PATTERNS:
            raise ValueError(f"Unknown time mode {time!r}; choose one of {', '.join(ATTENTION_PATTERNS)}.")
        if dim % head_dim or head_dim % 2:
            raise ValueError("dim must be a multiple of head_dim, and head_dim even, "
                             f"got {dim} and {head_dim}.")
        if classes and vocab_size:
            raise ValueError("A network is told classes or words, not both.")
        self.patch, self.in_channels, self.head_dim = tuple(patch), in_channels, head_dim
        self.classes, self.vocab_size = classes, vocab_size
        size = in_channels * self.patch[0] * self.patch[1] * self.patch[2]
        self.time_embedding = TimeEmbedding(emb_dim)
        self.class_embedding = nn.Embedding(classes + 1, emb_dim) if classes else None
        self.text_encoder = TextEncoder(vocab_size, text_dim) if vocab_size else None
        self.patch_embed = nn.Linear(size, dim)
        looks = [ATTENTION_PATTERNS[time][i % len(ATTENTION_PATTERNS[time])] for i in range(depth)]
        width = text_dim if vocab_size else None
        self.blocks = nn.ModuleList(
            DiTBlock(dim, head_dim, emb_dim, look, time, width, mlp_ratio) for look in looks)
        self.modulation = zero_module(nn.Linear(emb_dim, 2 * dim))
        self.final_layer = zero_module(nn.Linear(dim, size))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        if x.ndim == 4:                                        # an image is a video with one frame
            return self(x[:, None], t, cond)[:, 0]
        self.check_input(x)
        check_condition(cond, len(x), self.classes, self.vocab_size)
        if x.shape[1] == 1 < self.patch[0]:
            x = repeat(x, "b 1 c h w -> b t c h w", t=self.patch[0])
            return reduce(self(x, t, cond), "b t c h w -> b 1 c h w", "mean")
        tokens, (T, H, W) = self.patchify(x)
        where = position_embedding((H, W), self.patch_embed.out_features, x.device)        # (S, D)
        h = self.patch_embed(tokens)
        h = h + where.to(h.dtype)                                                # (B, T, S, D)
        emb, words = embed_time_and_cond(self, t, cond)
        emb = F.silu(emb)
        places = rope_angles((T, H, W), self.head_dim, x.device).to(h.dtype)       # (2, T, S, d / 2)
        for block in self.blocks:
            h = block(h, emb, places, words, H)
        shift, scale = self.modulation(emb)[:, None, None].chunk(2, -1)
        return self.unpatchify(self.final_layer(adaptive_layer_norm(h, shift, scale)), H)

    def patchify(self, x: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """A clip's patches as tokens (B, T', H' W', values), and (T', H', W')."""
        a, b, c = self.patch
        tokens = rearrange(x, "n (t a) k (h b) (w c) -> n t (h w) (a b c k)", a=a, b=b, c=c)
        return tokens, (x.shape[1] // a, x.shape[-2] // b, x.shape[-1] // c)

    def unpatchify(self, tokens: Tensor, height: int) -> Tensor:
        """The clip again: what `cut` undoes."""
        a, b, c = self.patch
        return rearrange(tokens, "n t (h w) (a b c k) -> n (t a) k (h b) (w c)",
                         h=height, a=a, b=b, c=c)

    def check_input(self, x: Tensor) -> None:
        if x.ndim != 5 or x.shape[2] != self.in_channels:
            raise ValueError(f"x must be (B, {self.in_channels}, H, W) "
                             f"or (B, T, {self.in_channels}, H, W), got {tuple(x.shape)}.")
        a, b, c = self.patch
        T, H, W = x.shape[1], *x.shape[-2:]
        if H % b or W % c or (T > 1 and T % a):
            raise ValueError(f"{T} frames of {H}x{W} cannot be cut into patches of {a}x{b}x{c}: "
                             "frames, height and width must be multiples of these.")
