"""A U-Net for images and videos alike.

Frames are folded into the batch, so every 2-D layer sees (B T, C, H, W); time enters only through
inserted modules: a 3-tap temporal convolution (motion is local in time) and temporal attention. A
video of one frame and an image are the same thing to it.

Papers: DDPM's U-Net (Ho 2020), Video Diffusion Models (Ho 2022), Stable Video Diffusion's temporal
layers (Blattmann 2023); things apart, as slots (Locatello 2020).
"""
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minidiff.layers import (
    Attention,
    CrossAttention,
    ObjectExchange,
    ResBlock,
    TemporalConv,
    TextEncoder,
    TimeEmbedding,
    check_condition,
    embed_time_and_cond,
    group_norm,
    mix_by_alpha,
    position_embedding,
    split_prompt,
    sum_of_others,
    zero_module,
)

TIME_MODES = ("none", "factorised", "full", "causal")
TEMPORAL_LAYERS = ("conv", "attention")                                # what brings frames together


class SpatioTemporalMixer(nn.Module):
    """What follows a residual block: a temporal convolution and, if `attend`, attention.

    Attention is over space, over time and, where there are words (B, L, width), to these. apart:
    the drawings of a prompt's things then look at each other.
    x: T frames of each video, folded, (B T, C, H, W). mode "none": frames never meet. "factorised":
    each place looks through all frames. "causal": through its past. "full": every place of every
    frame looks at every other. mix: of convolution and attention through time, those there are.
    alone: each frame looks at itself (`layers.without_temporal_attention`).
    """

    def __init__(self, channels: int, mode: str, with_attention: bool, text_dim: int | None = None,
                 temporal_layers: tuple[str, ...] = TEMPORAL_LAYERS, exchange_objects: bool = False):
        super().__init__()
        self.mode, self.without_temporal_attention, temporal_layers = mode, False, () if mode == "none" else temporal_layers
        through_time = with_attention and "attention" in temporal_layers
        self.temporal_conv = TemporalConv(channels, causal=mode == "causal") if "conv" in temporal_layers else None
        self.spatial_attention = Attention(channels) if with_attention and not (
            through_time and mode == "full") else None
        self.temporal_attention = Attention(channels) if through_time else None
        self.cross_attention = CrossAttention(channels, 32, text_dim) if with_attention and text_dim else None
        self.object_exchange = ObjectExchange(channels) if exchange_objects else None

    def forward(self, x: Tensor, T: int, text_emb: Tensor | None = None,
                prompt_index: Tensor | None = None) -> Tensor:
        C, H, W = x.shape[1:]
        seen = 1 if self.without_temporal_attention else T                                  # frames, by each
        if self.temporal_conv is not None:
            x = self.temporal_conv(x, T)
        if self.spatial_attention is not None:
            y = rearrange(x, "n c h w -> n (h w) c")
            y = self.spatial_attention(y, position_embedding((H, W), C, x.device))
            x = rearrange(y, "n (h w) c -> n c h w", h=H)
        if self.temporal_attention is not None and self.mode == "full":
            y = rearrange(x, "(b t) c h w -> b (t h w) c", t=seen)
            y = self.temporal_attention(y, position_embedding((seen, H, W), C, x.device))
            x = rearrange(y, "b (t h w) c -> (b t) c h w", t=seen, h=H)
        elif self.temporal_attention is not None:
            y = rearrange(x, "(b t) c h w -> b (h w) t c", t=seen)
            past = None
            if self.mode == "causal":
                past = torch.ones(seen, seen, dtype=torch.bool, device=x.device).tril()
            y = self.temporal_attention(y, position_embedding((seen,), C, x.device), past)
            x = rearrange(y, "b (h w) t c -> (b t) c h w", h=H)
        if self.cross_attention is not None:
            y = rearrange(x, "(b t) c h w -> b t (h w) c", t=T)
            x = rearrange(self.cross_attention(y, text_emb), "b t (h w) c -> (b t) c h w", h=H)
        if self.object_exchange is not None and prompt_index is not None:
            x = self.object_exchange(x, prompt_index)
        return x


