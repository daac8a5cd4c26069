"""Importers read published layouts as they are, into the same manifest."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from metaseg.config import ConfigError, DataConfig
from metaseg.data.decode import decode_image, decode_mask, mask_files
from metaseg.data.manifest import ManifestError
from metaseg.data.mask_values import MaskValues
from metaseg.data.metadata import MetadataColumn
from metaseg.data.preparation import prepare
from metaseg.datasets import layouts
from metaseg.datasets.layouts import LAYOUTS
from metaseg.datasets.source import Source
from metaseg.datasets.table import read_table
from table_files import write_dataset


def read(layout, path, metadata=(), group_by=None):
    return layouts.read(layout, Source(path, path.parent / "scratch", tuple(metadata), group_by))


@pytest.fixture
def bowl(tmp_path):
    """The layout of the Data Science Bowl: 6 RGBA images with grey content, two nuclei each."""
    generator = np.random.default_rng(0)
    for number in range(6):
        folder = tmp_path / "bowl" / "stage1_train" / f"id{number}"
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        grey = generator.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(np.dstack([grey, grey, grey, np.full_like(grey, 255)])).save(
            folder / "images" / f"id{number}.png"
        )
        for k in range(2):
            mask = np.zeros((8, 8), np.uint8)
            mask[k * 4, number] = 255
            Image.fromarray(mask).save(folder / "masks" / f"nucleus{k}.png")
    folds = pd.DataFrame(
        {"img_id": [f"id{n}" for n in reversed(range(6))], "cluster": list("aabbaa"), "mosaic_idx": range(6)}
    )
    folds.to_csv(tmp_path / "bowl" / "folds.csv", index=False)
    return tmp_path / "bowl"


def test_an_unknown_layout_lists_the_known(tmp_path):
    with pytest.raises(ConfigError, match=f"layout is 'cocoa'; expected one of {', '.join(LAYOUTS)}"):
        read("cocoa", tmp_path, [])


def test_csv_and_parquet_give_the_same_manifest(tmp_path):
    path = write_dataset(
        tmp_path / "d", line=list("abcabcabcabc"), dose=np.arange(12.0), clean=[True, False] * 6, well=range(12)
    )
    pd.read_csv(path).to_parquet(path.with_suffix(".parquet"))
    manifests = [read("table", p, ["line", "dose", "clean"], "well") for p in (path, path.with_suffix(".parquet"))]
    for manifest in manifests:
        assert [column.kind for column in manifest.metadata] == ["categorical", "continuous", "categorical"]
        assert manifest.table["group"].tolist() == [str(well) for well in range(12)]
    fingerprints = {prepare(manifest, DataConfig(), tmp_path / "cache").fingerprint for manifest in manifests}
    assert len(fingerprints) == 1


def test_a_kind_can_be_given_and_categories_stay_as_written(tmp_path):
    path = write_dataset(tmp_path / "d", well=["007"] * 6 + ["7"] * 6, stage=[1, 2] * 6)
    manifest = read_table(path, ["well:categorical", "stage:categorical"], "well")
    assert manifest.metadata == (MetadataColumn("well", "categorical"), MetadataColumn("stage", "categorical"))
    assert set(manifest.table["well"]) == set(manifest.table["group"]) == {"007", "7"}
    assert set(manifest.table["stage"]) == {"1", "2"}
    assert read_table(path, ["stage", "well:continuous"], "well").metadata[1].kind == "continuous"


def test_a_group_column_of_its_own_must_agree_with_group_by(tmp_path):
    path = write_dataset(
        tmp_path / "d", well=list("aabbccaabbcc"), group=list("aabbccaabbcc"), plate=list("xxxxxxyyyyyy")
    )
    assert read_table(path, [], "well").table["group"].tolist() == list("aabbccaabbcc")
    with pytest.raises(ManifestError, match="column 'group' of its own, which differs from 'plate'"):
        read_table(path, [], "plate")


@pytest.mark.parametrize(("metadata", "group_by"), [(["lime"], None), ([], "lime"), (["lime:categorical"], None)])
def test_an_unknown_column_lists_the_known(tmp_path, metadata, group_by):
    path = write_dataset(tmp_path / "d", line=list("abcabcabcabc"))
    with pytest.raises(ManifestError, match="has no column 'lime'; it has image, mask, line"):
        read_table(path, metadata, group_by)


def test_what_is_no_table_is_an_error(tmp_path):
    with pytest.raises(ManifestError, match=r"t\.csv doesn't exist"):
        read_table(tmp_path / "t.csv", [])
    with pytest.raises(ManifestError, match=r"expected a \.csv or \.parquet"):
        read_table(tmp_path / "t.xlsx", [])
    for name, content in (("t.parquet", b"PAR1"), ("t.csv", b"image,mask\n\xff\xfe,b\n"), ("empty.csv", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ManifestError, match=f"{name}: unreadable table"):
            read_table(tmp_path / name, [])


def test_a_csv_of_a_spreadsheet_with_a_byte_order_mark_is_read(tmp_path):
    path = write_dataset(tmp_path / "d")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_table(path, []).table) == 12


def test_the_bowl_layout_unites_nuclei_and_joins_its_folds(bowl, tmp_path):
    manifest = read("dsb2018", bowl, ["cluster"], "mosaic_idx")
    assert manifest.table["cluster"].tolist() == list("aabbaa")
    assert manifest.table["group"].tolist() == list("543210")
    with pytest.warns(UserWarning, match=r"'b' \(2 samples, 2 groups\) has none in (val|test)"):
        dataset = prepare(manifest, DataConfig(), tmp_path / "cache")
    assert dataset.channels == 1
    for i in range(6):
        assert np.argwhere(dataset.mask(i)).tolist() == [[0, i], [4, i]]


def test_the_bowl_layout_needs_no_folds_unless_they_are_asked_for(bowl):
    (bowl / "folds.csv").unlink()
    assert len(read("dsb2018", bowl, []).table) == 6
    with pytest.raises(ManifestError, match="has no column 'cluster'"):
        read("dsb2018", bowl, ["cluster"])
    with pytest.raises(ManifestError, match="has no folder stage1_train"):
        read("dsb2018", bowl / "stage1_train", [])


def test_folds_that_lack_or_repeat_an_image_are_an_error(bowl):
    folds = pd.read_csv(bowl / "folds.csv")
    folds.replace("id3", "id2").to_csv(bowl / "folds.csv", index=False)
    with pytest.raises(ManifestError) as caught:
        read("dsb2018", bowl, ["cluster"])
    assert "has no row for image 'id3'" in str(caught.value)
    assert "has image 'id2' in several rows" in str(caught.value)


def test_original_and_converted_bowl_images_agree(real_data):
    """The published layout and the table of the same images give the same metadata and pixels. Their masks come from
    two releases of the annotations, so that a few nuclei may differ."""
    original = read("dsb2018", real_data / "dsb2018_original", ["cluster"], "mosaic_idx")
    converted = read("table", real_data / "dsb2018" / "manifest.csv", ["cluster"], "mosaic_idx")
    pairs = original.table.assign(name="images/" + original.table["img_id"] + ".png").merge(
        converted.table, left_on="name", right_on="image", suffixes=("_original", "_converted")
    )
    assert len(pairs) == 24
    assert (pairs["cluster_original"] == pairs["cluster_converted"]).all()
    assert (pairs["group_original"] == pairs["group_converted"]).all()
    overlap = []
    for _, row in pairs.groupby("cluster_original").head(2).iterrows():
        images = [
            decode_image(manifest.image_file(row[f"image_{which}"])) for manifest, which in sides(original, converted)
        ]
        np.testing.assert_array_equal(*images)
        ours, theirs = (
            decode_mask(mask_files(manifest.mask_file(row[f"mask_{which}"])), MaskValues(("nucleus",))).astype(bool)
            for manifest, which in sides(original, converted)
        )
        overlap.append((ours & theirs).sum() / (ours | theirs).sum())
    assert np.mean(overlap) > 0.9, overlap


def sides(original, converted):
    return ((original, "original"), (converted, "converted"))


def test_files_that_systems_leave_beside_images_are_passed_over(tmp_path):
    for name in ("a", "b"):
        for kind in ("images", "masks"):
            (tmp_path / "stage1_train" / name / kind).mkdir(parents=True)
        for file in (f"images/{name}.png", "masks/1.PNG", "masks/2.png", "masks/._2.png", "masks/Thumbs.db"):
            (tmp_path / "stage1_train" / name / file).touch()
        (tmp_path / "stage1_train" / name / "masks" / "folder.png").mkdir()
    for foreign in (".ipynb_checkpoints", "__MACOSX", "._a"):
        (tmp_path / "stage1_train" / foreign).mkdir()
    (tmp_path / "stage1_train" / "Thumbs.db").touch()
    table = read("dsb2018", tmp_path).table
    assert table["img_id"].tolist() == ["a", "b"]
    assert [file.name for file in mask_files(tmp_path / table["mask"][0])] == ["1.PNG", "2.png"]
