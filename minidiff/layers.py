"""The pieces of networks. Each works on folded frames or tokens, so images and videos share them.

Zero-initialised modules are marked: a block that ends in one is the identity at the start, and
training opens it.
Papers: group norm (Wu 2018), attention (Vaswani 2017), DDPM's U-Net (Ho 2020), Video Diffusion
Models (Ho 2022), cross-attention to words (Rombach 2022), less attention to have a worse
network (Hyung 2025).
"""
import copy
from math import log

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def zero_module(module: nn.Module) -> nn.Module:
    """The module with all its parameters set to 0: the last act of a constructor."""
    for p in module.parameters():
        nn.init.zeros_(p)
    return module


def sinusoidal_embedding(t: Tensor, dim: int, max_period: float = 1e4) -> Tensor:
    """Cosines and sines of t at dim / 2 frequencies, 1 to 1 / longest: (...,) -> (..., dim).

    Positions as in Vaswani 2017 section 3.5.
    """
    freqs = torch.exp(-log(max_period) * torch.arange(dim // 2, device=t.device) / (dim // 2))
    angles = t[..., None].float() * freqs
    return torch.cat([angles.cos(), angles.sin()], -1)


class TimeEmbedding(nn.Module):
    """t in [0, 1] -> a vector (B, dim).

    t is stretched to [0, 1000], the range that the sinusoid's frequencies are made for.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(sinusoidal_embedding(1000 * t, self.dim))                            # (B, D)


def group_norm(channels: int) -> nn.GroupNorm:
    """Groups of 16: a whole register of bfloat16, nine times as fast on a CPU as groups of 8."""
    return nn.GroupNorm(max(1, channels // 16), channels)


class ResBlock(nn.Module):
    """Two 3x3 convolutions around a conditioned scale and shift (AdaGN, Dhariwal 2021 section 3).

    x (N, C, H, W), emb (N, E) -> (N, C', H, W). The second convolution starts at 0. Without emb_dim
    there is no condition.
    """

    def __init__(self, c_in: int, c_out: int, emb_dim: int | None = None):
        super().__init__()
        self.norm1, self.conv1 = group_norm(c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2, self.conv2 = group_norm(c_out), zero_module(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.modulation = nn.Linear(emb_dim, 2 * c_out) if emb_dim else None
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor | None = None) -> Tensor:
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        if self.modulation is not None:
            scale, shift = self.modulation(emb)[:, :, None, None].chunk(2, 1)     # (N, C', 1, 1) each
            h = h * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(h))


class TemporalConv(nn.Module):
    """Three taps through time at every place, added to the input; starts as the identity.

    x: T frames of each video, folded, (B T, C, H, W). causal: the taps are the frame itself and the
    two before.
    """

    def __init__(self, channels: int, causal: bool = False):
        super().__init__()
        self.norm = group_norm(channels)
        self.conv = zero_module(nn.Conv2d(channels, channels, (3, 1)))
        self.pad = (0, 0, 2, 0) if causal else (0, 0, 1, 1)

    def forward(self, x: Tensor, T: int) -> Tensor:
        h = F.silu(self.norm(x))
        h = rearrange(h, "(b t) c h w -> b c t (h w)", t=T)          # an image, T high and H W wide
        h = self.conv(F.pad(h, self.pad))
        return x + rearrange(h, "b c t (h w) -> (b t) c h w", h=x.shape[-2])


CPU_CACHE_BYTES = 2**23                      # bytes of attention weights at once that suit a CPU's cache


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v over the last two axes, (L, d) (Vaswani 2017 eq. 1).

    mask (L, L) is True where a row may look. Written out, because for rows this short it is five
    times as fast as the fused kernel on a CPU. There, where the weights outgrow the cache, a few of
    the first axis go at a time, which is faster again.
    """
    size = q.shape[:-1].numel() * k.shape[-2] * q.element_size()
    if q.device.type == "cpu" and size > CPU_CACHE_BYTES and q.ndim > 2 and len(q) > 1:
        few = max(1, len(q) * CPU_CACHE_BYTES // size)
        parts = zip(*(x.split(few) for x in (q, k, v)), strict=True)
        return torch.cat([attention(*part, mask) for part in parts])
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)                     # (..., L, L)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ v


class Attention(nn.Module):
    """Multi-head self-attention among the tokens of a row, added to x; starts as the identity.

    x (..., L, D) -> like x, each row of L tokens on its own. pos (L, D) tells the places apart;
    mask (L, L) is True where a row may look. Raises ValueError unless head_dim divides dim.
    """

    def __init__(self, dim: int, head_dim: int = 32):
        super().__init__()
        if dim % head_dim:
            raise ValueError(
                f"Attention needs a width that its head size divides, got {dim} and {head_dim}.")
        self.heads = dim // head_dim
        self.norm, self.qkv = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim)
        self.out = zero_module(nn.Linear(dim, dim))

    def forward(self, x: Tensor, pos: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        h = self.norm(x) if pos is None else self.norm(x) + pos.to(x.dtype)
        q, k, v = rearrange(self.qkv(h), "... l (three h d) -> three ... h l d",
                            three=3, h=self.heads)
        h = attention(q, k, v, mask)                                        # (..., heads, L, head_dim)
        return x + self.out(rearrange(h, "... h l d -> ... l (h d)"))


class CrossAttention(nn.Module):
    """What each place reads in the words (B, L, W), added to it: (B, ..., D) -> like it.

    Queries come from the picture, keys and values from the words (Rombach 2022 section 3.3); starts
    as the identity.
    """

    def __init__(self, dim: int, head_dim: int, text_dim: int):
        super().__init__()
        self.heads = dim // head_dim
        self.norm = nn.LayerNorm(dim)
        self.q, self.kv = nn.Linear(dim, dim), nn.Linear(text_dim, 2 * dim)
        self.out = zero_module(nn.Linear(dim, dim))

    def forward(self, x: Tensor, text_emb: Tensor) -> Tensor:
        q = rearrange(self.q(self.norm(x.flatten(1, -2))), "b n (h d) -> b h n d", h=self.heads)
        k, v = rearrange(self.kv(text_emb), "b l (two h d) -> two b h l d", two=2, h=self.heads)
        h = rearrange(attention(q, k, v), "b h n d -> b n (h d)")
        return x + self.out(h).view_as(x)


class ObjectExchange(nn.Module):
    """What the drawings of a prompt's other things show at each place, added to each of them.

    x: T frames of R drawings, folded, (R T, C, H, W); owner: whose each drawing is, (R,). So two
    things know who has claimed which place. A thing alone sees nothing; starts as the identity.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.norm = group_norm(channels)
        self.out = zero_module(nn.Linear(channels, channels, bias=False))

    def forward(self, x: Tensor, prompt_index: Tensor) -> Tensor:
        h = rearrange(self.norm(x), "(r t) c h w -> r t h w c", r=len(prompt_index))
        return x + rearrange(self.out(sum_of_others(h, prompt_index)), "r t h w c -> (r t) c h w")


def position_embedding(sizes: tuple[int, ...], dim: int, device=None) -> Tensor:
    """Places on a grid as sinusoids, an equal share of the width per axis: (prod(sizes), dim)."""
    share = dim // len(sizes) // 2 * 2
    axes = [sinusoidal_embedding(torch.arange(size, device=device), share, max_period=100.0) for size in sizes]
    places = (torch.arange(size, device=device) for size in sizes)
    rows = torch.cartesian_prod(*places).view(-1, len(sizes))
    pos = torch.cat([axis[row] for axis, row in zip(axes, rows.unbind(1), strict=True)], -1)
    return F.pad(pos, (0, dim - pos.shape[-1]))


def rope_angles(sizes: tuple[int, int, int], head_dim: int, device=None) -> Tensor:
    """Turns that tell the places of a (T, H, W) grid apart, cosines and sines: (2, T, H W, d / 2).

    A quarter of the d / 2 pairs turns with time, the others with rows and columns; the frequencies
    of each axis fall from 1 to 1 / 100 (rotary positions, Su 2021 section 3.2, axis by axis).
    """
    pairs = head_dim // 2
    shares = pairs // 4, (pairs - pairs // 4 + 1) // 2, (pairs - pairs // 4) // 2
    grid = torch.meshgrid(*(torch.arange(n, device=device) for n in sizes), indexing="ij")
    angles = torch.cat([place[..., None] * torch.logspace(0, -2, share, device=device)
                        for place, share in zip(grid, shares, strict=True)], -1)
    return torch.stack([angles.cos(), angles.sin()]).flatten(2, 3)


def apply_rope(x: Tensor, rope: Tensor) -> Tensor:
    """Turn the pairs (x_i, x_{i + d/2}) of x (..., L, d) by (cosines, sines) (2, ..., L, d / 2).

    Products of two so turned vectors depend on the difference of their angles alone (Su 2021 eq.
    34).
    """
    a, b = x.chunk(2, -1)
    cos, sin = rope
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class TextEncoder(nn.Module):
    """Token ids (B, L) -> what they mean in their sentence, (B, L, W), learnt with the model."""

    def __init__(self, vocab_size: int, dim: int, depth: int = 2):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, dim)
        self.attentions = nn.ModuleList(Attention(dim) for _ in range(depth))
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU("tanh"),
                          zero_module(nn.Linear(2 * dim, dim))) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.token_embedding(ids)
        order = position_embedding(ids.shape[1:], x.shape[-1], ids.device)
        for attention, mlp in zip(self.attentions, self.mlps, strict=True):
            x = attention(x, order)
            x = x + mlp(x)
        return self.norm(x)


def without_temporal_attention(net: nn.Module) -> nn.Module:
    """The same network, sharing all weights, in which each frame looks at itself alone.

    Attention through time and attention among all frames find one frame each. Nothing was trained
    for that, so it errs where frames should agree, and `guidance.autoguided` leads away from it
    (Hyung 2025 skips layers to the same end).
    """
    weights = {id(w): w for w in (*net.parameters(), *net.buffers())}
    worse = copy.deepcopy(net, weights)
    for module in worse.modules():
        if hasattr(module, "without_temporal_attention"):
            module.without_temporal_attention = True
    return worse


def split_prompt(ids: Tensor, separator: int) -> tuple[Tensor, Tensor]:
    """Prompts (B, L), thing by thing: each thing as a prompt of its own (R, L), and whose it is.

    Things stand between ids `separator`; a prompt of no words is one thing. owner: (R,), rising.
    """
    said = (ids != 0) & (ids != separator)
    number = (ids == separator).cumsum(1)[:, None]                # of the thing that a word is of
    mine = said[:, None] & (number == torch.arange(ids.shape[1], device=ids.device)[:, None])
    there = mine.any(2)                                                          # (B, things)
    there[:, 0] |= ~said.any(1)
    owner, which = there.nonzero(as_tuple=True)
    mine = mine[owner, which]                                                    # (R, L)
    front = (~mine).int().argsort(dim=1, stable=True)
    return ids[owner].masked_fill(~mine, 0).gather(1, front), owner


def sum_of_others(x: Tensor, prompt_index: Tensor) -> Tensor:
    """For each thing, the sum over the other things of its prompt: (R, ...) -> like it."""
    with_me = (prompt_index[:, None] == prompt_index).fill_diagonal_(False)                    # (R, R)
    return (with_me.to(x) @ x.flatten(1)).view_as(x)


def mix_by_alpha(outputs: Tensor, alpha_logits: Tensor, prompt_index: Tensor) -> Tensor:
    """Answers to things (R, ...) -> answers to prompts (B, ...), weighted means over their things.

    The weights are the softmax of the things' claims, place by place, as in slot attention's
    decoder (Locatello 2020 section 3.2).
    """
    weights = alpha_logits.float().clamp(-30, 30).exp()                 # no claim is large enough for inf
    all_of_it = torch.zeros_like(weights).index_add(0, prompt_index, weights)[prompt_index]
    parts = weights / all_of_it * outputs
    return torch.zeros_like(parts).index_add(0, prompt_index, parts)[:prompt_index[-1] + 1]


def embed_time_and_cond(net: nn.Module, t: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Time and class as one vector (B, E), and the words (B, L, W) if the network reads any.

    net: has `time_embedding`, `label` or None, `words` or None. Without a condition they are the
    null ones.
    """
    emb = net.time_embedding(t)
    if net.class_embedding is not None:
        null = torch.full_like(t, net.classes, dtype=torch.long)
        emb = emb + net.class_embedding(null if cond is None else cond)
    if net.text_encoder is None:
        return emb, None
    null = torch.zeros(len(t), 1, dtype=torch.long, device=t.device)
    return emb, net.text_encoder(null if cond is None else cond)


def check_condition(cond: Tensor | None, n: int, classes: int | None,
                    vocab_size: int | None = None) -> None:
    """Raises ValueError unless cond is None, n class ids or n rows of token ids, as is wanted.

    On the CPU the ids are looked at.
    """
    if cond is None:
        return
    most = classes if vocab_size is None else vocab_size - 1
    if most is None:
        raise ValueError("This network was built without classes, so it takes no condition.")
    if not isinstance(cond, Tensor) or cond.dtype not in (torch.int64, torch.int32):
        raise ValueError("cond must be a tensor of integer ids, "
                         f"got {getattr(cond, 'dtype', type(cond).__name__)}.")
    if cond.ndim != (1 if vocab_size is None else 2) or len(cond) != n:
        want = "one class id" if vocab_size is None else "one row of token ids"
        raise ValueError(f"cond must be {want} per sample ({n}), got shape {tuple(cond.shape)}.")
    if cond.device.type == "cpu" and not ((cond >= 0) & (cond <= most)).all():
        what = "Class ids" if vocab_size is None else "Token ids"
        raise ValueError(f"{what} must be 0 to {most}, "
                         f"got {cond.min().item()} to {cond.max().item()}.")
