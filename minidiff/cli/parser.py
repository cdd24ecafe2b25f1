"""The parser of the command line: every option, its type and its help."""
import argparse
import json
from pathlib import Path

EXAMPLES = """examples:
  python -m minidiff demo                                       train a model, look at it, score it
  python -m minidiff sample mmnist32 --digit 3 --out three.gif  a video from the shipped model
  python -m minidiff sample mmnist64-text --prompt "a 3 moving left" --out left.gif
  python -m minidiff train mmnist32 --digits mnist --minutes 60 --out runs/mine
  python -m minidiff score runs/mine/model.safetensors --json row.json
  python -m minidiff doctor                                     what this machine has and lacks"""
DIGIT_SOURCES = "builtin (drawn, no download), mnist (downloaded) or a folder with MNIST's IDX files"


def option_conflict(args: argparse.Namespace) -> str | None:
    """What is wrong with options that do not go together, or None."""
    if args.command == "train" and args.recipe == "recogniser":
        if args.steps or args.minutes or args.out or args.resume:
            return ("the recogniser is trained in one way only, into the package; it takes "
                    "--digits and --seed and nothing else")
        if args.digits in (None, "builtin"):
            return ("the recogniser learns to read real digits, too: give --digits mnist or a "
                    "folder with MNIST's IDX files")
    if args.command == "train" and args.resume:
        given = dict(digits=args.digits, seed=args.seed, set=args.set, begin=args.begin)
        if own := [f"--{k}" for k, v in given.items() if v not in (None, [])]:
            return (f"--resume goes on with the folder's own settings; leave {' and '.join(own)} "
                    "away, or train into another --out folder")
    if args.command == "score" and args.labels and not args.what.endswith(".npy"):
        return "--labels go with clips; a model is told which digits to show"
    return None


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        "minidiff", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Small video diffusion models, trained and measured on one machine.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_demo(commands)
    add_train(commands)
    add_sample(commands)
    add_score(commands)
    text = "what can be trained, with minutes and memory on this machine"
    commands.add_parser("recipes", help=text, description=text[0].upper() + text[1:] + ".")
    text = "what this machine has for minidiff, and what to do about what is missing"
    commands.add_parser("doctor", help=text, description=text[0].upper() + text[1:] + ".")
    return top


def add_demo(commands) -> None:
    text = "train a small model, sample from it, score it, write a report"
    p = commands.add_parser("demo", help=text, description=text[0].upper() + text[1:] + ": about "
                            "8 minutes on two cores. Run again, it goes on where it was stopped.")
    digits_option(p, "builtin")
    p.add_argument("--minutes", type=positive_number(float),
                   help="how long to train (the profile decides unless given)")
    p.add_argument("--profile", choices=("smoke", "cpu", "gpu"),
                   help="how big: smoke (seconds, a test), cpu (minutes), gpu (a minute); "
                        "default: MINIDIFF_PROFILE, else gpu where there is one, else cpu")
    seed_option(p)
    p.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR",
                   help="the folder to write into (default: %(default)s)")


def add_train(commands) -> None:
    p = commands.add_parser(
        "train", help="train a recipe, with resume",
        description="Train a recipe: its model.safetensors in the output folder is what sample and "
                    "score take. Ctrl-C saves; --resume goes on.")
    p.add_argument("recipe", type=known_name("recipe"), metavar="RECIPE",
                   help=f"one of: {', '.join(valid_names('recipe'))}")
    digits_option(p, None, f"{DIGIT_SOURCES} (default: builtin)")
    budget = p.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=positive_number(float),
                        help="how long to train; becomes a number of steps at the start")
    budget.add_argument("--steps", type=positive_number(int),
                        help="how many steps to train (default: the recipe's)")
    seed_option(p, None)
    p.add_argument("--out", type=Path, metavar="DIR",
                   help="the folder to write into (default: runs/RECIPE)")
    p.add_argument("--set", type=name_value, action="append", default=[], metavar="NAME=VALUE",
                   help="change a setting of the recipe, 'time=none' or 'batch=8' for example; "
                        "may be given several times")
    p.add_argument("--begin", type=known_name("model"), metavar="NAME_OR_FILE",
                   help="begin with the weights of a trained model; layers that it lacks "
                        "start as they are")
    p.add_argument("--resume", action="store_true",
                   help="go on with the training in the folder, with its own settings; "
                        "--steps or --minutes make it longer")


def add_sample(commands) -> None:
    p = commands.add_parser("sample", help="make clips with a trained model", description="Make "
                            "clips with a trained model and write them as the file's ending says.")
    p.add_argument("model", type=known_name("model"), metavar="NAME_OR_FILE",
                   help="a checkpoint's name or a model.safetensors")
    wish = p.add_mutually_exclusive_group()
    wish.add_argument("--digit", type=parse_digit, metavar="D",
                      help="the digit to show, 0 to 9 (default: each in turn)")
    wish.add_argument("--prompt", metavar="TEXT",
                      help="what to show, for a model that reads: 'a 3 moving slowly up left and a "
                           "7 going down' (default: anything)")
    p.add_argument("--negative", metavar="TEXT", help="what guidance leads away from")
    p.add_argument("--frames", type=positive_number(int), metavar="T",
                   help="frames of a clip (default: as in training)")
    sampling_options(p, "ddim")
    p.add_argument("--n", type=positive_number(int),
                   help="how many clips (default: 1 of a digit, 10 of all)")
    p.add_argument("--out", type=output_path, required=True, metavar="FILE",
                   help="ends in .gif, .png (contact sheet) or .npy "
                        "(float32, (N, T, C, H, W), in [0, 1])")


