"""A video VAE: clips to a small latent grid and back, so that diffusion has less to do.

    z = vae.encode(x)       (B, T, 1, 64, 64) -> (B, T / 2, 1, 16, 16), 32 times fewer numbers
    x = vae.decode(z)

The encoder says where each latent lies, q(z | x) = N(mean, std^2); the decoder rebuilds the clip
from a draw. The loss is the error of that clip plus beta KL(q | N(0, 1)), which keeps the latents
close together and smooth. Time is halved by joining frames in pairs. A single image counts as a
pair of equal frames, and is rebuilt as the mean of the pair.

A latent is too few numbers for all strokes that cross its place. But a digit keeps its shape: what
one frame lacks others have. So the decoder may look at the whole clip, and may learn to draw from
latents that are a little wrong, as those that diffusion makes are.

Papers: VAE (Kingma 2014), latent diffusion (Rombach 2022), pairs of frames as in CogVideoX's
causal VAE (Yang 2024), here without causality; a decoder that removes noise (HaCohen 2024).
"""
from itertools import pairwise, zip_longest

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from minidiff.layers import ResBlock, TemporalConv, group_norm
from minidiff.schedules import Flow, add_noise
from minidiff.unet import UNet


class SpatioTemporalResBlock(nn.Module):
    """A residual block and a temporal convolution: (B T, C, H, W) -> like it, T frames a clip."""

    def __init__(self, channels: int):
        super().__init__()
        self.block, self.temporal_conv = ResBlock(channels, channels), TemporalConv(channels)

    def forward(self, x: Tensor, T: int) -> Tensor:
        return self.temporal_conv(self.block(x), T)


