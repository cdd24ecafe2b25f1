"""Moving digits made by a simple loop: clip by clip, frame by frame.

The baseline for `minidiff.data.moving_mnist`: the same clips (a digit at a sub-pixel position,
bouncing inside the frame), with NumPy for the pixels and Python for the rest.
"""
from math import cos, pi, sin

import numpy as np


def naive_clips(images: np.ndarray, n: int, rng: np.random.Generator, size: int = 32,
                frames: int = 8) -> np.ndarray:
    """n clips (n, T, 1, H, W) in [-1, 1] of one digit each; images (M, s, s) in [0, 1]."""
    made = []
    for _ in range(n):
        image = images[rng.integers(len(images))]
        room = size - len(image)
        y, x = rng.uniform(0, room, 2)
        angle, pace = rng.uniform(0, 2 * pi), rng.uniform(size / 32, 3 * size / 32)
        vy, vx = sin(angle) * pace, cos(angle) * pace
        clip = []
        for _ in range(frames):
            clip.append(2 * np.minimum(place_sprite(image, y, x, size), 1) - 1)
            y, vy = bounce_off_walls(y + vy, vy, room)
            x, vx = bounce_off_walls(x + vx, vx, room)
        made.append(np.stack(clip)[:, None])
    return np.stack(made)


def place_sprite(image: np.ndarray, y: float, x: float, size: int) -> np.ndarray:
    """A frame (size, size) with the image's corner at (y, x), by bilinear interpolation."""
    s, top, left = len(image), int(y), int(x)
    down, right = y - top, x - left
    frame = np.zeros((size + 1, size + 1), np.float32)                 # room for an empty share
    frame[top:top + s, left:left + s] += (1 - down) * (1 - right) * image
    frame[top:top + s, left + 1:left + 1 + s] += (1 - down) * right * image
    frame[top + 1:top + 1 + s, left:left + s] += down * (1 - right) * image
    frame[top + 1:top + 1 + s, left + 1:left + 1 + s] += down * right * image
    return frame[:size, :size]


def bounce_off_walls(at: float, speed: float, room: float) -> tuple[float, float]:
    """Position and speed after a reflection at 0 or at `room`, in pixels."""
    if at < 0:
        return -at, -speed
    if at > room:
        return 2 * room - at, -speed
    return at, speed
