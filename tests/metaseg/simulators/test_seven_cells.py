"""The simulated cell lines: what their images and outlines depend on, and how they reach the disk."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, label
from scipy.stats import ks_2samp, skew

from metaseg.config import ConfigError
from metaseg.data.manifest import Manifest
from metaseg.simulators.brightfield import Scene
from metaseg.simulators.settings import MAX_EFFECT, SyntheticConfig
from metaseg.simulators.seven_cells import LINES, OFFSET, field_of_view, make_seven_cells, outline, well_splits

PAIRS = (("A549", "HT1080"), ("HepG2", "MCF7"))
OTHERS = ("HeLa", "MDCK", "NIH3T3")
SMALL = SyntheticConfig(size=64, images_per_line=3, wells_per_line=3)


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    """Independent fields of view of each line: one of each of 24 wells."""
    return {line: [field_of_view(SyntheticConfig(), line, well, 0) for well in range(24)] for line in LINES}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(manifest: Manifest, column: str) -> dict[str, npt.NDArray[np.uint8]]:
    return {name: np.asarray(Image.open(manifest.root / name)) for name in manifest.table[column]}


def dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def best_blind_dice(pair: tuple[str, str], scenes: dict[str, list[Scene]], effect: float) -> float:
    """Mean Dice over a pair's images of the best outline that is the same for both of its lines."""
    drawn = [(scene.distance, outline(scene, line, effect)) for line in pair for scene in scenes[line]]
    return max(float(np.mean([dice(d <= shift, mask) for d, mask in drawn])) for shift in np.linspace(-2, 2, 21))


def test_the_same_config_gives_the_same_files_and_another_seed_other_images(tmp_path: Path) -> None:
    make_seven_cells(tmp_path / "a", SMALL)
    make_seven_cells(tmp_path / "b", SMALL)
    make_seven_cells(tmp_path / "c", dataclasses.replace(SMALL, seed=1))
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert all(a[name] != c[name] for name in a if name.startswith("images/"))


def test_an_image_does_not_depend_on_how_many_are_made(tmp_path: Path) -> None:
    few = read(make_seven_cells(tmp_path / "few", SMALL), "image")
    many = read(make_seven_cells(tmp_path / "many", dataclasses.replace(SMALL, images_per_line=4)), "image")
    assert len(many) == len(few) + len(LINES)
    assert all(np.array_equal(few[name], many[name]) for name in few)


def test_no_two_fields_share_their_random_numbers(scenes: dict[str, list[Scene]]) -> None:
    config = SyntheticConfig()
    again = [field_of_view(config, "A549", well, field) for well in range(3) for field in range(1, 4)]
    images = [scene.image.tobytes() for line in scenes.values() for scene in line] + [s.image.tobytes() for s in again]
    assert len(set(images)) == len(images)


def test_metadata_effect_changes_only_the_masks_of_look_alike_lines(tmp_path: Path) -> None:
    without = make_seven_cells(tmp_path / "0", dataclasses.replace(SMALL, metadata_effect=0.0))
    strong = make_seven_cells(tmp_path / "1", SMALL)
    pd.testing.assert_frame_equal(without.table, strong.table)
    images = read(without, "image"), read(strong, "image")
    assert all(np.array_equal(images[0][name], images[1][name]) for name in images[0])
    masks = read(without, "mask"), read(strong, "mask")
    lines = strong.table.set_index("mask")["cell_line"]
    for name, before in masks[0].items():
        assert np.array_equal(before, masks[1][name]) == (lines[name] in OTHERS), name


@pytest.mark.parametrize("pair", PAIRS)
def test_without_effect_look_alike_lines_have_one_law(pair: tuple[str, str], scenes: dict[str, list[Scene]]) -> None:
    first, second = pair
    assert LINES[first].look is LINES[second].look  # hence one law of scenes, and of it:
    for scene in scenes[first] + scenes[second]:
        assert np.array_equal(outline(scene, first, 0.0), outline(scene, second, 0.0))
        assert not np.array_equal(outline(scene, first, 1.0), outline(scene, second, 1.0))


