"""Behaviour that all study pages share."""

from pathlib import Path

from metaseg.cli.study_page import named


def test_a_study_of_own_images_has_another_name_than_the_simulated_one(tmp_path: Path) -> None:
    folder = tmp_path / "LIVECell"
    folder.mkdir()
    (folder / "table.csv").write_text("image\n")
    assert named("livecell", None) == "livecell"
    assert named("livecell", folder) == named("livecell", folder / "table.csv") == "livecell-LIVECell"
