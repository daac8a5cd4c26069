"""Behaviour that all study pages share."""

from dataclasses import replace
from pathlib import Path

import pytest

from metaseg.cli.option_file import read_file, with_file
from metaseg.cli.options import StudyOptions
from metaseg.cli.study_page import named, with_folds
from metaseg.config import ConfigError, DataConfig, Folding
from studies import own_data


def test_a_study_of_own_images_has_another_name_than_the_simulated_one(tmp_path: Path) -> None:
    folder = tmp_path / "LIVECell"
    folder.mkdir()
    (folder / "table.csv").write_text("image\n")
    assert named("livecell", None) == "livecell"
    assert named("livecell", folder) == named("livecell", folder / "table.csv") == "livecell-LIVECell"


@pytest.mark.parametrize(
    ("folds", "expected"),
    [
        (None, "cells"),
        (5, "cells-5_folds"),
        ("groups", "cells-each_group_left_out"),
        ("column", "cells-declared_folds"),
        ("column:stain", "cells-each_stain_left_out"),
    ],
)
def test_a_study_with_folds_doesnt_replace_the_one_without(folds: Folding | None, expected: str) -> None:
    assert with_folds("cells", StudyOptions(data=DataConfig(folds=folds))) == expected
    own = replace(own_data.QUICK, name="mine", data=DataConfig(folds=folds))
    assert with_folds("mine", own) == "mine"
    few = StudyOptions(data=DataConfig(folds=folds, limit_training=("rare=8",)))
    assert with_folds("cells", few) == expected.replace("cells", "cells-rare_8")
    assert with_folds("cells", replace(few, equal_steps=True)) == expected.replace("cells", "cells-rare_8-equal_steps")


@pytest.mark.parametrize(("given", "expected"), [("5", 5), ('"groups"', "groups"), ('"None"', None)])
def test_folds_are_read_from_a_file_as_from_the_command_line(
    tmp_path: Path, given: str, expected: Folding | None
) -> None:
    (tmp_path / "options.toml").write_text(f"folds = {given}\n")
    content = read_file(tmp_path / "options.toml")
    assert with_file(StudyOptions(), content, tmp_path / "options.toml").data.folds == expected


def test_folds_that_cant_be_are_refused_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="folds is 'no'; expected a number from 2, groups, column or column:NAME"):
        with_file(StudyOptions(), {"folds": "no"}, tmp_path / "options.toml")
    with pytest.raises(ConfigError, match="folds is 1; expected a number from 2, groups, column or column:NAME"):
        with_file(StudyOptions(), {"folds": 1}, tmp_path / "options.toml")
