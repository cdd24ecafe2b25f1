"""The command line: python -m minidiff demo | train | sample | score | recipes | doctor."""
import errno
import signal
import sys

from minidiff.cli.parser import option_conflict, parser

OUT_OF_MEMORY = "DefaultCPUAllocator", "out of memory", "can't allocate", "Unable to allocate"
FAILURES = (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError)


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns 0: it worked, 1: it failed, 2: wrong usage, 130: interrupted."""
    for stream in (sys.stdout, sys.stderr):               # an ASCII terminal shows \xfc for ü
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    args = parser().parse_args(argv)
    if conflict := option_conflict(args):
        parser().error(conflict)
    from minidiff.cli import commands
    try:
        getattr(commands, {"recipes": "list_recipes"}.get(args.command, args.command))(args)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except FAILURES as e:
        print(f"minidiff {args.command}: {explanation(e)}", file=sys.stderr)
        return 1
    return 0


def explanation(error: Exception) -> str:
    """An error in one line, in words that do not need its class."""
    text = " ".join(str(error).split())
    if not text or any(words in text for words in OUT_OF_MEMORY):
        if text or isinstance(error, MemoryError):
            return "there is not enough memory; choose a smaller --n, --frames, --steps or batch."
        return repr(error)
    if isinstance(error, OSError) and error.strerror:
        name = error.filename2 or error.filename
        reason = error.strerror + (", make room" if error.errno == errno.ENOSPC else "")
        return f"{name}: {reason}." if name is not None else f"{reason}."
    return text


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)    # a batch system's end: as Ctrl-C
    sys.exit(main())
