"""Mutants of the right answers: small changes, each of which a check should notice.

    python -m minidiff.course mutants 02

A check that passes a mutant has too few inputs, unless no legal input tells the two apart. Such
mutants are listed in an answers' module under `EQUIVALENT`, with the reason:

    EQUIVALENT = {("c02-step", "line 4: std -> std.detach()"): "the reason in a sentence"}
"""
import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from minidiff.course import answers, exercises
from minidiff.course.checking.exercise import Exercise
from minidiff.course.checking.observation import observe
from minidiff.course.checking.verdict import judge, observe_right

SECONDS = 2.0                                            # that a mutant may take for one input
OTHER_OPERATORS = {ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,),
                   ast.Div: (ast.Mult,), ast.MatMult: (), ast.Pow: (), ast.FloorDiv: (ast.Div,),
                   ast.Mod: ()}
OTHER_COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
                     ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
                     ast.In: ast.NotIn, ast.NotIn: ast.In}
UNDONE = {"sqrt", "square", "abs", "exp", "log", "neg", "transpose", "mean", "sum", "clamp",
          "contiguous", "float", "double", "to"}         # methods that a mutant leaves out
SHAPE_ONLY = {"ndim", "shape", "dtype", "device", "numel", "size", "view_as", "expand_as",
              "reshape_as", "to", "type_as"}             # what needs no gradients of its tensor


class Mutant(NamedTuple):
    """A changed answer: what was changed, and the function."""
    change: str
    function: Callable


def mutants_of(reference: Callable, gradients: bool = True) -> Iterator[Mutant]:
    """All mutants of a function: one small change each. gradients: also those that stop them."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(reference)))
    if gradients:
        yield Mutant("@torch.no_grad()", without_gradients(reference))
    detachable = tensors_used(tree) if gradients else set()
    seen, silent = {ast.unparse(tree)}, without_effect(tree)
    for k, node in enumerate(ast.walk(tree)):
        news = [] if id(node) in silent else list(changed_nodes(node))
        if id(node) in detachable:
            news.append(method(node, "detach"))
        for new in news:
            source = replaced(tree, k, new)
            if source in seen:
                continue
            seen.add(source)
            old, now = (ast.unparse(ast.fix_missing_locations(n)) for n in (node, new))
            yield Mutant(f"line {getattr(node, 'lineno', 1)}: {old} -> {now}",
                         defined(source, reference))


def tensors_used(tree: ast.Module) -> set[int]:
    """The ids of the nodes that may be tensors whose values count: arguments and method calls."""
    arguments = {a.arg for a in tree.body[0].args.args}
    found = {id(n) for n in ast.walk(tree)
             if (isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and n.id in arguments)
             or (isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in SHAPE_ONLY:
            found.discard(id(node.value))
        if isinstance(node, ast.Call):
            found.discard(id(node.func))
            if isinstance(node.func, ast.Attribute) and node.func.attr in SHAPE_ONLY:
                found -= {id(a) for a in node.args}
    return found


def without_effect(tree: ast.Module) -> set[int]:
    """The ids of the nodes in annotations and in the sentences of errors."""
    parts = [n.exc for n in ast.walk(tree) if isinstance(n, ast.Raise) and n.exc]
    parts += [part for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.arg)
              for part in (getattr(n, "returns", None), getattr(n, "annotation", None)) if part]
    return {id(n) for part in parts for n in ast.walk(part)}


def without_gradients(reference: Callable) -> Callable:
    """The function inside no_grad, in a wrapper that hides its name."""
    def quiet(*args, **kwargs):
        with torch.no_grad():
            return reference(*args, **kwargs)
    return quiet


def replaced(tree: ast.Module, k: int, new: ast.AST) -> str:
    """The source in which the k-th node of a walk is another one."""
    changed = copy.deepcopy(tree)
    node = next(n for i, n in enumerate(ast.walk(changed)) if i == k)
    for parent in ast.walk(changed):
        for name, value in ast.iter_fields(parent):
            if value is node:
                setattr(parent, name, new)
            elif isinstance(value, list) and any(v is node for v in value):
                setattr(parent, name, [new if v is node else v for v in value])
    return ast.unparse(ast.fix_missing_locations(changed))


def defined(source: str, reference: Callable) -> Callable:
    """The function of a source, with the names that the reference knows."""
    space = dict(reference.__globals__)
    exec(compile(source, "<mutant>", "exec"), space)
    return space[reference.__name__]


def changed_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in place of one node."""
    if isinstance(node, ast.BinOp):
        yield from changed_operations(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield node.operand
    elif isinstance(node, ast.Constant):
        yield from changed_constants(node)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        other = OTHER_COMPARISONS.get(type(node.ops[0]))
        if other:
            yield ast.Compare(node.left, [other()], node.comparators)
    elif isinstance(node, ast.Call):
        yield from changed_calls(node)
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.ctx, ast.Load):
        yield ast.Tuple(node.elts[::-1], ast.Load())


