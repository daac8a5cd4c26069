"""`--config FILE`: names, precedence and errors, and the file that a study is repeated from."""

import importlib
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest

from checkout import ROOT
from metaseg.cli.option_file import NOT_KEPT, read_file, to_toml, with_file
from metaseg.cli.options import REQUIRED, NetworkOptions, Preset, StudyOptions, parse
from metaseg.config import ConfigError, LossConfig, NetworkConfig, ScheduleConfig


@dataclass(frozen=True)
class Cells:
    """A simulator's settings."""

    size: int = 32
    window: tuple[float, float] = (-1.0, 1.0)
    kind: Literal["round", "long"] = "round"


@dataclass(frozen=True, kw_only=True)
class PageOptions(StudyOptions):
    """Options of a page."""

    network: NetworkOptions = NetworkConfig(width=8)
    manifest: Path
    cells: Cells = field(default_factory=Cells)


PRESETS: dict[Preset, PageOptions] = {
    "quick": PageOptions(manifest=REQUIRED),
    "small": PageOptions(manifest=REQUIRED, seeds=5, network=NetworkConfig(width=32)),
}


def parsed(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> PageOptions:
    monkeypatch.setattr(sys, "argv", ["page.py", *map(str, arguments)])
    return parse(PRESETS, "A page.")


TOML = """
preset = "small"
manifest = "table.csv"
arms = ["baseline", "sme"]
lr-max = 2e-3
limit-per-group = 12

[cells]
size = 64
window = [0, 2.5]
"""

YAML = """
preset: small
manifest: table.csv
arms: [baseline, sme]
schedule:
  lr_max: 2e-3
data: {limit_per_group: 12}
cells:
  size: 64
  window: [0, 2.5]
"""


@pytest.mark.parametrize(("name", "text"), [("page.toml", TOML), ("page.yaml", YAML)])
def test_options_in_a_file_are_those_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    typed = ["--preset", "small", "--manifest", "table.csv", "--arms", "baseline", "sme", "--lr-max", "2e-3"]
    typed += ["--limit-per-group", "12", "--cells.size", "64", "--cells.window", "0", "2.5"]
    options = parsed(monkeypatch, "--config", tmp_path / name)
    assert options.config == tmp_path / name
    assert to_toml(options) == to_toml(parsed(monkeypatch, *typed))
    assert (options.network.width, options.cells) == (32, Cells(size=64, window=(0.0, 2.5)))


@pytest.mark.parametrize(
    "text",
    ['loss = "focal"\nfocal-gamma = 1\nclass-weights = [1, 4.5]\n',
     '[loss]\nloss = "focal"\nfocal-gamma = 1.0\nclass-weights = [1, 4.5]\n'],
)  # fmt: skip
def test_a_loss_in_a_file_is_that_of_the_command_line_with_or_without_a_table_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / "page.toml").write_text(f'manifest = "a.csv"\nearly-stopping = 3\n{text}')
    options = parsed(monkeypatch, "--config", tmp_path / "page.toml")
    typed = ["--loss", "focal", "--focal-gamma", "1", "--class-weights", "1", "4.5", "--early-stopping", "3"]
    assert options.loss == LossConfig("focal", focal_gamma=1.0, class_weights=(1.0, 4.5))
    assert to_toml(options) == to_toml(parsed(monkeypatch, "--manifest", "a.csv", *typed))


