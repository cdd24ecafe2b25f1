"""Inside the sandbox: define what a student's function needs, call it, and pack what it does."""
import __future__

import linecache
import re
import sys
from types import ModuleType

import torch

from minidiff.course import exercises
from minidiff.course.checking.observation import Observation, observe
from minidiff.course.grading import equivalents, limits
from minidiff.course.grading.results import message, pack_observations, printable

NOTEBOOK_FILE, NOTEBOOK_MODULE = "<notebook>", "notebook"    # where the functions seem to come from


def observe_task(task: dict, ready) -> bytes:
    """What one task's function does, as a message. `ready` is called before the function is."""
    exercise = exercises.find(task["id"])
    allowed = limits.Limits(*task["limits"])
    equivalents.switch_off(exercise.package_equivalents)
    torch.compile = run_eagerly
    space, why = define_module(task["sources"], NOTEBOOK_FILE, NOTEBOOK_MODULE)
    for k, (name, (there, sources)) in enumerate(task["substitutes"].items()):
        space[name] = define_module(sources, f"<right {k}>", f"right_{k}")[0].get(there)
    ready()
    return observe_exercise(exercise, space, task["entry"], task["unavailable"] | why, allowed)


def run_eagerly(function=None, **options):
    """In place of `torch.compile`: the function itself, which gives the same values at once."""
    return function if function is not None else run_eagerly


def define_module(sources: list[str], file: str, name: str) -> tuple[dict, dict[str, str]]:
    """A module's names, and why some could not be defined. The order of sources hardly matters."""
    module = ModuleType(name)
    sys.modules[name], space, why = module, module.__dict__, {}
    whole = "\n".join(sources)
    linecache.cache[file] = len(whole), None, whole.splitlines(True), file
    starts, waiting = [0], list(range(len(sources)))
    for source in sources:
        starts.append(starts[-1] + source.count("\n") + 1)
    while waiting:
        late = []
        for k in waiting:
            try:
                text = "\n" * starts[k] + sources[k]
                exec(compile(text, file, "exec", __future__.annotations.compiler_flag, True), space)
            except NameError as e:
                late.append(k)
                why |= definition_error(sources[k], e)
            except BaseException as e:
                why |= definition_error(sources[k], e)
        if len(late) == len(waiting):
            break
        waiting = late
    return space, {n: w for n, w in why.items() if n not in space}


def definition_error(source: str, e: BaseException) -> dict[str, str]:
    """The name that a source should have defined, and the reason why it did not."""
    found = re.search(r"^(?:async def|def|class) (\w+)|^(?:from|import) .*?(\w+)$|^(\w+) *[:=]",
                      source, re.M)
    name = next(filter(None, found.groups()), "") if found else ""
    return {name: f"its line in your notebook raises {type(e).__name__}: {printable(str(e))}"}


def observe_exercise(exercise, space: dict, name: str, why: dict[str, str],
                     allowed: limits.Limits) -> bytes:
    """What one exercise's function does on all cases, as a message."""
    if problem := unusable(space, name, why):
        return message({"unavailable": problem})
    torch.manual_seed(0)
    begin = limits.peak_memory()
    try:
        seen = observe(space[name], exercise, allowed.case)
        held = (limits.peak_memory() - begin) / 2**20
        if seen[-1].kind == "too long" and held > allowed.memory / 8:
            return message({"unavailable": f"It was stopped after {allowed.case:g} s, and held "
                            f"{held:.0f} MB of memory by then. Does a list grow without end?"})
        return pack_observations([explained(o, why, allowed) for o in seen])
    except MemoryError:
        return message({"unavailable": memory_message(allowed)})
    except BaseException as e:
        return message({"unavailable": f"It ends Python itself ({type(e).__name__}); a function "
                        "returns, or raises."})


def unusable(space: dict, name: str, why: dict[str, str]) -> str:
    """The sentence for a name that has no function of the student's; empty if it has one."""
    f = space.get(name)
    if name not in space:
        return f"{name} could not be defined; {why.get(name, 'the reason is not known')}."
    if not callable(f):
        return f"{name} is not a function but a {type(f).__name__}."
    home = str(getattr(f, "__module__", ""))
    if home.split(".")[0] == "minidiff":
        return (f"It is the package's own {home}.{getattr(f, '__qualname__', name)}: that is the "
                "answer, not yours. Write the formula out.")
    return ""


def memory_message(allowed: limits.Limits) -> str:
    """The sentence for a function that asks for too much memory."""
    return f"It needs more than the {allowed.memory} MB of memory there are."


def explained(seen: Observation, why: dict[str, str], allowed: limits.Limits) -> Observation:
    """An observation whose error says what is known here about its cause."""
    error = seen.error
    if error.startswith("MemoryError") or "can't allocate memory" in error:
        error = f"MemoryError: it needs more than the {allowed.memory} MB there are"
    found = re.search(r"^NameError: name '(\w+)' is not defined", error)
    if found and found[1] in why:
        error = f"{error}; {why[found[1]]}"
    called = {*seen.package_calls, *equivalents.mentioned(error)}
    return seen._replace(error=error, package_calls=tuple(sorted(called)))
