"""Rules that the whole tree keeps: floors, and a README whose commands exist."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


ABOVE_STORAGE = tuple(
    f"metaseg.{path.stem}"
    for path in (ROOT / "metaseg").iterdir()
    if path.stem not in ("__init__", "address", "config", "names", "storage", "terminal")
    and not path.stem.startswith((".", "__pycache__"))
)
"""All of the package but the storage, which analysis reads from, and the terminal, which it prints on."""

ABOVE_TENSORS = ("metaseg.data", "metaseg.training", "metaseg.run", "metaseg.study", "metaseg.store", "metaseg.engine")


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module}
    return names


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_only_the_engine_imports_ray():
    outside = [path for path in sources("metaseg", "analysis", "studies") if "engine" not in path.parts]
    assert outside
    assert not [path for path in outside if any(name.split(".")[0] == "ray" for name in imports(path))]


@pytest.mark.parametrize(
    ("floor", "above"),
    [
        ("analysis", ("torch", "ray", *ABOVE_STORAGE)),
        *((f"metaseg/{name}.py", ABOVE_TENSORS) for name in ("unet", "blocks", "metadata", "losses", "metrics")),
        *((f"metaseg/{name}.py", ("metaseg.engine", "analysis")) for name in ("study", "store", "run")),
        ("metaseg/data", ("metaseg.training", "metaseg.run", "metaseg.study", "metaseg.store", "metaseg.engine")),
        ("metaseg/datasets", ("metaseg.training", "metaseg.run", "metaseg.study", "metaseg.store", "metaseg.engine")),
        ("metaseg/training", ("metaseg.run", "metaseg.study", "metaseg.store", "metaseg.engine", "analysis")),
        ("metaseg/engine", ("analysis", "metaseg.launch")),
    ],
)
def test_each_floor_imports_only_what_lies_below_it(floor, above):
    for path in sources(floor) or [ROOT / floor]:
        assert not [name for name in imports(path) if name.startswith(above)], path


def test_importing_the_package_is_cheap():
    code = "import sys, metaseg, metaseg.config; assert not {'torch', 'ray', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_file_that_the_documents_point_to_exists():
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.relative_to(ROOT)} points to {target}"


def test_continuous_integration_runs_the_readmes_test_command():
    assert "make test" in (ROOT / "README.md").read_text()
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("make test")
