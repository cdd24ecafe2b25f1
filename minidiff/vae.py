"""A video VAE: clips to a small latent grid and back, so that diffusion has less to do.

    z = vae.encode(x)       (B, T, 1, 64, 64) -> (B, T / 2, 1, 16, 16), 32 times fewer numbers
    x = vae.decode(z)

The encoder outputs the distribution of each latent, q(z | x) = N(mean, std^2); the decoder rebuilds
the clip from a draw. The loss is the error of that clip plus beta KL(q | N(0, 1)), which keeps the
latents close together and smooth. Time is halved by joining frames in pairs. A single image counts
as a pair of equal frames and is rebuilt as the mean of the pair.

One latent number cannot encode every stroke in its area. But a digit keeps its shape, so other
frames hold what one frame lacks. The refiner therefore looks at the whole clip before frames are
decoded. It can also learn to decode latents that are slightly wrong, like those of diffusion.

Papers: VAE (Kingma 2014), latent diffusion (Rombach 2022), pairs of frames as in CogVideoX's
causal VAE (Yang 2024), here without causality; a decoder that removes noise (HaCohen 2024).
"""
from itertools import pairwise, zip_longest

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from minidiff.layers import ResBlock, TemporalConv, channels_last, group_norm
from minidiff.runtime.tracing import values_can_be_checked
from minidiff.schedules import Flow, add_noise
from minidiff.unet import UNet


class SpatioTemporalResBlock(nn.Module):
    """A residual block and a temporal convolution: (B T, C, H, W) -> like x, T frames per clip."""

    def __init__(self, channels: int):
        super().__init__()
        self.block, self.temporal_conv = ResBlock(channels, channels), TemporalConv(channels)

    def forward(self, x: Tensor, T: int) -> Tensor:
        return self.temporal_conv(self.block(x), T)


