"""Clips of one's own, from a folder to a sampled GIF: python own_data.py FOLDER

FOLDER is a folder of GIFs, in one subfolder for each class, or an .npy file of clips
(N, T, C, H, W) in [0, 1] beside which x-labels.npy may hold the class ids. Without FOLDER, moving
discs and squares are drawn first. For a quick look: python own_data.py FOLDER OUT.gif STEPS.
"""
import sys
from pathlib import Path

import torch

from minidiff.data import media
from minidiff.data.batches import load_clips
from minidiff.pipeline import load
from minidiff.recipes import Recipe
from minidiff.runtime.seeds import generator
from minidiff.training.training_run import TrainingRun


def draw_shapes(folder: Path, n: int = 48) -> None:
    """n GIFs of discs and n of squares, 8 frames of 24x32 pixels, each crossing the frame."""
    g = generator("shapes", 0)
    y, x = torch.arange(24)[:, None], torch.arange(32)
    for i in range(2 * n):
        top, left, size = (torch.rand(3, generator=g) * torch.tensor([8, 12, 2])).tolist()
        frames = []
        for t in range(8):
            dy, dx = (y - top - t - 6).abs(), (x - left - t - 6).abs()
            disc, square = (dy**2 + dx**2) ** 0.5, torch.maximum(dy, dx).expand(24, 32)
            frames.append((4.5 + size - (square if i % 2 else disc)).clamp(0, 1))
        clip = torch.stack(frames)[None, :, None]                          # (1, T, 1, H, W)
        media.save(clip, folder / ("square" if i % 2 else "disc") / f"{i}.gif", scale=1)


def make_recipe(dataset, steps: int) -> Recipe:
    """A small U-Net for clips of the dataset's shape, told their class if they have one."""
    frames, channels, height, width = dataset.shape
    net = dict(channels=[32, 64], patch=4, in_channels=channels, classes=dataset.num_classes)
    return Recipe("own", dict(network="unet", net=net, schedule="flow", prediction="flow"),
                  dict(dataset="clips", size=[height, width], frames=frames,
                       **({"class_names": dataset.class_names} if dataset.class_names else {})),
                  dict(batch=16, lr=3e-3, ema=0.99, times="logit-normal", p_drop=0.1, steps=steps))


def main(source: Path, out: Path, steps: int) -> None:
    """Train on the source and write one GIF with a row of samples."""
    if not source.exists():
        draw_shapes(source)
    recipe = make_recipe(load_clips(source), steps)
    folder = out.with_name(f"{out.stem}-training")
    run = TrainingRun(folder, recipe, str(source.resolve()), steps=steps)
    for record in run.steps():
        if record.step % 50 == 0:
            print(f"step {record.step}  loss {record.loss:.3f}", flush=True)
    run.close()
    model = load(folder / "model.safetensors")
    video = model(n=8, guidance=2.0 if recipe.classes else None)
    video.save(out)
    print(f"{video} in {out}")


if __name__ == "__main__":
    arguments = sys.argv[1:] + ["shapes", "own_data.gif", "400"][len(sys.argv) - 1:]
    main(Path(arguments[0]), Path(arguments[1]), int(arguments[2]))
