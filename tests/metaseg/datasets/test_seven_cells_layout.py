"""The laboratory's own layout of Seven Cell Lines: stencils, an Index.xml, and both channels of every field."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from metaseg.config import ConfigError, DataConfig
from metaseg.data.manifest import ManifestError
from metaseg.data.metadata import MetadataColumn
from metaseg.data.preparation import prepare
from metaseg.datasets.settings import SevenCellsConfig
from metaseg.datasets.seven_cells import read_seven_cells
from metaseg.datasets.source import Source
from table_files import write_dataset

WELLS = {"A10": "HeLa", "B01": "MCF7", "P24": "HeLa", "A2": "MCF7", "C03": "HeLa", "D03": "MCF7"}


def stem(well, field):
    return f"{ord(well[0]) - 64:02d}{int(well[1:]):02d}K1F{field}P1"


def entry(well, field, line, **attributes):
    """An image of Index.xml."""
    texts = ["x", "1", well, field, "1", "1", "brightfield", line, "0.325"]
    inner = "".join(f"<E{number}>{text}</E{number}>" for number, text in enumerate(texts))
    return f"<Image>{inner}</Image>"


def index(entries, before="", namespace=' xmlns="urn:lab"'):
    return f"<?xml version='1.0' encoding='utf-8'?>\n{before}<Images{namespace}>\n{''.join(entries)}\n</Images>"


def listed():
    return [entry(well, field, line) for well, line in WELLS.items() for field in (1, 2) for _ in ("R1", "R2")]


@pytest.fixture
def plate(tmp_path):
    """Six wells of two lines, two fields each; of stencil k, the first k + 1 pixels are nucleus."""
    root = tmp_path / "plate"
    (root / "images").mkdir(parents=True)
    (root / "StencilsNuclei").mkdir()
    generator = np.random.default_rng(0)
    for number, (well, field) in enumerate((well, field) for well in WELLS for field in (1, 2)):
        for channel in (1, 2):
            pixels = np.full((8, 8), 100 * channel, np.uint8) + generator.integers(0, 50, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / f"{stem(well, field)}R{channel}.png")
        stencil = np.zeros(64, np.uint8)
        stencil[: number + 1] = 1 + number
        Image.fromarray(stencil.reshape(8, 8)).save(root / "StencilsNuclei" / f"{stem(well, field)}R1.png")
    (root / "images" / "Thumbs.db").touch()
    (root / "images" / "._0110K1F1P1R2.png").touch()
    (root / "Index.xml").write_text(index(listed()))
    return root


def read(path, config=None, metadata=(), group_by=None):
    source = Source(path, path.parent / "scratch", metadata, group_by)
    return read_seven_cells(source, config) if config else read_seven_cells(source)


def split_file(plate, splits, name="{}R2.png"):
    """A table of splits; `splits` of the wells' fields in order."""
    names = [name.format(stem(well, field)) for well in WELLS for field in (1, 2)]
    path = plate.parent / "s1.csv"
    pd.DataFrame({"image": names, "split": splits}).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(("channel", "grey"), [("brightfield", (200, 250)), ("fluorescence", (100, 150))])
def test_a_field_has_its_channel_stencil_well_and_line(plate, tmp_path, channel, grey):
    manifest = read(plate, SevenCellsConfig(channel))
    table = manifest.table.set_index("well")
    assert sorted(table.loc["A10", "field"]) == [1, 2]
    assert {well: set(rows["cell_line"]) for well, rows in table.groupby("well")} == {
        f"{well[0]}{int(well[1:])}": {line} for well, line in WELLS.items()
    }
    assert (manifest.table["group"] == manifest.table["well"]).all()
    assert manifest.metadata == (MetadataColumn("cell_line", "categorical"),)
    assert "split" not in manifest.table
    assert manifest.about == f"Seven Cell Lines, {channel}, {plate}"

    dataset = prepare(manifest, DataConfig(classes=("nucleus",)), tmp_path / "cache")
    nuclei = {}
    for i, row in dataset.table.iterrows():
        assert grey[0] <= dataset.image(i).min() <= dataset.image(i).max() < grey[1]
        nuclei[row["image"]] = int(dataset.mask(i).sum())
        assert dataset.mask(i).max() == 1
    number = 1 if channel == "fluorescence" else 2
    assert nuclei == {
        f"images/{stem(well, field)}R{number}.png": 2 * order + field
        for order, well in enumerate(WELLS)
        for field in (1, 2)
    }


