"""Finding the images to segment, with what is known of each."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from metaseg.config import ConfigError
from metaseg.data.manifest import ManifestError
from metaseg.data.reading import Reading
from metaseg.prediction.requests import Request, find_requests
from planted_networks import dosed, member, planted


def images(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.arange(80, dtype=np.uint8).reshape(8, 10)).save(folder / name)
    return folder


def table(path: Path, **columns: list[object]) -> Path:
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def found(where: Path, told: Mapping[str, str] | None = None, **options: Path) -> list[Request]:
    return find_requests(where, planted(), told or {}, **options)


def test_a_folder_is_its_images_with_one_value_for_all(tmp_path: Path) -> None:
    requests = found(images(tmp_path, "b.png", "a.tif", ".hidden.png"), {"line": "a"})
    assert [(each.name, each.stem, dict(each.told)) for each in requests] == [
        ("a.tif", "a", {"line": "a"}),
        ("b.png", "b", {"line": "a"}),
    ]


def test_a_metadata_table_is_joined_by_name_with_or_without_endings(tmp_path: Path) -> None:
    folder = images(tmp_path / "images", "a.png", "b.png", "c.1.png")
    rows = table(
        tmp_path / "t.csv", image=["b", "a.png", "c.1", "elsewhere"], line=["b", "a", "c", "x"], more=[1, 2, 3, 4]
    )
    assert [each.told["line"] for each in found(folder, table=rows)] == ["a", "b", "c"]


def test_rows_that_are_missing_or_twice_there_are_named(tmp_path: Path) -> None:
    folder = images(tmp_path / "images", "a.png", "b.png", "c.png")
    rows = table(tmp_path / "t.csv", image=["a", "b", "b.png"], line=["a", "b", "c"])
    with pytest.raises(ManifestError) as caught:
        found(folder, table=rows)
    assert "has 2 rows for image 'b.png'" in str(caught.value)
    assert "has no rows for image 'c.png'" in str(caught.value)


def test_a_table_of_other_images_is_one_error_and_so_is_one_without_metadata(tmp_path: Path) -> None:
    folder = images(tmp_path / "images", "a.png", "b.png")
    with pytest.raises(ManifestError, match=r"no row that fits the 2 images, such as 'a.png'; it has 'x.png'"):
        found(folder, table=table(tmp_path / "t.csv", image=["x.png"], line=["a"]))
    with pytest.raises(ManifestError, match="has no metadata that these networks see; expected line"):
        found(folder, table=table(tmp_path / "u.csv", image=["a.png"], stain=["a"]))


def test_a_value_that_was_not_in_training_names_its_image_and_the_known_ones(tmp_path: Path) -> None:
    folder = images(tmp_path / "images", "a.png", "b.png")
    with pytest.raises(
        ManifestError, match=r"image 'b.png': metadata column 'line' has .*'HeLa'.*known: 'a', 'b', 'c'"
    ):
        found(folder, table=table(tmp_path / "t.csv", image=["a", "b"], line=["a", "HeLa"]))
    with pytest.raises(ConfigError, match="'line' is neither in a --metadata-table nor given by --metadata line=VALUE"):
        found(folder)


def test_a_missing_value_is_unknown_where_training_had_unknown_ones_and_an_error_elsewhere(tmp_path: Path) -> None:
    folder = images(tmp_path / "images", "a.png", "b.png")
    rows = table(tmp_path / "t.csv", image=["a", "b"], line=["a", None])
    with pytest.raises(ManifestError, match=r"image 'b.png': metadata column 'line'"):
        found(folder, table=rows)
    robust = planted(member(unknown=True))
    assert [each.told["line"] for each in find_requests(folder, robust, {}, rows)] == ["a", None]


def test_a_number_is_read_as_a_number_and_a_name_stays_as_written(tmp_path: Path) -> None:
    folder = images(tmp_path / "images", "007.png")
    rows = table(tmp_path / "t.csv", image=["007"], dose=["1.50"])
    assert find_requests(folder, dosed(), {}, rows)[0].told["dose"] == 1.5


def test_a_manifest_names_images_metadata_and_references(tmp_path: Path) -> None:
    images(tmp_path, "i/a.png", "i/b.png", "m/a.png")
    rows = table(tmp_path / "t.csv", image=["i/a.png", "i/b.png"], mask=["m/a.png", None], line=["a", "b"])
    requests = found(rows)
    assert [each.reference for each in requests] == [tmp_path / "m/a.png", None]
    assert [each.stem for each in requests] == ["i/a", "i/b"]
    with pytest.raises(ManifestError, match=r"row 2: image .*c.png isn't there"):
        found(table(tmp_path / "t.csv", image=["i/a.png", "c.png"], line=["a", "b"]))


def test_rows_of_one_image_are_written_apart_by_what_is_told(tmp_path: Path) -> None:
    images(tmp_path, "a.png")
    assert [each.stem for each in found(table(tmp_path / "t.csv", image=["a.png"] * 2, line=["a", "b"]))] == [
        "a_a",
        "a_b",
    ]
    with pytest.raises(ManifestError, match=r"has image 'a.png' twice with equal metadata"):
        found(table(tmp_path / "t.csv", image=["a.png"] * 2, line=["a", "a"]))


def test_images_that_differ_in_their_endings_alone_are_written_apart(tmp_path: Path) -> None:
    requests = found(images(tmp_path, "a.png", "a.tif"), {"line": "a"})
    assert [each.stem for each in requests] == ["a.png", "a.tif"]


def test_what_is_written_stays_within_its_folder(tmp_path: Path) -> None:
    images(tmp_path, "a.png")
    (tmp_path / "t").mkdir()
    rows = table(tmp_path / "t/t.csv", image=["../a.png", str(tmp_path / "a.png")], line=["a", "b"])
    stems = [each.stem for each in found(rows)]
    assert all(not stem.startswith("/") and ".." not in stem for stem in stems)


def test_numbers_at_the_end_of_a_name_are_channels_in_folders_of_nnunet_only(tmp_path: Path) -> None:
    slices = found(images(tmp_path / "slices", "case_0060.png", "case_0061.png"), {"line": "a"})
    assert [each.name for each in slices] == ["case_0060.png", "case_0061.png"]
    cases = found(images(tmp_path / "imagesTs", "x_0000.png", "y_0000.png"), {"line": "a"})
    assert [each.name for each in cases] == ["x.png", "y.png"]


def test_channels_in_files_of_their_own_become_one_image_where_networks_take_so_many(tmp_path: Path) -> None:
    folder = images(tmp_path / "imagesTs", "x_0000.png", "x_0001.png", "y_0000.png", "y_0001.png")
    with pytest.raises(ManifestError, match=r"case x.png has 2 files, one for each channel; expected 1"):
        found(folder, {"line": "a"})
    two = member()
    object.__setattr__(two.predictor, "channels", 2)
    object.__setattr__(two.predictor, "reading", Reading(every_channel=True))
    requests = find_requests(folder, planted(two), {"line": "a"})
    assert [each.name for each in requests] == ["x.png", "y.png"]
    assert requests[0].decode(planted(two)).shape == (8, 10, 2)


@pytest.mark.parametrize(
    ("masks", "told", "message"),
    [
        ("nowhere", {"line": "a"}, "isn't a folder"),
        ("images", {"line": "a"}, None),
    ],
)
def test_references_are_called_as_images(tmp_path: Path, masks: str, told: dict[str, str], message: str | None) -> None:
    folder = images(tmp_path / "images", "a.png")
    if message:
        with pytest.raises(ConfigError, match=message):
            found(folder, told, masks=tmp_path / masks)
    else:
        assert found(folder, told, masks=tmp_path / masks)[0].reference == folder / "a.png"


def test_places_without_images_say_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "within").mkdir()
    with pytest.raises(ConfigError, match="holds no PNG, TIFF or JPEG file; it has the folders within"):
        found(tmp_path, {"line": "a"})
    with pytest.raises(ConfigError, match="which is not there"):
        found(tmp_path / "nowhere", {"line": "a"})


def test_metadata_in_two_places_is_refused(tmp_path: Path) -> None:
    folder = images(tmp_path / "images", "a.png")
    rows = table(tmp_path / "t.csv", image=["a"], line=["a"])
    with pytest.raises(ConfigError, match=r"'line' is in .*t.csv too; expected its values in one place"):
        found(folder, {"line": "b"}, table=rows)
    with pytest.raises(ConfigError, match="names them itself"):
        found(rows, {}, table=rows)
