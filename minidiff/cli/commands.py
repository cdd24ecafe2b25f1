"""The commands of the command line. Only here the package prints and shows progress."""
import json
import os
import platform
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from minidiff import pipeline, recipes
from minidiff.data import media
from minidiff.data.batches import read_gif
from minidiff.evaluation import digit_classifier, evaluate, reference_rows, scoreboard
from minidiff.evaluation.metrics import MIN_CLIPS
from minidiff.evaluation.references import reference_for, reference_name
from minidiff.extensions.conditioning import kept
from minidiff.extensions.editing import redraw, repaint
from minidiff.runtime import distributed, files
from minidiff.runtime.folders import check_output_file
from minidiff.runtime.memory import available_memory, check_memory
from minidiff.runtime.precision import has_bf16
from minidiff.training import profiles
from minidiff.training.cost import measure_recipe_cost
from minidiff.training.training_run import TrainingRun
from minidiff.vae import VAE


def best_device() -> torch.device:
    """The GPU if there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def command_line(*words: object) -> str:
    """A command of this program, quoted for a shell."""
    return shlex.join(["python", "-m", "minidiff", *map(str, words)])


def progress_bar(steps: Iterable, total: int, text: str, unit: str = "step") -> Iterator:
    """The same steps, with a progress bar on the terminal's error stream."""
    yield from tqdm(steps, desc=text, total=total, unit=unit, dynamic_ncols=True, mininterval=0.5)


def demo(args) -> None:
    """Train, sample, score and report; all of it in one folder."""
    from minidiff.cli import demo as show
    profile = profiles.get_profile(args.profile)
    run = show.open_training_run(args.out, args.digits, profile, args.minutes, args.seed,
                                 best_device())
    again = command_line("demo", "--profile", profile.name, "--digits", run.source,
                         "--seed", args.seed, "--out", args.out)
    with closing(run):
        train_with_progress(run, again)
        clips, words = profile.clips_after(run.state.step), sys.argv[1:] or ["demo"]
        row = show.evaluate_and_report(args.out, run, clips, args.seed, command_line(*words),
                                       progress_bar)
        run.state_path.unlink(missing_ok=True)            # the demo's own: its model is what stays
    print_scores(row)
    print(f"\nLook at {args.out / 'report.html'} (all of it), {args.out / 'clips.gif'}, "
          f"{args.out / 'trajectory.png'}.")


def train(args) -> None:
    """Train a recipe in a folder, from the start or from its last save."""
    if args.recipe == "recogniser":
        return train_digit_classifier(args)
    out = args.out or Path("runs") / args.recipe
    recipe, steps = recipes.get_recipe(args.recipe, **dict(args.set)), args.steps
    if not (steps or args.minutes or args.resume):
        steps = recipe.training["steps"]
    distributed.init_process_group()
    run = TrainingRun(out, recipe, args.digits or "builtin", args.minutes, steps, args.seed or 0,
                      args.resume, best_device(), args.begin)
    with closing(run):
        train_with_progress(run, command_line("train", args.recipe, "--out", out, "--resume"))
    if distributed.is_main_process():
        sample_command = command_line("sample", run.model_path, "--out", out / "clips.gif")
        print(f"Trained {run.state.step} steps ({run.metadata()['clips']:,} clips) "
              f"in {run.seconds / 60:.1f} minutes. Next:\n  {sample_command}")
    distributed.destroy_process_group()


def train_with_progress(run: TrainingRun, resume_command: str) -> None:
    """Run a training to its end. If it is interrupted, print what is saved and how to go on."""
    progress = tqdm(total=run.total_steps, initial=run.state.step, desc="training", unit="step",
                    dynamic_ncols=True, mininterval=0.5, disable=not distributed.is_main_process())
    losses = []
    with closing(progress), one_interrupt():
        try:
            with closing(run.steps()) as records:
                for record in records:
                    losses.append(record.loss)
                    progress.update()
                    if record.step % 10 == 0:
                        progress.set_postfix(loss=f"{np.mean(losses[-100:]):.4f}")
        except KeyboardInterrupt:
            progress.close()
            print("\n" + interrupted_message(run, resume_command), file=sys.stderr)
            raise


@contextmanager
def one_interrupt() -> Iterator[None]:
    """The first Ctrl-C interrupts the block; those after it are ignored until the block ends.

    The signal SIGTERM, by which a batch system ends a command, counts as Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread
        yield
        return
    seen = []

    def interrupt(*_) -> None:
        seen.append(True)
        if len(seen) == 1:
            raise KeyboardInterrupt
    before = {s: signal.signal(s, interrupt) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def interrupted_message(run: TrainingRun, resume_command: str) -> str:
    """What is saved of an interrupted training, and how to go on."""
    stopped = f"Stopped at step {run.state.step} of {run.total_steps}; "
    if not run.saved_step:
        return stopped + "nothing was saved. Start the same command again."
    kept = "all of it is" if run.saved_step == run.state.step else f"step {run.saved_step} is saved"
    return f"{stopped}{kept} in {run.folder}. Go on with:\n  {resume_command}"


def train_digit_classifier(args) -> None:
    """Train the scoreboard's digit classifier, then build the references that belong to it."""
    folder = Path("datasets") if args.digits == "mnist" else Path(args.digits)
    lessons = digit_classifier.train_digit_classifier(folder, seed=args.seed or 0)
    for _ in progress_bar(lessons, digit_classifier.TRAIN_STEPS, "training the recogniser"):
        pass
    for source in progress_bar(["builtin", folder], 2, "building references", "reference"):
        reference_rows.ship_reference(source)


