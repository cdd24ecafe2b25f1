"""The command line: python -m minidiff demo | train | sample | score | recipes | doctor."""
import sys

from minidiff.cli.parser import option_conflict, parser


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns 0: it worked, 1: failed, 2: asked for wrongly, 130: interrupted."""
    args = parser().parse_args(argv)
    if wrong := option_conflict(args):
        parser().error(wrong)
    from minidiff.cli import commands
    try:
        getattr(commands, {"recipes": "list_recipes"}.get(args.command, args.command))(args)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError, ArithmeticError) as e:
        print(f"minidiff {args.command}: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