class Stage(nn.Module):
    """Residual blocks, each followed by a mixer, at one resolution.

    x (B T, C, H, W), emb (B T, E) -> like x, with the level's width.
    """

    def __init__(self, c_in: int, c_out: int, emb_dim: int, blocks: int, mode: str, with_attention: bool,
                 text_dim: int | None = None, temporal_layers: tuple[str, ...] = TEMPORAL_LAYERS, exchange_objects: bool = False):
        super().__init__()
        self.blocks = nn.ModuleList(
            ResBlock(c_out if i else c_in, c_out, emb_dim) for i in range(blocks))
        self.mixers = nn.ModuleList(
            SpatioTemporalMixer(c_out, mode, with_attention, text_dim, temporal_layers, exchange_objects) for _ in range(blocks))

    def forward(self, x: Tensor, emb: Tensor, T: int, text_emb: Tensor | None = None,
                prompt_index: Tensor | None = None) -> Tensor:
        for block, mixer in zip(self.blocks, self.mixers, strict=True):
            x = mixer(block(x, emb), T, text_emb, prompt_index)
        return x


class UNet(nn.Module):
    """`net(x, t, cond) -> like x`, x (B, C, H, W) or (B, T, C, H, W).

    t: (B,) in [0, 1]; cond: (B,) class ids, (B, L) token ids, or None, the null condition.
    channels: one width per resolution, each a multiple of 32, fine to coarse.
    patch: pixels are folded patch x patch into channels first (space to depth), which makes the
    finest level cheaper.
    attention: how many of the coarsest levels attend.
    time: "none", "factorised", "full" or "causal". mix: "conv", "attention" or both, the modules
    through which frames then meet.
    classes: number of class ids; the id `classes` is the null condition.
    vocabulary: number of token ids; 0 is no word. words: the width of a word. Their mean scales and
    shifts every residual block, as a class does; where there is attention they are read one by one.
    separator: the token id between the things of a prompt. They are then drawn apart, each by its
    own words and knowing of the rest, and claim places; a place shows the mean by their claims. So
    no word is taken for another thing's. None: one drawing, by all words at once.
    Raises ValueError for settings or inputs that do not fit, saying which sizes would.
    """

    def __init__(self, channels: tuple[int, ...] = (64, 96), in_channels: int = 1, patch: int = 2,
                 blocks: int = 1, attention_levels: int = 1, time: str = "factorised",
                 classes: int | None = None, emb_dim: int = 128, vocab_size: int | None = None,
                 text_dim: int = 128, temporal_layers: tuple[str, ...] = TEMPORAL_LAYERS, separator: int | None = None):
        super().__init__()
        if time not in TIME_MODES:
            raise ValueError(f"Unknown time mode {time!r}; choose one of {', '.join(TIME_MODES)}.")
        if unknown := set(temporal_layers) - set(TEMPORAL_LAYERS):
            raise ValueError(f"temporal_layers holds conv, attention or both, not {', '.join(unknown)}.")
        if not channels or any(c % 32 for c in channels):
            raise ValueError("channels must be multiples of 32, one per level, "
                             f"got {tuple(channels)}.")
        check_settings(patch, blocks, emb_dim, classes)
        if classes and vocab_size:
            raise ValueError("A network is told classes or words, not both.")
        self.patch, self.in_channels = patch, in_channels
        self.classes, self.vocab_size, self.separator = classes, vocab_size, separator
        self.spatial_factor = patch * 2 ** (len(channels) - 1)
        attend = [i >= len(channels) - attention_levels for i in range(len(channels))]

        self.time_embedding = TimeEmbedding(emb_dim)
        self.class_embedding = nn.Embedding(classes + 1, emb_dim) if classes else None
        self.text_encoder = TextEncoder(vocab_size, text_dim) if vocab_size else None
        self.text_proj = nn.Linear(text_dim, emb_dim) if vocab_size else None
        self.other_objects_proj = zero_module(nn.Linear(text_dim, emb_dim, bias=False)) if separator else None
        settings = dict(emb_dim=emb_dim, mode=time, temporal_layers=tuple(temporal_layers),
                        text_dim=text_dim if vocab_size else None, exchange_objects=separator is not None)
        self.conv_in = nn.Conv2d(in_channels * patch**2, channels[0], 3, padding=1)
        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        for i, c in enumerate(channels):
            self.down.append(Stage(channels[max(i - 1, 0)], c, blocks=blocks, with_attention=attend[i],
                                   **settings))
            more = i + 1 < len(channels)
            self.downsample.append(nn.Conv2d(c, c, 3, stride=2, padding=1) if more else nn.Identity())
        self.middle = Stage(channels[-1], channels[-1], blocks=1, with_attention=attention_levels > 0, **settings)
        self.up = nn.ModuleList()
        for i, c in reversed(list(enumerate(channels))):
            below = channels[min(i + 1, len(channels) - 1)]
            self.up.append(Stage(below + c, c, blocks=blocks, with_attention=attend[i], **settings))
        self.norm = group_norm(channels[0])
        self.conv_out = zero_module(nn.Conv2d(channels[0], in_channels * patch**2, 3, padding=1))
        self.alpha_head = zero_module(nn.Conv2d(channels[0], patch**2, 3, padding=1)) if separator else None

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        if x.ndim == 4:
            return self(x[:, None], t, cond)[:, 0]
        self.check_input(x)
        check_condition(cond, len(x), self.classes, self.vocab_size)
        if self.separator is None or cond is None:
            return self.run(x, *self.embed_condition(t, cond))[0]
        prompts, owner = split_prompt(cond, self.separator)                            # (R, L), (R,)
        emb, words = self.embed_condition(t[owner], prompts)
        emb = emb + self.other_objects_proj(sum_of_others(words.mean(1), owner))
        return mix_by_alpha(*self.run(x[owner], emb, words, owner), owner)

    def embed_condition(self, t: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Time and condition as one vector (B, E), and the words (B, L, W) if there are any."""
        emb, words = embed_time_and_cond(self, t, cond)
        return emb if words is None else emb + self.text_proj(words.mean(1)), words

    def run(self, x: Tensor, emb: Tensor, text_emb: Tensor | None,
             prompt_index: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The U-Net itself: an answer like x and, with a separator, its claims (B, T, 1, H, W)."""
        T = x.shape[1]
        emb = F.silu(emb).repeat_interleave(T, 0)                                # (B T, E)
        h = F.pixel_unshuffle(x.flatten(0, 1), self.patch)
        h = self.conv_in(h.contiguous(memory_format=torch.channels_last))          # (B T, C, H, W)
        skips = []
        for level, shrink in zip(self.down, self.downsample, strict=True):
            h = level(h, emb, T, text_emb, prompt_index)
            skips.append(h)
            h = shrink(h)
        h = self.middle(h, emb, T, text_emb, prompt_index)
        for level in self.up:
            skip = skips.pop()
            if h.shape[-1] != skip.shape[-1]:
                h = F.interpolate(h, scale_factor=2)
            h = level(torch.cat([h, skip], 1), emb, T, text_emb, prompt_index)
        h = F.silu(self.norm(h))
        return tuple(None if head is None else
                     F.pixel_shuffle(head(h), self.patch).unflatten(0, (-1, T))
                     for head in (self.conv_out, self.alpha_head))

    def check_input(self, x: Tensor) -> None:
        if x.ndim != 5 or x.shape[2] != self.in_channels:
            raise ValueError(f"x must be (B, {self.in_channels}, H, W) "
                             f"or (B, T, {self.in_channels}, H, W), got {tuple(x.shape)}.")
        if x.shape[-1] % self.spatial_factor or x.shape[-2] % self.spatial_factor:
            raise ValueError(
                f"Frames of {x.shape[-2]}x{x.shape[-1]} cannot be halved often enough: "
                f"this network needs height and width to be multiples of {self.spatial_factor}.")


def check_settings(patch: int, blocks: int, emb_dim: int, classes: int | None) -> None:
    """Raises ValueError for sizes that no network can have."""
    if patch < 1 or blocks < 1:
        raise ValueError("A U-Net needs patch >= 1 (1 folds nothing) and blocks >= 1 per level, "
                         f"got {patch} and {blocks}.")
    if emb_dim < 2 or emb_dim % 2:
        raise ValueError("emb_dim must be even and at least 2, one sine and one cosine for each "
                         f"frequency, got {emb_dim}.")
    if classes is not None and classes < 0:
        raise ValueError(f"classes must not be negative, got {classes}; None means no condition.")
