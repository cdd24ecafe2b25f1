"""The picture of twenty prompts in the README: one clip for each prompt, all with one seed.

    python -m benchmarks.release.prompt_gallery [--seed 0] [--out FILE.gif]

No clip is picked: each is the first that the model makes of its prompt.
"""
import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

import minidiff
from minidiff.runtime.files import atomic_write

PROMPTS = (
    "a 3 moving left and a 7 moving up", "a 0 moving right", "digit five goes up left",
    "a 4 drifting slowly down", "a 9 moving quickly right", "a 1 moving down and a 2 moving up",
    "the 8 flying up right", "something moving left", "a 6 going down left and a 6 going up right",
    "a 7", "a 2 moving left and something moving right", "a nine moving slowly up",
    "a 5 moving down right and a 0 moving down left", "a 3 moving quickly down",
    "two moving up and four moving up", "a 8 moving left and a 1 moving left",
    "digit zero goes down right", "a 4 moving right and a 9 moving left",
    "a 6 moving up", "a 2 moving slowly right and a 3 moving quickly left")
TILE_SIZE, CAPTION_HEIGHT, COLUMNS = 160, 34, 5


def tile(frame: np.ndarray, words: str) -> Image.Image:
    """One frame, enlarged, with its prompt in two lines below it."""
    out = Image.new("L", (TILE_SIZE, TILE_SIZE + CAPTION_HEIGHT), 255)
    out.paste(Image.fromarray(frame).resize((TILE_SIZE, TILE_SIZE), Image.NEAREST))
    first, _, second = words.partition(" and ")
    text = f"{first}\nand {second}" if second else first
    ImageDraw.Draw(out).multiline_text((3, TILE_SIZE + 2), text, fill=0, font_size=12, spacing=2)
    return out


def gallery_frames(clips: np.ndarray, captions: Sequence[str]) -> list[Image.Image]:
    """All clips (N, T, H, W), bytes, side by side: one image for each frame, in 16 greys."""
    frames = []
    for k in range(clips.shape[1]):
        size = COLUMNS * (TILE_SIZE + 4), len(clips) // COLUMNS * (TILE_SIZE + CAPTION_HEIGHT)
        sheet = Image.new("L", size, 255)
        for i, words in enumerate(captions):
            place = i % COLUMNS * (TILE_SIZE + 4), i // COLUMNS * (TILE_SIZE + CAPTION_HEIGHT)
            sheet.paste(tile(clips[i, k], words), place)
        frames.append(sheet.quantize(16))
    return frames


def save_gallery(clips: torch.Tensor, captions: Sequence[str], path: Path) -> None:
    """Clips (N, T, 1, H, W) in [0, 1], five in a row, each with its caption, as a GIF."""
    first, *rest = gallery_frames((clips[:, :, 0] * 255).round().byte().numpy(), captions)
    with atomic_write(path) as draft:
        first.save(draft, "GIF", save_all=True, append_images=rest, duration=120, loop=0)
    print(f"{len(captions)} clips in {path} ({path.stat().st_size / 1e3:.0f} kB)")


def main() -> None:
    """The command."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--model", default="mmnist64-text")
    p.add_argument("--out", type=Path, default=Path(__file__).parent / "prompt_gallery.gif")
    args = p.parse_args()
    video = minidiff.load(args.model)(list(PROMPTS), seed=args.seed)
    save_gallery(video.tensor, PROMPTS, args.out)


if __name__ == "__main__":
    main()
