"""The course's command line: python -m minidiff.course build | check | lint | ... | progress."""
import argparse
import os
import sys
from pathlib import Path

EXAMPLES = """examples:
  python -m minidiff.course build                       after a solution was edited
  python -m minidiff.course execute 02 --profile cpu    run a solution and keep what it shows
  python -m minidiff.course grade handed-in/*.ipynb --out grades
  python -m minidiff.course progress                    which parts are yours"""


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns 0: it worked, 1: failed, 2: asked for wrongly, 130: interrupted."""
    for stream in (sys.stdout, sys.stderr):               # a letter that they lack becomes "?"
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    args = parser().parse_args(argv)
    try:
        return COMMANDS[args.command](args)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError) as e:
        print(f"minidiff.course {args.command}: {e}", file=sys.stderr)
    except ImportError as e:
        print(f"minidiff.course {args.command}: {e.name} is not installed; "
              "pip install minidiff[course] has it.", file=sys.stderr)
    return 1


def parser() -> argparse.ArgumentParser:
    """The command line's parser, with a subparser for each command."""
    top = argparse.ArgumentParser(
        "minidiff.course", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="The course's notebooks: made, checked, run, handed out and graded.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command("build", "make notebooks/ from solutions/, and put those into their canonical form")
    command("check", "say where notebooks/ and solutions/ differ from what build writes")
    command("lint", "hold the solutions against the chapters' template")
    p = command("execute", "run solutions and store what they show")
    p.add_argument("names", nargs="*", metavar="NAME", help="chapters, 02 for example (all)")
    p.add_argument("--profile", choices=("smoke", "cpu", "gpu"),
                   help="how big (default: MINIDIFF_PROFILE, else gpu or cpu, as there is)")
    p.add_argument("--home", type=Path, metavar="DIR",
                   help="where accepted functions are kept, and choices until their chapter is run "
                        "again (default: an empty folder, then gone)")
    p = command("release", "write the course as nbgrader's source tree")
    p.add_argument("--nbgrader", type=Path, required=True, metavar="DIR",
                   help="the folder to write into, new or empty")
    p = command("grade", "grade notebooks that were handed in")
    p.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    p.add_argument("--out", type=Path, metavar="DIR",
                   help="a folder for grades as CSV and JSON and the histogram of mistakes")
    p.add_argument("--isolation", choices=("bwrap", "none"),
                   help="run the notebooks' functions under bubblewrap or not (default: under "
                        "bubblewrap if it works here)")
    p = command("mutants", "change the right answers a little and say which changes no check sees")
    p.add_argument("chapters", nargs="*", metavar="CHAPTER", help="02 for example (all)")
    command("progress", "say which parts of the course's models are yours")
    return top


def find_root(folder: Path) -> Path:
    """The course's folder: this one or the nearest above. Raises FileNotFoundError for none."""
    folder = Path(folder).resolve()
    for place in (folder, *folder.parents):
        if (place / "solutions" / "course.yml").is_file():
            return place
    raise FileNotFoundError(f"There is no solutions/course.yml in {folder} or above it; "
                            "go to the folder of the course.")


def build(args) -> int:
    """Writes notebooks/ and the canonical solutions/; returns the exit code 0."""
    from minidiff.course.authoring import builder, notebook_files
    root = find_root(Path())
    print_warnings(root)
    for path in (changed := builder.build(root)):
        print(f"wrote {path.relative_to(root)}")
    print(f"{len(changed)} of {2 * len(notebook_files.solutions_in(root))} notebooks changed.")
    return 0


def check(args) -> int:
    """Prints the differences of notebooks/ from what build writes; returns the exit code."""
    from minidiff.course.authoring import builder
    return print_problems(builder.find_drift(find_root(Path())),
                          "notebooks/ is what build makes of solutions/.")


def lint(args) -> int:
    """Prints what breaks the template in the solutions; returns the exit code, 0 if nothing."""
    from minidiff.course.authoring import lint
    print_warnings(find_root(Path()))
    return print_problems(lint.lint(find_root(Path())), "The solutions follow the template.")


def print_warnings(root: Path) -> None:
    """Say what is unfinished but no fault."""
    from minidiff.course.authoring import notebook_files
    for sentence in notebook_files.install_warnings(root):
        print(sentence, file=sys.stderr)


def print_problems(sentences: list[str], fine: str) -> int:
    """Prints a sentence for each problem, or `fine` if there is none; returns the exit code."""
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    if not sentences:
        print(fine)
    return 1 if sentences else 0


def execute(args) -> int:
    """Runs solutions and stores their outputs; returns the exit code 0."""
    from minidiff.course.authoring import executor
    for ran in executor.execute(find_root(Path()), args.names, args.profile,
                                args.home):
        print(f"{ran.name}: {ran.seconds:.0f} s, {ran.size / 1000:.0f} KB", flush=True)
        for dropped in ran.dropped:
            print(f"  too large to keep: {dropped}")
    return 0


def release(args) -> int:
    """Writes the chapters for nbgrader into a folder; returns the exit code 0."""
    from minidiff.course.authoring.nbgrader_release import write_release
    written = write_release(find_root(Path()), args.nbgrader)
    print(f"{len(written)} chapters in {args.nbgrader}; {args.nbgrader / 'README.md'} goes on.")
    return 0


def grade(args) -> int:
    """Grades notebooks and returns the exit code 0. Raises FileNotFoundError for a missing one."""
    from minidiff.course.grading import grader
    if missing := [p for p in args.notebooks if not p.exists()]:
        raise FileNotFoundError(f"There is no notebook {missing[0]}.")
    grader.grade(args.notebooks, args.out, isolation=args.isolation)
    return 0


def progress(args) -> int:
    """Prints the student's points so far; returns the exit code 0."""
    from minidiff.course.student import saved_work, session
    if not saved_work.saved_work_folder().exists():     # then it is beside the notebooks, if at all
        os.environ["MINIDIFF_HOME"] = str(find_root(Path()) / "notebooks" / ".minidiff")
    print(session.progress())
    return 0


def mutants(args) -> int:
    """Prints the mutants that pass; returns the exit code, 0 if each has a reason."""
    from minidiff.course.authoring import mutations
    tried = unexplained = 0
    for exercise in mutations.all_exercises(args.chapters):
        found, count = mutations.survivors(exercise)
        tried += count
        unexplained += sum(s.reason is None for s in found)
        print(f"{exercise.id}: {count} mutants, {len(found)} pass", flush=True)
        for survivor in found:
            print(f"  {survivor.change}: {survivor.reason or 'NO REASON KNOWN'}", flush=True)
    print(f"{tried} mutants; {unexplained} pass without a reason.")
    return 1 if unexplained else 0


COMMANDS = dict(build=build, check=check, lint=lint, execute=execute, release=release, grade=grade,
                mutants=mutants, progress=progress)

if __name__ == "__main__":
    sys.exit(main())