def test_outlines_move_apart_as_the_effect_grows(scenes: dict[str, list[Scene]]) -> None:
    for outer, inner in PAIRS:
        for scene in scenes[outer][:4]:
            area = [
                [int(outline(scene, line, effect).sum()) for effect in (0.0, 0.25, 0.5, 1.0, 2.0)]
                for line in (outer, inner)
            ]
            assert area[0] == sorted(set(area[0]))
            assert area[1] == sorted(set(area[1]), reverse=True)
    for line in OTHERS:
        assert np.array_equal(outline(scenes[line][0], line, 0.0), outline(scenes[line][0], line, MAX_EFFECT))


@pytest.mark.parametrize("pair", PAIRS)
def test_what_is_lost_without_the_line_grows_from_nothing_as_the_closed_form_says(
    pair: tuple[str, str], scenes: dict[str, list[Scene]]
) -> None:
    radius = LINES[pair[0]].look.radius
    scores = {effect: best_blind_dice(pair, scenes, effect) for effect in (0.0, 0.5, 1.0)}
    assert scores[0.0] == 1
    assert 0.80 < scores[1.0] < 0.88
    for effect, score in scores.items():
        assert score == pytest.approx(1 - OFFSET * effect / radius, abs=0.02)


def test_nuclei_neither_vanish_nor_merge(scenes: dict[str, list[Scene]]) -> None:
    for outer, inner in PAIRS:
        for scene in scenes[outer] + scenes[inner]:
            _, at_contour = label(scene.distance <= 0)
            _, enlarged = label(outline(scene, outer, 1.0))
            assert enlarged >= at_contour - 1
            components, count = label(np.pad(scene.distance, 1, constant_values=1) <= 0)
            components = components[1:-1, 1:-1]
            border = np.concatenate([components[0], components[-1], components[:, 0], components[:, -1]])
            eroded = np.bincount(components[outline(scene, inner, MAX_EFFECT)], minlength=count + 1)
            assert all(eroded[k] > np.pi * 2**2 for k in range(1, count + 1) if k not in border)


def features(scene: Scene) -> list[float]:
    """Brightness, contrast, and the asymmetry and relative strength of three scales; none needs the outlines."""
    pixels = scene.image.astype(float)
    blurred = [gaussian_filter(pixels, scale) for scale in (0.7, 1.4, 2.8, 5.6)]
    fine, middle, coarse = (finer - coarser for finer, coarser in itertools.pairwise(blurred))
    asymmetry = [float(skew(band.ravel())) for band in (fine, middle, coarse)]
    return [pixels.mean(), pixels.std(), *asymmetry, fine.std() / middle.std(), middle.std() / coarse.std()]


def test_images_tell_looks_apart_but_not_the_lines_of_a_pair(scenes: dict[str, list[Scene]]) -> None:
    table = {line: np.array([features(scene) for scene in fields]) for line, fields in scenes.items()}
    for first, second in itertools.combinations(LINES, 2):
        p = [ks_2samp(a, b).pvalue for a, b in zip(table[first].T, table[second].T, strict=True)]
        if (first, second) in PAIRS:
            assert min(p) > 0.01, (first, second, p)
        else:
            assert min(p) < 1e-4, (first, second, p)


def test_nuclei_are_dark_in_some_lines_and_bright_in_others(scenes: dict[str, list[Scene]]) -> None:
    for line, fields in scenes.items():
        contrast = [
            float(s.image[s.distance < -2].mean() - s.image[(s.distance > 2) & (s.distance < 4)].mean()) for s in fields
        ]
        assert np.mean(np.sign(contrast) == np.sign(LINES[line].look.contrast)) > 0.9, line


def test_fields_of_a_well_share_its_light(scenes: dict[str, list[Scene]]) -> None:
    other_field = [field_of_view(SyntheticConfig(), "HeLa", well, 1).image.mean() for well in range(24)]
    brightness = [scene.image.mean() for scene in scenes["HeLa"]]
    assert np.corrcoef(brightness, other_field)[0, 1] > 0.8


