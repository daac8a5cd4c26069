"""The simulated kidney slices: what their images and outlines depend on, and how they reach the disk."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import label
from scipy.stats import spearmanr

from metaseg.config import ConfigError, DataConfig
from metaseg.data.manifest import Manifest
from metaseg.data.preparation import prepare
from metaseg.simulators.abdomen import MEAN_RADIUS, Slice
from metaseg.simulators.kidney_tumours import (
    MAX_EFFECT,
    RADII,
    SIZE_MEAN,
    SIZES,
    lesion_of,
    make_renal,
    outline,
    size_of,
    slice_of,
)
from metaseg.simulators.settings import RENAL_CLASSES, RenalConfig

SMALL = RenalConfig(size=64, cases=8, slices_per_case=2)
TUMOUR, CYST = (1 + RENAL_CLASSES.index(name) for name in ("tumour", "cyst"))


@pytest.fixture(scope="module")
def slices() -> dict[int, Slice]:
    """One slice of each of 160 cases."""
    return {case: slice_of(RenalConfig(), case, 0) for case in range(160)}


@pytest.fixture(scope="module")
def sizes() -> dict[int, float]:
    return {case: size_of(RenalConfig(), case) for case in range(160)}


def of(lesion: str, slices: dict[int, Slice]) -> dict[int, Slice]:
    return {case: drawn for case, drawn in slices.items() if drawn.lesion == lesion}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(manifest: Manifest, column: str) -> dict[str, npt.NDArray[np.uint8]]:
    return {name: np.asarray(Image.open(manifest.root / name)) for name in manifest.table[column]}


def dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def areas(slices: dict[int, Slice], sizes: dict[int, float], effect: float, value: int) -> list[int]:
    return [int((outline(drawn, sizes[case], effect) == value).sum()) for case, drawn in slices.items()]


def test_images_never_depend_on_the_effect_and_masks_do(tmp_path: Path) -> None:
    without = make_renal(tmp_path / "0", dataclasses.replace(SMALL, metadata_effect=0.0))
    strong = make_renal(tmp_path / "1", SMALL)
    pd.testing.assert_frame_equal(without.table, strong.table)
    images = read(without, "image"), read(strong, "image")
    assert all(np.array_equal(images[0][name], images[1][name]) for name in images[0])
    masks = read(without, "mask"), read(strong, "mask")
    lesions = strong.table.set_index("mask")["lesion"]
    for name, before in masks[0].items():
        assert np.array_equal(before, masks[1][name]) == (lesions[name] == "cyst"), name


def test_without_effect_a_tumours_size_says_nothing_of_its_mask(
    slices: dict[int, Slice], sizes: dict[int, float]
) -> None:
    tumours = of("tumour", slices)
    for drawn in tumours.values():
        assert np.array_equal(outline(drawn, SIZES[0], 0.0), outline(drawn, SIZES[1], 0.0))
    found = spearmanr([sizes[case] for case in tumours], areas(tumours, sizes, 0.0, TUMOUR))
    assert len(tumours) == 120
    assert found.pvalue > 0.05


def test_with_effect_the_mask_grows_with_the_size(slices: dict[int, Slice], sizes: dict[int, float]) -> None:
    tumours = of("tumour", slices)
    strength = [
        spearmanr([sizes[case] for case in tumours], areas(tumours, sizes, effect, TUMOUR)).statistic
        for effect in (0.3, 1.0, MAX_EFFECT)
    ]
    assert strength[1] > 0.85
    assert strength == sorted(strength)


def test_at_effect_1_the_radius_is_proportional_to_the_size(slices: dict[int, Slice]) -> None:
    for drawn in list(of("tumour", slices).values())[:20]:
        for size in (2.0, 4.0, 8.0):
            radius = np.clip(drawn.radius * size / SIZE_MEAN, *RADII)
            assert 0.7 * MEAN_RADIUS < drawn.radius <= MEAN_RADIUS
            expected = (drawn.distance <= radius) & drawn.room
            assert np.array_equal(outline(drawn, size, 1.0) == TUMOUR, expected)


def test_what_an_image_shows_of_a_tumour_has_nothing_to_do_with_its_size(
    slices: dict[int, Slice], sizes: dict[int, float]
) -> None:
    tumours = of("tumour", slices)
    size = [sizes[case] for case in tumours]
    for reach in (2.0, MEAN_RADIUS, 2 * MEAN_RADIUS):
        brightness = [float(d.image[(d.distance <= reach) & d.room].mean()) for d in tumours.values()]
        assert spearmanr(size, brightness).pvalue > 0.01
    assert spearmanr(size, [drawn.radius for drawn in tumours.values()]).pvalue > 0.01


def test_not_knowing_the_size_costs_dice_and_only_with_an_effect(
    slices: dict[int, Slice], sizes: dict[int, float]
) -> None:
    tumours = of("tumour", slices)

    def best_blind(effect: float) -> float:
        """Mean Dice of the best outline that follows the profile alone."""
        return max(
            float(
                np.mean(
                    [
                        dice((d.distance <= share * d.radius) & d.room, outline(d, sizes[case], effect) == TUMOUR)
                        for case, d in tumours.items()
                    ]
                )
            )
            for share in (0.7, 0.85, 1.0, 1.15, 1.3)
        )

    assert best_blind(0.0) == 1
    assert 0.6 < best_blind(1.0) < 0.8
    assert best_blind(0.5) > best_blind(1.0) > best_blind(MAX_EFFECT)


def test_a_tumours_centre_is_visible_and_its_end_is_not(slices: dict[int, Slice]) -> None:
    def profile(drawn: Slice, at: float) -> float:
        ring = (np.abs(drawn.distance - at) < 0.8) & drawn.kidneys
        return float(drawn.image[ring].mean()) if ring.sum() >= 4 else np.nan

    def mean(lesion: str, share: float) -> float:
        return float(np.nanmean([profile(drawn, share * drawn.radius) for drawn in of(lesion, slices).values()]))

    assert mean("tumour", 0.0) < mean("tumour", 1.5) - 40
    steps = np.diff([mean("tumour", share) for share in (0.0, 0.5, 1.0, 1.5)])
    assert (steps > 0).all()
    across_a_cysts_edge = mean("cyst", 1.25) - mean("cyst", 0.75)
    assert across_a_cysts_edge > 2 * (mean("tumour", 1.25) - mean("tumour", 0.75))


def test_cysts_are_outlined_where_they_are_drawn_whatever_the_effect(
    slices: dict[int, Slice], sizes: dict[int, float]
) -> None:
    cysts = of("cyst", slices)
    assert len(cysts) == 40
    for drawn in cysts.values():
        masks = [outline(drawn, size, effect) for size in SIZES for effect in (0.0, 1.0, MAX_EFFECT)]
        assert all(np.array_equal(mask, masks[0]) for mask in masks)
        assert drawn.image[masks[0] == CYST].mean() < drawn.image[masks[0] == 1].mean() - 50
    assert spearmanr([sizes[case] for case in cysts], areas(cysts, sizes, 1.0, CYST)).pvalue > 0.05


@pytest.mark.parametrize("effect", [0.0, 1.0, MAX_EFFECT])
def test_every_mask_has_kidney_and_one_lesion_in_one_piece(slices: dict[int, Slice], effect: float) -> None:
    for drawn in slices.values():
        for size in SIZES:
            mask = outline(drawn, size, effect)
            lesion = TUMOUR if drawn.lesion == "tumour" else CYST
            assert set(np.unique(mask)) == {0, 1, lesion}
            pieces, _ = label(mask == lesion)
            assert np.bincount(pieces[pieces > 0]).max() > 0.9 * (mask == lesion).sum() > 15


def test_sizes_are_lognormal_with_the_published_range() -> None:
    size = np.array([size_of(RenalConfig(), case) for case in range(2000)])
    assert SIZES[0] == size.min()
    assert size.max() == SIZES[1]
    assert np.median(size) == pytest.approx(SIZE_MEAN, rel=0.05)
    assert np.mean((size == SIZES[0]) | (size == SIZES[1])) < 0.04


def test_about_an_eighth_of_the_radii_is_limited_at_the_largest_effect() -> None:
    size = np.array([size_of(RenalConfig(), case) for case in range(2000)])
    radius = 0.9 * MEAN_RADIUS * (size / SIZE_MEAN) ** MAX_EFFECT
    assert 0.1 < np.mean((radius < RADII[0]) | (radius > RADII[1])) < 0.17


def test_slices_of_a_case_share_its_anatomy_and_differ() -> None:
    def overlap(a: tuple[int, int], b: tuple[int, int]) -> float:
        return dice(*(slice_of(RenalConfig(), *which).kidneys for which in (a, b)))

    within = [overlap((case, 0), (case, 1)) for case in range(12)]
    between = [overlap((case, 0), (case + 12, 0)) for case in range(12)]
    assert 0.8 < np.mean(within) < 1
    assert np.mean(between) < 0.75
    same, again = slice_of(RenalConfig(), 3, 1), slice_of(RenalConfig(), 3, 1)
    assert np.array_equal(same.image, again.image)


def test_an_image_does_not_depend_on_how_many_are_made(tmp_path: Path) -> None:
    few = make_renal(tmp_path / "few", SMALL)
    many = make_renal(tmp_path / "many", dataclasses.replace(SMALL, cases=9, slices_per_case=3))
    assert len(many.table) == 27
    for column in ("image", "mask"):
        before, after = read(few, column), read(many, column)
        assert all(np.array_equal(before[name], after[name]) for name in before)
    other = read(make_renal(tmp_path / "other", dataclasses.replace(SMALL, seed=1)), "image")
    assert not any(np.array_equal(pixels, other[name]) for name, pixels in read(few, "image").items())


def test_the_manifest_groups_by_case_and_every_split_has_both_lesions(tmp_path: Path) -> None:
    manifest = make_renal(tmp_path / "d", dataclasses.replace(SMALL, cases=24, slices_per_case=1))
    table = manifest.table
    assert manifest.about.startswith("SIMULATED")
    assert [(column.name, column.kind) for column in manifest.metadata] == [("radiographic_size", "continuous")]
    assert table.groupby("group")["split"].nunique().eq(1).all()
    assert table.groupby("group")["radiographic_size"].nunique().eq(1).all()
    assert table["split"].value_counts().to_dict() == {"train": 12, "test": 8, "val": 4}
    assert (pd.crosstab(table["lesion"], table["split"]) > 0).all().all()
    assert [lesion_of(case) for case in range(4)] == ["tumour", "tumour", "tumour", "cyst"]
    dataset = prepare(manifest, DataConfig(classes=RENAL_CLASSES), tmp_path / "cache")
    assert dataset.channels == 1


def test_a_second_call_writes_nothing_and_progress_counts_images(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    make_renal(tmp_path / "d", SMALL, lambda done, total: calls.append((done, total)))
    assert calls == [(k, 16) for k in range(1, 17)]
    before = contents(tmp_path)
    make_renal(tmp_path / "d", SMALL, lambda done, total: calls.append((done, total)))
    assert len(calls) == 16
    assert contents(tmp_path) == before
    with pytest.raises(ConfigError, match=r"'seed': 0.*expected.*'seed': 1"):
        make_renal(tmp_path / "d", dataclasses.replace(SMALL, seed=1))


def test_a_slice_is_drawn_in_less_than_30_ms() -> None:
    slice_of(RenalConfig(), 0, 0)
    times = []
    for case in range(5):
        start = time.process_time()
        slice_of(RenalConfig(), case, 0)
        times.append(time.process_time() - start)
    assert min(times) < 0.03


def test_other_sizes_show_the_same_anatomy() -> None:
    small, large = (slice_of(RenalConfig(size=size), 5, 0) for size in (64, 256))
    coarse = large.kidneys.reshape(64, 4, 64, 4).mean(axis=(1, 3)) > 0.5
    assert dice(small.kidneys, coarse) > 0.7


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("size", 63),
        ("cases", 7),
        ("slices_per_case", 0),
        ("metadata_effect", -0.1),
        ("metadata_effect", 1.6),
        ("metadata_effect", float("nan")),
        ("seed", -1),
        ("seed", 2**32),
    ],
)
def test_a_setting_that_cannot_be_is_an_error_that_names_it(setting: str, value: float) -> None:
    settings: dict[str, Any] = {setting: value}
    with pytest.raises(ConfigError, match=f"{setting} is {value!r}; expected"):
        RenalConfig(**settings)


def test_a_configurations_name_is_its_own() -> None:
    changes: list[dict[str, Any]] = [
        {}, {"size": 64}, {"cases": 8}, {"slices_per_case": 1}, {"metadata_effect": 0.5}, {"seed": 1},
    ]  # fmt: skip
    assert len({RenalConfig(**change).name for change in changes}) == len(changes)
