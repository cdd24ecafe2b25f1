"""A Diffusion Transformer for images and videos alike: space-time patches in, patches out.

A clip is cut into patches, each of them a token. Blocks let tokens look at one another, and a
condition scales, shifts and gates what every block does (adaLN-Zero: all gates start at 0, so the
network starts as the identity). Positions enter twice: as an absolute embedding in space, because
walls are at fixed places, and as rotations of queries and keys along (T, H, W). Rotations only
tell distances, so the network takes clips of any length. Text is read by cross-attention.

Papers: DiT (Peebles 2023), rotary positions (Su 2021), QK-norm (Henry 2020; Esser 2024), space and
time in turn (Latte, Ma 2024), depthwise 3-tap mixing (SANA, Xie 2024), one time per frame
(Diffusion Forcing, Chen 2024).
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
    times_per_sample,
    zero_module,
)

TOKEN_GROUPS = {  # x (B, T, S, D) -> (B, rows, tokens, D): the tokens of a row look at one another
    "all": "b t s d -> b 1 (t s) d", "space": "b t s d -> b t s d",
    "time": "b t s d -> b s t d", "past": "b t s d -> b s t d", "self": "b t s d -> b (t s) 1 d"}
SINGLE_FRAME_GROUPS = {"all": "space", "space": "space", "time": "self", "past": "self"}
ATTENTION_PATTERNS = {  # time mode -> the token groups of its blocks, in turn
    "full": ("all",), "factorised": ("space", "time"), "causal": ("space", "past"),
    "none": ("space",)}


class SelfAttention(nn.Module):
    """Attention among tokens, with normed and rotated queries and keys.

    x (B, T, S, D) -> like x, S places per frame; rope (2, T, S, head_dim / 2) as of
    `layers.rope_angles`. token_group: which tokens a token sees, "all" of the clip, those of its
    frame ("space"), those at its place in all frames ("time") or in this and earlier frames
    ("past"), or only itself ("self"). with_temporal_attention False: none of another frame.
    """

    def __init__(self, dim: int, head_dim: int, token_group: str):
        super().__init__()
        self.token_group, self.heads = token_group, dim // head_dim
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.q_scale, self.k_scale = (nn.Parameter(torch.ones(head_dim)) for _ in range(2))

    def forward(self, x: Tensor, rope: Tensor, with_temporal_attention: bool = True) -> Tensor:
        T, S = x.shape[1:3]
        group = self.token_group
        if not with_temporal_attention:
            group = SINGLE_FRAME_GROUPS[group]
        rows = rearrange(self.qkv(x), TOKEN_GROUPS[group])                          # (B, R, L, 3 D)
        q, k, v = rearrange(rows, "b r l (three h d) -> three b r h l d", three=3, h=self.heads)
        angles = rearrange(rope, TOKEN_GROUPS[group])[:, :, None]             # (2, R, 1, L, d / 2)
        q, k = (apply_rope(F.rms_norm(y, y.shape[-1:], scale.to(y.dtype)), angles)
                for y, scale in ((q, self.q_scale), (k, self.k_scale)))
        past = None
        if group == "past":
            past = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()
        h = rearrange(attention(q, k, v, past), "b r h l d -> b r l (h d)")
        back = " -> ".join(reversed(TOKEN_GROUPS[group].split(" -> ")))
        return self.out(rearrange(h, back, t=T, s=S))


class DepthwiseConv(nn.Module):
    """A depthwise convolution in space (3x3) and time (3), added: (B, T, S, D) -> like x.

    Each channel is mixed with its neighbours, but not with other channels. time: as in `DiT`;
    "none" keeps frames apart, "causal" sees the frame and the two before. Starts as the identity.
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
    """Depthwise convolution, attention, cross-attention and an MLP, each added to its input.

    x (B, T, S, D) -> like x. The condition emb, (B, E) or one per frame of patches (B, T, E),
    becomes shift, scale and gate of attention and MLP (Peebles 2023 section 3.2, adaLN-Zero).
    """

    def __init__(self, dim: int, head_dim: int, emb_dim: int, token_group: str, time: str,
                 text_dim: int | None, mlp_ratio: int):
        super().__init__()
        self.depthwise_conv = DepthwiseConv(dim, time)
        self.attention = SelfAttention(dim, head_dim, token_group)
        self.cross_attention = CrossAttention(dim, head_dim, text_dim) if text_dim else None
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_ratio * dim), nn.GELU("tanh"),
                                 nn.Linear(mlp_ratio * dim, dim))
        self.modulation = zero_module(nn.Linear(emb_dim, 6 * dim))

    def forward(self, x: Tensor, emb: Tensor, rope: Tensor, text_emb: Tensor | None,
                height: int, with_temporal_attention: bool = True) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = modulations(self.modulation(emb), 6)
        x = self.depthwise_conv(x, height)
        x = x + gate * self.attention(adaptive_layer_norm(x, shift, scale), rope,
                                      with_temporal_attention)
        if self.cross_attention is not None:
            x = self.cross_attention(x, text_emb)
        return x + gate2 * self.mlp(adaptive_layer_norm(x, shift2, scale2))