def test_the_table_has_every_line_in_every_split_and_no_well_in_two(tmp_path: Path) -> None:
    manifest = make_seven_cells(tmp_path / "cells", dataclasses.replace(SMALL, images_per_line=16, wells_per_line=8))
    table = manifest.table
    assert list(table.columns) == ["image", "mask", "split", "group", "cell_line", "n_nuclei"]
    assert manifest.subgroup_column == "cell_line"
    assert len(table) == 7 * 16
    assert table.groupby("group")["split"].nunique().eq(1).all()
    counts = pd.crosstab(table["cell_line"], table["split"])
    assert set(counts.index) == set(LINES)
    assert (counts == pd.Series({"test": 6, "train": 8, "val": 2})).all().all()
    assert table.loc[0, "group"] == "HeLa-W01"


@pytest.mark.parametrize("wells", [3, 4, 5, 8, 48])
def test_wells_are_shared_out_among_all_splits(wells: int) -> None:
    splits = well_splits(wells)
    assert len(splits) == wells
    assert set(splits) == {"train", "val", "test"}
    assert abs(splits.count("test") - wells / 3) <= 0.5
    assert abs(splits.count("val") - wells / 6) <= 0.5


def test_files_are_grey_8_bit_pngs_of_one_size(tmp_path: Path) -> None:
    manifest = make_seven_cells(tmp_path / "cells", SMALL)
    for image, mask in zip(read(manifest, "image").values(), read(manifest, "mask").values(), strict=True):
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape == mask.shape == (64, 64)
        assert len(np.unique(image)) > 32
        assert set(np.unique(mask)) == {0, 255}


def test_a_second_call_writes_nothing(tmp_path: Path) -> None:
    first = make_seven_cells(tmp_path / "cells", SMALL)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    calls: list[tuple[int, int]] = []
    second = make_seven_cells(tmp_path / "cells", SMALL, lambda done, total: calls.append((done, total)))
    assert calls == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == written
    pd.testing.assert_frame_equal(first.table, second.table)


def test_progress_counts_images(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    make_seven_cells(tmp_path / "cells", SMALL, lambda done, total: calls.append((done, total)))
    assert calls == [(k, 21) for k in range(1, 22)]


def test_an_interrupted_call_leaves_no_folder_and_the_next_one_starts_anew(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_seven_cells(tmp_path / "cells", SMALL, interrupt)
    assert not (tmp_path / "cells").exists()
    leftover = tmp_path / ".cells.killed" / "cells" / "images"  # what a killed process can't clean up
    leftover.mkdir(parents=True)
    assert len(make_seven_cells(tmp_path / "cells", SMALL).table) == 21


def test_two_processes_may_make_the_same_folder(tmp_path: Path) -> None:
    def finish_first(done: int, total: int) -> None:
        if done == total:
            make_seven_cells(tmp_path / "cells", SMALL)

    assert len(make_seven_cells(tmp_path / "cells", SMALL, finish_first).table) == 21
    assert [path.name for path in tmp_path.iterdir()] == ["cells"]


def test_a_folder_of_other_parameters_is_an_error_and_left_alone(tmp_path: Path) -> None:
    make_seven_cells(tmp_path / "cells", SMALL)
    before = contents(tmp_path / "cells")
    assert json.loads(before["parameters.json"])["seed"] == 0
    with pytest.raises(ConfigError, match=r"'seed': 0.*expected.*'seed': 1"):
        make_seven_cells(tmp_path / "cells", dataclasses.replace(SMALL, seed=1))
    assert contents(tmp_path / "cells") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not lose")
    with pytest.raises(ConfigError, match=r"no parameters\.json"):
        make_seven_cells(tmp_path / "mine", SMALL)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("size", 63),
        ("images_per_line", 7),
        ("wells_per_line", 2),
        ("metadata_effect", -0.1),
        ("metadata_effect", 2.1),
        ("metadata_effect", float("nan")),
        ("seed", -1),
        ("seed", 2**32),
    ],
)
def test_a_setting_that_cannot_be_is_an_error_that_names_it(setting: str, value: float) -> None:
    settings: dict[str, Any] = {setting: value}
    with pytest.raises(ConfigError, match=f"{setting} is {value!r}; expected"):
        SyntheticConfig(**settings)
