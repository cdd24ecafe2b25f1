"""The house rules: imports, folders, docstrings, lengths, names, documents, packages."""
import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import minidiff

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "minidiff"
CORE = ("schedules", "denoiser", "guidance", "samplers", "gaussians", "layers", "unet", "dit",
        "vae", "train", "recipes", "pipeline")                       # the idea, in reading order
ROOMS = {  # -> the rooms that it may import from, the twelve among them
    "runtime": (),
    "core": ("runtime",),
    "data": ("runtime",),
    "recipes": ("core", "data", "runtime"),
    "training": ("recipes", "core", "data", "runtime"),
    "extensions": ("recipes", "core", "data", "runtime"),
    "export": ("recipes", "core", "data", "runtime"),
    "evaluation": ("training", "extensions", "export", "recipes", "core", "data", "runtime"),
    "visual": ("evaluation", "training", "extensions", "export", "recipes", "core", "data",
               "runtime"),
    "cli": ("visual", "evaluation", "training", "extensions", "export", "recipes", "core", "data",
            "runtime"),
    "course": ("cli", "visual", "evaluation", "training", "extensions", "export", "recipes", "core",
               "data", "runtime"),
}
COURSE_ROOMS = {  # the same inside the course
    "exercises": ("checking",), "answers": ("exercises", "checking"), "checking": ("answers",),
    "student": ("checking", "exercises", "answers"),
    "authoring": ("student", "checking", "exercises", "answers"),
    "grading": ("student", "checking", "exercises", "answers"),
}
HEAVY = {"matplotlib": "visual", "ipywidgets": "visual", "IPython": None, "tqdm": "cli",
         "torchvision": None, "pickle": None}                       # library -> its only room


