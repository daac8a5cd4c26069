"""ArtSeg's published folders: masks in which 1 is clean become masks of what isn't."""

import re

import numpy as np
import pytest
from PIL import Image

from metaseg.config import DataConfig
from metaseg.data.manifest import ManifestError
from metaseg.data.metadata import MetadataColumn
from metaseg.data.preparation import prepare
from metaseg.datasets.artseg import read_artseg
from metaseg.datasets.settings import ArtSegConfig
from metaseg.datasets.source import Source
from metaseg.datasets.table import read_table
from metaseg.datasets.tasks import join_tasks

FOLDERS = {"train": "train", "validation": "val", "test": "test"}


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def artefact(number):
    """Pixels of the artefact in image `number`; odd numbers have another size, 1 has no artefact, 2 nothing else."""
    mask = np.zeros((8, 6 + number % 2 * 3), np.bool_)
    mask[:, :number] = number != 1
    return np.ones_like(mask) if number == 2 else mask


@pytest.fixture
def folder(tmp_path):
    """In each split, images 1, 2, 3 with artefacts and 1, 2 clean ones; 255 is clean in training masks, else 1."""
    root = tmp_path / "ArtSeg"
    generator = np.random.default_rng(0)
    for split in FOLDERS:
        for number in (1, 2, 3):
            mask = artefact(number)
            save(root / split / f"artifact/x/{number}.png", generator.integers(0, 256, mask.shape, dtype=np.uint8))
            clean = np.uint8(255 if split == "train" else 1)
            save(root / split / f"artifact/y/{number}.png", np.where(mask, np.uint8(0), clean))
        for number in (1, 2):
            shape = artefact(number).shape
            save(root / split / f"clean/{number}.png", generator.integers(0, 256, shape, dtype=np.uint8))
        (root / split / "clean" / "._1.png").touch()
    return root


def read(path, config=None, metadata=(), scratch="scratch", **options):
    source = Source(path, path.parent / scratch, metadata, **options)
    return read_artseg(source, config) if config else read_artseg(source)


def masks(manifest, cache):
    """Pixels of each image where the prepared dataset's mask is 1."""
    dataset = prepare(manifest, DataConfig(classes=("anomaly",)), cache)
    return {image: dataset.mask(i).astype(bool) for i, image in enumerate(dataset.table["image"])}


@pytest.mark.filterwarnings("error")
def test_masks_are_of_what_is_not_clean(folder, tmp_path):
    manifest = read(folder)
    table = manifest.table.set_index("image")
    assert len(table) == 15
    assert {image.split("/")[0]: split for image, split in table["split"].items()} == FOLDERS
    assert set(table["task"]) == {"anomaly"}
    assert manifest.metadata == (MetadataColumn("task", "categorical"),)
    assert manifest.per == ("task",)
    assert manifest.about == f"ArtSeg, artefacts in brightfield images, {folder}"

    found = masks(manifest, tmp_path / "cache")
    for split in FOLDERS:
        for number in (1, 2, 3):
            np.testing.assert_array_equal(found[f"{split}/artifact/x/{number}.png"], artefact(number))
        for number in (1, 2):
            np.testing.assert_array_equal(found[f"{split}/clean/{number}.png"], np.zeros_like(artefact(number)))


def test_masks_can_be_the_other_way_round(folder, tmp_path):
    found = masks(read(folder, ArtSegConfig("artifact-is-one")), tmp_path / "cache")
    for number in (1, 2, 3):
        np.testing.assert_array_equal(found[f"test/artifact/x/{number}.png"], ~artefact(number))
    assert not found["test/clean/2.png"].any()


def test_clean_images_can_be_left_out(folder):
    for path in folder.glob("*/clean"):
        path.rename(path.with_name("spotless"))
    manifest = read(folder, ArtSegConfig(clean=False))
    assert len(manifest.table) == 9
    assert not manifest.table["image"].str.contains("clean").any()


