"""The parser of the command line: every option, its type and its help."""
import argparse
import json
import os
from contextlib import suppress
from pathlib import Path

from minidiff.runtime.seeds import check_seed

EXAMPLES = """examples:
  python -m minidiff demo                                       train a model, look at it, score it
  python -m minidiff sample mmnist32 --digit 3 --out three.gif  a video from the shipped model
  python -m minidiff sample mmnist64-text --prompt "a 3 moving left" --out left.gif
  python -m minidiff edit mmnist32 clips.npy --keep first --digit 3 --out rest.gif
  python -m minidiff train mmnist32 --digits mnist --minutes 60 --out runs/mine
  python -m minidiff score runs/mine/model.safetensors --json row.json
  python -m minidiff doctor                                     what this machine has and lacks"""
DIGIT_SOURCES = "builtin (no download), mnist (downloaded) or a folder with MNIST's IDX files"


MAX_STEPS, MAX_CLIPS = 10**9, 10**9


def option_conflict(args: argparse.Namespace) -> str | None:
    """A sentence on options that exclude each other, or None."""
    if args.command == "train" and args.recipe == "recogniser":
        if args.steps or args.minutes or args.out or args.resume:
            return ("the recogniser is trained in one way only, into the package; it takes "
                    "--digits and --seed and nothing else")
        if args.digits in (None, "builtin"):
            return ("the recogniser learns from real digits, too: give --digits mnist or a "
                    "folder with MNIST's IDX files")
    if args.command == "train" and args.resume:
        given = dict(digits=args.digits, seed=args.seed, set=args.set, begin=args.begin)
        if own := [f"--{k}" for k, v in given.items() if v not in (None, [])]:
            return (f"--resume goes on with the folder's own settings; leave {' and '.join(own)} "
                    "away, or train into another --out folder")
    if args.command == "edit" and args.repeats > 1 and not args.keep:
        return "--repeats belong to --keep: --redraw keeps no pixels that the rest could fit to"
    if args.command == "score" and args.labels and not args.what.endswith(".npy"):
        return "--labels belong to clips; for a model the command chooses the digits"
    return None


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        "minidiff", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Small video diffusion models, trained and measured on one machine.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_demo(commands)
    add_train(commands)
    add_sample(commands)
    add_edit(commands)
    add_score(commands)
    text = "list what can be trained, with minutes and memory on this machine"
    commands.add_parser("recipes", help=text, description=text[0].upper() + text[1:] + ".")
    text = "show what this machine has for minidiff, and what to do about what is missing"
    commands.add_parser("doctor", help=text, description=text[0].upper() + text[1:] + ".")
    return top


def add_demo(commands) -> None:
    """The options of `demo`."""
    text = "train a small model, sample from it, score it, write a report"
    p = commands.add_parser("demo", help=text, description=text[0].upper() + text[1:] + ": about "
                            "8 minutes on two cores. Run again, it goes on where it was stopped.")
    digits_option(p, "builtin")
    p.add_argument("--minutes", type=positive_number,
                   help="how long to train (default: as the profile says)")
    p.add_argument("--profile", choices=("smoke", "cpu", "gpu"),
                   help="how big: smoke (seconds, a test), cpu (minutes), gpu (a minute); "
                        "default: MINIDIFF_PROFILE, else gpu if there is one, else cpu")
    seed_option(p)
    p.add_argument("--out", type=user_path, default=Path("demo"), metavar="DIR",
                   help="the folder to write into (default: %(default)s)")


def add_train(commands) -> None:
    """The options of `train`."""
    p = commands.add_parser(
        "train", help="train a recipe, with resume",
        description="Train a recipe: its model.safetensors in the output folder is what sample and "
                    "score take. Ctrl-C saves; --resume goes on.")
    p.add_argument("recipe", type=known_name("recipe"), metavar="RECIPE",
                   help=f"one of: {', '.join(valid_names('recipe'))}")
    digits_option(p, None, f"{DIGIT_SOURCES} (default: builtin)")
    budget = p.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=positive_number,
                        help="how long to train; becomes a number of steps at the start")
    budget.add_argument("--steps", type=whole_number(1, MAX_STEPS),
                        help="how many steps to train (default: the recipe's)")
    seed_option(p, None)
    p.add_argument("--out", type=user_path, metavar="DIR",
                   help="the folder to write into (default: runs/RECIPE)")
    p.add_argument("--set", type=name_value, action="append", default=[], metavar="NAME=VALUE",
                   help="change a setting of the recipe, 'time=none' or 'batch=8' for example; "
                        "may be given several times")
    p.add_argument("--begin", type=known_name("model"), metavar="NAME_OR_FILE",
                   help="begin with the weights of a trained model; layers that it lacks "
                        "keep their fresh weights")
    p.add_argument("--resume", action="store_true",
                   help="go on with the training in the folder, with its own settings; "
                        "--steps or --minutes make it longer")


