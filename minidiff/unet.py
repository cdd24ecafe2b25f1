"""A U-Net for images and videos alike.

Frames are folded into the batch, so every 2-D layer sees (B T, C, H, W). Only the inserted modules
connect frames: a temporal convolution over three frames (motion is local in time) and temporal
attention. An image is a video of one frame.

Papers: DDPM's U-Net (Ho 2020), Video Diffusion Models (Ho 2022), Stable Video Diffusion's temporal
layers (Blattmann 2023), one time per frame (Diffusion Forcing, Chen 2024).
"""
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minidiff.layers import (
    Attention,
    CrossAttention,
    ResBlock,
    TemporalConv,
    TextEncoder,
    TimeEmbedding,
    add_per_sample,
    channels_last,
    check_condition,
    embed_time_and_cond,
    group_norm,
    position_embedding,
    times_per_sample,
    zero_module,
)

TIME_MODES = ("none", "factorised", "full", "causal")
TEMPORAL_LAYERS = ("conv", "attention")                                   # what connects frames


class SpatioTemporalMixer(nn.Module):
    """What follows a residual block: a temporal convolution and, `with_attention`, attention.

    Attention is over space, over time and, if there is a text, over its words (B, L, text_dim).
    x (B T, C, H, W) -> like x: the T frames of each video, folded. mode "none": frames are apart.
    "factorised": each place sees the same place in all frames. "causal": in this frame and earlier
    ones. "full": each place of each frame sees all places of all frames. temporal_layers: "conv",
    "attention" or both, what connects frames. with_temporal_attention False: attention sees one
    frame at a time.
    """

    def __init__(self, channels: int, mode: str, with_attention: bool, text_dim: int | None = None,
                 temporal_layers: tuple[str, ...] = TEMPORAL_LAYERS):
        super().__init__()
        layers = () if mode == "none" else temporal_layers
        in_space, through_time = with_attention, with_attention and "attention" in layers
        if through_time and mode == "full":                       # it sees all places anyway
            in_space = False
        self.mode = mode
        self.temporal_conv = (TemporalConv(channels, causal=mode == "causal")
                              if "conv" in layers else None)
        self.spatial_attention = Attention(channels) if in_space else None
        self.temporal_attention = Attention(channels) if through_time else None
        self.cross_attention = (CrossAttention(channels, 32, text_dim)
                                if with_attention and text_dim else None)

    def forward(self, x: Tensor, T: int, text_emb: Tensor | None = None,
                with_temporal_attention: bool = True) -> Tensor:
        C, H, W = x.shape[1:]
        if self.temporal_conv is not None:
            x = self.temporal_conv(x, T)
        if self.spatial_attention is not None:
            y = rearrange(x, "n c h w -> n (h w) c")
            y = self.spatial_attention(y, position_embedding((H, W), C, x.device))
            x = rearrange(y, "n (h w) c -> n c h w", h=H)
        if self.temporal_attention is not None:
            x = self.attend_through_time(x, T if with_temporal_attention else 1)
        if self.cross_attention is not None:
            y = rearrange(x, "(b t) c h w -> b t (h w) c", t=T)
            x = rearrange(self.cross_attention(y, text_emb), "b t (h w) c -> (b t) c h w", h=H)
        return x

    def attend_through_time(self, x: Tensor, T: int) -> Tensor:
        """Temporal attention among T frames at a time: (B T, C, H, W) -> like x."""
        C, H, W = x.shape[1:]
        if self.mode == "full":
            y = rearrange(x, "(b t) c h w -> b (t h w) c", t=T)
            y = self.temporal_attention(y, position_embedding((T, H, W), C, x.device))
            return rearrange(y, "b (t h w) c -> (b t) c h w", t=T, h=H)
        past = None
        if self.mode == "causal":
            past = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()
        y = rearrange(x, "(b t) c h w -> b (h w) t c", t=T)
        y = self.temporal_attention(y, position_embedding((T,), C, x.device), past)
        return rearrange(y, "b (h w) t c -> (b t) c h w", h=H)


class Stage(nn.Module):
    """Residual blocks at one resolution, each followed by a mixer.

    x (B T, C, H, W), emb (B T, E) -> (B T, C', H, W). settings: the mixers' own. context: what the
    mixers get in each call besides x and T.
    """

    def __init__(self, c_in: int, c_out: int, emb_dim: int, blocks: int,
                 mixer: type[nn.Module] = SpatioTemporalMixer, **settings):
        super().__init__()
        self.blocks = nn.ModuleList(
            ResBlock(c_out if i else c_in, c_out, emb_dim) for i in range(blocks))
        self.mixers = nn.ModuleList(mixer(c_out, **settings) for _ in range(blocks))

    def forward(self, x: Tensor, emb: Tensor, T: int, **context) -> Tensor:
        for block, mixer in zip(self.blocks, self.mixers, strict=True):
            x = mixer(block(x, emb), T, **context)
        return x