class VAE(nn.Module):
    """`encode(x) -> z`, `decode(z) -> x`; x (B, C, H, W) or (B, T, C, H, W) in [-1, 1].

    channels: one width per resolution: 1 / patch of the frames', then half of the one before.
    bottleneck_channels, depth: the width and number of the blocks at the last resolution, after
    frames are joined.
    latent_channels: numbers at each place of the latent grid, which has the last resolution too.
    temporal_downsample: halve time too; a clip then has an even number of frames, or 1.
    refiner_channels: one width per resolution of a U-Net that sees all latents of a clip and how
    noisy they are, before frames are decoded; it starts as the identity. Empty: no such network.
    beta: the weight of the KL term, per latent number, against the mean error per pixel.
    Raises ValueError for inputs that do not fit, and says which would.
    """

    def __init__(self, channels: tuple[int, ...] = (64,), bottleneck_channels: int = 96,
                 latent_channels: int = 1, patch: int = 4, in_channels: int = 1,
                 temporal_downsample: bool = True, depth: int = 2,
                 refiner_channels: tuple[int, ...] = (), beta: float = 1e-4):
        super().__init__()
        fine, last, wide = channels[0], channels[-1], bottleneck_channels
        self.in_channels, self.patch, self.latent_channels = in_channels, patch, latent_channels
        self.spatial_factor = patch * 2 ** (len(channels) - 1)
        self.temporal_factor, self.beta = 2 if temporal_downsample else 1, beta
        self.conv_in = nn.Conv2d(in_channels * patch**2, fine, 3, padding=1)
        self.down = nn.ModuleList(map(SpatioTemporalResBlock, channels))
        self.downsample = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1)
                                        for a, b in pairwise(channels))
        self.temporal_down = nn.Conv2d(self.temporal_factor * last, wide, 1)
        self.encoder_bottleneck = nn.ModuleList(
            SpatioTemporalResBlock(wide) for _ in range(depth))
        self.to_latent = nn.Conv2d(wide, 2 * latent_channels, 1)

        self.from_latent = nn.Conv2d(latent_channels, wide, 3, padding=1)
        self.decoder_bottleneck = nn.ModuleList(
            SpatioTemporalResBlock(wide) for _ in range(depth))
        self.refiner = None
        if refiner_channels:
            self.refiner = UNet(refiner_channels, wide, patch=1, time="full", emb_dim=64)
        self.temporal_up = nn.Conv2d(wide, self.temporal_factor * last, 1)
        self.up = nn.ModuleList(map(SpatioTemporalResBlock, reversed(channels)))
        self.upsample = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1)
                                      for a, b in reversed([*pairwise(channels)]))
        self.final_block = SpatioTemporalResBlock(fine)
        self.norm = group_norm(fine)
        self.conv_out = nn.Conv2d(fine, in_channels * patch**2, 3, padding=1)
        self.register_buffer("latent_mean", torch.zeros(latent_channels))   # see fit_latent_stats
        self.register_buffer("latent_std", torch.ones(latent_channels))

    # Between pixels and latents

    def encode(self, x: Tensor) -> Tensor:
        """The most likely latents, (B, [T / 2,] latent_channels, h, w).

        Their variance is 1 after `fit_latent_stats`. An image gives the latents of an image
        (B, latent_channels, h, w), a clip of one frame a clip of one.
        """
        if x.ndim == 4:
            return self.encode(x[:, None])[:, 0]
        return self.normalise(self.posterior(x)[0])

    def decode(self, z: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """Clips (B, 2 T', C, H, W) in [-1, 1] from latents (B, T', latent_channels, h, w).

        Images likewise. t: one time or (B,), if the latents still have noise on them,
        (1 - t) z + t eps. Raises ValueError for latents of another shape.
        """
        if z.ndim == 4:
            return self.decode(z[:, None], t).mean(1)
        if z.ndim != 5 or z.shape[2] != self.latent_channels:
            c = self.latent_channels
            raise ValueError(f"Latents must be (B, {c}, h, w) or (B, T, {c}, h, w), "
                             f"got {tuple(z.shape)}.")
        return self.decode_unclipped(self.denormalise(z), t).clamp(-1, 1)

    def normalise(self, z: Tensor) -> Tensor:
        """From the posterior's latents to those of diffusion, which have unit variance."""
        return (z - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    def denormalise(self, z: Tensor) -> Tensor:
        """From latents of unit variance back to those of the posterior."""
        return z * self.latent_std[:, None, None] + self.latent_mean[:, None, None]

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape (T / 2, latent_channels, h, w) of the latents of a clip (T, C, H, W)."""
        T, _, H, W = shape
        f = self.spatial_factor
        return -(-T // self.temporal_factor), self.latent_channels, H // f, W // f

    @torch.no_grad()
    def fit_latent_stats(self, x: Tensor) -> None:
        """Measure mean and standard deviation of the latents of the clips x, per channel.

        From now on `encode` gives these latents mean 0 and variance 1.
        """
        mean, _ = self.posterior(x)
        self.latent_mean.copy_(mean.float().mean((0, 1, 3, 4)))
        self.latent_std.copy_(mean.float().transpose(0, 2).flatten(1).std(1).clamp(min=1e-6))

    def has_latent_stats(self) -> bool:
        """Whether `fit_latent_stats` was called, on this VAE or on the one of its weights."""
        return bool(self.latent_mean.any() or (self.latent_std != 1).any())

    def freeze_encoder(self) -> None:
        """From now on only the decoder learns: latents stay as they are, clips get better."""
        for part in (self.conv_in, self.down, self.downsample, self.temporal_down,
                     self.encoder_bottleneck, self.to_latent):
            part.requires_grad_(False)

    # The network

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z | x), each (B, T / 2, latent_channels, h, w).

        These latents are not normalised. Raises ValueError for clips that do not fit.
        """
        self.check_input(x)
        T = x.shape[1]
        if T % self.temporal_factor:                             # one frame: a pair of equal ones
            x = repeat(x, "b 1 c h w -> b two c h w", two=self.temporal_factor)
            T = self.temporal_factor
        h = F.pixel_unshuffle(x.flatten(0, 1).to(self.conv_in.weight.dtype), self.patch)
        h = self.conv_in(channels_last(h))                                       # (B T, C, H, W)
        for stage, downsample in zip_longest(self.down, self.downsample, fillvalue=nn.Identity()):
            h = downsample(stage(h, T))
        h = self.temporal_down(rearrange(h, "(n k) c h w -> n (k c) h w", k=self.temporal_factor))
        for stage in self.encoder_bottleneck:
            h = stage(h, T // self.temporal_factor)
        h = self.to_latent(h)
        mean, log_var = h.unflatten(0, (len(x), -1)).chunk(2, 2)
        return mean, log_var.clamp(-12, 6)

    def decode_unclipped(self, z: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """Clips from the posterior's latents, not clipped to [-1, 1]. t: as in `decode`."""
        B, T = len(z), z.shape[1] * self.temporal_factor
        z = z.to(self.from_latent.weight.dtype)
        h = self.from_latent(channels_last(z.flatten(0, 1)))
        for stage in self.decoder_bottleneck:
            h = stage(h, z.shape[1])
        if self.refiner is not None:
            t = torch.as_tensor(t, dtype=torch.float32, device=z.device).expand(B)
            h = h + self.refiner(h.unflatten(0, (B, -1)), t).flatten(0, 1)
        h = rearrange(self.temporal_up(h), "n (k c) h w -> (n k) c h w", k=self.temporal_factor)
        for stage, upsample in zip_longest(self.up, self.upsample):
            h = stage(h, T)
            h = upsample(F.interpolate(h, scale_factor=2)) if upsample else h
        h = self.final_block(h, T)
        h = F.pixel_shuffle(self.conv_out(F.silu(self.norm(h))), self.patch)
        return h.unflatten(0, (B, T))

    def check_input(self, x: Tensor) -> None:
        """Raises ValueError for a shape that the VAE cannot take."""
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
        """The negative evidence lower bound, up to a scale, one per sample: (B,).

        Mean absolute error of pixels and of the differences between neighbours (edges count
        twice), plus beta times the KL divergence per latent number (Kingma 2014 eq. 10).
        noise: standard normal, like the latents; the draw from the posterior is made of it. t (B,):
        the times to which the normalised latents are then noised, none unless given. Raises
        ValueError for a t before `fit_latent_stats`: the latents then have no unit.
        """
        known = not values_can_be_checked(self.latent_mean) or self.has_latent_stats()
        if t is not None and not known:
            raise ValueError("Latents can be noised to a time t only when their mean and standard "
                             "deviation are known: call fit_latent_stats first.")
        mean, log_var = self.posterior(x)
        if noise is None:
            noise = torch.randn(mean.shape, dtype=torch.float32, device=mean.device)
        noise = noise.view_as(mean)
        z = mean + (log_var / 2).exp() * noise
        if t is not None:
            z = self.denormalise(add_noise(Flow(), self.normalise(z), noise, t))
        error = self.decode_unclipped(z, 0.0 if t is None else t) - x
        kl = (mean.square() + log_var.exp() - log_var - 1) / 2
        terms = (error, error.diff(dim=-1), error.diff(dim=-2))
        return sum(e.abs().flatten(1).mean(1) for e in terms) + self.beta * kl.flatten(1).mean(1)
