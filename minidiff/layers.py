"""Building blocks of the networks. They work on folded frames or tokens, for images and videos.

A module that ends in `zero_module` adds nothing at first: it starts as the identity, and training
changes that.

Papers: group norm (Wu 2018), attention (Vaswani 2017), DDPM's U-Net (Ho 2020), Video Diffusion
Models (Ho 2022), cross-attention to words (Rombach 2022), FlashAttention (Dao 2022), one time per
frame (Diffusion Forcing, Chen 2024), guidance by a network without some attention (Hyung 2025).
"""
import copy
from functools import cache
from inspect import signature
from math import log

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.autograd import forward_ad

from minidiff.runtime.precision import has_bf16
from minidiff.runtime.tracing import values_can_be_checked


def zero_module(module: nn.Module) -> nn.Module:
    """Set all parameters of a module to 0 and return it: the last act of a constructor."""
    for p in module.parameters():
        nn.init.zeros_(p)
    return module


def sinusoidal_embedding(t: Tensor, dim: int, max_period: float = 1e4) -> Tensor:
    """Cosines and sines of t at dim / 2 frequencies, from 1 to 1 / max_period.

    t (...,) -> (..., dim) in float32 (Vaswani 2017 section 3.5).
    """
    steps = torch.arange(dim // 2, device=t.device, dtype=torch.float32)
    angles = t[..., None].float() * torch.exp(-log(max_period) * steps / (dim // 2))
    return torch.cat([angles.cos(), angles.sin()], -1)


class TimeEmbedding(nn.Module):
    """t (...,) in [0, 1] -> a vector (..., dim) in the dtype of the weights.

    t is multiplied by 1000, because the frequencies of the sinusoid are made for [0, 1000]. Both
    stay in float32: bfloat16 cannot tell t = .999 from 1.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Tensor) -> Tensor:
        sinusoid = sinusoidal_embedding(1000 * t.float(), self.dim)
        return self.mlp(sinusoid.to(self.mlp[0].weight.dtype))                        # (..., D)


def times_per_sample(t: Tensor, x: Tensor) -> Tensor:
    """t in float32 on x's device: one time per sample (B,) or one per frame (B, T).

    x: (B, T, C, H, W). A single time () or (1,) counts for all samples. Raises ValueError for
    another shape.
    """
    B, T = x.shape[:2]
    t = t.to(x.device, torch.float32)
    if t.ndim == 0 or tuple(t.shape) == (1,):
        t = t.expand(B)
    if tuple(t.shape) not in ((B,), (B, T)):
        raise ValueError(f"t must be one time, one per sample ({B},) or one per frame ({B}, {T}), "
                         f"got shape {tuple(t.shape)}.")
    return t


def is_transformed(*tensors: Tensor) -> bool:
    """Whether torch.func (vmap, jvp, ...) or forward-mode differentiation works on a tensor.

    Some of torch's kernels have no rules for these, so layers compute in another way there.
    """
    if torch.compiler.is_compiling():
        return False
    return any(torch._C._functorch.is_functorch_wrapped_tensor(x)
               or forward_ad.unpack_dual(x).tangent is not None for x in tensors)


def channels_last(x: Tensor) -> Tensor:
    """x (N, C, H, W) with its channels side by side in memory; torch.func keeps x as it is."""
    return x if is_transformed(x) else x.contiguous(memory_format=torch.channels_last)


class GroupNorm(nn.GroupNorm):
    """torch's group norm, which can also be differentiated in forward mode (`torch.func.jvp`).

    torch's rule for that needs the channels to be apart in memory (not channels_last).
    """

    def forward(self, x: Tensor) -> Tensor:
        if is_transformed(x, self.weight, self.bias):
            x = x.contiguous()
        return super().forward(x)


def group_norm(channels: int) -> GroupNorm:
    """Group norm with 16 channels per group.

    16 bfloat16 numbers fill one CPU register, so this is nine times as fast as groups of 8.
    """
    return GroupNorm(max(1, channels // 16), channels)


class ResBlock(nn.Module):
    """Two 3x3 convolutions; between them a condition scales and shifts.

    x (N, C, H, W), emb (N, E) -> (N, C', H, W) (AdaGN, Dhariwal 2021 section 3). The second
    convolution starts at 0. Without emb_dim there is no condition.
    """

    def __init__(self, c_in: int, c_out: int, emb_dim: int | None = None):
        super().__init__()
        self.norm1, self.conv1 = group_norm(c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2 = group_norm(c_out)
        self.conv2 = zero_module(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.modulation = nn.Linear(emb_dim, 2 * c_out) if emb_dim else None
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor | None = None) -> Tensor:
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        if self.modulation is not None:
            scale, shift = self.modulation(emb)[:, :, None, None].chunk(2, 1)   # (N, C', 1, 1) each
            h = h * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(h))


class TemporalConv(nn.Module):
    """A convolution over three frames at every pixel, added to x; starts as the identity.

    x (B T, C, H, W) -> like x: the T frames of each video, folded. The three are the frame and its
    neighbours or, causal, the frame and the two before it.
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


CPU_CACHE_BYTES = 2**23            # attention weights of this size at once suit the cache of a CPU
FUSED_FROM = {  # (bf16 instructions, 16 bits, gradients) -> tokens from which the fused kernel is
    # faster, with one thread and with more
    # measured by benchmarks/speed/attention.py on an AMD EPYC that has AVX2 only
    (False, False, False): (16, 128), (False, False, True): (64, 128),
    (False, True, False): (0, 0), (False, True, True): (0, 0),
    # measured with one thread, at 8, 256, 512 and 2,048 tokens, on a CPU that has bf16 instructions
    (True, False, False): (0, 0), (True, False, True): (0, 0),
    (True, True, False): (128, 128), (True, True, True): (1024, 1024)}
cpu_has_bf16 = cache(lambda: has_bf16("cpu"))


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v over the last two axes, (L, d) (Vaswani 2017 eq. 1).

    mask (L, L) is True for the keys that a query may look at. Two ways compute the same: torch's
    fused kernel, which never stores the (L, L) weights (Dao 2022), and the formula written out.
    `prefers_fused` chooses the faster one. The fused kernel has no second derivative; those who
    need one call this inside `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`.
    """
    if prefers_fused(q, k, v):
        return fused_attention(q, k, v, mask)
    return written_attention(q, k, v, mask)


def prefers_fused(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether the fused kernel is the faster way to compute this attention, and can.

    On accelerators it is. On CPUs this depends on the tokens of a row, the dtype, the threads and
    on whether there are gradients (`FUSED_FROM`). For torch.func and export the formula is written
    out.
    """
    if is_transformed(q, k, v):
        return False
    if q.device.type != "cpu":
        return q.device.type != "meta"
    if not values_can_be_checked(q):
        return False
    gradients = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    case = cpu_has_bf16(), q.element_size() == 2, gradients
    return k.shape[-2] >= FUSED_FROM[case][torch.get_num_threads() > 1]


def fused_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention by torch's kernel, for any number of leading axes: it takes (N, heads, L, d)."""
    folded = (x.reshape(-1, *(1, *x.shape)[-3:]) for x in (q, k, v))
    return F.scaled_dot_product_attention(*folded, attn_mask=mask).reshape(q.shape)


def written_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention as its formula, a few of the first axis at a time.

    So few, on a CPU, that the weights stay in the cache. Traced computations do all at once.
    """
    size = q.shape[:-1].numel() * k.shape[-2] * q.element_size()
    if values_can_be_checked(q) and size > CPU_CACHE_BYTES and q.ndim > 2 and len(q) > 1:
        few = max(1, len(q) * CPU_CACHE_BYTES // size)
        parts = zip(*(x.split(few) for x in (q, k, v)), strict=True)
        return torch.cat([written_attention(*part, mask) for part in parts])
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)                     # (..., L, L)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ v


class Attention(nn.Module):
    """Multi-head self-attention among the tokens of a row, added to x; starts as the identity.

    x (..., L, D) -> like x; each row of L tokens is on its own. pos (L, D): the embedding of the
    positions. mask (L, L): True for the keys that a query may look at. Raises ValueError unless
    head_dim divides dim.
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
        h = attention(q, k, v, mask)                                     # (..., heads, L, head_dim)
        return x + self.out(rearrange(h, "... h l d -> ... l (h d)"))


class CrossAttention(nn.Module):
    """Attention from tokens to words, added to the tokens; starts as the identity.

    x (B, ..., D), text_emb (B, L, W) -> like x. Queries come from x, keys and values from the
    words (Rombach 2022 section 3.3).
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


def position_embedding(sizes: tuple[int, ...], dim: int, device=None) -> Tensor:
    """Sinusoids of the positions on a grid, an equal share of dim for each axis.

    sizes: the grid's, such as (T, H, W). Returns (prod(sizes), dim) in float32.
    """
    share = dim // len(sizes) // 2 * 2
    ranges = [torch.arange(size, device=device, dtype=torch.long) for size in sizes]
    rows = torch.cartesian_prod(*ranges).view(-1, len(sizes))
    axes = [sinusoidal_embedding(positions, share, max_period=100.0) for positions in ranges]
    pos = torch.cat([axis[row] for axis, row in zip(axes, rows.unbind(1), strict=True)], -1)
    return F.pad(pos, (0, dim - pos.shape[-1]))


def rope_angles(sizes: tuple[int, int, int], head_dim: int, device=None) -> Tensor:
    """Cosines and sines of the angles by which `apply_rope` turns the tokens of a (T, H, W) grid.

    Returns (2, T, H W, head_dim / 2) in float32. A quarter of the pairs turns with time, the others
    with rows and columns; along each axis the frequencies fall from 1 to 1 / 100 (rotary positions,
    Su 2021 section 3.2, axis by axis).
    """
    pairs = head_dim // 2
    shares = pairs // 4, (pairs - pairs // 4 + 1) // 2, (pairs - pairs // 4) // 2
    ranges = [torch.arange(n, device=device, dtype=torch.float32) for n in sizes]
    frequencies = [torch.logspace(0, -2, share, device=device, dtype=torch.float32)
                   for share in shares]
    grid = torch.meshgrid(*ranges, indexing="ij")
    angles = torch.cat([positions[..., None] * frequency
                        for positions, frequency in zip(grid, frequencies, strict=True)], -1)
    return torch.stack([angles.cos(), angles.sin()]).flatten(2, 3)


def apply_rope(x: Tensor, rope: Tensor) -> Tensor:
    """Turn the pairs (x_i, x_{i + d/2}) of x (..., L, d) by the angles of rope (2, ..., L, d / 2).

    The product of two vectors that were turned like this depends only on the difference of their
    angles (Su 2021 eq. 34).
    """
    a, b = x.chunk(2, -1)
    cos, sin = rope
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class TextEncoder(nn.Module):
    """Token ids (B, L) -> one vector per token, (B, L, dim), that also depends on the others.

    A small transformer, trained together with the network that reads it.
    """

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


class SingleFrameAttention(nn.Module):
    """A network whose attention connects no two frames: the same module with the same weights."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None, **more) -> Tensor:
        return self.net(x, t, cond, with_temporal_attention=False, **more)


def without_temporal_attention(net: nn.Module) -> nn.Module:
    """The same network or denoiser, sharing all weights, without attention between frames.

    Attention through time then sees one frame at a time. The network was not trained for that, so
    its frames disagree, and `guidance.autoguided` pushes samples away from it (Hyung 2025 skips
    layers for the same purpose). Raises ValueError for a network that cannot do so.
    """
    if "with_temporal_attention" in signature(net.forward).parameters:
        return SingleFrameAttention(net)
    if not isinstance(getattr(net, "net", None), nn.Module):
        raise ValueError(f"{type(net).__name__} cannot leave out temporal attention: its forward "
                         "needs the argument with_temporal_attention, as in UNet and DiT.")
    weak = copy.copy(net)                                              # a denoiser of that network
    weak._modules = net._modules | {"net": without_temporal_attention(net.net)}
    return weak


def embed_time_and_cond(net: nn.Module, t: Tensor,
                        cond: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Time and class as one vector (B, E), and the words (B, L, W) if the network reads text.

    t (B,), or (B, T) for vectors (B, T, E), one per frame. net: has `time_embedding`,
    `class_embedding` or None, and `text_encoder` or None. Without a condition the null condition
    is used.
    """
    emb, n = net.time_embedding(t), len(t)
    if net.class_embedding is not None:
        null = torch.full((n,), net.classes, dtype=torch.long, device=t.device)
        emb = add_per_sample(emb, net.class_embedding(null if cond is None else cond))
    if net.text_encoder is None:
        return emb, None
    null = torch.zeros(n, 1, dtype=torch.long, device=t.device)
    return emb, net.text_encoder(null if cond is None else cond)


def add_per_sample(emb: Tensor, vector: Tensor) -> Tensor:
    """emb (B, E) or (B, T, E) plus a vector (B, E), the same for every frame."""
    return emb + (vector if emb.ndim == 2 else vector[:, None])


def check_condition(cond: Tensor | None, n: int, classes: int | None,
                    vocab_size: int | None = None) -> None:
    """Check that cond is None, n class ids or n rows of token ids, as the network needs.

    Raises ValueError otherwise. The values are checked on the CPU, unless they are traced.
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
    if values_can_be_checked(cond) and not ((cond >= 0) & (cond <= most)).all():
        what = "Class ids" if vocab_size is None else "Token ids"
        raise ValueError(f"{what} must be 0 to {most}, "
                         f"got {cond.min().item()} to {cond.max().item()}.")
