"""nnU-Net's raw format is read as it is published."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from metaseg.config import ConfigError, DataConfig
from metaseg.data.manifest import ManifestError
from metaseg.data.metadata import MetadataColumn
from metaseg.data.preparation import prepare
from metaseg.datasets.nnunet import NnunetConfig, read_nnunet
from metaseg.datasets.source import Source

TRAINING = [f"case_{number:04d}" for number in range(10)]
TEST = ["t_0", "t_1"]


def describe(root, **changes):
    """Write dataset.json, of version 2 where nothing else is said; a value of None leaves a field out."""
    content = {
        "channel_names": {"0": "grey"},
        "labels": {"background": 0, "kidney": 1, "tumour": 2},
        "numTraining": 10,
        "file_ending": ".png",
        **changes,
    }
    content = {name: value for name, value in content.items() if value is not None}
    (root / "dataset.json").write_text(json.dumps(content))


def add(root, part, case, channels=1, ending=".png"):
    seed = sum(map(ord, part + case))
    for folder in ("images", "labels"):
        (root / f"{folder}{part}").mkdir(parents=True, exist_ok=True)
    for channel in range(channels):
        pixels = np.random.default_rng([seed, channel]).integers(0, 256, (6, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"images{part}" / f"{case}_{channel:04d}{ending}")
    mask = np.zeros((6, 8), np.uint8)
    mask[:2], mask[2, : 1 + seed % 8] = 1, 2
    Image.fromarray(mask).save(root / f"labels{part}" / f"{case}{ending}")


@pytest.fixture
def raw(tmp_path):
    """Ten cases for training and two for test, grey, kidney and tumour."""
    root = tmp_path / "Dataset001_Kidneys"
    for case in TRAINING:
        add(root, "Tr", case)
    for case in TEST:
        add(root, "Ts", case)
    describe(root)
    return root


def read(root, config=None, metadata=(), group_by=None):
    source = Source(root, root.parent / "scratch", metadata, group_by)
    return read_nnunet(source, config) if config else read_nnunet(source)


def write_metadata(root, cases=(*TRAINING, *TEST), **columns):
    pd.DataFrame({"case": cases, **columns}).to_csv(root / "metadata.csv", index=False)


def test_version_2_is_read_with_its_test_cases(raw, tmp_path):
    manifest = read(raw)
    split = manifest.table.set_index("case")["split"]
    assert split[TEST].tolist() == ["test", "test"]
    assert split[TRAINING].value_counts().to_dict() == {"train": 8, "val": 2}
    assert manifest.metadata == ()
    assert manifest.classes == ("kidney", "tumour")

    dataset = prepare(manifest, DataConfig(), tmp_path / "cache")
    assert dataset.classes == ("kidney", "tumour")
    assert len(dataset.table) == 12
    for i, row in dataset.table.iterrows():
        mask = raw / row["mask"]
        np.testing.assert_array_equal(dataset.image(i)[..., 0], Image.open(raw / row["image"]))
        np.testing.assert_array_equal(dataset.mask(i), Image.open(mask))
        assert row["image"] == f"images{mask.parent.name[-2:]}/{mask.stem}_0000.png"


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_version_1_names_neither_ending_nor_classes_first(tmp_path, ending):
    for case in TRAINING:
        add(tmp_path, "Tr", case, ending=ending)
    labels = {"2": "tumour", "0": "background", "1": "kidney"}
    describe(tmp_path, channel_names=None, modality={"0": "CT"}, labels=labels, file_ending=None)
    assert read(tmp_path).classes == ("kidney", "tumour")
    assert read(tmp_path).table["image"].tolist() == [f"imagesTr/{case}_0000{ending}" for case in TRAINING]


def test_without_labelled_test_cases_there_is_no_split(raw):
    (raw / "labelsTs").rename(raw / "predictions")
    table = read(raw).table
    assert table["case"].tolist() == TRAINING
    assert "split" not in table


def test_metadata_and_groups_are_joined_by_case(raw):
    lines = list("abababababab")
    cases = [*TRAINING, *TEST, "unlabelled"]
    groups = ["007", "007", "008", "008", "9", "9", "10", "10", "11", "12", "13", "14", "15"]
    write_metadata(raw, cases[::-1], line=[*lines, "c"][::-1], patient=groups[::-1], dose=range(13))
    manifest = read(raw, metadata=("line", "dose"), group_by="patient")
    table = manifest.table.set_index("case")
    assert table["line"].to_dict() == dict(zip([*TRAINING, *TEST], lines, strict=True))
    assert table["group"].to_dict() == dict(zip([*TRAINING, *TEST], groups[:12], strict=True))
    assert table["dose"].tolist() == list(range(12, 0, -1))
    assert manifest.metadata == (MetadataColumn("line", "categorical"), MetadataColumn("dose", "continuous"))
    assert table.groupby("group")["split"].nunique().max() == 1
    training = table.loc[TRAINING]
    assert set(training[training["split"] == "val"]["line"]) == {"a", "b"}


def test_cases_that_are_numbers_are_names(tmp_path):
    for number in range(10):
        add(tmp_path, "Tr", f"{number:03d}")
    describe(tmp_path)
    write_metadata(tmp_path, [f"{number:03d}" for number in range(10)], dose=range(10))
    assert read(tmp_path, metadata=("dose",)).table["dose"].tolist() == list(range(10))


def test_splits_of_metadata_csv_are_kept_unless_the_folders_say_otherwise(raw):
    splits = ["val"] * 5 + ["train"] * 5 + ["test"] * 2
    write_metadata(raw, split=splits)
    assert read(raw).table["split"].tolist() == splits
    write_metadata(raw, split=["test", *splits[1:11], "train"])
    with pytest.raises(ManifestError) as caught:
        read(raw)
    assert "case 'case_0000' has split 'test', but is in imagesTr" in str(caught.value)
    assert "case 't_1' has split 'train', but is in imagesTs" in str(caught.value)
    write_metadata(raw, split=[*splits[:11], None])
    with pytest.raises(ManifestError, match="no value in column 'split'"):
        read(raw)


def test_one_channel_of_several_is_a_choice(raw):
    for part, cases in (("Tr", TRAINING), ("Ts", TEST)):
        for case in cases:
            add(raw, part, case, channels=3)
    describe(raw, channel_names={"0": "T1", "1": "T2", "2": "FLAIR"})
    with pytest.raises(ManifestError, match="has 3 files, one per channel; expected one grey channel or an RGB file"):
        read(raw)
    chosen = read(raw, NnunetConfig(channel=2)).table["image"]
    assert chosen.str.endswith("_0002.png").all()
    assert len(chosen) == 12
    with pytest.raises(ConfigError, match="channel is 3; expected one of 0, 1, 2"):
        read(raw, NnunetConfig(channel=3))


def test_three_channels_in_one_file_are_rgb(raw, tmp_path):
    for path in raw.glob("images*/*"):
        grey = np.asarray(Image.open(path))
        Image.fromarray(np.dstack([grey, grey[::-1], 255 - grey])).save(path)
    describe(raw, channel_names={"0": "R", "1": "G", "2": "B"})
    assert prepare(read(raw), DataConfig(), tmp_path / "cache").channels == 3


def said(**changes):
    return lambda root: describe(root, **changes)


def text(content):
    return lambda root: (root / "dataset.json").write_text(content)


def cut(relative):
    return lambda root: (root / relative).unlink()


def duplicate(root):
    write_metadata(root, [*TRAINING, *TEST, "t_0"], line=list("ababababababa"))


BROKEN = {
    "no description": (cut("dataset.json"), "dataset.json doesn't exist; expected nnU-Net's"),
    "half a description": (text('{"labels": '), "dataset.json: unreadable JSON ("),
    "endless nesting": (text("[" * 100_000), "dataset.json: unreadable JSON ("),
    "no object": (text("[1]"), "dataset.json: is [1]; expected an object"),
    "no channels": (said(channel_names=None), "channel_names is None; expected such as"),
    "no labels": (said(labels=["kidney"]), "labels is ['kidney']; expected such as"),
    "a gap": (
        said(labels={"background": 0, "a": 1, "b": 3}),
        "labels have the values 0, 1, 3; expected 0 (back",
    ),
    "a value twice": (said(labels={"background": 0, "a": 1, "b": 1}), "labels have the values 0, 1, 1; expected"),
    "background alone": (said(labels={"background": 0}), "labels have the values 0; expected 0 (background), 1"),
    "a value that is no number": (said(labels={"background": 0, "a": "1"}), "expected a name and a whole number each"),
    "regions": (said(labels={"background": 0, "all": [1, 2], "b": 2}), "label 'all' is a region of several values"),
    "an ignore label": (said(labels={"background": 0, "a": 1, "ignore": 2}), "has a label 'ignore'"),
    "volumes": (
        said(file_ending=".nii.gz"),
        "file_ending is '.nii.gz'; expected .png, .tif, .tiff (images",
    ),
    "a list of files": (said(dataset={}), "lists its files under 'dataset'; expected them in imagesTr"),
    "metadata of another kind": (
        said(metaseg_metadata=[{"name": "a", "kind": "colour"}]),
        "metaseg_metadata is [{'name': 'a', 'kind': 'colour'}]; expected a list of objects",
    ),
    "metadata that are no list": (said(metaseg_metadata=3), "metaseg_metadata is 3; expected a list of objects"),
    "metadata without a table": (
        said(metaseg_metadata=[{"name": "a", "kind": "continuous"}]),
        "has no metadata.csv; expected it, with columns case, a:continuous",
    ),
    "another number of cases": (said(numTraining=11), "has numTraining 11; expected 10, as imagesTr"),
    "no folder": (lambda root: (root / "labelsTr").rename(root / "labels"), "has no folder labelsTr; expected files"),
    "no label": (
        cut("labelsTr/case_0003.png"),
        "case case_0003 has no label; expected labelsTr/case_0003.png",
    ),
    "no test label": (cut("labelsTs/t_1.png"), "imagesTs: case t_1 has no label; expected labelsTs/t_1.png"),
    "no image": (cut("imagesTs/t_1_0000.png"), "labelsTs/t_1.png has no image; expected imagesTs/t_1_0000.png"),
    "no channel": (
        lambda root: Image.new("L", (8, 6)).save(root / "imagesTr" / "extra.png"),
        "imagesTr/extra.png has no channel; expected a name such as NAME_0000.png",
    ),
    "a channel too many": (
        lambda root: Image.new("L", (8, 6)).save(root / "imagesTr" / "case_0003_0001.png"),
        "imagesTr: case case_0003 has channels 0, 1; expected 0",
    ),
    "a case in both": (lambda root: add(root, "Ts", "case_0003"), "case case_0003 is in imagesTr and in imagesTs"),
    "a case without metadata": (
        lambda root: write_metadata(root, TRAINING + TEST[:1]),
        "metadata.csv: has no row for case 't_1'; expected one",
    ),
    "a case with two metadata": (duplicate, "metadata.csv: has case 't_0' in several rows; expected one"),
    "no cases in the metadata": (
        lambda root: (root / "metadata.csv").write_text("name,line\na,b\n"),
        "metadata.csv: has no column 'case'; it has name, line",
    ),
    "a group in training and test": (
        lambda root: write_metadata(root, group=["g"] * 12),
        "group 'g' is in ",
    ),
    "a wrong split": (
        lambda root: write_metadata(root, split=["train"] * 9 + ["training"] + ["test"] * 2),
        "split is 'training'; expected one of train, val, test",
    ),
}


@pytest.mark.parametrize(("damage", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_said_once(raw, damage, message):
    damage(raw)
    with pytest.raises(ManifestError, match=re.escape(message)) as caught:
        read(raw)
    assert "\n" not in str(caught.value)


def test_all_that_is_missing_is_listed_together(raw):
    for case in TRAINING[:3]:
        (raw / "labelsTr" / f"{case}.png").unlink()
    with pytest.raises(ManifestError, match="3 problems"):
        read(raw)


def test_columns_without_a_table_are_an_error(raw):
    with pytest.raises(ManifestError, match=r"has no metadata\.csv; expected it, with columns case, line, patient"):
        read(raw, metadata=("line",), group_by="patient")