def add_sample(commands) -> None:
    """The options of `sample`."""
    p = commands.add_parser("sample", help="make clips with a trained model", description="Make "
                            "clips with a trained model; the file's ending chooses the format.")
    p.add_argument("model", type=known_name("model"), metavar="NAME_OR_FILE",
                   help="a checkpoint's name or a model.safetensors")
    wish = p.add_mutually_exclusive_group()
    wish.add_argument("--digit", type=parse_digit, metavar="D",
                      help="the digit to show, 0 to 9 (default: all in turn)")
    wish.add_argument("--prompt", metavar="TEXT",
                      help="what to show, for a text model: 'a 3 moving slowly up left and a "
                           "7 going down' (default: anything)")
    p.add_argument("--negative", metavar="TEXT",
                   help="a negative prompt: what guidance pushes the clips away from")
    p.add_argument("--frames", type=whole_number(1, MAX_CLIPS), metavar="T",
                   help="frames of a clip (default: as in training)")
    sampling_options(p, "ddim")
    p.add_argument("--n", type=whole_number(1, MAX_CLIPS),
                   help="how many clips (default: 1 of a digit, 10 of all)")
    p.add_argument("--out", type=output_path, required=True, metavar="FILE",
                   help="ends in .gif, .png (contact sheet) or .npy "
                        "(float32, (N, T, C, H, W), in [0, 1])")


def add_edit(commands) -> None:
    """The options of `edit`."""
    from minidiff.extensions.conditioning import KEPT
    p = commands.add_parser(
        "edit", help="make a part of given clips anew, or all of them with another digit",
        description="Keep some frames or a region of clips and make the rest, or redraw whole "
                    "clips from a noisy version of them.")
    p.add_argument("model", type=known_name("model"), metavar="NAME_OR_FILE",
                   help="a checkpoint's name or a model.safetensors")
    p.add_argument("clips", type=user_path, metavar="CLIPS",
                   help="clips as .npy in [0, 1], as `sample` writes them, or one clip as .gif")
    how = p.add_mutually_exclusive_group(required=True)
    how.add_argument("--keep", choices=KEPT, help="what of the clips stays; the rest is made")
    how.add_argument("--redraw", type=positive_number, metavar="T0",
                     help="make all anew, from noise of time T0, above 0 to 1: below .75 a digit "
                          "mostly stays the same, up to .9 its path does")
    wish = p.add_mutually_exclusive_group()
    wish.add_argument("--digit", type=parse_digit, metavar="D", help="the digit to show")
    wish.add_argument("--prompt", metavar="TEXT", help="what to show, for a text model")
    p.add_argument("--repeats", type=whole_number(1, 1000), default=1, metavar="R",
                   help="with --keep: make every step R times, so that the rest fits better "
                        "(RePaint; default: %(default)s)")
    seed_option(p)
    p.add_argument("--out", type=output_path, required=True, metavar="FILE",
                   help="ends in .gif, .png (contact sheet) or .npy")


def add_score(commands) -> None:
    """The options of `score`."""
    p = commands.add_parser(
        "score", help="score a model, or clips, on the scoreboard",
        description="Compare a model's clips, or clips of your own, with real ones. Real clips get "
                    "1 in every part of the row; SCORE is the smallest of CLIPS, FIT and COVER.")
    p.add_argument("what", type=known_name("model", ".npy"), metavar="NAME_OR_FILE_OR_CLIPS.npy",
                   help="a checkpoint's name, a model.safetensors, or clips in [0, 1]")
    p.add_argument("--labels", type=user_path, metavar="L.npy",
                   help="the digits that the clips should show, (N,)")
    digits_option(p, None, "the real clips' digits, builtin, mnist or a folder with MNIST's files "
                           "(default: those the model was trained on; mnist for clips)")
    p.add_argument("--n", type=whole_number(1, MAX_CLIPS), default=512,
                   help="clips per seed (default: %(default)s)")
    p.add_argument("--seeds", type=whole_number(1, 10_000), default=1,
                   help="how many seeds, from --seed on (default: %(default)s)")
    sampling_options(p, "ddpm")
    p.add_argument("--json", type=user_path, metavar="FILE", help="write the row into this file")


def digits_option(p, default: str | None, text: str = DIGIT_SOURCES) -> None:
    """The option --digits."""
    p.add_argument("--digits", default=default, type=digit_source, metavar="SOURCE",
                   help=text + ("" if default is None else " (default: %(default)s)"))


