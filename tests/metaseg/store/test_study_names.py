"""Names of studies and sweeps: they are names of files everywhere, and lead nowhere else."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaseg.config import ConfigError
from metaseg.store.folder import FolderStorage
from metaseg.store.names import MOST_BYTES, as_name, check_name
from metaseg.store.runs import Store

RIGHT = ["seven_cells", "lines-v2", "Zelllinien Übersicht", "細胞 (2)", "a.b", "100%", "$x$", "it's"]


@pytest.mark.parametrize("name", RIGHT)
def test_what_people_call_their_studies_is_right(name: str) -> None:
    check_name("study", name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "it is empty"),
        ("lines/v2", "it holds '/'"),
        ("../../x", "it holds '/'"),
        ("/abs", "it holds '/'"),
        ("a\\b", r"it holds '\\\\'"),
        ("c:x", "it holds ':'"),
        ("a\nb", r"it holds '\\n'"),
        ("a\x1b[31m", r"it holds '\\x1b'"),
        ("a\u202eb", r"it holds '\\u202e'"),
        ("a\u200bb", r"it holds '\\u200b'"),
        ("a\x00", r"it holds '\\x00'"),
        ("..", "begins with a dot"),
        (".hidden", "begins with a dot"),
        ("--force", "begins with a dot, a space or a dash"),
        ("x ", "ends in a dot or a space"),
        ("x.", "ends in a dot"),
        ("NUL", "Windows reserves it"),
        ("com1.txt", "Windows reserves it"),
        ("ü" * 61, "it has 122 bytes, more than 120"),
    ],
)
def test_what_is_no_file_name_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"name of the study is .*{reason}"):
        check_name("study", name)


@given(st.text(max_size=200))
def test_whatever_a_folder_is_called_makes_a_name(text: str) -> None:
    name = as_name(text)
    check_name("study", name)
    assert as_name(name) == name


@given(st.text(st.characters(), max_size=MOST_BYTES))
def test_names_that_are_right_stay_in_their_folder(text: str) -> None:
    try:
        check_name("study", text)
    except ConfigError:
        return
    assert (Path("/store/studies") / f"{text}.json").parent == Path("/store/studies")
    assert as_name(text) == text


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a//b", "a/./b", "..", "a/\0"])
def test_no_file_of_a_storage_is_outside_of_it(tmp_path: Path, name: str) -> None:
    storage = FolderStorage(tmp_path / "store")
    for operation in (storage.read, storage.exists, storage.delete, storage.delete_folder, storage.names, storage.path):
        with pytest.raises(ConfigError, match=r"isn't a file's name within .*store; expected one without"):
            operation(name)
    with pytest.raises(ConfigError, match="isn't a file's name"):
        storage.write(name, b"")
    assert not (tmp_path / "x").exists()


def test_a_store_keeps_no_study_whose_name_leads_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"name of the study is '\.\./\.\./x'"):
        Store.at(tmp_path / "store").write_study("../../x", {})
    assert not list(tmp_path.rglob("*.json"))
