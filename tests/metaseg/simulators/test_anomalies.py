"""The simulated anomalies: what images and masks depend on, and how the two tasks reach the table."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt

from metaseg.config import ConfigError
from metaseg.data.manifest import Manifest
from metaseg.simulators.anomalies import AnomalyScene, draw_image, make_anomalies, plan
from metaseg.simulators.settings import AnomalyConfig, SyntheticConfig
from metaseg.simulators.seven_cells import LINES, field_of_view

SMALL = AnomalyConfig(size=64, images=24, annotated=0.25)


@pytest.fixture(scope="module")
def scenes() -> list[AnomalyScene]:
    return [draw_image(AnomalyConfig(), index, visible=True) for index in range(70)]


def read(manifest: Manifest, column: str) -> dict[str, npt.NDArray[np.uint8]]:
    return {name: np.asarray(Image.open(manifest.root / name)) for name in manifest.table[column]}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_config_gives_the_same_files_and_another_seed_other_images(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_anomalies(tmp_path / name, dataclasses.replace(SMALL, seed=seed))
    a, b, c = (files(tmp_path / name) for name in "abc")
    assert a == b
    assert all(a[name] != c[name] for name in a if name.startswith("images/"))


def test_an_image_depends_on_its_index_and_not_on_how_many_there_are() -> None:
    few, many = AnomalyConfig(), AnomalyConfig(images=3024)
    for index in (0, 1, 100):
        a, b = (draw_image(config, index, visible=True) for config in (few, many))
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.masks(0.5), b.masks(0.5))
    places = [[(image.cell_line, image.well, image.field, image.split) for image in plan(c)] for c in (few, many)]
    assert places[0] == places[1][:252]


def test_without_anomalies_an_image_is_that_of_the_seven_cell_lines() -> None:
    config = AnomalyConfig(seed=3)
    for index, image in enumerate(plan(config)[:30]):
        scene = draw_image(config, index, visible=False)
        cells = field_of_view(SyntheticConfig(seed=3), image.cell_line, image.well, image.field)
        assert np.array_equal(scene.image, cells.image)
        assert np.array_equal(scene.masks(1.0)[0], cells.distance <= 0)
        assert not scene.masks(1.0)[1].any()


def test_images_never_depend_on_the_effect_but_masks_do(tmp_path: Path) -> None:
    strong = make_anomalies(tmp_path / "1", SMALL)
    without = make_anomalies(tmp_path / "0", dataclasses.replace(SMALL, metadata_effect=0.0))
    pd.testing.assert_frame_equal(strong.table, without.table)
    a, b = read(strong, "image"), read(without, "image")
    assert all(np.array_equal(a[name], b[name]) for name in a)
    a, b = read(strong, "mask"), read(without, "mask")
    annotated = strong.table[strong.table["both_masks"] == "yes"]["mask"]
    assert len(annotated)
    assert not any(np.array_equal(a[name], b[name]) for name in annotated)


def test_without_effect_both_tasks_ask_for_the_same(scenes: list[AnomalyScene]) -> None:
    for scene in scenes:
        nuclei, anomaly = scene.masks(1.0)
        assert np.array_equal(nuclei, scene.nuclei > 0)
        assert np.array_equal(anomaly, scene.anomalies.any(axis=0))
        for mask in scene.masks(0.0):
            assert np.array_equal(mask, nuclei | anomaly)


def test_objects_enter_the_other_mask_whole_and_as_often_as_the_effect_says(scenes: list[AnomalyScene]) -> None:
    strayed = {"nucleus": [0, 0], "anomaly": [0, 0]}
    for scene in scenes:
        nuclei, anomaly = scene.masks(0.7)
        for k in range(1, scene.nuclei.max() + 1):
            nucleus = (scene.nuclei == k) & ~scene.anomalies.any(axis=0)
            if nucleus.any():
                assert anomaly[nucleus].all() or not anomaly[nucleus].any()
                strayed["nucleus"][int(anomaly[nucleus].all())] += 1
        for k, pixels in enumerate(scene.anomalies):
            alone = pixels & (scene.nuclei == 0) & ~np.delete(scene.anomalies, k, axis=0).any(axis=0)
            if alone.any():
                assert nuclei[alone].all() or not nuclei[alone].any()
                strayed["anomaly"][int(nuclei[alone].all())] += 1
    for kind, (stayed, went) in strayed.items():
        share, sd = went / (stayed + went), np.sqrt(0.3 * 0.7 / (stayed + went))
        assert abs(share - 0.3) < 3 * sd, (kind, stayed, went)


def test_which_objects_stray_has_nothing_to_do_with_which_images_are_annotated() -> None:
    config = AnomalyConfig()
    first = [draw_image(config, k, visible=False).chance[0] for k, image in enumerate(plan(config)) if image.annotated]
    assert len(first) == 30
    assert np.mean(first) == pytest.approx(0.5, abs=3 * np.sqrt(1 / 12 / 30))


def test_masks_only_grow_as_the_effect_falls(scenes: list[AnomalyScene]) -> None:
    for scene in scenes[:10]:
        for stronger, weaker in ((1.0, 0.8), (0.8, 0.3), (0.3, 0.0)):
            for before, after in zip(scene.masks(stronger), scene.masks(weaker), strict=True):
                assert (after >= before).all()


def test_anomalies_are_a_few_percent_of_pixels_and_change_the_image_where_their_mask_is(
    scenes: list[AnomalyScene],
) -> None:
    shares = [scene.anomalies.any(axis=0).mean() for scene in scenes]
    assert 0.02 < np.mean(shares) < 0.06
    assert max(shares) < 0.25
    sizes = np.array([pixels.sum() for scene in scenes for pixels in scene.anomalies])
    assert sizes.min() > 20
    assert np.percentile(sizes, 90) > 4 * np.percentile(sizes, 10), "they should be of diverse sizes"
    for index, scene in enumerate(scenes):
        plain = draw_image(AnomalyConfig(), index, visible=False).image
        changed = np.abs(scene.image.astype(float) - plain)
        inside, far = scene.anomalies.any(axis=0), _far_from(scene.anomalies.any(axis=0))
        assert changed[inside].mean() > 12
        assert not far.any() or changed[far].mean() < 1


def _far_from(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return np.asarray(distance_transform_edt(~mask) > 12)


def test_anomalies_are_dark_as_well_as_bright(scenes: list[AnomalyScene]) -> None:
    darker = []
    for index, scene in enumerate(scenes):
        change = scene.image.astype(float) - draw_image(AnomalyConfig(), index, visible=False).image
        darker += [change[pixels].mean() < 0 for pixels in scene.anomalies]
    assert 0.4 < np.mean(darker) < 0.9


def test_splits_and_annotated_images_divide_as_in_the_paper() -> None:
    table = pd.DataFrame(plan(AnomalyConfig(images=3024)))
    assert table["split"].value_counts().to_dict() == {"train": 2016, "val": 504, "test": 504}
    annotated = table[table["annotated"]]
    assert annotated["split"].value_counts().to_dict() == {"train": 194, "val": 70, "test": 101}
    assert annotated["visible"].all()
    assert table["visible"].mean() == pytest.approx(0.4, abs=0.03)
    assert pd.crosstab(annotated["cell_line"], annotated["split"]).max().to_dict() == {
        "train": 28,
        "val": 10,
        "test": 15,
    }


@pytest.mark.parametrize("images", [12, 13, 30, 84, 252])
def test_few_images_are_in_all_splits_with_and_without_anomaly_masks(images: int) -> None:
    table = pd.DataFrame(plan(AnomalyConfig(images=images)))
    assert len(table) == images
    assert table.groupby("split")["annotated"].any().to_dict() == {"train": True, "val": True, "test": True}
    assert not table.groupby("split")["annotated"].all().any()
    if images >= 84:
        assert (pd.crosstab(table["cell_line"], table["split"]) >= 2).all().all()
        assert len(pd.crosstab(table["cell_line"], table["split"])) == len(LINES)


def test_the_table_has_a_row_a_task_and_no_well_in_two_splits(tmp_path: Path) -> None:
    manifest = make_anomalies(tmp_path / "a", SMALL)
    table = manifest.table
    assert (manifest.per, manifest.subgroup_column) == (("task",), "task")
    assert manifest.strata == ("both_masks", "cell_line")
    assert manifest.about.startswith("SIMULATED")
    assert table["image"].nunique() == 24
    tasks = table.groupby("image")["task"].agg(tuple)
    both = table.groupby("image")["both_masks"].first()
    assert set(tasks[both == "yes"]) == {("nuclei", "anomaly")}
    assert set(tasks[both == "no"]) == {("nuclei",)}
    assert 3 <= (both == "yes").sum() < 24
    assert table.groupby("group")["split"].nunique().eq(1).all()
    assert table.groupby("group")["image"].nunique().eq(2).all()
    for name, mask in read(manifest, "mask").items():
        assert mask.shape == (64, 64)
        assert set(np.unique(mask)) == {0, 255}, name


def test_progress_counts_images_and_a_second_call_writes_nothing(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    first = make_anomalies(tmp_path / "a", SMALL, lambda done, total: calls.append((done, total)))
    assert calls == [(k, 24) for k in range(1, 25)]
    second = make_anomalies(tmp_path / "a", SMALL, lambda done, total: calls.append((done, total)))
    assert len(calls) == 24
    pd.testing.assert_frame_equal(first.table, second.table)
    with pytest.raises(ConfigError, match=r"'seed': 0.*expected.*'seed': 1"):
        make_anomalies(tmp_path / "a", dataclasses.replace(SMALL, seed=1))


def test_names_of_different_configurations_differ() -> None:
    other = {"size": 96, "images": 60, "annotated": 0.2, "prevalence": 0.5, "metadata_effect": 0.5, "seed": 1}
    names = {dataclasses.replace(AnomalyConfig(), **{key: value}).name for key, value in other.items()}  # type: ignore[arg-type]
    assert len(names | {AnomalyConfig().name}) == 7


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("size", 63),
        ("images", 11),
        ("annotated", 0.0),
        ("annotated", 0.61),
        ("prevalence", 0.1),
        ("prevalence", 1.1),
        ("prevalence", float("nan")),
        ("metadata_effect", -0.1),
        ("metadata_effect", 1.1),
        ("seed", -1),
    ],
)
def test_a_setting_that_cannot_be_is_an_error_that_names_it(setting: str, value: float) -> None:
    settings: dict[str, Any] = {setting: value}
    with pytest.raises(ConfigError, match=f"{setting} is {value!r}; expected"):
        AnomalyConfig(**settings)