def test_the_command_line_wins_over_the_file_and_the_file_over_the_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page.toml").write_text('manifest = "a.csv"\nseeds = 7\nwidth = 16\nepochs = 3\n')
    options = parsed(
        monkeypatch, "--config", tmp_path / "page.toml", "--preset", "small", "--manifest", "b.csv", "--epochs", "2"
    )
    assert (options.preset, options.manifest, options.schedule.epochs) == ("small", Path("b.csv"), 2)
    assert (options.seeds, options.network.width) == (7, 16)
    assert options.network.depth == PRESETS["small"].network.depth


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "epohcs = 3",
            "unknown option 'epohcs' (did you mean 'epochs'?); known: preset, config, arms, seeds, until-decided",
        ),
        ("[cells]\nsise = 3", "unknown option 'cells.sise' (did you mean 'cells.size'?); known: "),
        ("[schedule]\nsize = 3", "unknown option 'schedule.size'"),
        ("cells = 3", "unknown option 'cells'"),
        ("[other]\nsize = 3", "unknown option 'other'"),
        ("epochs = 3\nschedule.epochs = 4", "epochs is given twice; expected once"),
        ("lr-max = 1e-3\nlr_max = 1e-3", "lr-max is given twice; expected once"),
        ('epochs = "ten"', "epochs is 'ten'; expected a whole number"),
        ("epochs = true", "epochs is True; expected a whole number"),
        ("epochs = 2.5", "epochs is 2.5; expected a whole number"),
        ('lr-max = "fast"', "lr-max is 'fast'; expected a number"),
        ('dry-run = "yes"', "dry-run is 'yes'; expected true or false"),
        ('arms = "sme"', "arms is 'sme'; expected a list"),
        ("arms = [3]", "arms is 3; expected text"),
        ("[cells]\nwindow = [1]", "cells.window is [1]; expected a list of 2"),
        ('[cells]\nkind = "flat"', "cells.kind is 'flat'; expected one of round, long"),
        ("manifest = 3", "manifest is 3; expected a path"),
        ('preset = "huge"', "preset is 'huge'; expected one of quick, small"),
        ("preset = [1]", "preset is [1]; expected one of quick, small"),
        ("epochs = 0", "epochs is 0; expected at least 1"),
        ("epochs", "not TOML: "),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line_that_names_file_and_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = tmp_path / "page.toml"
    path.write_text(text)
    with pytest.raises(SystemExit) as ended:
        parsed(monkeypatch, "--manifest", "a.csv", "--config", path)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith(f"error: {path}: {message}")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", b"a: [", "a.yaml: not YAML: "),
        ("a.yaml", b"- a", "a.yaml: is a list; expected options by name"),
        ("a.yaml", b"!!python/object/apply:os.getcwd []", "a.yaml: not YAML: could not determine a constructor"),
        ("a.toml", b"\xff", "a.toml: not TOML: "),
        ("a.json", b"{}", "a.json'; expected a file called .toml, .yaml or .yml"),
        ("a.toml", None, "a.toml: No such file or directory"),
    ],
)
def test_a_file_that_holds_no_options_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_file(tmp_path / name)
    assert message in str(caught.value)


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    for name in ("a.toml", "a.yaml"):
        (tmp_path / name).write_text("")
        assert with_file(PRESETS["small"], read_file(tmp_path / name), tmp_path / name) == PRESETS["small"]


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_the_kept_file_gives_the_same_options_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: Preset
) -> None:
    """Whatever the text in them: quotes, line breaks and characters that TOML doesn't hold bare."""
    typed = [
        "--preset",
        preset,
        "--manifest",
        'odd "name"\\é\x7f\t.csv',
        "--lr-max",
        "1e-2",
        "--arms",
        "baseline",
        "a'b",
    ]
    options = parsed(monkeypatch, *typed, "--positions", "--dry-run", "--storage", "s", "--ignore", "255")
    path = tmp_path / "config.toml"
    path.write_text(to_toml(options), "utf-8")
    again = parsed(monkeypatch, "--config", path, "--manifest", typed[3], "--dry-run", "--storage", "s")
    assert again.config == path
    assert {name: value for name, value in vars(again).items() if name != "config"} == {
        name: value for name, value in vars(options).items() if name != "config"
    }
    kept = read_file(path)
    assert kept["manifest"] == str(Path.cwd() / typed[3]), "which holds wherever the command is given again"
    assert not {name.replace("_", "-") for name in NOT_KEPT} & set(kept)


def test_a_name_that_is_no_text_doesnt_keep_a_study_from_being_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    options = parsed(monkeypatch, "--manifest", "a\udcff.csv")
    assert b'/a?.csv"\n' in to_toml(options).encode()


def test_none_on_the_command_line_is_none_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.toml"
    path.write_text(to_toml(parsed(monkeypatch, "--manifest", "a", "--max-concurrent", "None")))
    assert 'max-concurrent = "None"' in path.read_text()
    busy = PageOptions(manifest=Path("a"), schedule=ScheduleConfig())
    assert with_file(busy, read_file(path), path).engine.max_concurrent is None


@pytest.mark.parametrize("option", ["--arms", "--positions", "--cells.window"])
def test_an_option_of_several_values_is_given_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(monkeypatch, "--manifest", "a", f"{option}=1", "2", option, "3", "4")
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {option} is given twice; expected once, with all its values after it\n"


def test_the_documented_file_is_one_of_the_study_that_it_is_given_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "how-to" / "command-line.md").read_text()
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "cells.toml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["seven_cells.py", "--config", str(tmp_path / "cells.toml"), "--epochs", "50"])
    options = parse(importlib.import_module("studies.seven_cells").PRESETS, "")
    assert (options.preset, options.arms, options.seeds) == ("small", ("baseline", "sme"), 3)
    assert (options.schedule.epochs, options.schedule.lr_max, options.synthetic.size) == (50, 2e-3, 128)


PAGES = sorted(path.stem for path in (ROOT / "studies").glob("[!_]*.py"))


REQUIRED = {"own_data": ("--manifest", "/a"), "annotators": ("--manifest", "/a", "--annotator", "who")}
"""Options without which a page has nothing to do."""


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_repeated_from_its_kept_file(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    presets = importlib.import_module(f"studies.{page}").PRESETS
    path = tmp_path / "config.toml"
    for preset in presets:
        monkeypatch.setattr(sys, "argv", ["page.py", "--preset", preset, *REQUIRED.get(page, ())])
        options = parse(presets, "")
        path.write_text(to_toml(options))
        monkeypatch.setattr(sys, "argv", ["page.py", "--config", str(path)])
        assert replace(parse(presets, ""), config=None) == options
