"""Rules that the whole tree keeps: floors, and a README whose commands exist."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from checkout import ROOT

METASEG: tuple[tuple[str, ...], ...] = (
    ("schema", "text"),
    ("config", "packages"),
    ("device", "terminal"),
    ("data", "networks", "command_line", "notebook"),
    ("datasets", "training"),
    ("simulators", "store"),
    ("study",),
    ("scoring", "sweeps"),
    ("engine", "tracking"),
    ("cli",),
    ("pictures", "keeping", "watching"),
    ("export", "prediction"),
    ("commands",),
    ("__main__", "__init__"),
)
"""Rooms of `metaseg`, the lowest first: a room imports rooms below its floor, and itself."""

ANALYSIS: tuple[tuple[str, ...], ...] = (
    ("wording",),
    ("results",),
    ("scores",),
    ("probes", "stats"),
    ("sweeps",),
    ("figures",),
    ("report",),
    ("commands",),
    ("__main__", "__init__"),
)
"""Rooms of `analysis`, likewise."""

SHARED_WITH_ANALYSIS = (
    "metaseg.command_line", "metaseg.config", "metaseg.notebook", "metaseg.schema", "metaseg.store.address",
    "metaseg.store.names", "metaseg.store.storage", "metaseg.terminal",
)  # fmt: skip
"""All of `metaseg` that analysis may use: the store's files are where the two meet."""


def imports(path: Path) -> set[str]:
    """Dotted names of modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            folder = ROOT / node.module.replace(".", "/")
            inside = [alias.name for alias in node.names]
            below = {name for name in inside if (folder / name).is_dir() or (folder / f"{name}.py").is_file()}
            names |= {f"{node.module}.{name}" for name in below} or {node.module}
    return names


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_only_the_engine_imports_ray():
    outside = [path for path in sources("metaseg", "analysis", "studies") if room_of(path) != "engine"]
    assert outside
    assert not [path for path in outside if any(name.split(".")[0] == "ray" for name in imports(path))]


def room_of(path: Path) -> str:
    """A package's folder that a file is in, or its own name beside the folders."""
    inside = path.relative_to(ROOT).parts[1:]
    return inside[0] if len(inside) > 1 else path.stem


@pytest.mark.parametrize(("package", "floors"), [("metaseg", METASEG), ("analysis", ANALYSIS)])
def test_each_room_imports_only_rooms_below_it(package: str, floors: tuple[tuple[str, ...], ...]) -> None:
    height = {room: number for number, rooms in enumerate(floors) for room in rooms}
    assert {room_of(path) for path in sources(package)} <= set(height)
    upwards = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in imports(path)
        if name.startswith(f"{package}.")
        and (room := name.split(".")[1]) != room_of(path)
        and height[room] >= height[room_of(path)]
    ]
    assert not upwards


def test_analysis_needs_neither_torch_nor_ray_and_of_metaseg_only_files_and_the_terminal() -> None:
    allowed = ("metaseg", *SHARED_WITH_ANALYSIS)
    for path in sources("analysis"):
        names = {name for name in imports(path) if name.split(".")[0] in ("torch", "ray", "metaseg")}
        assert names <= set(allowed), path


def test_networks_are_tensors_in_and_tensors_out() -> None:
    for path in sources("metaseg/networks"):
        ours = {name for name in imports(path) if name.startswith(("metaseg", "analysis"))}
        assert not [
            name for name in ours if not name.startswith(("metaseg.config", "metaseg.networks", "metaseg.packages"))
        ], path


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources("metaseg", "analysis", "studies")}
    settings = ROOT / "metaseg" / "config.py"  # all settings of a run in one place
    assert {path: length for path, length in lengths.items() if length > 300 and path != settings} == {}


def test_a_page_is_definitions_and_a_call_alone_so_that_a_notebook_can_import_it() -> None:
    allowed = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef, ast.Assign, ast.AnnAssign, ast.Expr, ast.If)
    for path in sources("studies"):
        nodes = ast.parse(path.read_text()).body
        assert not [node for node in nodes if not isinstance(node, allowed)], path
        assert {ast.unparse(node.test) for node in nodes if isinstance(node, ast.If)} <= {
            "TYPE_CHECKING", "__name__ == '__main__'",
        }, path  # fmt: skip
        assert all(isinstance(node.value, ast.Constant) for node in nodes if isinstance(node, ast.Expr)), path


def test_importing_the_package_is_cheap():
    code = "import sys, metaseg, metaseg.config; assert not {'torch', 'ray', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_file_that_the_documents_point_to_exists():
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.relative_to(ROOT)} points to {target}"


def test_continuous_integration_runs_the_readmes_test_command():
    assert "make test" in (ROOT / "README.md").read_text()
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("make test")


def test_names_of_the_statistics_reference_exist() -> None:
    """`module.name` or `module.name(arguments)` in its table; further names of a cell are of the same module."""
    text = (ROOT / "docs" / "reference" / "analysis.md").read_text()
    table = text.partition("| function |")[2].partition("\n\n")[0]
    found = 0
    for cell in re.findall(r"^\| (.+?) \|", table, re.M):
        module = None
        for name in re.findall(r"`([\w.]+)", cell):
            path, _, last = name.rpartition(".")
            if path.startswith("figures") or not (path or module):  # modules that aren't functions
                continue
            module = importlib.import_module(f"analysis.{path}") if path else module
            assert hasattr(module, last), name
            found += 1
    assert found > 30
