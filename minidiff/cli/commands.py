"""What the commands of the command line do. Only here the package prints and shows progress."""
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from minidiff import pipeline, recipes
from minidiff.data import media
from minidiff.evaluation import baselines, digit_classifier, evaluate, scoreboard
from minidiff.evaluation.metrics import MIN_CLIPS
from minidiff.evaluation.references import reference_for, reference_name
from minidiff.runtime import distributed, files
from minidiff.runtime.precision import has_bf16
from minidiff.training import profiles
from minidiff.training.cost import measure_recipe_cost
from minidiff.training.training_run import TrainingRun
from minidiff.vae import VAE


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def progress_bar(steps: Iterable, total: int, text: str, unit: str = "step") -> Iterator:
    """The same steps, with a progress bar on the terminal's error stream."""
    yield from tqdm(steps, desc=text, total=total, unit=unit, dynamic_ncols=True, mininterval=0.5)


def demo(args) -> None:
    from minidiff.cli import demo as show
    size = profiles.get_profile(args.profile)
    fit = show.open_training_run(args.out, args.digits, size, args.minutes, args.seed, best_device())
    command = "python -m minidiff " + " ".join(sys.argv[1:] or ["demo"])
    with closing(fit):
        train_with_progress(fit, f"python -m minidiff demo --profile {size.name} --digits {args.digits} "
                            f"--seed {args.seed} --out {args.out}")
        row = show.evaluate_and_report(args.out, fit, size.clips, args.seed, command, progress_bar)
        fit.state_path.unlink(missing_ok=True)                        # the demo is over; its model stays
    print_scores(row)
    print(f"\nLook at {args.out / 'report.html'} (all of it), {args.out / 'clips.gif'}, "
          f"{args.out / 'trajectory.png'}.")


def train(args) -> None:
    if args.recipe == "recogniser":
        return train_digit_classifier(args)
    distributed.init_process_group()
    out = args.out or Path("runs") / args.recipe
    plan, steps = recipes.get_recipe(args.recipe, **dict(args.set)), args.steps
    if not (steps or args.minutes or args.resume):
        steps = plan.training["steps"]
    fit = TrainingRun(out, plan, args.digits or "builtin", args.minutes, steps, args.seed or 0,
              args.resume, best_device(), args.begin)
    with closing(fit):
        train_with_progress(fit, f"python -m minidiff train {args.recipe} --out {out} --resume")
    if distributed.is_main_process():
        print(f"Trained {fit.state.step} steps ({fit.metadata()['clips']:,} clips) "
              f"in {fit.seconds / 60:.1f} minutes. Next:\n"
              f"  python -m minidiff sample {out / 'model.safetensors'} --out {out / 'clips.gif'}")
    distributed.destroy_process_group()


def train_with_progress(fit: TrainingRun, resume_command: str) -> None:
    """Run a training to its end. When it is interrupted, says with which command to go on."""
    progress = tqdm(total=fit.total_steps, initial=fit.state.step, desc="training", unit="step",
                    dynamic_ncols=True, mininterval=0.5, disable=not distributed.is_main_process())
    losses = []
    try:
        for record in fit.steps():
            losses.append(record.loss)
            progress.update()
            if record.step % 10 == 0:
                progress.set_postfix(loss=f"{np.mean(losses[-100:]):.4f}")
    except KeyboardInterrupt:
        progress.close()
        print(f"\nStopped at step {fit.state.step} of {fit.total_steps}; all of it is in {fit.folder}. "
              f"Go on with:\n  {resume_command}", file=sys.stderr)
        raise
    finally:
        progress.close()


def train_digit_classifier(args) -> None:
    """The judge's own training, and after it the references that carry its name."""
    folder = Path("datasets") if args.digits == "mnist" else Path(args.digits)
    lessons = digit_classifier.train_digit_classifier(folder, seed=args.seed or 0)
    for _ in progress_bar(lessons, digit_classifier.TRAIN_STEPS, "training the recogniser"):
        pass
    for source in progress_bar(["builtin", folder], 2, "building references", "reference"):
        baselines.ship_reference(source)


