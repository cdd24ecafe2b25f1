"""The house rules: who may import whom, what an import costs, what the packages are."""
import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "minidiff"
LAYERS = (  # from the ground up: a file imports from its layer's files before it and from below
    ("schedules", "seeds", "precision", "parallel", "files", "strokes", "torchvision_shim",
     "layers", "text"),
    ("digits", "muon", "media", "denoiser", "moving_mnist", "gaussians", "unet", "dit", "vae",
     "samplers"),
    ("train", "tracker", "inks", "recogniser", "measures", "references", "scoreboard", "trivial"),
    ("recipes", "pipeline", "fit", "probe", "evaluate", "profiles"),
    ("viz", "report", "canvas", "microscope", "duel_pictures", "duel", "widgets"),
    ("demo", "commands", "__main__"),
)
COURSE = (  # the same for minidiff/course, which may import all of the package
    "sizes", "claims", "exercise", "notation", "exercises", "answers", "observe", "judge", "store",
    "session", "questions", "cards", "sources", "rules", "builder", "lint", "executor", "release",
    "child", "submission", "grading", "__init__", "__main__")
ORDER = [name for layer in LAYERS for name in layer]
HEAVY = {"matplotlib": {"viz", "report", "duel_pictures"}, "ipywidgets": {"widgets"},
         "IPython": set(), "tqdm": {"commands"}, "torchvision": set(), "pickle": set()}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_file_has_its_place():
    assert {p.stem for p in PACKAGE.glob("*.py")} - {"__init__"} == set(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_imports_go_downward(name):
    inner = {m.split(".")[1] for m in imports(PACKAGE / f"{name}.py") if m.startswith("minidiff.")}
    above = [m for m in inner if m in ORDER and ORDER.index(m) >= ORDER.index(name)]
    assert not above


def test_the_package_does_not_know_the_course():
    known = {p.stem for p in PACKAGE.glob("*.py") for m in imports(p)
             if m.startswith("minidiff.course")}
    assert not known


def test_every_file_of_the_course_has_its_place_and_imports_go_downward():
    course = PACKAGE / "course"
    there = {p.stem for p in course.glob("*.py")} | {p.parent.name for p in
                                                     course.glob("*/__init__.py")}
    assert there == set(COURSE)
    for name in COURSE:
        file = course / f"{name}.py"
        inner = {m.split(".")[2] for m in imports(file if file.exists() else course / name /
                                                  "__init__.py")
                 if m.startswith("minidiff.course.")}
        assert not [m for m in inner if m in COURSE and COURSE.index(m) >= COURSE.index(name)
                    and m != name], name


@pytest.mark.parametrize("library", HEAVY)
def test_heavy_libraries_stay_in_their_place(library):
    users = {p.stem for p in PACKAGE.glob("*.py")
             if any(m.split(".")[0] == library for m in imports(p))}
    assert users <= HEAVY[library]


def test_importing_the_package_brings_no_heavy_library():
    heavy = [m for m in HEAVY if m not in ("pickle", "tqdm")]                    # torch has them
    code = f"import sys, minidiff; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    assert out.stdout.strip() == "[]"


def test_no_weights_are_unpickled():
    for path in PACKAGE.glob("*.py"):
        source = path.read_text()
        calls = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call))
        names = {ast.unparse(n.func) for n in calls}
        assert not names & {"torch.load", "pickle.load", "pickle.loads"}, path
        loads = re.findall(r"np\.load\([^\n]*", source)
        assert all("allow_pickle=False" in call for call in loads), path


def test_shipped_weights_are_small():
    sizes = [p.stat().st_size for p in (PACKAGE / "checkpoints").glob("*.safetensors")]
    assert max(sizes) <= 8e6 and sum(sizes) <= 32e6


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def everything(but: str = "") -> dict[str, SpecifierSet]:
    """All that pyproject.toml asks for, with its extras `but` one; not the package's own name."""
    about = project()
    extras = [v for k, v in about["optional-dependencies"].items() if k != but]
    texts = about["dependencies"] + [r for extra in extras for r in extra]
    return {r.name.lower(): r.specifier for r in map(Requirement, texts) if r.name != "minidiff"}


def test_shipped_weights_tell_no_folder_of_the_machine_that_trained_them():
    for path in (ROOT / "minidiff" / "checkpoints").glob("*.safetensors"):
        raw = path.read_bytes()
        header = raw[8:8 + int.from_bytes(raw[:8], "little")].decode()
        assert not re.search(r'"(/|[A-Za-z]:)[^"]*[/\\\\]', header), path.name


def test_conda_installs_the_same_packages():
    names = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert set(environment) == {"name", "channels", "dependencies"}
    found = {}
    lines = [d for d in environment["dependencies"] if isinstance(d, str) and d != "pip"]
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    for line in lines + [d for d in pip if not d.startswith("-")]:
        name, spec = re.fullmatch(r"([a-z0-9_.-]+)((?:[<>=!~].*)?)", line).groups()
        found[names.get(name, name)] = SpecifierSet(spec)
    assert found.pop("python") == SpecifierSet(project()["requires-python"])
    assert found == everything(but="peers")                  # which are only there to be timed


def test_constraints_fit_what_is_asked_for():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    lines = [s for s in lines if s and not s.startswith("#")]
    pinned = {r.name.lower(): r.specifier for r in map(Requirement, lines)}
    for name, specifier in everything().items():
        assert name in pinned, f"constraints.txt does not pin {name}"
        version = str(pinned[name]).removeprefix("==")
        assert specifier.contains(version), f"{name} {version} is not {specifier}"


def test_the_workflow_runs_make_test_on_three_systems():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())
    job = workflow["jobs"]["test"]
    assert {o.split("-")[0] for o in job["strategy"]["matrix"]["os"]} == {
        "ubuntu", "macos", "windows"}
    assert any(step.get("run", "").startswith("make test") for step in job["steps"])


def test_the_course_is_run_where_the_network_is_blocked_whatever_the_folder(tmp_path):
    line = next(s for s in (ROOT / "Makefile").read_text().splitlines() if "tests/offline" in s)
    assert 'PYTHONPATH="$(CURDIR)/tests/offline"' in line        # a kernel starts in another folder
    code = "import socket; socket.create_connection(('192.0.2.1', 9), 1)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
                         env=os.environ | {"PYTHONPATH": str(ROOT / "tests" / "offline")})
    assert out.returncode and "The network is blocked" in out.stderr
