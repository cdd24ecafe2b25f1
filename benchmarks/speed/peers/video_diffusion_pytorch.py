"""video-diffusion-pytorch: Unet3D and GaussianDiffusion, trained as its Trainer does.

Adam with learning rate 1e-4, no label, no guidance and no average of weights, which is in its
favour. Whole clips are made by ddpm with 50 calls; its own 1,000 would take hours.
"""
import torch

from benchmarks.speed.peers import Implementation
from benchmarks.speed.peers.common import autocast, make_training_step, to_channels_last
from minidiff.data.torchvision_compat import import_torchvision
from minidiff.samplers import ddpm, last
from minidiff.schedules import Discrete, coefficients, timesteps

import_torchvision()                                                # before its own import of it
from video_diffusion_pytorch import GaussianDiffusion, Unet3D  # noqa: E402

SAMPLING_CALLS = 50                                                          # for whole clips


def unet(size: int, frames: int, optimisations: tuple[str, ...], dim: int) -> Implementation:
    """dim: 64 is its README's; 16 has as many parameters as mmnist32."""
    network = to_channels_last(Unet3D(dim=dim, channels=1), optimisations)
    diffusion = GaussianDiffusion(network, image_size=size, num_frames=frames, channels=1)

    def loss(clips, _):
        with autocast(optimisations):
            return diffusion((clips.transpose(1, 2) + 1) / 2)

    def training_step(clips, labels):
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
        return make_training_step(network, optimizer, lambda: loss(clips, labels))

    def sampling_step(labels):
        x = torch.randn(len(labels), 1, frames, size, size)
        t = torch.full((len(labels),), 500)

        def step():
            with autocast(optimisations):
                return diffusion.p_sample(x, t)
        return step

    schedule = Discrete(diffusion.betas)

    def guess(x, t):
        alpha, sigma = coefficients(schedule, t, x)
        row = (t * diffusion.num_timesteps).round().long() - 1
        with autocast(optimisations):
            eps = network(x.transpose(1, 2), row.expand(len(x))).transpose(1, 2).float()
        return ((x - sigma * eps) / alpha).clamp(-1, 1)

    @torch.no_grad()
    def generate(labels):
        noise = torch.randn(len(labels), frames, 1, size, size)
        return (last(ddpm(guess, schedule, noise, timesteps(SAMPLING_CALLS))) + 1) / 2
    return Implementation(network, loss, training_step, sampling_step, generate,
                          diffusion.num_timesteps, conditional=False)