class UNet(nn.Module):
    """`net(x, t, cond) -> like x`, x (B, C, H, W) or (B, T, C, H, W).

    t: in [0, 1], one time for all (), one per sample (B,) or one per frame (B, T).
    cond: class ids (B,), token ids (B, L), or None, the null condition.
    channels: one width per resolution, fine to coarse, each a multiple of 32.
    patch: patch x patch pixels are folded into channels first (space to depth), which makes the
    finest resolution cheaper.
    attention_levels: how many of the coarsest resolutions have attention.
    time: "none", "factorised", "full" or "causal" (see `SpatioTemporalMixer`).
    temporal_layers: "conv", "attention" or both, the modules that then connect frames.
    classes: number of class ids; the id `classes` is the null condition.
    vocab_size: number of token ids; 0 is no word. text_dim: the width of a word's vector. The mean
    over the words scales and shifts every residual block, as a class does; attention, if there is
    any, reads them one by one.
    out_channels: channels of the output, as many as in_channels unless given.
    forward's with_temporal_attention: see `layers.without_temporal_attention`; more: what the
    features of a subclass take besides.
    Raises ValueError for settings or inputs that do not fit, and says which sizes would.
    """

    mixer = SpatioTemporalMixer                              # a subclass may have another module

    def __init__(self, channels: tuple[int, ...] = (64, 96), in_channels: int = 1, patch: int = 2,
                 blocks: int = 1, attention_levels: int = 1, time: str = "factorised",
                 classes: int | None = None, emb_dim: int = 128, vocab_size: int | None = None,
                 text_dim: int = 128, temporal_layers: tuple[str, ...] = TEMPORAL_LAYERS,
                 out_channels: int | None = None):
        super().__init__()
        check_settings(channels, patch, blocks, time, temporal_layers, emb_dim, classes, vocab_size)
        self.patch, self.in_channels = patch, in_channels
        self.classes, self.vocab_size = classes, vocab_size
        self.spatial_factor = patch * 2 ** (len(channels) - 1)
        out_channels = in_channels if out_channels is None else out_channels

        self.time_embedding = TimeEmbedding(emb_dim)
        self.class_embedding = nn.Embedding(classes + 1, emb_dim) if classes else None
        self.text_encoder = TextEncoder(vocab_size, text_dim) if vocab_size else None
        self.text_proj = nn.Linear(text_dim, emb_dim) if vocab_size else None
        self.conv_in = nn.Conv2d(in_channels * patch**2, channels[0], 3, padding=1)
        self.make_stages(channels, blocks, attention_levels, emb_dim=emb_dim, mode=time,
                         temporal_layers=tuple(temporal_layers), mixer=self.mixer,
                         text_dim=text_dim if vocab_size else None)
        self.norm = group_norm(channels[0])
        self.conv_out = zero_module(nn.Conv2d(channels[0], out_channels * patch**2, 3, padding=1))

    def make_stages(self, channels: tuple[int, ...], blocks: int, attention_levels: int,
                    **settings) -> None:
        """The stages on the way down, in the middle and on the way up."""
        coarsest = len(channels) - 1
        attends = [i > coarsest - attention_levels for i in range(len(channels))]
        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        for i, c in enumerate(channels):
            self.down.append(Stage(channels[max(i - 1, 0)], c, blocks=blocks,
                                   with_attention=attends[i], **settings))
            self.downsample.append(nn.Conv2d(c, c, 3, stride=2, padding=1) if i < coarsest
                                   else nn.Identity())
        self.middle = Stage(channels[-1], channels[-1], blocks=1,
                            with_attention=attention_levels > 0, **settings)
        self.up = nn.ModuleList()
        for i, c in reversed(list(enumerate(channels))):
            below = channels[min(i + 1, coarsest)]
            self.up.append(Stage(below + c, c, blocks=blocks, with_attention=attends[i],
                                 **settings))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None,
                with_temporal_attention: bool = True, **more) -> Tensor:
        if x.ndim == 4:                                        # an image is a video of one frame
            return self(x[:, None], t, cond, with_temporal_attention, **more)[:, 0]
        self.check_input(x)
        check_condition(cond, len(x), self.classes, self.vocab_size)
        emb, words = self.embed_condition(times_per_sample(t, x), cond)
        h = self.features(x, emb, text_emb=words, with_temporal_attention=with_temporal_attention,
                          **more)
        return self.to_frames(self.conv_out(h), x)

    def embed_condition(self, t: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Time and condition as one vector (B, E) or (B, T, E), and the words (B, L, W) or None."""
        emb, words = embed_time_and_cond(self, t, cond)
        if words is None:
            return emb, None
        return add_per_sample(emb, self.text_proj(words.mean(1))), words

    def features(self, x: Tensor, emb: Tensor, **context) -> Tensor:
        """The U-Net without its last convolution: (B T, channels[0], H / patch, W / patch).

        emb (B, E) or, one per frame, (B, T, E). context: another input of all mixers.
        """
        T, emb = x.shape[1], per_frame(emb, x.shape[1])
        h, skips = walk_down(self, self.conv_in(self.fold(x)), emb, T, **context)
        return self.walk_up(h, skips, emb, T, **context)

    def fold(self, x: Tensor) -> Tensor:
        """Clips (B, T, C, H, W) as folded frames: (B T, C patch^2, H / patch, W / patch)."""
        return channels_last(F.pixel_unshuffle(x.flatten(0, 1).to(self.conv_in.weight.dtype),
                                               self.patch))

    def walk_up(self, h: Tensor, skips: list[Tensor], emb: Tensor, T: int, **context) -> Tensor:
        """The way up, with the skips from fine to coarse: (B T, channels[0], H, W)."""
        for stage, skip in zip(self.up, reversed(skips), strict=True):
            if h.shape[-1] != skip.shape[-1]:
                h = F.interpolate(h, scale_factor=2)
            h = stage(torch.cat([h, skip], 1), emb, T, **context)
        return F.silu(self.norm(h))

    def to_frames(self, h: Tensor, x: Tensor) -> Tensor:
        """Folded outputs (B T, C patch^2, ...) as clips (B, T, C, H, W) with the dtype of x."""
        return F.pixel_shuffle(h, self.patch).unflatten(0, (-1, x.shape[1])).to(x.dtype)

    def check_input(self, x: Tensor) -> None:
        """Raises ValueError for a shape that the network cannot take."""
        if x.ndim != 5 or x.shape[2] != self.in_channels:
            raise ValueError(f"x must be (B, {self.in_channels}, H, W) "
                             f"or (B, T, {self.in_channels}, H, W), got {tuple(x.shape)}.")
        if x.shape[-1] % self.spatial_factor or x.shape[-2] % self.spatial_factor:
            raise ValueError(
                f"Frames of {x.shape[-2]}x{x.shape[-1]} cannot be halved often enough: "
                f"this network needs height and width to be multiples of {self.spatial_factor}.")


def per_frame(emb: Tensor, T: int) -> Tensor:
    """Embeddings (B, E), or (B, T, E), as residual blocks take them: activated, (B T, E)."""
    emb = F.silu(emb)
    return emb.repeat_interleave(T, 0) if emb.ndim == 2 else emb.flatten(0, 1)


def walk_down(net: nn.Module, h: Tensor, emb: Tensor, T: int,
              **context) -> tuple[Tensor, list[Tensor]]:
    """The way down and the middle: features (B T, C, H, W), and one skip for each level.

    net: a U-Net, or another module with its `down`, `downsample` and `middle`.
    """
    skips = []
    for stage, downsample in zip(net.down, net.downsample, strict=True):
        h = stage(h, emb, T, **context)
        skips.append(h)
        h = downsample(h)
    return net.middle(h, emb, T, **context), skips


def check_settings(channels: tuple[int, ...], patch: int, blocks: int, time: str,
                   temporal_layers: tuple[str, ...], emb_dim: int, classes: int | None,
                   vocab_size: int | None) -> None:
    """Raises ValueError for settings that no U-Net can have."""
    if time not in TIME_MODES:
        raise ValueError(f"Unknown time mode {time!r}; choose one of {', '.join(TIME_MODES)}.")
    if unknown := set(temporal_layers) - set(TEMPORAL_LAYERS):
        raise ValueError("temporal_layers holds conv, attention or both, "
                         f"not {', '.join(unknown)}.")
    if not channels or any(c % 32 for c in channels):
        raise ValueError("channels must be multiples of 32, one per level, "
                         f"got {tuple(channels)}.")
    if patch < 1 or blocks < 1:
        raise ValueError("A U-Net needs patch >= 1 (1 folds nothing) and blocks >= 1 per level, "
                         f"got {patch} and {blocks}.")
    if emb_dim < 2 or emb_dim % 2:
        raise ValueError("emb_dim must be even and at least 2, one sine and one cosine for each "
                         f"frequency, got {emb_dim}.")
    if classes is not None and classes < 0:
        raise ValueError(f"classes must not be negative, got {classes}; None means no condition.")
    if classes and vocab_size:
        raise ValueError("A network takes classes or words, not both.")