def test_other_columns_can_be_metadata_and_groups(plate):
    manifest = read(plate, metadata=("well", "field"), group_by="cell_line")
    assert [column.kind for column in manifest.metadata] == ["categorical", "continuous"]
    assert set(manifest.table["group"]) == {"HeLa", "MCF7"}


@pytest.mark.parametrize("name", ["{}R2.png", "{}R1.png", "images/{}R2.png", "images\\{}R1.png"])
def test_a_split_file_is_followed_whichever_channel_it_names(plate, name):
    splits = ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    manifest = read(plate, SevenCellsConfig(split_file=split_file(plate, splits, name)))
    found = manifest.table.set_index("well")["split"]
    assert set(found["C3"]) == {"val"}
    assert set(found["D3"]) == {"test"}
    assert found.value_counts().to_dict() == {"train": 8, "val": 2, "test": 2}
    assert (manifest.table["group"] == manifest.table["well"]).all()


def test_a_split_file_that_divides_wells_is_followed_with_a_warning(plate):
    config = SevenCellsConfig(split_file=split_file(plate, ["train", "test", "train", "val"] * 3))
    with pytest.warns(UserWarning, match=r"6 wells \(first A10\) are in several splits"):
        manifest = read(plate, config)
    assert "group" not in manifest.table
    assert manifest.table["split"].value_counts().to_dict() == {"train": 6, "val": 3, "test": 3}
    with pytest.raises(ManifestError, match="group 'A10' is in train"):
        read(plate, config, group_by="well")


def test_a_split_of_more_than_is_there_is_said(plate):
    config = SevenCellsConfig(split_file=split_file(plate, ["train"] * 12))
    for channel in (1, 2):
        (plate / "images" / f"{stem('B01', 2)}R{channel}.png").unlink()
    with pytest.warns(UserWarning, match=r"1 fields \(first B1 field 2\) have a split but no image"):
        assert len(read(plate, config).table) == 11


def test_a_table_is_read_instead(tmp_path):
    path = write_dataset(tmp_path / "d", cell_line=list("abcabcabcabc"), group=range(12))
    for given in (path, path.parent):
        manifest = read(given)
        assert manifest.metadata == (MetadataColumn("cell_line", "categorical"),)
        assert len(manifest.table) == 12
        assert "split" not in manifest.table
        assert str(path) in manifest.about
    path.rename(path.with_name("images.csv"))
    assert len(read(path.parent).table) == 12
    (path.parent / "more.csv").touch()
    with pytest.raises(ManifestError, match=r"2 tables \(images.csv, more.csv\); expected one"):
        read(path.parent)
    with pytest.raises(ConfigError, match="which has images and split itself"):
        read(path.with_name("images.csv"), SevenCellsConfig("fluorescence"))


BOMB = '<!DOCTYPE Images [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>\n'

