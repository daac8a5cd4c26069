"""A prepared dataset holds what the files hold; what can't be used is an error before anything is left behind."""

import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from metaseg.config import DataConfig
from metaseg.data.dataset import Dataset
from metaseg.data.manifest import ManifestError
from metaseg.data.preparation import prepare
from metaseg.datasets.table import read_table
from table_files import edit_csv, write_dataset

SPLITS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
CONFIG = DataConfig()


@pytest.fixture
def table(tmp_path):
    return write_dataset(tmp_path / "cells", line=list("abcabcabcabc"), dose=np.arange(12) / 2, split=SPLITS)


def prepare_table(table, config=CONFIG, metadata=("line", "dose"), progress=lambda done, total: None):
    return prepare(read_table(table, metadata), config, table.parent.parent / "cache", progress)


def repaint(path, pixels):
    Image.fromarray(pixels).save(path)


def test_arrays_and_facts_are_those_of_the_files(table):
    rgb = np.random.default_rng(1).integers(0, 256, (9, 5, 3), dtype=np.uint8)
    repaint(table.parent / "i3.png", rgb)
    repaint(table.parent / "m3.png", np.arange(45, dtype=np.uint16).reshape(9, 5) // 15 * 100)
    repaint(table.parent / "i4.png", np.full((6, 8), 50, np.uint8))
    dataset = prepare_table(table)
    assert (dataset.channels, dataset.name, dataset.classes) == (3, "cells", ("foreground",))
    assert dataset.table["image"].tolist() == sorted(f"i{n}.png" for n in range(12))
    source = pd.read_csv(table).set_index("image")
    for i, row in dataset.table.iterrows():
        image = np.asarray(Image.open(table.parent / row["image"]).convert("RGB"))
        np.testing.assert_array_equal(dataset.image(i), image)
        np.testing.assert_array_equal(dataset.mask(i), np.asarray(Image.open(table.parent / row["mask"])) > 0)
        assert (row["height"], row["width"]) == image.shape[:2]
        assert row["mean"] == pytest.approx(image.mean())
        assert row["std"] == pytest.approx(1 if row["image"] == "i4.png" else image.std())
        expected = source.loc[row["image"]]
        assert (row["split"], row["line"], row["dose"]) == (expected["split"], expected["line"], expected["dose"])
        assert (row["subgroup"], row["group"]) == (row["line"], row["image"])
    assert dataset.table.loc[dataset.indices("val"), "split"].eq("val").all()
    assert len(dataset.indices("val")) == 3


def test_opening_again_gives_the_same_and_views_are_read_only(table):
    dataset = prepare_table(table)
    again = Dataset.open(dataset.path)
    pd.testing.assert_frame_equal(again.table, dataset.table)
    assert (again.metadata, again.fingerprint) == (dataset.metadata, dataset.fingerprint)
    np.testing.assert_array_equal(again.image(5), dataset.image(5))
    assert not again.image(5).flags.writeable
    assert not again.mask(5).flags.writeable


@pytest.mark.parametrize(("channels", "expected"), [("auto", 1), ("grey", 1), ("rgb", 3)])
def test_channels_of_grey_images(table, channels, expected):
    dataset = prepare_table(table, DataConfig(channels=channels))
    assert dataset.image(0).shape == (6, 8, expected)
    assert (dataset.image(0) == dataset.image(0)[..., :1]).all()


def test_colour_becomes_luma_where_grey_is_asked_for(table):
    repaint(table.parent / "i0.png", np.full((6, 8, 3), (255, 0, 0), np.uint8))
    dataset = prepare_table(table, DataConfig(channels="grey"))
    assert dataset.channels == 1
    assert set(dataset.image(0).ravel()) == {76}


def test_nothing_is_decoded_twice_and_progress_counts_samples(table):
    calls = []
    first = prepare_table(table, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(n, 12) for n in range(1, 13)]
    second = prepare_table(table, progress=lambda done, total: pytest.fail("decoded again"))
    assert second.fingerprint == first.fingerprint
    assert [path.name for path in first.path.parent.iterdir()] == [first.fingerprint]


def test_the_fingerprint_ignores_row_order_and_columns_that_nobody_reads(table):
    before = prepare_table(table).fingerprint
    shuffled = pd.read_csv(table).sample(frac=1, random_state=0).assign(comment="new")
    shuffled.to_csv(table, index=False)
    assert prepare_table(table).fingerprint == before


@pytest.mark.parametrize(
    "change",
    [
        lambda table: edit_csv(table, 0, "line", "b"),
        lambda table: edit_csv(table, 0, "dose", "0.25"),
        lambda table: edit_csv(table, 5, "split", "test"),
        lambda table: repaint(table.parent / "i7.png", np.eye(6, 8, dtype=np.uint8)),
        lambda table: repaint(table.parent / "m7.png", np.eye(6, 8, dtype=np.uint8)),
    ],
    ids=["category", "number", "split", "image", "mask"],
)
def test_the_fingerprint_changes_with_what_changes_results(table, change):
    before = prepare_table(table)
    change(table)
    after = prepare_table(table, progress=lambda done, total: None)
    assert after.fingerprint != before.fingerprint
    assert (
        len({after.fingerprint, before.fingerprint, prepare_table(table, DataConfig(channels="rgb")).fingerprint}) == 3
    )


def test_without_a_split_column_groups_are_split_by_the_seed(tmp_path):
    table = write_dataset(tmp_path / "d", samples=20, well=[f"w{n // 2}" for n in range(20)])
    manifest = read_table(table, [], group_by="well")
    datasets = [prepare(manifest, DataConfig(split_seed=seed), tmp_path / "cache") for seed in (0, 0, 1)]
    first, same, other = (dataset.table for dataset in datasets)
    assert first.groupby("group")["split"].nunique().max() == 1
    assert first["split"].value_counts().to_dict() == {"train": 12, "val": 4, "test": 4}
    assert first["subgroup"].eq("all").all()
    pd.testing.assert_frame_equal(first, same)
    assert not first["split"].equals(other["split"])


def test_only_what_the_limit_keeps_is_decoded(tmp_path):
    table = write_dataset(tmp_path / "d", samples=30, line=["a"] * 20 + ["b"] * 10)
    totals = set()
    dataset = prepare_table(table, DataConfig(limit_per_group=5), ["line"], lambda done, total: totals.add(total))
    assert totals == {10}
    assert dataset.table["subgroup"].value_counts().to_dict() == {"a": 5, "b": 5}
    (table.parent / next(f"i{n}.png" for n in range(30) if f"i{n}.png" not in set(dataset.table["image"]))).write_bytes(
        b""
    )
    prepare_table(table, DataConfig(limit_per_group=5), ["line"])


def test_every_bad_file_is_reported_at_once_and_nothing_is_left_behind(table):
    for name in ("i2.png", "i9.png"):
        path = table.parent / name
        path.write_bytes(path.read_bytes()[:60])
    repaint(table.parent / "m5.png", np.ones((6, 9), np.uint8))
    repaint(table.parent / "m6.png", np.ones((6, 8, 3), np.uint8) * np.uint8([1, 2, 3]))
    with pytest.raises(ManifestError) as caught:
        prepare_table(table)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{table}: 4 problems"
    assert f"row 3 (line 4): {table.parent / 'i2.png'}: unreadable image" in lines[1]
    assert "row 6 (line 7)" in lines[2]
    assert "are 8x6 and 9x6 (width x height); expected the same size" in lines[2]
    assert "m6.png: is a colour mask" in lines[3]
    assert "row 10 (line 11)" in lines[4]
    assert not list((table.parent.parent / "cache").iterdir())


def test_missing_files_and_paths_out_of_the_root_are_found_before_decoding(table):
    edit_csv(table, 1, "image", "no/such.png")
    edit_csv(table, 4, "mask", "../m4.png")
    edit_csv(table, 6, "image", ".")
    with pytest.raises(ManifestError) as caught:
        prepare_table(table, progress=lambda done, total: pytest.fail("decoded"))
    assert "row 2 (line 3): 'no/such.png' doesn't exist; expected it in" in str(caught.value)
    assert "row 5 (line 6): '../m4.png' leaves the root" in str(caught.value)
    assert "row 7 (line 8): '.' is a folder; expected an image file" in str(caught.value)


def test_a_link_in_a_folder_of_masks_may_not_leave_the_root(table):
    folder = table.parent / "objects"
    folder.mkdir()
    (table.parent / "m0.png").rename(table.parent.parent / "secret.png")
    (folder / "0.png").symlink_to(table.parent.parent / "secret.png")
    edit_csv(table, 0, "mask", "objects")
    with pytest.raises(ManifestError, match=r"row 1 \(line 2\): .*0\.png leaves the root"):
        prepare_table(table)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_empty_split_is_an_error(table, split):
    other = {"train": "val", "val": "test", "test": "train"}[split]
    rows = pd.read_csv(table)
    rows["split"] = rows["split"].replace(split, other)
    rows.to_csv(table, index=False)
    with pytest.raises(
        ManifestError, match=rf"no sample is in split '{split}' \(.*0 {split}.*\); expected at least one"
    ):
        prepare_table(table)


def test_too_few_groups_to_split_is_an_error(tmp_path):
    table = write_dataset(tmp_path / "d", well=["w1"] * 6 + ["w2"] * 6)
    with pytest.raises(
        ManifestError, match=r"no sample is in split '(val|test)'.*2 groups .which stay whole. of 1 subgroups"
    ):
        prepare(read_table(table, [], "well"), CONFIG, tmp_path / "cache")


def test_a_category_that_training_lacks_is_an_error_with_a_remedy(table):
    edit_csv(table, 10, "line", "rare")
    with pytest.raises(
        ManifestError, match=r"row 11 \(line 12\): 'line' is 'rare' in split 'test'.*one of a, b, c\. Move"
    ):
        prepare_table(table)


def test_a_class_that_training_lacks_is_an_error(table):
    config = DataConfig(classes=("kidney", "tumour"))
    masks = [np.full((6, 8), 1, np.uint8) for _ in range(12)]
    masks[11][0, 0] = 2
    for number, mask in enumerate(masks):
        repaint(table.parent / f"m{number}.png", mask)
    with pytest.raises(ManifestError, match="class 'tumour' has no pixel in any training mask"):
        prepare_table(table, config)
    masks[0][0, 0] = 2
    repaint(table.parent / "m0.png", masks[0])
    assert set(np.unique(prepare_table(table, config).mask(0))) == {1, 2}


def test_equal_images_are_warned_about_and_named(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare_table(table)
    for copy, original in (("i1.png", "i0.png"), ("i11.png", "i2.png")):
        (table.parent / copy).write_bytes((table.parent / original).read_bytes())
    with pytest.warns(UserWarning, match="images with equal content") as caught:
        prepare_table(table)
    messages = [str(warning.message) for warning in caught]
    assert any("in one split: i0.png (train) = i1.png (train)" in message for message in messages)
    assert any("different splits" in m and "i11.png (test) = i2.png (train)" in m for m in messages)
    assert len(messages) == 2


def test_a_cut_off_or_foreign_folder_is_not_opened(table):
    dataset = prepare_table(table)
    with (dataset.path / "masks.bin").open("ab") as masks:
        masks.truncate(5)
    with pytest.raises(ManifestError, match=r"masks\.bin has 5 bytes; expected 576"):
        Dataset.open(dataset.path)
    with pytest.raises(ManifestError, match="is not a prepared dataset"):
        Dataset.open(table.parent)


def test_real_images_keep_fields_and_clusters_apart(real_data, tmp_path):
    manifest = read_table(real_data / "dsb2018" / "manifest.csv", ["cluster"], "mosaic_idx")
    dataset = prepare(manifest, DataConfig(limit_per_group=10), tmp_path)
    assert (dataset.channels, len(dataset.table)) == (3, 60)
    assert dataset.table.groupby("group")["split"].nunique().max() == 1
    assert (pd.crosstab(dataset.table["subgroup"], dataset.table["split"]) >= 1).all(axis=None)
    source = pd.read_csv(real_data / "dsb2018" / "manifest.csv").set_index("image").loc[dataset.table["image"]]
    foreground = [dataset.mask(i).mean() for i in dataset.table.index]
    np.testing.assert_allclose(foreground, source["fg_fraction"], atol=1e-3)
    grey = [bool((dataset.image(i) == dataset.image(i)[..., :1]).all()) for i in dataset.table.index]
    assert grey == source["gray"].astype(bool).tolist()
