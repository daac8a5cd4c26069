"""Annotation styles: what polygonising does to a mask, and who gets which style."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy.ndimage import distance_transform_edt, find_objects, label
from skimage.draw import disk, polygon2mask
from skimage.measure import approximate_polygon, find_contours
from skimage.morphology import convex_hull_image

from metaseg.config import ConfigError, DataConfig, Subset
from metaseg.data.manifest import Manifest, ManifestError
from metaseg.data.metadata import MetadataColumn
from metaseg.data.preparation import prepare
from metaseg.datasets.table import to_manifest
from metaseg.simulators.annotation_styles import STYLES, polygonise, simplified_contour, with_styles
from metaseg.simulators.settings import StyleConfig

Mask = npt.NDArray[np.bool_]

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))
tolerances = st.floats(0, 6)


@st.composite
def blobs(draw: st.DrawFn) -> Mask:
    """Ellipses, which may touch, leave the image and have holes."""
    rows, columns = np.mgrid[:40, :48]
    mask = np.zeros((40, 48), dtype=np.bool_)
    for _ in range(draw(st.integers(0, 4))):
        y, x, a, b = (draw(st.floats(*bounds)) for bounds in ((0, 40), (0, 48), (2, 12), (2, 12)))
        distance = ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2
        mask |= (distance <= 1) & (distance >= draw(st.sampled_from([-1.0, 0.3])))
    return mask


def circle(radius: float, size: int = 64) -> Mask:
    mask = np.zeros((size, size), dtype=np.bool_)
    mask[disk((size / 2, size / 2), radius)] = True
    return mask


def dice_of(a: Mask, b: Mask) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


NEARLY_CLOSED = np.pad(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=np.bool_), 1)
"""Seven connected pixels around one; as a hole, they leave that one connected by a corner."""


@settings(max_examples=150, deadline=None)
@given(masks)
@example(NEARLY_CLOSED)
@example(~NEARLY_CLOSED)
def test_at_tolerance_0_every_mask_stays_as_it_is(mask: Mask) -> None:
    assert np.array_equal(polygonise(mask, 0), mask)


@settings(max_examples=40, deadline=None)
@given(masks, tolerances)
def test_any_mask_keeps_its_shape_and_what_is_empty_stays_empty(mask: Mask, tolerance: float) -> None:
    redrawn = polygonise(mask, tolerance)
    assert redrawn.shape == mask.shape
    assert redrawn.dtype == np.bool_
    assert redrawn.any() == mask.any()
    assert not polygonise(np.zeros_like(mask), tolerance).any()


@settings(max_examples=40, deadline=None)
@given(blobs(), tolerances)
def test_only_pixels_near_a_contour_change_and_none_outside_an_objects_hull(mask: Mask, tolerance: float) -> None:
    redrawn = polygonise(mask, tolerance)
    padded = np.pad(mask, 1)  # an object that leaves the image has a contour along its border
    to_contour = np.where(padded, distance_transform_edt(padded), distance_transform_edt(~padded))[1:-1, 1:-1]
    assert to_contour[redrawn != mask].max(initial=0) <= tolerance + 1
    objects, count = label(mask, np.ones((3, 3)))
    hulls = [convex_hull_image(objects == k) for k in range(1, count + 1)]
    assert not (redrawn & ~np.any([np.zeros_like(mask), *hulls], axis=0)).any()


@pytest.mark.parametrize("tolerance", [0.5, 1, 2, 3.5])
@pytest.mark.parametrize("shape", ["circle", "square", "at the border"])
def test_one_object_is_what_skimage_makes_of_it(shape: str, tolerance: float) -> None:
    mask = circle(15)
    if shape == "square":
        mask = np.zeros((40, 50), dtype=np.bool_)
        mask[10:30, 12:31] = True
    if shape == "at the border":
        mask = mask[25:, :40]
    # Cut out, because at equal distances rounding decides between vertices, and it depends on where the object lies.
    box = find_objects(mask.astype(int))[0]
    padded = np.pad(mask[box], 1)
    polygon = approximate_polygon(find_contours(padded, 0.5)[0], tolerance)
    assert np.array_equal(polygonise(mask, tolerance)[box], polygon2mask(padded.shape, polygon)[1:-1, 1:-1])


def test_the_greater_the_tolerance_the_fewer_the_vertices_and_the_worse_the_mask() -> None:
    mask = circle(20)
    vertices = [len(simplified_contour(mask, tolerance)) - 1 for tolerance in (0, 1, 2, 3.5)]
    assert vertices[0] > 100
    assert vertices[1:] == sorted(vertices[1:], reverse=True)
    assert vertices[2] <= 16
    assert vertices[3] <= 8
    dice = [
        float(np.mean([dice_of(polygonise(circle(r), tolerance), circle(r)) for r in range(8, 24)]))
        for tolerance in (0, 1, 2, 3.5)
    ]
    assert dice == sorted(dice, reverse=True)
    assert dice[0] == 1
    assert dice[2] < 0.98
    assert 0.85 < dice[3] < 0.95


def test_holes_are_polygonised_and_kept_with_what_lies_in_them() -> None:
    ring = circle(25) & ~circle(15)
    island = circle(5)
    redrawn = polygonise(ring | island, 2)
    outer = polygonise(circle(25), 2)
    assert np.array_equal(redrawn, outer & ~polygonise(circle(15), 2) | polygonise(island, 2))
    assert label(~redrawn)[1] == 2
    assert redrawn.sum() != (ring | island).sum()


def test_small_objects_and_holes_stay_as_they_are() -> None:
    mask = np.zeros((30, 30), dtype=np.bool_)
    mask[2, 2] = True
    mask[5, 5:20] = True
    mask[0, 29] = True
    small = mask.copy()
    mask[10:28, 4:28] = True
    mask[18, 12:14] = False
    redrawn = polygonise(mask, 3.5)
    assert np.array_equal(redrawn[:9], small[:9])
    assert np.argwhere(~redrawn[12:26, 7:25]).tolist() == [[6, 5], [6, 6]]


def test_touching_labels_are_redrawn_one_by_one_and_touching_pixels_of_a_binary_mask_as_one() -> None:
    labels = np.zeros((40, 60), dtype=np.uint16)
    labels[disk((20, 20), 10)] = 300
    labels[disk((20, 38), 10)] = 301
    one_by_one = polygonise(labels == 300, 3.5) | polygonise(labels == 301, 3.5)
    assert np.array_equal(polygonise(labels, 3.5), one_by_one)
    assert not np.array_equal(polygonise(labels > 0, 3.5), one_by_one)


def test_objects_that_touch_at_a_corner_are_one() -> None:
    steps = [np.zeros((24, 24), dtype=np.bool_) for _ in range(8)]
    for k, step in enumerate(steps):
        step[3 * k : 3 * k + 3, 3 * k : 3 * k + 3] = True
    mask = np.any(steps, axis=0)
    assert np.array_equal(np.any([polygonise(step, 1) for step in steps], axis=0), mask)
    assert not np.array_equal(polygonise(mask, 1), mask)


@pytest.fixture
def cells(tmp_path: Path) -> Manifest:
    """60 images of three lines and 20 wells; masks are a disk each, as labels or in folders in some."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(60):
        mask = circle(10, size=32).astype(np.uint8) * 255
        Image.fromarray(generator.integers(0, 256, (32, 32), dtype=np.uint8)).save(tmp_path / f"i{number}.png")
        Image.fromarray(mask).save(tmp_path / f"m{number}.png")
        rows.append(
            {
                "image": f"i{number}.png",
                "mask": f"m{number}.png",
                "well": f"w{number // 3}",
                "line": "abc"[number // 3 % 3],
                "dose": number / 7,
                "plate": number % 2,
            }
        )
    return to_manifest(
        pd.DataFrame(rows), tmp_path, ["dose", "line"], "well", "cells.csv", strata=["plate"], about="SIMULATED disks"
    )


def styled(cells: Manifest, tmp_path: Path, **settings: Any) -> Manifest:
    return with_styles(cells, tmp_path / "scratch", StyleConfig(**settings))


def pixels(manifest: Manifest, row: int) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(manifest.mask_file(manifest.table["mask"].iloc[row])))


