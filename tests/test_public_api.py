"""The public names of `metaseg` and `analysis`: cheap to import, documented, and each with an example that runs."""

import ast
import doctest
import importlib
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from checkout import ROOT
from docs.reference.make_api import PACKAGES, PAGE, PublicName, make_page, public_names

PUBLIC = {f"{package}.{public.name}": public for package in PACKAGES for public in public_names(package)}


@pytest.fixture(scope="module")
def example_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where examples read and write; what one has simulated, the next finds there."""
    return tmp_path_factory.mktemp("examples")


def examples(public: PublicName) -> list[doctest.DocTest]:
    """Those in the docstrings of a public name and of its methods, and in the string below a constant."""
    value = getattr(importlib.import_module(public.package), public.name)
    if isinstance(public.definition, ast.AnnAssign):
        return [doctest.DocTestParser().get_doctest(public.docstring, {}, public.name, None, 0)]
    return [found for found in doctest.DocTestFinder().find(value, public.name, globs={}) if found.examples]


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_of_each_public_name_runs(
    name: str, example_folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(example_folder)
    if name == "metaseg.run_study":
        request.getfixturevalue("local_ray")
    found = examples(PUBLIC[name])
    assert any(test.examples for test in found), f"{name} has no example"
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tiny simulated datasets
        for test in found:
            runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_stub_is_what_a_package_exports(package: str) -> None:
    module, stub = importlib.import_module(package), ROOT / package / "__init__.pyi"
    exported = next(
        ast.literal_eval(statement.value)
        for statement in ast.parse(stub.read_text()).body
        if isinstance(statement, ast.Assign)
    )
    assert sorted(exported) == sorted(module.__all__) == sorted(public.name for public in public_names(package))
    assert all(getattr(module, name) is not None for name in exported)
    with pytest.raises(ImportError, match="nonsense"):
        exec(f"from {package} import nonsense")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_is_that_of_a_module_which_would_take_its_place(package: str) -> None:
    modules = {path.stem for path in (ROOT / package).iterdir() if path.is_dir() or path.suffix == ".py"}
    assert not modules & {public.name for public in public_names(package)}


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_imports_nothing_slow(package: str) -> None:
    slow = {"matplotlib", "numpy", "optuna", "pandas", "pyarrow", "ray", "scipy", "torch"}
    code = f"import sys, {package}; dir({package}); print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_type_checkers_know_the_public_names(tmp_path: Path) -> None:
    code = """
        from analysis import compare, read_results
        from metaseg import Predictor, UNet, plan

        UNet("one", 1)
        read_results(1, "study")
        plan("study")
    """
    file = tmp_path / "notebook.py"
    file.write_text("\n".join(line.strip() for line in code.splitlines()))
    command = [sys.executable, "-m", "mypy", file]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if "notebook.py" in line]
    assert len(lines) == 3, done.stdout
    assert "arg-type" in lines[0]
    assert "arg-type" in lines[1]
    assert "call-arg" in lines[2]


def test_the_reference_page_is_current() -> None:
    assert PAGE.read_text() == make_page(), "run python docs/reference/make_api.py"