def add_score(commands) -> None:
    p = commands.add_parser(
        "score", help="judge a model, or clips, on the scoreboard",
        description="Compare a model's clips, or clips of your own, with real ones. Every part of "
                    "the row is 1 where real clips are; SCORE is their geometric mean.")
    p.add_argument("what", type=known_name("model", ".npy"), metavar="NAME_OR_FILE_OR_CLIPS.npy",
                   help="a checkpoint's name, a model.safetensors, or clips in [0, 1]")
    p.add_argument("--labels", type=Path, metavar="L.npy",
                   help="the digits that the clips were asked to show, (N,)")
    digits_option(p, None, "the real clips' digits, builtin, mnist or a folder with MNIST's files "
                           "(default: those the model was trained on; mnist for clips)")
    p.add_argument("--n", type=positive_number(int), default=512,
                   help="clips per seed (default: %(default)s)")
    p.add_argument("--seeds", type=positive_number(int), default=1,
                   help="how many seeds, from --seed on (default: %(default)s)")
    sampling_options(p, "ddpm")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the row there")


def digits_option(p, default: str | None, text: str = DIGIT_SOURCES) -> None:
    p.add_argument("--digits", default=default, metavar="SOURCE",
                   help=text + ("" if default is None else " (default: %(default)s)"))


def seed_option(p, default: int | None = 0) -> None:
    p.add_argument("--seed", type=non_negative_int, default=default,
                   help="the same seed gives the same result (default: 0)")


def sampling_options(p, sampler: str) -> None:
    p.add_argument("--sampler", choices=valid_names("sampler"), default=sampler,
                   help="how to sample; ddpm mends its own mistakes by fresh noise, ddim, heun and "
                        "dpmpp_2m follow one smooth path (default: %(default)s)")
    p.add_argument("--steps", type=positive_number(int),
                   help="sampling steps (default: the model's own, usually 20)")
    p.add_argument("--guidance", type=guidance_scale,
                   help="0 ignores what was asked, 1 follows it, more insists (default: the "
                        "model's own, 1.5 unless its recipe says another)")
    p.add_argument("--interval", type=float, nargs=2, metavar=("LOW", "HIGH"),
                   help="guide only while LOW <= t <= HIGH; 0 1 is always (default: the model's "
                        "own, always unless its recipe says another)")
    p.add_argument("--autoguidance", type=guidance_scale, metavar="W",
                   help="lead away from frames that look at themselves alone, with this weight "
                        "(default: the model's own, 0 unless its recipe says another)")
    seed_option(p)


def valid_names(kind: str) -> list[str]:
    """The valid recipes, samplers or models; found late, so that importing costs nothing."""
    from minidiff.pipeline import shipped_checkpoints
    from minidiff.recipes import RECIPES
    from minidiff.samplers import SAMPLERS
    return {"recipe": [*RECIPES, "recogniser"], "sampler": list(SAMPLERS), "model": shipped_checkpoints()}[kind]


def known_name(kind: str, *endings: str):
    """A reader of names that are there; of files, too, where it is a model, by their endings."""
    endings = (".safetensors", *endings) if kind == "model" else endings

    def read(text: str) -> str:
        if text not in valid_names(kind) and not text.endswith(endings):
            files = f", or give a {' or '.join(endings)} file" if endings else ""
            raise argparse.ArgumentTypeError(
                f"there is no {kind} {text!r}; choose one of: {', '.join(valid_names(kind))}{files}")
        return text
    return read


def name_value(text: str) -> tuple[str, object]:
    """NAME=VALUE, the value as JSON where it is JSON, else as the text that it is."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} should be NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def guidance_scale(text: str) -> float:
    value = parse_number(float, text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return value


def parse_digit(text: str) -> int:
    value = parse_number(int, text)
    if not 0 <= value <= 9:
        raise argparse.ArgumentTypeError(f"must be a digit from 0 to 9, not {text}")
    return value


def output_path(text: str) -> Path:
    from minidiff.data.media import FILE_EXTENSIONS
    if Path(text).suffix.lower() not in FILE_EXTENSIONS:
        raise argparse.ArgumentTypeError(
            f"the ending says the format, one of {', '.join(FILE_EXTENSIONS)}; got {text!r}")
    if Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; give a file in it")
    return Path(text)


def positive_number(kind: type):
    def read(text: str):
        value = parse_number(kind, text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
        return value
    return read


def non_negative_int(text: str) -> int:
    value = parse_number(int, text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return value


def parse_number(kind: type, text: str):
    try:
        return kind(text)
    except ValueError:
        whole = "whole " if kind is int else ""
        raise argparse.ArgumentTypeError(f"{text!r} is not a {whole}number") from None