def test_training_is_shared_out_in_thirds_and_the_rest_is_accurate(cells: Manifest, tmp_path: Path) -> None:
    manifest = styled(cells, tmp_path)
    table = manifest.table
    training = table[table["split"] == "train"]
    assert set(table["split"]) == {"train", "val", "test"}
    assert table.groupby("group")["split"].nunique().eq(1).all()
    assert set(table["style"][table["split"] != "train"]) == {"accurate"}
    assert np.ptp(training["style"].value_counts().reindex(STYLES)) <= 1
    counts = pd.crosstab(training["line"], training["style"])
    assert np.ptp(counts.to_numpy(), axis=1).max() <= 1
    for row, style in enumerate(table["style"]):
        expected = polygonise(circle(10, size=32), {"accurate": 0, "fine": 2, "coarse": 3.5}[style])
        assert np.array_equal(pixels(manifest, row), expected * np.uint8(255))


def test_networks_see_the_style_alone_and_arms_may_be_restricted_to_one(cells: Manifest, tmp_path: Path) -> None:
    manifest = styled(cells, tmp_path)
    assert manifest.metadata == (MetadataColumn("style", "categorical"),)
    assert manifest.strata == ("line", "plate")
    expected = "SIMULATED disks, annotation styles accurate, fine (2 px) and coarse (3.5 px) in training"
    assert manifest.about == expected
    dataset = prepare(manifest, DataConfig(), tmp_path / "cache")
    accurate = dataset.indices("train", Subset("style", "accurate", ("train",)))
    assert len(accurate) == len(dataset.indices("train")) // 3


