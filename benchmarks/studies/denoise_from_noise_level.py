"""Where quality is lost: real clips, noised to a time t and denoised from there, on the scoreboard.

    python benchmarks/denoise_from.py [--model mmnist64-text] [--digits FOLDER] [--n 64]

What is lost from a small t on is lost in drawing details, from a large one in deciding what to
show. Real clips as they are come first, then what a latent model's VAE leaves of them. By DDIM in
even steps, told what the clip shows, without guidance.
"""
import argparse

import torch
from torch import Tensor

from minidiff import pipeline, recipes
from minidiff.data import digits, media, prompts
from minidiff.data.moving_mnist import Clips, moving_mnist, things
from minidiff.evaluation import evaluate, scoreboard
from minidiff.evaluation.references import reference_name
from minidiff.runtime.precision import autocast
from minidiff.runtime.seeds import generator
from minidiff.samplers import ddim, last
from minidiff.schedules import add_noise

PARTS = "SCORE", "ID", "PHY", "smooth", "bounce", "FIT", "COVER", "prompt_joint_seen"


def denoised(model: pipeline.Pipeline, x0: Tensor, cond: Tensor, t: float, steps: int,
             seed: int) -> Tensor:
    """x0, noised to t and denoised again; t = 0 leaves it as it is. All in the model's space."""
    if t == 0:
        return x0
    net, noise = model.denoiser, torch.randn(x0.shape, generator=generator(seed))
    x, parts = add_noise(net.schedule, x0, noise, torch.tensor(t)), []
    with autocast(model.device):
        for part, asked in zip(x.split(evaluate.BATCH), cond.split(evaluate.BATCH), strict=True):
            def denoise(x: Tensor, t: Tensor, asked: Tensor = asked) -> Tensor:
                return net(x, t, asked).float()
            parts.append(last(ddim(denoise, net.schedule, part, torch.linspace(t, 0, steps + 1))))
    return torch.cat(parts)


def told(model: pipeline.Pipeline, clips: Clips) -> tuple[Tensor, Tensor | None]:
    """What a model is told of clips, and the headings (N, K) if these are among it."""
    if not model.recipe.vocabulary:
        return clips.labels[:, 0], None
    headings = torch.tensor([[thing.direction for thing in row] for row in things(clips)])
    return prompts.encode(clips.captions), headings


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="mmnist64-text", help="a checkpoint's name or file")
    p.add_argument("--digits", default="mnist", help="whose held-out digits are shown")
    p.add_argument("--n", type=int, default=64, help="clips, 32 or more")
    p.add_argument("--times", type=float, nargs="+", default=[0.1, 0.3, 0.5, 0.7, 0.9])
    p.add_argument("--seed", type=int, default=31)
    args = p.parse_args()
    model = pipeline.load(args.model)
    c = model.recipe.clips | {"number": evaluate.most_digits(model.recipe.clips)}
    real = moving_mnist(digits.load(args.digits, "test"), args.n, seed=args.seed, **c)
    x0 = real.x if model.vae is None else recipes.encoded(model.vae, real.x)
    cond, headings = told(model, real)

    def show(name: str, clips: Tensor) -> None:
        row = scoreboard.score(clips, real.labels, headings, seeds=(args.seed,),
                               sprite=c.get("sprite"),
                               reference=reference_name(args.digits, gone=True))
        print(f"{name:12} " + "  ".join(f"{k} {row[k]:.3f}" for k in PARTS
                                        if row.get(k) is not None), flush=True)

    show("real clips", media.unit(real.x))
    for t in (0, *args.times):
        x = denoised(model, x0, cond, t, max(2, round(24 * t)), args.seed)
        show(f"from t = {t:g}", model.decode(x))


if __name__ == "__main__":
    main()
