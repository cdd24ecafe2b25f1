"""Where quality is lost: real clips, noised to a time t and denoised from there, on the scoreboard.

    python -m benchmarks.studies.denoise_from_noise_level [--model NAME] [--digits FOLDER] [--n 64]

A loss that appears at a small t comes from details; one that appears at a large t comes from
decisions on what to show. The first rows are real clips, and real clips through a latent model's
VAE. Sampled by DDIM in even steps, with the clip's own condition, without guidance.
"""
import argparse

import torch
from torch import Tensor

from minidiff import pipeline, recipes
from minidiff.data import digits, media, prompts
from minidiff.data.moving_mnist import Clips, moving_mnist, object_specs
from minidiff.evaluation import evaluate, scoreboard
from minidiff.evaluation.references import reference_name
from minidiff.runtime.precision import autocast
from minidiff.runtime.seeds import generator
from minidiff.samplers import ddim, last
from minidiff.schedules import add_noise

PARTS = (*scoreboard.HEADLINE_METRICS, "smooth", "bounce", "prompt_joint_seen")


def noise_and_denoise(model: pipeline.Pipeline, x0: Tensor, cond: Tensor, t: float, steps: int,
                      seed: int) -> Tensor:
    """x0, noised to t and denoised; t = 0 returns it unchanged. All in the model's own space."""
    if t == 0:
        return x0
    net, noise = model.denoiser, torch.randn(x0.shape, generator=generator("noise", seed))
    x, parts = add_noise(net.schedule, x0, noise, torch.tensor(t)), []
    with autocast(model.device):
        size = evaluate.BATCH_SIZE
        for part, part_cond in zip(x.split(size), cond.split(size), strict=True):
            def denoise(x: Tensor, t: Tensor, cond: Tensor = part_cond) -> Tensor:
                return net(x, t, cond).float()
            parts.append(last(ddim(denoise, net.schedule, part, torch.linspace(t, 0, steps + 1))))
    return torch.cat(parts)


def clip_conditions(model: pipeline.Pipeline, clips: Clips) -> tuple[Tensor, Tensor | None]:
    """The conditions of real clips, and the headings (N, K) if a prompt names them."""
    if not model.recipe.vocabulary:
        return clips.labels[:, 0], None
    headings = torch.tensor([[thing.direction for thing in row] for row in object_specs(clips)])
    return prompts.encode(clips.captions), headings


def main() -> None:
    """Measure, and print or store the figures."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="mmnist64-text", help="a checkpoint's name or file")
    p.add_argument("--digits", default="mnist", help="whose held-out digits are shown")
    p.add_argument("--n", type=int, default=64, help="clips, 32 or more")
    p.add_argument("--times", type=float, nargs="+", default=[0.1, 0.3, 0.5, 0.7, 0.9])
    p.add_argument("--seed", type=int, default=31)
    args = p.parse_args()
    model = pipeline.load(args.model)
    c = model.recipe.clips | {"num_digits": evaluate.max_digits(model.recipe.clips)}
    real = moving_mnist(digits.load(args.digits, "test"), args.n, seed=args.seed, **c)
    x0 = real.x if model.vae is None else recipes.encode_latents(model.vae, real.x)
    cond, headings = clip_conditions(model, real)

    def show(name: str, clips: Tensor) -> None:
        row = scoreboard.score(clips, real.labels, headings, seeds=(args.seed,),
                               sprite=c.get("sprite"),
                               reference=reference_name(args.digits, allow_missing=True))
        print(f"{name:12} " + "  ".join(f"{k} {row[k]:.3f}" for k in PARTS
                                        if row.get(k) is not None), flush=True)

    show("real clips", media.to_unit(real.x))
    for t in (0, *args.times):
        x = noise_and_denoise(model, x0, cond, t, max(2, round(24 * t)), args.seed)
        show(f"from t = {t:g}", model.decode(x))


if __name__ == "__main__":
    main()