def adaptive_layer_norm(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm of x over its channels, then scaled by 1 + scale and shifted."""
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift


def modulations(values: Tensor, n: int) -> tuple[Tensor, ...]:
    """(B, n D) or (B, T, n D) -> n tensors, ready to scale tokens (B, T, S, D)."""
    values = values[:, None, None] if values.ndim == 2 else values[:, :, None]
    return values.chunk(n, -1)                                   # (B, 1 or T, 1, D) each


class PatchEmbed(nn.Linear):
    """The values of a patch (..., volume * channels), channels innermost -> a token (..., dim)."""

    def __init__(self, volume: int, channels: int, dim: int):
        super().__init__(volume * channels, dim)
        self.volume, self.channels = volume, channels

    def input_positions(self, n: int) -> Tensor:
        """Where the n inputs of a network with fewer channels are among this one's inputs: (n,)."""
        positions = torch.arange(self.in_features, device=self.weight.device, dtype=torch.long)
        return positions.view(self.volume, -1)[:, :n // self.volume].flatten()


class DiT(nn.Module):
    """`net(x, t, cond) -> like x`, x (B, C, H, W) or (B, T, C, H, W).

    t: in [0, 1], one time for all (), one per sample (B,) or one per frame (B, T). A patch of
    several frames gets the mean of the embeddings of their times.
    cond: class ids (B,), token ids (B, L), or None, the null condition.
    dim, depth, head_dim: the width of a token, the number of blocks, the width of a head.
    patch: frames, rows and columns of a patch. A single image counts as `patch[0]` equal frames.
    time: "full" (every patch sees all patches), "factorised" (those of its frame, then those at its
    place in all frames), "causal" (the same, but no later frames) or "none" (those of its frame).
    classes: number of class ids; the id `classes` is the null condition.
    vocab_size: number of token ids; 0 is no word. text_dim: the width of a word's vector.
    out_channels: channels of the output, as many as in_channels unless given.
    forward's with_temporal_attention: see `layers.without_temporal_attention`.
    Raises ValueError for settings or inputs that do not fit, and says which sizes would.
    """

    def __init__(self, dim: int = 192, depth: int = 8, patch: tuple[int, int, int] = (2, 4, 4),
                 in_channels: int = 1, time: str = "full", head_dim: int = 32, mlp_ratio: int = 3,
                 classes: int | None = None, vocab_size: int | None = None, text_dim: int = 128,
                 emb_dim: int = 64, out_channels: int | None = None):
        super().__init__()
        check_settings(dim, head_dim, time, classes, vocab_size)
        self.patch, self.in_channels, self.head_dim = tuple(patch), in_channels, head_dim
        self.classes, self.vocab_size = classes, vocab_size
        volume = self.patch[0] * self.patch[1] * self.patch[2]
        out_channels = in_channels if out_channels is None else out_channels
        self.time_embedding = TimeEmbedding(emb_dim)
        self.class_embedding = nn.Embedding(classes + 1, emb_dim) if classes else None
        self.text_encoder = TextEncoder(vocab_size, text_dim) if vocab_size else None
        self.patch_embed = PatchEmbed(volume, in_channels, dim)
        pattern, width = ATTENTION_PATTERNS[time], text_dim if vocab_size else None
        self.blocks = nn.ModuleList(
            DiTBlock(dim, head_dim, emb_dim, pattern[i % len(pattern)], time, width, mlp_ratio)
            for i in range(depth))
        self.modulation = zero_module(nn.Linear(emb_dim, 2 * dim))
        self.final_layer = zero_module(nn.Linear(dim, volume * out_channels))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None,
                with_temporal_attention: bool = True) -> Tensor:
        if x.ndim == 4:                                        # an image is a video of one frame
            return self(x[:, None], t, cond, with_temporal_attention)[:, 0]
        self.check_input(x)
        check_condition(cond, len(x), self.classes, self.vocab_size)
        t = times_per_sample(t, x)
        if x.shape[1] == 1 < self.patch[0]:
            x = repeat(x, "b 1 c h w -> b t c h w", t=self.patch[0])
            t = t[:, 0] if t.ndim == 2 else t
            x = self(x, t, cond, with_temporal_attention)
            return reduce(x, "b t c h w -> b 1 c h w", "mean")
        tokens, (T, H, W) = self.patchify(x)
        pos = position_embedding((H, W), self.patch_embed.out_features, x.device)          # (S, D)
        h = self.patch_embed(tokens.to(self.patch_embed.weight.dtype))
        h = h + pos.to(h.dtype)                                                  # (B, T, S, D)
        emb, words = self.embed_condition(t, cond)
        rope = rope_angles((T, H, W), self.head_dim, x.device).to(h.dtype)       # (2, T, S, d / 2)
        for block in self.blocks:
            h = block(h, emb, rope, words, H, with_temporal_attention)
        h = adaptive_layer_norm(h, *modulations(self.modulation(emb), 2))
        return self.unpatchify(self.final_layer(h), H).to(x.dtype)

    def embed_condition(self, t: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Time and class as one vector (B, E), and the words (B, L, W) or None.

        Times per frame (B, T) give one vector for each frame of patches, (B, T / patch[0], E).
        """
        emb, words = embed_time_and_cond(self, t, cond)
        if emb.ndim == 3:
            emb = reduce(emb, "b (t a) e -> b t e", "mean", a=self.patch[0])
        return F.silu(emb), words

    def patchify(self, x: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """Cut a clip into patches (B, T', H' W', values), and say how many: (T', H', W')."""
        a, b, c = self.patch
        tokens = rearrange(x, "n (t a) k (h b) (w c) -> n t (h w) (a b c k)", a=a, b=b, c=c)
        return tokens, (x.shape[1] // a, x.shape[-2] // b, x.shape[-1] // c)

    def unpatchify(self, tokens: Tensor, height: int) -> Tensor:
        """Put patches together to a clip (B, T, C, H, W): the inverse of `patchify`."""
        a, b, c = self.patch
        return rearrange(tokens, "n t (h w) (a b c k) -> n (t a) k (h b) (w c)",
                         h=height, a=a, b=b, c=c)

    def check_input(self, x: Tensor) -> None:
        """Raises ValueError for a shape that the network cannot take."""
        if x.ndim != 5 or x.shape[2] != self.in_channels:
            raise ValueError(f"x must be (B, {self.in_channels}, H, W) "
                             f"or (B, T, {self.in_channels}, H, W), got {tuple(x.shape)}.")
        a, b, c = self.patch
        T, H, W = x.shape[1], *x.shape[-2:]
        if H % b or W % c or (T > 1 and T % a):
            raise ValueError(f"{T} frames of {H}x{W} cannot be cut into patches of {a}x{b}x{c}: "
                             "frames, height and width must be multiples of these.")


def check_settings(dim: int, head_dim: int, time: str, classes: int | None,
                   vocab_size: int | None) -> None:
    """Raises ValueError for settings that no DiT can have."""
    if time not in ATTENTION_PATTERNS:
        raise ValueError(f"Unknown time mode {time!r}; "
                         f"choose one of {', '.join(ATTENTION_PATTERNS)}.")
    if dim % head_dim or head_dim % 2:
        raise ValueError("dim must be a multiple of head_dim, and head_dim even, "
                         f"got {dim} and {head_dim}.")
    if classes and vocab_size:
        raise ValueError("A network takes classes or words, not both.")