def sample(args) -> None:
    """Make clips with a model and write them into one file."""
    check_output_file(args.out)
    model = pipeline.load(args.model, best_device())
    if isinstance(model, VAE):
        raise ValueError(f"{args.model} is a VAE: it encodes and decodes clips but makes none.")
    check_sample_size(model, args)
    asked = requested_prompts(model, args)
    settings = sampling_settings(args, model, "ddim")
    settings |= dict(frames=args.frames, negative_prompt=args.negative)
    parts = evaluate.sample_clips(model, asked, args.seed, **settings)
    n = len(asked.labels)
    videos = list(progress_bar(parts, -(-n // evaluate.BATCH_SIZE), "sampling", "batch"))
    media.save(torch.cat([v.tensor for v in videos]), args.out)
    what = ", ".join(dict.fromkeys(a for v in videos for a in v.prompts))
    print(f"{n} clip{'s' * (n > 1)}{f' of {what}' if what else ''} in {args.out}")


def edit(args) -> None:
    """Make a part of given clips, or all of them, anew and write them into one file."""
    check_output_file(args.out)
    model = pipeline.load(args.model, best_device())
    if isinstance(model, VAE):
        raise ValueError(f"{args.model} is a VAE: it encodes and decodes clips but makes none.")
    clips = 2 * clips_to_edit(args.clips) - 1
    prompt = args.prompt if args.digit is None else args.digit
    if args.redraw:
        video = redraw(model, clips, args.redraw, prompt, seed=args.seed)
    else:
        sampler = repaint(args.repeats) if args.repeats > 1 else None
        where = kept(args.keep, model.recipe.shape)
        video = model(prompt, n=len(clips), given=clips, where=where, seed=args.seed,
                      sampler=sampler)
    media.save(video.tensor, args.out)
    print(f"{len(clips)} clip{'s' * (len(clips) > 1)} in {args.out}")


def clips_to_edit(path: Path) -> torch.Tensor:
    """Clips (N, T, C, H, W) in [0, 1] from an .npy file, or one clip from a GIF."""
    return read_gif(path)[None] if path.suffix.lower() == ".gif" else media.read_npy(path)


def check_sample_size(model: pipeline.Pipeline, args) -> None:
    """Raise ValueError or OSError, before long work, if the clips do not fit in memory or disk.

    The clips are kept in float32, three times while they are put together and written; a batch
    needs at least 64 such numbers a pixel inside the network.
    """
    n = args.n or (10 if args.digit is None and not model.recipe.vocabulary else 1)
    *_, height, width = model.sample_shape()
    factor = model.vae.spatial_factor if model.vae else 1
    frames = args.frames or model.recipe.clips["frames"]
    clip = 4 * frames * height * width * factor**2
    check_memory(3 * n * clip + 64 * min(n, evaluate.BATCH_SIZE) * clip / factor**2,
                 f"{n:,} clips of {frames:,} frames", "ask for fewer with --n or --frames")
    check_output_file(args.out, n * clip if args.out.suffix == ".npy" else 0)


def requested_prompts(model: pipeline.Pipeline, args) -> evaluate.SampleConditions:
    """The digits, or the prompt, of the command line, one for each clip."""
    if model.recipe.vocabulary:
        if args.digit is not None:
            raise ValueError(f"{args.model} is a text model and takes no --digit {args.digit}; "
                             f"give --prompt 'a {args.digit} moving left', for example.")
        prompts = model.expand_prompts(args.prompt, args.n)
        return evaluate.SampleConditions(prompts, torch.zeros(len(prompts)), None)
    if args.prompt is not None:
        raise ValueError(f"{args.model} takes digits, not words: give --digit 3, for example, "
                         "instead of --prompt.")
    n = args.n or (10 if args.digit is None else 1)
    if model.recipe.conditions is None:
        if args.digit is not None:
            raise ValueError(f"{args.model} has no conditions: it takes --n but no --digit.")
        return evaluate.SampleConditions(None, torch.zeros(n), None)
    return evaluate.SampleConditions(None, model.make_labels(args.digit, n), None)


def sampling_settings(args, model: pipeline.Pipeline, sampler: str) -> dict:
    """The sampling settings that the command line gives; the model's own are used for the rest.

    sampler: the command's own, for models whose recipe names none.
    """
    sampler = args.sampler or model.recipe.sampling.get("sampler", sampler)
    given = dict(steps=args.steps, guidance=args.guidance, sampler=sampler,
                 interval=args.interval, autoguidance=args.autoguidance)
    return {k: v for k, v in given.items() if v is not None}


def score(args) -> None:
    """Score a model or a file of clips, print the row and, if asked, write it as JSON."""
    if args.json:
        check_output_file(args.json)
    row = score_clips(args) if args.what.endswith(".npy") else score_model(args)
    print_scores(row)
    if args.json:
        files.write_text(args.json, json.dumps(row, indent=1))


def score_clips(args) -> dict:
    """The row of a file of clips."""
    clips = media.read_npy(args.what)
    labels = None if args.labels is None else media.read_labels(args.labels)
    if labels is not None and len(labels) != len(clips):
        raise ValueError(f"{args.labels} holds {len(labels)} labels for {len(clips)} clips; "
                         "there must be one for each.")
    if len(clips) > args.n:
        print(f"Scoring the first {args.n} of {len(clips)} clips; a larger --n scores more.")
    first_labels = None if labels is None else labels[:args.n]
    return scoreboard.score(clips[:args.n], first_labels, reference=args.digits or "mnist")


def score_model(args) -> dict:
    """The row of a model's own clips, over one or several seeds."""
    model = pipeline.load(args.what, best_device())
    source = args.digits or model.metadata.get("digits")
    if source is None:
        raise ValueError(f"{args.what} does not say which digits it learned from: give --digits.")
    seeds = range(args.seed, args.seed + args.seeds)
    if isinstance(model, VAE):
        return scoreboard.combine_rows(
            [evaluate.evaluate_vae(model, args.n, seed, source, progress_bar) for seed in seeds])
    name, clips = reference_name(source, allow_missing=not args.digits), model.recipe.clips
    most = reference_for(name, clips["size"], clips["frames"], clips.get("sprite"),
                         evaluate.max_digits(clips)).metadata["n"]
    if not MIN_CLIPS <= args.n <= most:
        raise ValueError(f"--n must be from {MIN_CLIPS} to {most} clips; "
                         "--seeds scores more of them.")
    settings = sampling_settings(args, model, "ddpm")
    return scoreboard.combine_rows(
        [evaluate.evaluate_model(model, args.n, seed, source, progress_bar, **settings)
         for seed in seeds])


def print_scores(row: dict) -> None:
    """Print a row: the parts first, then the measurements that they are made of."""
    for key, value in row.items():
        low_high = (row.get("interval") or {}).get(key)
        if isinstance(value, float):
            limits = f"   {low_high[0]:.3f} to {low_high[1]:.3f}" if low_high else ""
            print(f"{key:>22} {value:.3f}{limits}")
    edition = f", edition {row['edition']} of the scoreboard" if "edition" in row else ""
    print(f"{'':>22} {row['n']} clips, reference {row['reference']}, "
          f"recogniser {row['evaluator'][:12]}{edition}")


def list_recipes(args) -> None:
    """Print what can be trained, and its cost on this machine, measured by a few steps of each."""
    print(f"{'recipe':<15} {'parameters':>10} {'steps':>7} {'batch':>5} {'minutes':>8} {'MiB':>6}")
    for name in progress_bar(recipes.RECIPES, len(recipes.RECIPES), "trying", "recipe"):
        recipe = recipes.get_recipe(name)
        cost, training = measure_recipe_cost(recipe, best_device()), recipe.training
        tqdm.write(f"{name:<15} {cost.parameters:>10,} {training['steps']:>7} "
                   f"{training['batch']:>5} {cost.minutes(training['steps']):>8.1f} "
                   f"{cost.bytes / 2**20:>6.0f}  {recipes.summary(name)}", file=sys.stdout)
    print("Minutes of the whole training on this machine as it is now; memory beyond torch's own.")


def doctor(args) -> None:
    """Print what this machine has, line by line, and what to do about what is missing."""
    device = best_device()
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else None
    bf16 = "yes" if has_bf16(device) else "no: float32 is used instead, about half as fast"
    no_checkpoints = "none: train one with python -m minidiff train mmnist32 --minutes 60"
    print(f"Python      {platform.python_version()} on {platform.system()} {platform.machine()}")
    print(f"torch       {torch.__version__}")
    print(f"device      {gpu or 'the processor (no CUDA GPU seen)'}")
    print(f"threads     {torch.get_num_threads()} of {os.cpu_count()} processors")
    print(f"bfloat16    {bf16}")
    print(f"torchvision {torchvision_status()}")
    print(f"memory      {free_memory()}")
    print(f"disk        {shutil.disk_usage('.').free / 2**30:.1f} GiB free here")
    print(f"checkpoints {', '.join(pipeline.shipped_checkpoints()) or no_checkpoints}")
    print(f"profile     {profiles.get_profile().name} (MINIDIFF_PROFILE=smoke|cpu|gpu changes it)")


def torchvision_status() -> str:
    """The version of torchvision, or what to do without it."""
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
    """The free memory, with advice if it is too small for the demo."""
    free = available_memory()
    if free is None:
        return "unknown on this system; the demo needs 2 GiB"
    enough = free > 2 * 2**30
    advice = "" if enough else ": the demo needs 2 GiB; close something, or use --profile smoke"
    return f"{free / 2**30:.1f} GiB free{advice}"
