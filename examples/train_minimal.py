"""A video diffusion model from nothing, in two minutes on two cores: python train_minimal.py

Moving-MNIST clips, a U-Net, the loss, AdamW, the DDIM sampler, a GIF. Two minutes give strokes that
move; digits need a longer training: python train_minimal.py OUT.gif STEPS.
"""
import sys

import torch

from minidiff import Denoiser, UNet, clipped, guided
from minidiff.data import digits, media
from minidiff.data.moving_mnist import batches
from minidiff.runtime.seeds import generator
from minidiff.samplers import ddim, last
from minidiff.schedules import Flow, timesteps

out = sys.argv[1] if len(sys.argv) > 1 else "train_minimal.gif"
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 450
torch.manual_seed(0)

# Data: endless batches of clips x0 (B, T, C, H, W) in [-1, 1] and the digits that they show
clips = batches(digits.built_in(n=min(20_000, 20 * steps)), batch=8, size=24, frames=6, sprite=14)

# Model: the network predicts x0 from x_t = (1 - t) x0 + t eps
model = Denoiser(UNet(channels=(32, 64), classes=10), Flow(), prediction="x0")
model.to(memory_format=torch.channels_last)                             # faster on CPUs
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.99))
lr = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)

# Training: mean squared error at random times, with one condition of ten dropped
for step, batch in zip(range(steps), clips):
    g = generator("noise", 0, step)
    t = torch.randn(8, generator=g).sigmoid()                           # (B,), more in the middle
    noise = torch.randn(batch.x.shape, generator=g)                     # (B, T, C, H, W)
    dropped = torch.rand(8, generator=g) < 0.1
    cond = batch.labels[:, 0].where(~dropped, torch.tensor(10))         # 10 is the null condition
    loss = model.loss(batch.x, cond, t, noise).mean()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    lr.step()
    if step % 50 == 0:
        print(f"step {step:4d}  loss {loss.item():.3f}", flush=True)

# Sampling: from noise to ten clips, one of each digit, pushed towards their digit
model.eval()
noise = torch.randn(10, 6, 1, 24, 24, generator=generator("sampling", 0))
denoise = clipped(guided(model, torch.arange(10), torch.tensor(10), scale=2.0))
x = last(ddim(denoise, Flow(), noise, timesteps(30, shift=3.0)))
media.save(media.to_unit(x), out)
print(f"Ten clips are in {out}.")