def seed_option(p, default: int | None = 0) -> None:
    """The option --seed."""
    p.add_argument("--seed", type=seed_number, default=default,
                   help="the same seed gives the same result (default: 0)")


def sampling_options(p, sampler: str) -> None:
    """The options that `sample` and `score` share."""
    p.add_argument("--sampler", choices=valid_names("sampler"),
                   help="how to sample; ddpm adds fresh noise at every step, ddim, heun and "
                        f"dpmpp_2m add none (default: {sampler}, or a student's own)")
    p.add_argument("--steps", type=whole_number(1, 1_000_000),
                   help="sampling steps (default: the model's own, usually 20)")
    p.add_argument("--guidance", type=guidance_scale,
                   help="the guidance scale: 0 ignores the condition, 1 follows it, more "
                        "exaggerates it (default: the model's own, usually 1.5)")
    p.add_argument("--interval", type=float, nargs=2, metavar=("LOW", "HIGH"),
                   help="guide only while LOW <= t <= HIGH; 0 1 is always (default: the model's "
                        "own, usually always)")
    p.add_argument("--autoguidance", type=guidance_scale, metavar="W",
                   help="the weight of autoguidance, which pushes clips away from those of the "
                        "same network without temporal attention (default: the model's own)")
    seed_option(p)


def valid_names(kind: str) -> list[str]:
    """The valid names of a kind: recipe, sampler or model. Imported only when they are needed."""
    from minidiff.pipeline import shipped_checkpoints
    from minidiff.recipes import RECIPES
    from minidiff.samplers import SAMPLERS
    return {"recipe": [*RECIPES, "recogniser"], "sampler": list(SAMPLERS),
            "model": shipped_checkpoints()}[kind]


def known_name(kind: str, *endings: str):
    """A type for argparse: a valid name or, for models, a file with one of these endings."""
    endings = (".safetensors", *endings) if kind == "model" else endings

    def read(text: str) -> str:
        if text in valid_names(kind):
            return text
        if text.endswith(endings or "\0"):
            return str(user_path(text))
        files = f", or give a {' or '.join(endings)} file" if endings else ""
        raise argparse.ArgumentTypeError(
            f"there is no {kind} {text!r}; choose one of: {', '.join(valid_names(kind))}{files}")
    return read


def name_value(text: str) -> tuple[str, object]:
    """NAME=VALUE; the value is read as JSON if it is valid JSON, else it stays a text."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} should be NAME=VALUE")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


def guidance_scale(text: str) -> float:
    """A finite number, 0 or more."""
    value = parse_number(float, text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return value


def positive_number(text: str) -> float:
    """A finite number above 0."""
    value = parse_number(float, text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
    return value


def parse_digit(text: str) -> int:
    """A digit from 0 to 9."""
    value = parse_number(int, text)
    if not 0 <= value <= 9:
        raise argparse.ArgumentTypeError(f"must be a digit from 0 to 9, not {text}")
    return value


def whole_number(low: int, high: int):
    """A type for argparse: a whole number from low to high."""
    def read(text: str) -> int:
        value = parse_number(int, text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"must be more than {low - 1} and at most {high}, not {text}")
        return value
    return read


def seed_number(text: str) -> int:
    """A seed, in the one range that all commands share."""
    value = parse_number(int, text)
    try:
        return check_seed(value)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def parse_number(kind: type, text: str):
    """A text as an int or a float."""
    try:
        return kind(text)
    except ValueError:
        whole = "whole " if kind is int else ""
        raise argparse.ArgumentTypeError(f"{text!r} is not a {whole}number") from None


def user_path(text: str) -> Path:
    """A path with ~ expanded, whose name the system can take."""
    if not text.strip():
        raise argparse.ArgumentTypeError("a path is needed, not an empty text; '.' is this folder")
    try:
        path = Path(text).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            os.lstat(path)                              # raises OSError if a name is too long
    except (OSError, ValueError, RuntimeError) as e:
        reason = getattr(e, "strerror", None) or e
        raise argparse.ArgumentTypeError(f"{text!r} cannot be a path: {reason}") from None
    return path


def digit_source(text: str) -> str:
    """builtin, mnist or a folder's path with ~ expanded."""
    return text if text in ("builtin", "mnist") else str(user_path(text))


def output_path(text: str) -> Path:
    """The path of a file of clips, whose ending is one of `media.FILE_EXTENSIONS`."""
    from minidiff.data.media import FILE_EXTENSIONS
    path = user_path(text)
    if path.suffix.lower() not in FILE_EXTENSIONS:
        raise argparse.ArgumentTypeError(
            f"the file's ending must be one of {', '.join(FILE_EXTENSIONS)}; got {text!r}")
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; give a file in it")
    return path