def test_one_class_keeps_its_name_and_several_become_one_without_a_name(cells: Manifest, tmp_path: Path) -> None:
    assert styled(dataclasses.replace(cells, classes=("disk",)), tmp_path).classes == ("disk",)
    assert styled(dataclasses.replace(cells, classes=("disk", "ring")), tmp_path).classes == ()


def test_splits_that_are_there_are_kept(cells: Manifest, tmp_path: Path) -> None:
    splits = ["train"] * 30 + ["val"] * 15 + ["test"] * 15
    manifest = styled(dataclasses.replace(cells, table=cells.table.assign(split=splits)), tmp_path)
    assert manifest.table["split"].tolist() == splits
    assert manifest.table["style"].value_counts().to_dict() == {"accurate": 40, "fine": 10, "coarse": 10}


def test_styles_depend_on_names_and_seed_not_on_the_order_of_rows(cells: Manifest, tmp_path: Path) -> None:
    def by_image(manifest: Manifest) -> dict[str, str]:
        return dict(zip(manifest.table["image"], manifest.table["style"], strict=True))

    first = styled(cells, tmp_path)
    turned = dataclasses.replace(cells, table=cells.table.iloc[::-1])
    again = styled(turned, tmp_path)
    assert by_image(first) == by_image(again)
    assert first.mask_root == again.mask_root
    assert by_image(first) != by_image(styled(cells, tmp_path, seed=1))


def test_without_effect_all_masks_are_accurate_though_styles_are_given(cells: Manifest, tmp_path: Path) -> None:
    without, with_effect = styled(cells, tmp_path, effect=0.0), styled(cells, tmp_path)
    assert without.table["style"].tolist() == with_effect.table["style"].tolist()
    assert all(np.array_equal(pixels(without, row), circle(10, size=32) * np.uint8(255)) for row in range(60))


