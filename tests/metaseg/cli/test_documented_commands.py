"""Command lines in the documentation have options that there are."""

import importlib
import re
import shlex
import sys

import pytest

from analysis.__main__ import COMMANDS
from analysis.commands.options import Sweep
from checkout import ROOT
from metaseg.cli.options import parse
from metaseg.command_line import call

COMMAND = re.compile(r"(?:^|[\s/])(analysis (?:collect|plan|report|sweep)|python studies/\w+\.py)(?=\s|$)")


def documented() -> list[str]:
    """Commands of `analysis` and of studies in the documents' blocks of shell, each once."""
    found: dict[str, None] = {}
    for path in [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "analysis").rglob("*.md")]:
        for block in re.findall(r"^```bash\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
            for line in block.replace("\\\n", " ").splitlines():
                if match := COMMAND.search(line):
                    found[shlex.join(shlex.split(line[match.start(1) :], comments=True))] = None
    return [line for line in found if not {"--help", "--config"} & set(line.split()) and "$" not in line]


LINES = documented()


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("analysis")])
def test_documented_commands_of_analysis_are_understood(line: str) -> None:
    options = call("analysis", "", COMMANDS, shlex.split(line)[1:])
    if not isinstance(options, Sweep):
        options.check()


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("python")])
def test_documented_options_of_studies_are_understood(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, page, *arguments = shlex.split(line)
    monkeypatch.setattr(sys, "argv", [page, *arguments])
    parse(importlib.import_module(page.removesuffix(".py").replace("/", ".")).PRESETS, "")


def test_documents_show_commands_of_each_kind() -> None:
    assert {" ".join(line.split()[:2]) for line in LINES} >= {*(f"analysis {name}" for name in COMMANDS)}
    assert sum(line.startswith("python studies/") for line in LINES) > 10