class VAE(nn.Module):
    """`encode(x) -> z`, `decode(z) -> x`; x (B, C, H, W) or (B, T, C, H, W) in [-1, 1].

    channels: one width per resolution: 1 / patch of the frames', then half of the one before.
    deep: the width where frames are joined, at the last resolution, and `depth` stages are passed.
    latent: numbers at each place of the latent grid, which has the last resolution, too.
    pairs: halve time, too; a clip then has an even number of frames, or 1.
    refine: one width per resolution of a U-Net that looks at all places of all latents before
    frames are drawn, and knows how noisy they are; none, no such network. It starts as the
    identity.
    beta: the weight of the KL term, per latent number, against the mean error per pixel.
    Raises ValueError for inputs that do not fit, saying which would.
    """

    def __init__(self, channels: tuple[int, ...] = (64,), bottleneck_channels: int = 96, latent_channels: int = 1,
                 patch: int = 4, in_channels: int = 1, temporal_downsample: bool = True, depth: int = 2,
                 refiner_channels: tuple[int, ...] = (), beta: float = 1e-4):
        super().__init__()
        fine, last = channels[0], channels[-1]
        self.patch, self.spatial_factor, self.latent_channels = patch, patch * 2 ** (len(channels) - 1), latent_channels
        self.in_channels, self.temporal_factor, self.beta = in_channels, 2 if temporal_downsample else 1, beta
        self.conv_in = nn.Conv2d(in_channels * patch**2, fine, 3, padding=1)
        self.down = nn.ModuleList(map(SpatioTemporalResBlock, channels))
        self.downsample = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1)
                                    for a, b in pairwise(channels))
        self.temporal_down = nn.Conv2d(self.temporal_factor * last, bottleneck_channels, 1)
        self.encoder_bottleneck = nn.ModuleList(SpatioTemporalResBlock(bottleneck_channels) for _ in range(depth))
        self.to_latent = nn.Conv2d(bottleneck_channels, 2 * latent_channels, 1)

        self.from_latent = nn.Conv2d(latent_channels, bottleneck_channels, 3, padding=1)
        self.decoder_bottleneck = nn.ModuleList(SpatioTemporalResBlock(bottleneck_channels) for _ in range(depth))
        self.refiner = UNet(refiner_channels, bottleneck_channels, patch=1, time="full", emb_dim=64) if refiner_channels else None
        self.temporal_up = nn.Conv2d(bottleneck_channels, self.temporal_factor * last, 1)
        self.up = nn.ModuleList(map(SpatioTemporalResBlock, reversed(channels)))
        self.upsample = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1)
                                  for a, b in reversed([*pairwise(channels)]))
        self.final_block = SpatioTemporalResBlock(fine)
        self.norm = group_norm(fine)
        self.conv_out = nn.Conv2d(fine, in_channels * patch**2, 3, padding=1)
        self.register_buffer("latent_mean", torch.zeros(latent_channels))      # of the latents, by `calibrate`
        self.register_buffer("latent_std", torch.ones(latent_channels))

    # Between pixels and latents

    def encode(self, x: Tensor) -> Tensor:
        """The most likely latents, of unit variance after `calibrate`: (B, [T / 2,] latent, h, w).

        An image gives an image's latents (B, latent, h, w), a clip of one frame a clip of one.
        """
        if x.ndim == 4:
            return self.encode(x[:, None])[:, 0]
        return self.normalise(self.posterior(x)[0])

    def decode(self, z: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """Clips (B, 2 T', C, H, W) in [-1, 1] from latents (B, T', latent, h, w); images likewise.

        t: the time of latents that still have noise on them, (1 - t) z + t eps: one or (B,).
        Raises ValueError for latents of another shape.
        """
        if z.ndim == 4:
            return self.decode(z[:, None], t).mean(1)
        if z.ndim != 5 or z.shape[2] != self.latent_channels:
            raise ValueError(f"Latents must be (B, {self.latent_channels}, h, w) or (B, T, {self.latent_channels}, "
                             f"h, w), got {tuple(z.shape)}.")
        return self.decode_unclipped(self.denormalise(z), t).clamp(-1, 1)

    def normalise(self, z: Tensor) -> Tensor:
        """Latents as diffusion has them, of unit variance, from those that the posterior has."""
        return (z - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    def denormalise(self, z: Tensor) -> Tensor:
        """Latents as the posterior has them, from those of unit variance."""
        return z * self.latent_std[:, None, None] + self.latent_mean[:, None, None]

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """What a clip of shape (T, C, H, W) becomes: (T / 2, latent, h, w)."""
        T, _, H, W = shape
        return -(-T // self.temporal_factor), self.latent_channels, H // self.spatial_factor, W // self.spatial_factor

    @torch.no_grad()
    def fit_latent_stats(self, x: Tensor) -> None:
        """Give the latents of the clips x mean 0 and variance 1 in every channel, from now on."""
        mean, _ = self.posterior(x)
        self.latent_mean.copy_(mean.float().mean((0, 1, 3, 4)))
        self.latent_std.copy_(mean.float().transpose(0, 2).flatten(1).std(1).clamp(min=1e-6))

    def freeze_encoder(self) -> None:
        """From now on only the decoder learns: latents stay what they are, clips get better."""
        for part in (self.conv_in, self.down, self.downsample, self.temporal_down, self.encoder_bottleneck, self.to_latent):
            part.requires_grad_(False)

    # The network

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z | x), each (B, T / 2, latent, h, w), not calibrated."""
        self.check_input(x)
        T = x.shape[1]
        if T % self.temporal_factor:                                              # 1: a pair of equal frames
            x = repeat(x, "b 1 c h w -> b two c h w", two=self.temporal_factor)
            T = self.temporal_factor
        h = F.pixel_unshuffle(x.flatten(0, 1), self.patch)
        h = self.conv_in(h.contiguous(memory_format=torch.channels_last))          # (B T, C, H, W)
        for stage, shrink in zip_longest(self.down, self.downsample, fillvalue=nn.Identity()):
            h = shrink(stage(h, T))
        h = self.temporal_down(rearrange(h, "(n k) c h w -> n (k c) h w", k=self.temporal_factor))
        for stage in self.encoder_bottleneck:
            h = stage(h, T // self.temporal_factor)
        h = self.to_latent(h)
        mean, log_var = h.unflatten(0, (len(x), -1)).chunk(2, 2)
        return mean, log_var.clamp(-12, 6)

    def decode_unclipped(self, z: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """Clips from latents as the posterior has them, not clipped. t: as in `decode`."""
        B, T = len(z), z.shape[1] * self.temporal_factor
        h = self.from_latent(z.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        for stage in self.decoder_bottleneck:
            h = stage(h, z.shape[1])
        if self.refiner is not None:
            t = torch.as_tensor(t, dtype=z.dtype, device=z.device).expand(B)
            h = h + self.refiner(h.unflatten(0, (B, -1)), t).flatten(0, 1)
        h = rearrange(self.temporal_up(h), "n (k c) h w -> (n k) c h w", k=self.temporal_factor)
        for stage, grow in zip_longest(self.up, self.upsample):
            h = stage(h, T)
            h = grow(F.interpolate(h, scale_factor=2)) if grow else h
        h = self.final_block(h, T)
        h = F.pixel_shuffle(self.conv_out(F.silu(self.norm(h))), self.patch)
        return h.unflatten(0, (B, T))

    def check_input(self, x: Tensor) -> None:
        if x.ndim != 5 or x.shape[2] != self.in_channels:
            raise ValueError(f"x must be (B, {self.in_channels}, H, W) or "
                             f"(B, T, {self.in_channels}, H, W), got {tuple(x.shape)}.")
        T, _, H, W = x.shape[1:]
        multiple = self.spatial_factor * (self.refiner.spatial_factor if self.refiner else 1)
        if H % multiple or W % multiple:
            raise ValueError(f"Frames of {H}x{W} do not fit this VAE: height and width must be "
                             f"multiples of {multiple}.")
        if T > 1 and T % self.temporal_factor:
            raise ValueError(f"Clips of {T} frames cannot be halved in time: give an even number, "
                             "or single images.")

    # Training

    def loss(self, x: Tensor, noise: Tensor | None = None, t: Tensor | None = None) -> Tensor:
        """The negative evidence bound, up to a scale, one per sample: (B,).

        Mean absolute error of pixels and of the differences between neighbours (edges count
        twice), plus beta times the KL divergence per latent number (Kingma 2014 eq. 10).
        noise: what the posterior's draw is made from, like the latents. t: (B,), the times to which
        it then noises the calibrated latents, each clip's its own; 0 unless given.
        """
        mean, log_var = self.posterior(x)
        noise = torch.randn_like(mean) if noise is None else noise.view_as(mean)
        z = mean + (log_var / 2).exp() * noise
        if t is not None:
            z = self.denormalise(add_noise(Flow(), self.normalise(z), noise, t))
        error = self.decode_unclipped(z, 0.0 if t is None else t) - x
        kl = (mean.square() + log_var.exp() - log_var - 1) / 2
        terms = (error, error.diff(dim=-1), error.diff(dim=-2))
        return sum(e.abs().flatten(1).mean(1) for e in terms) + self.beta * kl.flatten(1).mean(1)