BROKEN = {
    "no folder": (lambda root: (root / "images").rename(root / "pictures"), "has no folder images; expected images/"),
    "no index": (lambda root: (root / "Index.xml").rename(root / "Index.old"), "has no file Index.xml"),
    "no images": (
        lambda root: [path.unlink() for path in (root / "images").glob("*R2.png")],
        "holds no brightfield image; expected files such as 0110K1F1P1R2.png",
    ),
    "another name": (
        lambda root: (root / "images" / "0110K1F1P1R2.png").rename(root / "images" / "A10.png"),
        "images/A10.png isn't an image's name; expected such as 0110K1F1P1R2.png",
    ),
    "row 27": (
        lambda root: (root / "images" / "0110K1F1P1R2.png").rename(root / "images" / "2710K1F1P1R2.png"),
        "images/2710K1F1P1R2.png isn't an image's name",
    ),
    "no stencil": (
        lambda root: (root / "StencilsNuclei" / "0110K1F1P1R1.png").unlink(),
        "images/0110K1F1P1R2.png has no mask; expected StencilsNuclei/0110K1F1P1R1.png",
    ),
    "no line": (
        lambda root: (root / "Index.xml").write_text(index(listed()[2:])),
        "images/0110K1F1P1R2.png has no cell line; expected A10 field 1 in Index.xml",
    ),
    "half an index": (
        lambda root: (root / "Index.xml").write_text(index(listed())[:300]),
        "Index.xml: unreadable XML (",
    ),
    "an index in no encoding": (
        lambda root: (root / "Index.xml").write_text("<?xml version='1.0' encoding='martian'?><a/>"),
        "Index.xml: unreadable XML (",
    ),
    "an index with entities": (
        lambda root: (root / "Index.xml").write_text(index([*listed(), entry("&b;", 1, "HeLa")], BOMB)),
        "declares the document type 'Images', which may define entities; expected none",
    ),
    "an empty index": (lambda root: (root / "Index.xml").write_text(index([])), "lists no image"),
    "a well that can't be": (
        lambda root: (root / "Index.xml").write_text(index([*listed(), entry("AA1", 1, "HeLa")])),
        "Index.xml: image 25 has 'AA1', '1' and 'HeLa'; expected well, field and cell line (such as A10, 1, HeLa)",
    ),
    "a field that is no number": (
        lambda root: (root / "Index.xml").write_text(index([*listed(), entry("A1", "one", "HeLa")])),
        "Index.xml: image 25 has 'A1', 'one' and 'HeLa'; expected",
    ),
    "no name of a line": (
        lambda root: (root / "Index.xml").write_text(index([*listed(), entry("A1", 1, " ")])),
        "Index.xml: image 25 has 'A1', '1' and ''; expected",
    ),
    "a short entry": (
        lambda root: (root / "Index.xml").write_text(index([*listed(), "<Image><A>A10</A></Image>"])),
        "Index.xml: image 25 has 1 sub-elements; expected well",
    ),
    "channels that disagree": (
        lambda root: (root / "Index.xml").write_text(index([*listed(), entry("A10", 1, "A549")])),
        "Index.xml: image 25: A10 field 1 has cell line 'A549', but 'HeLa' before; expected one",
    ),
}


@pytest.mark.parametrize(("damage", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_said_once(plate, damage, message):
    damage(plate)
    with pytest.raises(ManifestError, match=re.escape(message)) as caught:
        read(plate)
    assert "\n" not in str(caught.value)


def test_all_that_is_missing_is_listed_together(plate):
    for name in ("0110K1F1P1R1.png", "0110K1F2P1R1.png"):
        (plate / "StencilsNuclei" / name).unlink()
    (plate / "Index.xml").write_text(index(listed()[4:]))
    with pytest.raises(ManifestError) as caught:
        read(plate)
    assert str(caught.value).count("has no mask") == str(caught.value).count("has no cell line") == 2


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ((0, "split", "training"), "row 1: split is 'training'; expected one of train, val, test"),
        ((3, "split", None), "row 4: split is nan; expected one of"),
        ((1, "image", "A10.png"), "row 2: image is 'A10.png'; expected a name such as 0110K1F1P1R2.png"),
        ((11, "image", "0110K1F1P1R2.png"), "has no row for D3 field 2; expected one for each image"),
        ((0, "image", "0110K1F2P1R1.png"), "row 2: image '0110K1F2P1R2.png' is in split 'val', but its field in"),
    ],
)
def test_a_split_file_that_is_wrong_names_its_row(plate, cell, message):
    path = split_file(plate, ["train", "val"] * 6)
    table = pd.read_csv(path, dtype=str)
    if cell[0] == 11:
        table = table.drop(index=11)
    else:
        table.loc[cell[0], cell[1]] = cell[2]
    table.to_csv(path, index=False)
    with pytest.raises(ManifestError, match=re.escape(message)) as caught:
        read(plate, SevenCellsConfig(split_file=path))
    assert str(path) in str(caught.value)


def test_a_split_file_without_its_columns_is_an_error(plate):
    path = split_file(plate, ["train"] * 12)
    path.write_text(path.read_text().replace("split", "part"))
    with pytest.raises(ManifestError, match="has no column 'split'; it has image, part"):
        read(plate, SevenCellsConfig(split_file=path))


def test_a_stencil_of_another_size_is_found_when_decoded(plate, tmp_path):
    Image.new("L", (9, 8)).save(plate / "StencilsNuclei" / "0110K1F1P1R1.png")
    with pytest.raises(ManifestError, match=r"are 8x8 and 9x8 \(width x height\); expected the same size"):
        prepare(read(plate), DataConfig(), tmp_path / "cache")
