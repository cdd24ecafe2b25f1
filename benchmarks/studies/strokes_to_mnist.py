"""How much of real MNIST a network reads that was trained on drawn digits alone.

    python -m benchmarks.studies.strokes_to_mnist --digits FOLDER [--seeds 0 1 2]

FOLDER holds MNIST's test files (t10k, IDX, gzipped or not). For each seed: 20,000 digits of
minidiff.data.strokes, a small network trained on nothing else and without any augmentation, its
accuracy on the real digits. Ways of writing were added, and the spread of hands chosen by hand in
about ten trials, with rows 0-7999 only; rows 8000-9999 had no part in it. About a minute per seed
on one core.

Network: conv 5x5 stride 2 (24), conv 3x3 (48), max pool, conv 3x3 (96), max pool, dropout 1/2,
linear; 60,562 parameters; 1,200 steps of AdamW, 128 digits each, 1e-3 falling linearly to 0.
"""
import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.data.digits import load_idx_pair
from minidiff.data.strokes import strokes
from minidiff.runtime.machine import machine_description

COUNT, STEPS, BATCH, LR = 20_000, 1_200, 128, 1e-3


def network() -> nn.Module:
    """Digits (B, 1, 28, 28) to logits (B, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 24, 5, stride=2, padding=2), nn.ReLU(),                    # (B, 24, 14, 14)
        nn.Conv2d(24, 48, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),            # (B, 48, 7, 7)
        nn.Conv2d(48, 96, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),            # (B, 96, 3, 3)
        nn.Flatten(), nn.Dropout(.5), nn.Linear(96 * 9, 10))


def train_classifier(images: Tensor, labels: Tensor, seed: int) -> nn.Module:
    """The network, trained on these digits."""
    torch.manual_seed(seed)
    net = network().train()
    opt = torch.optim.AdamW(net.parameters(), LR)
    lr = torch.optim.lr_scheduler.LambdaLR(opt, lambda step: 1 - step / STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(images), (BATCH,))
        loss = F.cross_entropy(net(images[rows]), labels[rows])
        opt.zero_grad()
        loss.backward()
        opt.step()
        lr.step()
    return net.eval()


@torch.no_grad()
def is_correct(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Whether each digit is classified correctly: (N,) of 0 and 1."""
    return torch.cat([net(x).argmax(1) for x in images.split(1000)]).eq(labels).double()


def main() -> None:
    """Measure, and print or store the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--digits", required=True, help="folder with MNIST's t10k IDX files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    real, labels, _ = load_idx_pair(args.digits, "t10k")
    strokes(1)                                                                  # warm-up
    print(f"{machine_description()}; {COUNT} drawn digits, {STEPS} steps of {BATCH}")
    rows = []
    for seed in args.seeds:
        start = time.perf_counter()
        drawn = strokes(COUNT, seed)
        ms = (time.perf_counter() - start) / COUNT * 1000
        ok = is_correct(train_classifier(*drawn, seed), real, labels)
        per_digit = [ok[labels == d].mean() for d in range(10)]
        rows.append(torch.stack([ok.mean(), ok[8000:].mean(), *per_digit]))
        print_accuracy(f"seed {seed}", rows[-1], f"{ms:.3f} ms a digit")
    print_accuracy("mean", torch.stack(rows).mean(0))


def print_accuracy(name: str, row: Tensor, more: str = "") -> None:
    """Print accuracies: of all digits, of rows 8000-9999, and of each class."""
    digits = " ".join(f"{v:.3f}" for v in row[2:])
    print(f"{name:7} all {row[0]:.2%}  rows 8000-9999 {row[1]:.2%}  0-9: {digits}  {more}",
          flush=True)


if __name__ == "__main__":
    main()