def changed_operations(node: ast.BinOp) -> Iterator[ast.AST]:
    """Another operator, one side alone, the sides exchanged, a factor squared."""
    for other in OTHER_OPERATORS.get(type(node.op), ()):
        yield ast.BinOp(node.left, other(), node.right)
    if isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow):
        yield node.left
    if isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
        yield node.right
    if isinstance(node.op, ast.Sub | ast.Div):
        yield ast.BinOp(node.right, node.op, node.left)
    if isinstance(node.op, ast.Mult | ast.Div):
        yield ast.BinOp(node.left, node.op, ast.BinOp(node.right, ast.Pow(), ast.Constant(2)))
        yield ast.BinOp(node.left, node.op, ast.BinOp(node.right, ast.Pow(), ast.Constant(0.5)))


def changed_constants(node: ast.Constant) -> Iterator[ast.AST]:
    """A whole number one larger and one smaller, another number halved and negated."""
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield from (ast.Constant(value + 1), ast.Constant(value - 1))
    elif isinstance(value, float):
        yield from (ast.Constant(value / 2), ast.Constant(-value))


def changed_calls(node: ast.Call) -> Iterator[ast.AST]:
    """A method left out, two arguments exchanged, an argument left out, a loop cut short."""
    if isinstance(node.func, ast.Attribute) and node.func.attr in UNDONE:
        yield node.func.value
    for k in range(len(node.args) - 1):
        swapped = [*node.args[:k], node.args[k + 1], node.args[k], *node.args[k + 2:]]
        yield ast.Call(node.func, swapped, node.keywords)
    if node.args and not isinstance(node.args[-1], ast.Starred):
        yield ast.Call(node.func, node.args[:-1], node.keywords)
    for k in range(len(node.keywords)):
        yield ast.Call(node.func, node.args, node.keywords[:k] + node.keywords[k + 1:])
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in ("range", "pairwise", "zip", "enumerate") and node.args:
        yield ast.Subscript(ast.Call(ast.Name("list", ast.Load()), [node], []),
                            ast.Slice(upper=ast.Constant(-1)), ast.Load())
        yield ast.Subscript(ast.Call(ast.Name("list", ast.Load()), [node], []),
                            ast.Slice(lower=ast.Constant(1)), ast.Load())


def method(node: ast.AST, name: str) -> ast.Call:
    """node.name()"""
    return ast.Call(ast.Attribute(node, name, ast.Load()), [], [])


class Survivor(NamedTuple):
    """A mutant that passes an exercise's check, and the reason if it is known to be the same."""
    id: str
    change: str
    reason: str | None


def survivors(exercise: Exercise, at_most: int | None = None) -> tuple[list[Survivor], int]:
    """The mutants that pass, and how many were tried. at_most: tries so many, evenly chosen."""
    answer = answers.find(exercise.id)
    right = observe_right(answer, exercise)
    known = getattr(answers.answer_module(exercise.id), "EQUIVALENT", {})
    found, mutants = [], list(mutants_of(answer.reference, exercise.gradients))
    if at_most is not None:
        mutants = mutants[::max(1, -(-len(mutants) // at_most))]
    for mutant in mutants:
        seen = observe(mutant.function, exercise, SECONDS)
        verdict = judge(seen, exercise, answer._replace(wrong_answers=()), right)
        if verdict.status == "passed":
            key = exercise.id, mutant.change
            found.append(Survivor(*key, known.get(key)))
    return found, len(mutants)


def all_exercises(chapters: list[str]) -> list[Exercise]:
    """The exercises of some chapters, of all if none is named."""
    return [e for c in chapters or exercises.chapters() for e in exercises.exercises_of(c)]