def sample(args) -> None:
    model = pipeline.load(args.model, best_device())
    if isinstance(model, VAE):
        raise ValueError(f"{args.model} is a VAE: it packs and unpacks clips but makes none.")
    asked = requested_prompts(model, args)
    settings = sampling_settings(args) | dict(frames=args.frames, negative_prompt=args.negative)
    parts = evaluate.sample_clips(model, asked, args.seed, **settings)
    n = len(asked.labels)
    videos = list(progress_bar(parts, -(-n // evaluate.BATCH_SIZE), "sampling", "batch"))
    media.save(torch.cat([v.tensor for v in videos]), args.out)
    what = ", ".join(dict.fromkeys(a for v in videos for a in v.prompts))
    print(f"{n} clip{'s' * (n > 1)} of {what} in {args.out}")


def requested_prompts(model: pipeline.Pipeline, args) -> evaluate.SampleConditions:
    """The digits, or the prompt, of the command line, once a clip."""
    if model.recipe.vocabulary:
        if args.digit is not None:
            raise ValueError(f"{args.model} reads words, not --digit {args.digit}: "
                             f"--prompt 'a {args.digit} moving left', say.")
        prompts = model.expand_prompts(args.prompt, args.n)
        return evaluate.SampleConditions(prompts, torch.zeros(len(prompts)), None)
    if args.prompt is not None:
        raise ValueError(f"{args.model} knows digits, not words: --digit 3 instead of --prompt.")
    n = args.n or (10 if args.digit is None else 1)
    return evaluate.SampleConditions(None, model.make_labels(args.digit, n), None)


def sampling_settings(args) -> dict:
    """How to sample, as far as the command line says so."""
    given = dict(steps=args.steps, guidance=args.guidance, sampler=args.sampler,
                 interval=args.interval, autoguidance=args.autoguidance)
    return {k: v for k, v in given.items() if v is not None}


def score(args) -> None:
    row = score_clips(args) if args.what.endswith(".npy") else score_model(args)
    print_scores(row)
    if args.json:
        files.write_text(args.json, json.dumps(row, indent=1))


def score_clips(args) -> dict:
    clips = media.read_npy(args.what)
    labels = None if args.labels is None else media.read_labels(args.labels)
    if labels is not None and len(labels) != len(clips):
        raise ValueError(f"{args.labels} holds {len(labels)} labels for {len(clips)} clips; "
                         "there must be one for each.")
    if len(clips) > args.n:
        print(f"Judging the first {args.n} of {len(clips)} clips; --n judges more.")
    cut = None if labels is None else labels[:args.n]
    return scoreboard.score(clips[:args.n], cut, reference=args.digits or "mnist")


def score_model(args) -> dict:
    model = pipeline.load(args.what, best_device())
    source, seeds = args.digits or model.metadata["digits"], range(args.seed, args.seed + args.seeds)
    if isinstance(model, VAE):
        return scoreboard.combine_rows(
            [evaluate.evaluate_vae(model, args.n, seed, source, progress_bar) for seed in seeds])
    name, clips = reference_name(source, allow_missing=not args.digits), model.recipe.clips
    most = reference_for(name, clips["size"], clips["frames"], clips.get("sprite"),
                         evaluate.max_digits(clips)).metadata["n"]
    if not MIN_CLIPS <= args.n <= most:                              # said before the work, not after
        raise ValueError(f"--n must be from {MIN_CLIPS} to {most} clips; --seeds makes more of them.")
    return scoreboard.combine_rows(
        [evaluate.evaluate_model(model, args.n, seed, source, progress_bar, **sampling_settings(args)) for seed in seeds])


def print_scores(row: dict) -> None:
    """A row in words; the parts first, then what they are made of."""
    for key, value in row.items():
        low_high = (row.get("interval") or {}).get(key)
        if isinstance(value, float) or key == "SCORE":
            shown = "none (a copier)" if value is None else f"{value:.3f}"
            limits = f"   {low_high[0]:.3f} to {low_high[1]:.3f}" if low_high else ""
            print(f"{key:>22} {shown}{limits}")
    print(f"{'':>22} {row['n']} clips, reference {row['reference']}, "
          f"recogniser {row['evaluator'][:12]}")


def list_recipes(args) -> None:
    """What can be trained, and what that takes here, by a few steps of each."""
    print(f"{'recipe':<15} {'parameters':>10} {'steps':>7} {'batch':>5} {'minutes':>8} {'MiB':>6}")
    for name in progress_bar(recipes.RECIPES, len(recipes.RECIPES), "trying", "recipe"):
        plan = recipes.get_recipe(name)
        cost, training = measure_recipe_cost(plan, best_device()), plan.training
        tqdm.write(f"{name:<15} {cost.parameters:>10,} {training['steps']:>7} "
                   f"{training['batch']:>5} {cost.minutes(training['steps']):>8.1f} "
                   f"{cost.bytes / 2**20:>6.0f}  {recipes.summary(name)}", file=sys.stdout)
    print("Minutes of the whole training on this machine as it is now; memory beyond torch's own.")


def doctor(args) -> None:
    """What this machine has, line by line, and what to do about what is missing."""
    device = best_device()
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else None
    bf16 = "yes" if has_bf16(device) else "no: float32 is used instead, about half as fast"
    none = "none: train one with python -m minidiff train mmnist32 --minutes 60"
    print(f"Python      {platform.python_version()} on {platform.system()} {platform.machine()}")
    print(f"torch       {torch.__version__}")
    print(f"device      {gpu or 'the processor (no CUDA GPU seen)'}")
    print(f"threads     {torch.get_num_threads()} of {os.cpu_count()} processors")
    print(f"bfloat16    {bf16}")
    print(f"torchvision {torchvision_status()}")
    print(f"memory      {free_memory()}")
    print(f"disk        {shutil.disk_usage('.').free / 2**30:.1f} GiB free here")
    print(f"checkpoints {', '.join(pipeline.shipped_checkpoints()) or none}")
    print(f"profile     {profiles.get_profile().name} (MINIDIFF_PROFILE=smoke|cpu|gpu changes it)")


def torchvision_status() -> str:
    from minidiff.data.torchvision_compat import import_torchvision
    advice = ("only --digits mnist needs it; "
              "a folder with MNIST's files or the built-in digits do without")
    try:
        found = import_torchvision()
    except ImportError:
        return f"not installed: {advice}, or pip install 'minidiff[data]'"
    except Exception as e:  # a broken build can raise anything
        return (f"cannot be loaded ({e}): {advice}, "
                f"or reinstall the version that belongs to torch {torch.__version__}")
    whole = getattr(found.extension, "_has_ops", lambda: False)()
    partly = "" if whole else " (without its compiled operators, which minidiff does not use)"
    return f"{found.__version__}{partly}"


def free_memory() -> str:
    try:
        with open("/proc/meminfo") as f:
            kib = dict(line.split(":") for line in f)["MemAvailable"].split()[0]
        free = int(kib) / 2**20
    except (OSError, KeyError):
        return "unknown on this system; the demo needs 2 GiB"
    advice = "" if free > 2 else ": the demo needs 2 GiB; close something, or use --profile smoke"
    return f"{free:.1f} GiB free{advice}"