def test_labels_and_folders_of_objects_are_redrawn_object_by_object(tmp_path: Path) -> None:
    shapes = [np.zeros((40, 60), dtype=np.bool_) for _ in range(2)]
    shapes[0][disk((20, 20), 13)] = True
    shapes[1][disk((20, 38), 9)] = True
    shapes[1] &= ~shapes[0]
    (tmp_path / "folder").mkdir()
    for number, shape in enumerate(shapes):
        Image.fromarray(shape.astype(np.uint8) * 255).save(tmp_path / "folder" / f"{number}.png")
    labels = shapes[0] * np.uint16(1) + shapes[1] * np.uint16(1000)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    Image.fromarray((labels > 0) * np.uint8(255)).save(tmp_path / "binary.png")
    splits = [*["train"] * 3, "val", "test"]
    expected = polygonise(shapes[0], 2) | polygonise(shapes[1], 2)
    for mask, same in (("folder", True), ("labels.png", True), ("binary.png", False)):
        images = [f"{k}.png" for k in range(5)]
        for image in images:
            Image.fromarray(np.zeros((40, 60), dtype=np.uint8)).save(tmp_path / image)
        table = pd.DataFrame({"image": images, "mask": mask, "split": splits})
        manifest = styled(to_manifest(table, tmp_path, [], None, "t"), tmp_path)
        fine = pixels(manifest, manifest.table["style"].tolist().index("fine")) > 0
        assert np.array_equal(fine, expected) == same, mask


def test_masks_are_made_once_and_counted(cells: Manifest, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    for _ in range(2):
        with_styles(cells, tmp_path / "scratch", StyleConfig(), lambda done, total: calls.append((done, total)))
    assert calls == [(k, 60) for k in range(1, 61)]
    Image.fromarray(circle(5, size=32).astype(np.uint8)).save(tmp_path / "m7.png")
    manifest = styled(cells, tmp_path)
    assert len(list((tmp_path / "scratch").iterdir())) == 2, "other masks, other folder"
    assert (pixels(manifest, 7) > 0).sum() <= circle(5, size=32).sum()


def test_what_cannot_have_styles_is_an_error(cells: Manifest, tmp_path: Path) -> None:
    tasks = dataclasses.replace(cells, per=("line",))
    with pytest.raises(ManifestError, match=r"cells\.csv: has several masks per image, by line; expected one"):
        styled(tasks, tmp_path)
    with pytest.raises(ManifestError, match="has a column 'style' of its own"):
        styled(dataclasses.replace(cells, table=cells.table.assign(style="x")), tmp_path)
    (tmp_path / "m4.png").write_bytes(b"no image")
    with pytest.raises(ManifestError, match=r"m4\.png: unreadable image"):
        styled(cells, tmp_path)
    (tmp_path / "m4.png").unlink()
    (tmp_path / "m5.png").unlink()
    with pytest.raises(ManifestError, match=r"2 problems\n  row 5: .*m4\.png.*\n  row 6: .*m5\.png"):
        styled(cells, tmp_path)
    assert not (tmp_path / "scratch").exists() or not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize(
    ("setting", "value"),
    [("fine", -1.0), ("coarse", 1.0), ("effect", float("nan")), ("val_fraction", 0.0), ("test_fraction", 0.8)],
)
def test_a_setting_that_cannot_be_is_an_error_that_names_it(setting: str, value: float) -> None:
    settings: dict[str, Any] = {setting: value}
    with pytest.raises(ConfigError, match=f"{setting} is {value!r}; expected"):
        StyleConfig(**settings)


def test_real_nuclei_are_polygonised_one_by_one(real_data: Path) -> None:
    labels = np.asarray(Image.open(min((real_data / "dsb2018" / "labels").glob("*.png"))))
    assert len(np.unique(labels)) > 5
    mask = labels > 0
    dice = []
    for tolerance in (0, 2, 3.5):
        redrawn = polygonise(labels, tolerance)
        dice.append(dice_of(redrawn, mask))
    assert dice[0] == 1
    assert 1 > dice[1] > dice[2] > 0.7
