"""diffusers: its video U-Net and its video transformer, with about as many parameters as mmnist32.

They are trained as in its examples (AdamW, DDPM's noise, squared error), and a label is one word.
A call is timed without guidance, which is in their favour. Whole clips are made as in its
pipelines, by DDIM with 50 calls.
"""
from contextlib import suppress

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.speed.peers import Implementation
from benchmarks.speed.peers.common import autocast, make_training_step, to_channels_last
from minidiff.data.torchvision_compat import import_torchvision

with suppress(ImportError):                        # diffusers imports it if it is installed
    import_torchvision()
from diffusers import DDIMScheduler, DDPMScheduler, LatteTransformer3DModel, UNet3DConditionModel

LABEL_DIM = 64                                          # the width of a word
SAMPLING_CALLS = 50                                     # the default of its pipelines


def unet(size: int, frames: int, optimisations: tuple[str, ...]) -> Implementation:
    """Three resolutions as mmnist32 has, one block each."""
    return wrap_network(size, frames, optimisations, UNet3DConditionModel(
        in_channels=1, out_channels=1, block_out_channels=(32, 64, 96), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=LABEL_DIM, attention_head_dim=8))


def latte(size: int, frames: int, optimisations: tuple[str, ...]) -> Implementation:
    """Latte's own settings, except width (160) and depth (four pairs of blocks)."""
    return wrap_network(size, frames, optimisations, LatteTransformer3DModel(
        in_channels=1, out_channels=1, num_attention_heads=5, attention_head_dim=32, num_layers=4,
        cross_attention_dim=160, attention_bias=True, patch_size=2, sample_size=size,
        activation_fn="gelu-approximate", norm_type="ada_norm_single", video_length=frames,
        norm_elementwise_affine=False, num_embeds_ada_norm=1000, caption_channels=LABEL_DIM))


def wrap_network(size: int, frames: int, optimisations: tuple[str, ...],
                 network: nn.Module) -> Implementation:
    """The implementation around one of its networks, with a learnt word for each label."""
    both = nn.ModuleDict(dict(network=to_channels_last(network, optimisations),
                              label=nn.Embedding(10, LABEL_DIM)))
    noising = DDPMScheduler(1000)

    def guess(x, t, labels):
        with autocast(optimisations):
            words = both.label(labels)[:, None]                                  # (B, 1, LABEL_DIM)
            return network(x, timestep=t, encoder_hidden_states=words).sample.float()

    def loss(clips, labels):
        x0 = clips.transpose(1, 2)
        t, noise = torch.randint(1000, (len(x0),)), torch.randn_like(x0)
        return F.mse_loss(guess(noising.add_noise(x0, noise, t), t, labels), noise)

    def training_step(clips, labels):
        optimizer = torch.optim.AdamW(both.parameters(), lr=1e-4, betas=(0.95, 0.999),
                                      weight_decay=1e-6)
        return make_training_step(both, optimizer, lambda: loss(clips, labels), clip=1.0)

    def sampling_step(labels):
        x, t = torch.randn(len(labels), 1, frames, size, size), torch.tensor(500)

        @torch.no_grad()
        def step():
            return noising.step(guess(x, t.expand(len(x)), labels), t, x).prev_sample
        return step

    @torch.no_grad()
    def generate(labels):
        x = torch.randn(len(labels), 1, frames, size, size)
        ddim = DDIMScheduler.from_config(noising.config)
        ddim.set_timesteps(SAMPLING_CALLS)
        for t in ddim.timesteps:
            x = ddim.step(guess(x, t.expand(len(x)), labels), t, x).prev_sample
        return (x.transpose(1, 2).clamp(-1, 1) + 1) / 2
    return Implementation(both, loss, training_step, sampling_step, generate, len(noising))