def test_masks_are_made_once_for_their_content_outside_the_source(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    calls = []
    progress = lambda done, total: calls.append((done, total))  # noqa: E731
    first = read(folder, progress=progress)
    assert calls == [(done, 9) for done in range(1, 10)]
    assert first.mask_root.parent == folder.parent / "scratch"
    assert len(list((first.mask_root / "empty").iterdir())) == 2  # two sizes
    assert read(folder, progress=progress).mask_root == first.mask_root
    assert len(calls) == 9
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before

    save(folder / "train/artifact/y/3.png", np.zeros((8, 9), np.uint8))
    others = {read(folder).mask_root, read(folder, ArtSegConfig("artifact-is-one")).mask_root}
    assert len(others - {first.mask_root}) == 2


def test_nuclei_join_as_a_second_task(folder, tmp_path):
    """One image has both masks, another only nuclei."""
    both = "train/artifact/x/1.png"
    nucleus = np.zeros((8, 9), np.uint8)
    nucleus[0, 0] = 255
    save(folder / "nuclei.png", nucleus)
    save(folder / "other.png", np.arange(72, dtype=np.uint8).reshape(8, 9))
    (folder / "nuclei.csv").write_text(f"image,mask,split\n{both},nuclei.png,train\nother.png,nuclei.png,train\n")
    joint = join_tasks(read_table(folder / "nuclei.csv", ()), read(folder), ("nuclei", "anomaly"))
    with pytest.warns(UserWarning, match="'nuclei' .* has none in val and test"):
        dataset = prepare(joint, DataConfig(), tmp_path / "cache")
    table = dataset.table[dataset.table["image"] == both]
    assert {row["task"]: int(dataset.mask(i).sum()) for i, row in table.iterrows()} == {"nuclei": 1, "anomaly": 0}
    assert len(dataset.table) == 17


def rename(old, new):
    return lambda root: (root / old).rename(root / new)


def mask(pixels):
    return lambda root: save(root / "test/artifact/y/2.png", np.asarray(pixels))


BROKEN = {
    "no split": (rename("validation", "val"), "has no folder validation/artifact/x; expected PNG files in it", 3),
    "no folder of clean images": (rename("test/clean", "test/tidy"), "has no folder test/clean; expected PNG", 1),
    "no mask": (
        rename("train/artifact/y/3.png", "mask.png"),
        "train/artifact/x/3.png has no mask; expected train/artifact/y/3.png",
        1,
    ),
    "no image": (
        rename("train/artifact/x/3.png", "image.png"),
        "train/artifact/y/3.png has no image; expected train/artifact/x/3.png",
        1,
    ),
    "no files": (
        lambda root: [path.unlink() for path in root.glob("test/artifact/*/*.png")],
        "test/artifact/x holds no PNG file; expected the images that have artefacts",
        1,
    ),
    "three values": (
        mask(np.array([[0, 1, 255]] * 8, np.uint8).repeat(2, axis=1)),
        "test/artifact/y/2.png: has mask values 0, 1, 255; expected 0 and one other, or one alone",
        1,
    ),
    "two values, none of which is 0": (
        mask(np.array([[1, 2]] * 8, np.uint8).repeat(3, axis=1)),
        "test/artifact/y/2.png: has mask values 1, 2; expected 0 and",
        1,
    ),
    "shades": (
        mask(np.arange(48, dtype=np.uint8).reshape(8, 6)),
        "has mask values 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...; expected 0 and one other",
        1,
    ),
    "colours": (
        mask(np.dstack([np.eye(8, 6, dtype=np.uint8) * c for c in (0, 0, 255)])),
        "test/artifact/y/2.png: is a colour mask; expected one channel",
        1,
    ),
    "another size": (
        mask(np.zeros((6, 8), np.uint8)),
        "test/artifact/y/2.png: is 8x6 (width x height); expected 6x8, as its image",
        1,
    ),
    "an unreadable mask": (
        lambda root: (root / "test/artifact/y/2.png").write_bytes(b"\x89PNG\r\n"),
        "test/artifact/y/2.png: unreadable image (",
        1,
    ),
    "an unreadable image": (
        lambda root: (root / "test/clean/1.png").write_text("<html>not found</html>"),
        "test/clean/1.png: unreadable image (",
        1,
    ),
}


@pytest.mark.parametrize(("damage", "message", "problems"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_said_once(folder, damage, message, problems):
    damage(folder)
    with pytest.raises(ManifestError, match=re.escape(message)) as caught:
        read(folder)
    assert str(caught.value).count("expected") == problems
    assert not list((folder.parent / "scratch").glob("*"))


def test_links_that_lead_out_are_not_followed(folder, tmp_path):
    for relative in ("train/artifact/y/1.png", "train/clean/2.png"):
        (folder / relative).rename(tmp_path / "outside.png")
        (folder / relative).symlink_to(tmp_path / "outside.png")
        with pytest.raises(ManifestError, match=f"'{relative}' leaves the root"):
            read(folder)
        (folder / relative).unlink()
        (tmp_path / "outside.png").rename(folder / relative)


def test_a_column_that_is_not_there_is_an_error(folder):
    with pytest.raises(ManifestError, match="has no column 'cell_line'; it has image, mask, split, task"):
        read(folder, metadata=("cell_line",))
