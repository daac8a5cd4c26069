"""The distribution: its name and packages, and a built wheel that runs by itself."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from checkout import ROOT
from metaseg import __version__
from metaseg.packages import PACKAGES

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKED = ("analysis", "metaseg", "studies", "pyproject.toml", "README.md", "LICENSE")
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, f'build_{sys.argv[1]}')(sys.argv[2]))"


def build(kind: str, source: Path, out: Path) -> Path:
    """An sdist or wheel of a source folder, by the backend that pyproject.toml names."""
    out.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(out)], cwd=source, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from the sdist of what is tracked here, as an installer builds it."""
    folder = tmp_path_factory.mktemp("distribution")
    source = folder / "source"
    source.mkdir()
    for name in PACKED:  # a copy, since building leaves files beside the source
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    sdist = build("sdist", source, folder / "dist")
    assert sdist.name == f"metaseg_studies-{__version__}.tar.gz"
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return build("wheel", unpacked, folder / "dist")


def test_a_wheel_holds_the_packages_their_types_and_notebooks_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    tracked = {
        str(path.relative_to(ROOT))
        for folder in ("analysis", "metaseg", "studies")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".pyi", ".ipynb") or path.name == "py.typed"
    }
    assert names == tracked
    assert {"metaseg/py.typed", "analysis/py.typed", "studies/seven_cells.py"} <= names


def test_commands_run_from_an_installed_wheel_in_another_folder(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "environment"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    # Dependencies are those of this environment; its own editable metaseg isn't, since nested .pth files aren't read.
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    installed = subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def said(*command: object) -> str:
        done = subprocess.run(
            list(map(str, command)), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert said(python, "-c", "import metaseg; print(metaseg.__file__)").startswith(str(site))
    assert "predict" in said(home / "bin" / "metaseg", "--help")
    assert said(home / "bin" / "analysis", "--version") == f"analysis {__version__}\n"
    assert "--margin" in said(home / "bin" / "analysis", "report", "--help")
    assert "--epochs" in said(python, "-m", "studies.seven_cells", "--help")


def test_messages_name_the_packages_of_the_extras() -> None:
    extras = PROJECT["optional-dependencies"]
    assert {extra: packages.split() for extra, packages in PACKAGES.items()} == {
        extra: extras[extra] for extra in PACKAGES
    }


def test_documents_and_messages_install_packages_that_extras_name_and_never_a_strangers_metaseg() -> None:
    known = {package for packages in PROJECT["optional-dependencies"].values() for package in packages}
    folders = ("analysis", "benchmarks", "cluster", "docs", "metaseg", "studies", "tests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    texts = [path for path in files if path.suffix in (".md", ".py", ".yaml", ".ipynb")]
    checked = 0
    for path in [*texts, *ROOT.glob("*.md")]:
        text = path.read_text()
        assert not re.search(r"pip install\s+\S*'?metaseg\b", text), path
        for line in re.findall(r"pip install (.*)", text):
            for package in re.findall(r"'([\w-]+>=[\d.]+)'", line):
                assert package in known, f"{path}: {package}"
                checked += 1
    assert checked >= 5


def test_the_distributions_name_is_its_own_and_extras_refer_to_it() -> None:
    assert PROJECT["name"] == "metaseg-studies"
    for extra in ("all", "dev"):
        own = [each for each in PROJECT["optional-dependencies"][extra] if "[" in each and each.startswith("metaseg")]
        assert own
        assert all(each.startswith("metaseg-studies[") for each in own)


def test_the_citation_is_of_this_version_and_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["cff-version"], str(citation["version"])) == ("1.2.0", __version__)
    assert citation["license"] == PROJECT["license"]
    assert {"message", "title", "authors"} <= citation.keys()
    (paper,) = citation["references"]
    assert paper["title"] in (ROOT / "docs" / "paper.md").read_text()
    assert all(author["family-names"] in (ROOT / "docs" / "paper.md").read_text() for author in paper["authors"])