def files() -> list[Path]:
    """Every Python file of the package, as a path relative to it."""
    return sorted(p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    """The room of a file of the package; recipes and pipeline are above the other ten."""
    if len(path.parts) > 1:
        return path.parts[0]
    return "recipes" if path.stem in ("recipes", "pipeline") else "core"


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_the_top_holds_the_twelve_and_the_rooms():
    top = {p.name for p in PACKAGE.iterdir() if not p.name.startswith(("__pycache__", "."))}
    assert top == {f"{name}.py" for name in ("__init__", "__main__", *CORE)} | (
        ROOMS.keys() - {"core", "recipes"}) | {"checkpoints"}


@pytest.mark.parametrize("path", [p for p in files() if p.stem not in ("__init__", "__main__")],
                         ids=str)
def test_imports_go_downward(path):
    for name in imports(PACKAGE / path):
        if not name.startswith("minidiff.") or len(path.parts) > 2:
            continue
        first, *rest = name.split(".")[1:]
        target = room(Path(first, *rest)) if first in ROOMS else room(Path(f"{first}.py"))
        own = room(path)
        assert target in ROOMS[own] or target == own != "extensions", f"{path} imports {name}"
        if target == own and own in ("core", "recipes"):
            assert CORE.index(first) < CORE.index(path.stem), f"{path} imports {name}"


@pytest.mark.parametrize("path", [p for p in files() if len(p.parts) == 3 and
                                  p.parts[1] in COURSE_ROOMS], ids=str)
def test_imports_inside_the_course_go_downward(path):
    for name in imports(PACKAGE / path):
        if name.startswith("minidiff.course."):
            target = name.split(".")[2]
            assert target in (*COURSE_ROOMS[path.parts[1]], path.parts[1]), f"{path}: {name}"


@pytest.fixture(scope="module")
def listed() -> list[Path]:
    """Every file of the project that git knows or would add, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    git = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if git.returncode:
        pytest.skip("This is no clone: git knows no files here.")
    return [Path(line) for line in git.stdout.splitlines() if (ROOT / line).is_file()]


def test_no_folder_holds_more_than_thirty_files(listed):
    full = {str(k): n for k, n in Counter(path.parent for path in listed).items() if n > 30}
    assert not full


def test_the_root_holds_what_it_should(listed):
    assert {path.parts[0] for path in listed if path.parts[0][0] != "."} == {
        "CHANGELOG.md", "LICENSE", "LICENSE-texts", "Makefile", "README.md", "benchmarks",
        "constraints.txt", "datasets", "environment.yml", "examples", "minidiff", "notebooks",
        "pyproject.toml", "solutions", "tests"}


def definitions(path: Path) -> Iterator[tuple[str, ast.AST, bool]]:
    """(qualified name, node, whether it is inside a function) of each function and class."""
    def inside(node: ast.AST, prefix: str, nested: bool) -> Iterator[tuple[str, ast.AST, bool]]:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            name = f"{prefix}{child.name}" if named else prefix.removesuffix(".")
            if named:
                yield name, child, nested
            yield from inside(child, f"{name}." if name else "",
                              nested or (named and not isinstance(child, ast.ClassDef)))
    yield from inside(ast.parse(path.read_text(encoding="utf-8")), "", False)


def sources() -> list[Path]:
    """Every Python file of the package, the benchmarks and the examples."""
    return [p for top in ("minidiff", "benchmarks", "examples") for p in (ROOT / top).rglob("*.py")]


@pytest.mark.parametrize("top", ["minidiff", "benchmarks", "examples"])
def test_everything_public_has_a_docstring(top):
    """But for `forward`."""
    missing = [f"{path.relative_to(ROOT)}: {name}" for path in sorted((ROOT / top).rglob("*.py"))
               for name, node, nested in definitions(path)
               if not nested and name.split(".")[-1] != "forward"
               and not any(part.startswith("_") for part in name.split("."))
               and not ast.get_docstring(node)]
    assert not missing, "\n".join(missing)


def test_every_module_has_a_docstring():
    assert not [str(path) for path in sources()
                if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]


@pytest.mark.parametrize("top", ["minidiff", "benchmarks", "examples"])
def test_no_function_is_longer_than_a_screen(top):
    """Fifty lines, with the functions that are defined within."""
    long = [f"{path.relative_to(ROOT)}: {name}, {lines} lines"
            for path in sorted((ROOT / top).rglob("*.py")) for name, node, _ in definitions(path)
            if not isinstance(node, ast.ClassDef)
            and (lines := node.end_lineno - node.lineno + 1) > 50]
    assert not long, "\n".join(long)


GONE = {  # a word of the project's own language, as a pattern -> what the field says
    r"\bviz\b": "figures", r"\bcanvas\.(?:py|css|js|Panel)\b": "viewer",
    r"minidiff\.(?:inks|tracker)\b|import (?:inks|tracker)\b": "segmentation, tracking",
    r"\brecogniser\.(?!safetensors|json)[a-z]|import recogniser": "digit_classifier",
    r"\bparallel\.(?:py|leads|drawn|rows|agreed|average|start)\b|import parallel|, parallel$":
        "distributed",
    r"\btorchvision_shim\b": "torchvision_compat", r"\bframes_alone\b":
        "without_temporal_attention", r"\bsinusoid\(": "sinusoidal_embedding",
    r"\brotations\(": "rope_angles", r"\bMixer\b": "SpatioTemporalMixer",
    r"\bgist\b": "text_proj", r"\bunbroken\b": "defer_interrupts", r"\bper_sample\b":
        "append_dims", r"\bSMALLEST\b": "EPS", r"\bbeside\(": "atomic_write",
    r"\bGlance\b": "FrameFeatures", r"\bYard\b": "RealStatistics", r"\bFlight\b": "Motion",
    r"\.jolts\b": "accelerations", r"\bglide\(": "reflect", r"(?<![\w.])told\(":
        "prompt_keys", r"(?<![\w.])asked\(": "checked_labels", r"\bjudged\(": "score_parts",
    r"\bof_diffusers\b": "peers.diffusers", r"\bsides\.(?:ours|peer|video_diffusion)\b": "peers",
    r"\bALONE\b": "ATTENTION_PATTERNS", r"\bBelief\b|\.belief\b": "probabilities",
    r"--set (?:deep|apart|noised|refine|mix)=": "today's settings",
    r"(?i)cannot be fooled|the clearest\b|best there is|fits in your head":
        "what was tested, with its number"}
ALLOWED = {"CHANGELOG.md", "minidiff/runtime/old_files.py", "tests/test_package.py"}


def words_of(path: Path) -> str:
    """A file's text; of a notebook its cells without their outputs."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


@pytest.fixture(scope="module")
def texts(listed) -> dict[str, str]:
    """The code and the documents, path -> text; notebooks by their source, solutions/."""
    return {str(path): words_of(path) for path in listed if str(path) not in ALLOWED
            and path.parts[0] != "notebooks" and path.suffix in (".py", ".md", ".ipynb", ".toml")}


@pytest.mark.parametrize("pattern", GONE)
def test_names_are_the_fields(texts, pattern):
    found = [f"{path}: {line.strip()}" for path, text in texts.items()
             for line in text.splitlines() if re.search(pattern, line)]
    assert not found, f"say {GONE[pattern]}:\n" + "\n".join(found)


def test_dotted_names_in_code_and_documents_exist(texts):
    """`minidiff.a` is a module, a room or a name of the package; `benchmarks.a.b` is a module."""
    wrong = []
    for path, text in texts.items():
        if path.startswith("tests/"):
            continue                                             # these may make up names
        for first in re.findall(r"\bminidiff\.([A-Za-z_]\w*)", text):
            there = (PACKAGE / first).exists() or (PACKAGE / f"{first}.py").exists()
            if not there and first not in minidiff.__all__ and not hasattr(minidiff, first):
                wrong.append(f"{path}: minidiff.{first}")
        for dotted in re.findall(r"-m (benchmarks(?:\.[a-z_]+)+)\b(?!\.)", text):
            target = ROOT / dotted.replace(".", "/")
            if not target.is_dir() and not target.with_suffix(".py").exists():
                wrong.append(f"{path}: {dotted}")
    assert not wrong, "\n".join(wrong)


def test_paths_and_links_in_documents_exist(listed):
    wrong = []
    for path in (p for p in listed if p.suffix == ".md"):
        text = words_of(path)
        for link in re.findall(r"\]\(([^)#\s]+)", text):
            if "://" not in link and not (ROOT / path.parent / link).exists():
                wrong.append(f"{path}: {link}")
        tops = "minidiff|benchmarks|tests|examples"
        for named in re.findall(rf"\b(?:{tops})/[\w/]+\.(?:py|csv|gif)", text):
            if not (ROOT / named).exists():
                wrong.append(f"{path}: {named}")
    assert not wrong, "\n".join(wrong)


def test_imports_of_the_package_in_documents_work(listed):
    tried = []
    for path in (p for p in listed if p.suffix == ".md"):
        for block in re.findall(r"```python\n(.*?)```", words_of(path), re.S):
            for line in re.findall(r"^(?:import|from) minidiff\b.*", block, re.M):
                exec(line, {})                              # raises if the name does not exist
                tried.append(str(path))
    assert "README.md" in tried


def test_the_readme_shows_the_minimal_example_as_it_is():
    example = (ROOT / "examples" / "train_minimal.py").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- examples/train_minimal\.py -->\n```python\n(.*?)```", readme, re.S)
    assert shown.group(1) == example
    assert len(example.splitlines()) <= 60


def test_the_version_is_the_same_everywhere():
    entry = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert project()["version"] == minidiff.__version__ == entry.group(1)


@pytest.mark.parametrize("library", HEAVY)
def test_heavy_libraries_stay_in_their_room(library):
    users = {str(p) for p in files() if HEAVY[library] != room(p) != "course"
             and any(m.split(".")[0] == library for m in imports(PACKAGE / p))}
    assert not users


def test_importing_the_package_brings_no_heavy_library():
    heavy = [m for m in HEAVY if m not in ("pickle", "tqdm")]                    # torch has them
    code = f"import sys, minidiff; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    assert out.stdout.strip() == "[]"


def test_no_weights_are_unpickled():
    for path in files():
        source = (PACKAGE / path).read_text()
        calls = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call))
        names = {ast.unparse(n.func) for n in calls}
        assert not names & {"torch.load", "pickle.load", "pickle.loads"}, path
        loads = re.findall(r"np\.load\([^\n]*", source)
        assert all("allow_pickle=False" in call for call in loads), path


def test_shipped_weights_are_small():
    sizes = [p.stat().st_size for p in (PACKAGE / "checkpoints").glob("*.safetensors")]
    assert max(sizes) <= 8e6 and sum(sizes) <= 48e6


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
