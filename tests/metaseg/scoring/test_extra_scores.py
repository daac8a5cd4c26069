"""Scores of boundaries and objects: what they are of two masks, and how finished runs get them."""

import dataclasses
import hashlib
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from rich.console import Console
from scipy.ndimage import binary_erosion, generate_binary_structure
from scipy.ndimage import label as components
from scipy.spatial.distance import cdist

from analysis.results.declaration import ResultsError
from analysis.results.merge import collect
from analysis.scores.extra_scores import with_scores
from analysis.scores.image_scores import image_scores
from metaseg.__main__ import main
from metaseg.cli.options import StudyOptions, parse
from metaseg.cli.process import MISUSED
from metaseg.cli.study_page import Page, launch
from metaseg.config import ConfigError, DataConfig, NetworkConfig, ScheduleConfig, Scoring
from metaseg.data.dataset import Dataset
from metaseg.data.preparation import prepare
from metaseg.datasets.table import read_table
from metaseg.packages import install
from metaseg.schema import EXTRA_SCORES, score_file
from metaseg.scoring import masks as extra_scores
from metaseg.scoring.masks import hd95, object_counts, score_masks, surface_dice
from metaseg.scoring.study import score_study
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.plan import Study, plan
from metaseg.study.predict import Predictor

Mask = npt.NDArray[np.bool_]

MASKS = arrays(np.bool_, (9, 11))


def rectangle(top: int, left: int, height: int, width: int, side: int = 40) -> Mask:
    mask = np.zeros((side, side), dtype=np.bool_)
    mask[top : top + height, left : left + width] = True
    return mask


EMPTY = rectangle(0, 0, 0, 0)


def distances(predicted: Mask, reference: Mask) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """From each boundary pixel of one mask to the nearest of the other's, by brute force."""
    edges = [np.argwhere(mask & ~binary_erosion(mask)) for mask in (predicted, reference)]
    table = cdist(edges[0], edges[1])
    return table.min(axis=1), table.min(axis=0)


# --- two masks


def test_a_shifted_squares_boundary_scores_are_those_found_by_hand():
    square, shifted = rectangle(5, 5, 10, 10), rectangle(5, 8, 10, 10)
    # Of 36 boundary pixels each: 9 of the top and 9 of the bottom row are within 2 pixels, and 4 of one side, whose
    # neighbours are the other square's top and bottom row.
    assert surface_dice(shifted, square, 2.0) == pytest.approx(44 / 72)
    assert surface_dice(shifted, square, 3.0) == 1
    assert hd95(shifted, square) == 3


def test_single_pixels_are_as_far_apart_as_they_are():
    one, other = rectangle(3, 4, 1, 1), rectangle(6, 8, 1, 1)
    assert hd95(one, other) == 5
    assert surface_dice(one, other, 5.0) == 1
    assert surface_dice(one, other, 4.9) == 0
    assert object_counts(one, other) == (0, 1, 1)
    assert object_counts(one, one) == (1, 0, 0)


def test_the_images_border_is_boundary():
    whole, inset = rectangle(0, 0, 40, 40), rectangle(4, 4, 32, 32)
    # Else a mask that fills the image would have no boundary at all.
    assert surface_dice(whole, whole, 0.0) == 1
    assert hd95(inset, whole) == pytest.approx(np.quantile(distances(inset, whole)[1], 0.95), rel=1e-6)
    assert hd95(rectangle(0, 0, 40, 10), rectangle(0, 0, 40, 13)) == 3


@pytest.mark.parametrize(
    ("predicted", "reference", "dice", "objects"),
    [
        (EMPTY, EMPTY, 1, (0, 0, 0)),
        (EMPTY, rectangle(5, 5, 3, 3), 0, (0, 0, 1)),
        (rectangle(5, 5, 3, 3), EMPTY, 0, (0, 1, 0)),
    ],
    ids=["both", "prediction", "reference"],
)
def test_empty_masks_have_no_distance_and_a_stated_surface_dice(predicted, reference, dice, objects):
    assert surface_dice(predicted, reference, 2.0) == dice
    assert np.isnan(hd95(predicted, reference))
    assert object_counts(predicted, reference) == objects


@settings(max_examples=60, deadline=None)
@given(MASKS, MASKS, st.sampled_from([0.0, 1.0, 1.5, 3.0]))
def test_boundary_scores_are_those_of_brute_force(predicted, reference, tolerance):
    if not (predicted.any() and reference.any()):
        return
    there, back = distances(predicted, reference)
    near = (there <= tolerance).sum() + (back <= tolerance).sum()
    assert surface_dice(predicted, reference, tolerance) == pytest.approx(near / (len(there) + len(back)), rel=1e-6)
    farthest = max(np.quantile(there, 0.95), np.quantile(back, 0.95))
    # MONAI interpolates between distances in single precision.
    assert hd95(predicted, reference) == pytest.approx(farthest, rel=1e-5, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(MASKS, MASKS)
def test_scores_are_symmetric_and_perfect_of_equal_masks(one, other):
    assert surface_dice(one, other, 1.0) == pytest.approx(surface_dice(other, one, 1.0))
    np.testing.assert_allclose(hd95(one, other), hd95(other, one))
    found, invented, missed = object_counts(one, other)
    assert object_counts(other, one) == (found, missed, invented)
    objects = components(one, generate_binary_structure(2, 2))[1]
    assert (found + missed, object_counts(one, one)) == (
        components(other, generate_binary_structure(2, 2))[1],
        (objects, 0, 0),
    )
    assert surface_dice(one, one, 0.0) == 1
    assert hd95(one, one) == 0 or not one.any()


@settings(max_examples=60, deadline=None)
@given(MASKS, MASKS)
def test_objects_above_one_half_of_their_union_are_all_found(predicted, reference):
    """No matching is needed above one half: of each pair of components, one by one."""
    eight = generate_binary_structure(2, 2)
    (guesses, guessed), (objects, wanted) = components(predicted, eight), components(reference, eight)
    pairs = [(guesses == i, objects == j) for i in range(1, guessed + 1) for j in range(1, wanted + 1)]
    overlaps = [(guess & thing).sum() / (guess | thing).sum() for guess, thing in pairs]
    found = object_counts(predicted, reference)[0]
    assert sum(overlap > 0.5 for overlap in overlaps) <= found <= sum(overlap >= 0.5 for overlap in overlaps)


def test_two_nuclei_that_a_prediction_merges_are_found_by_pixels_and_not_as_objects():
    reference = rectangle(5, 2, 12, 12) | rectangle(5, 15, 12, 12)
    merged = rectangle(5, 2, 12, 25)
    tp, fp, fn = (int(cells.sum()) for cells in (merged & reference, merged & ~reference, ~merged & reference))
    assert 2 * tp / (2 * tp + fp + fn) > 0.97
    assert object_counts(merged, reference) == (0, 1, 2)
    apart = merged & reference
    assert object_counts(apart, reference) == (2, 0, 0)


def test_an_object_that_is_split_into_halves_is_found_once():
    reference = rectangle(4, 4, 1, 4) | rectangle(4, 8, 1, 4)
    halves = rectangle(4, 4, 1, 4) | rectangle(6, 8, 1, 4)
    assert object_counts(rectangle(4, 4, 1, 4), reference) == (1, 0, 0)  # exactly one half of the union
    assert object_counts(halves, reference) == (1, 1, 0)


def test_pixels_that_touch_by_a_corner_are_one_object():
    assert object_counts(rectangle(4, 4, 2, 2) | rectangle(6, 6, 2, 2), EMPTY) == (0, 1, 0)


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(extra_scores, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=f"'hd95' needs the package monai.*{install('scores')}"):
        extra_scores.require_packages(["hd95", "objects"])
    extra_scores.require_packages(["objects"])  # needs none


# --- finished runs


def finished(folder: Path, dataset: Dataset, arms: tuple[str, ...], seeds: int = 1) -> tuple[Store, Study]:
    """A store with a study whose runs are done, and its images."""
    store = Store.at(folder)
    schedule = ScheduleConfig(epochs=2, batch_size=4, crop=16)
    study = plan("tiny", dataset, arms, seeds, NetworkConfig(width=4, depth=2), schedule, scoring=Scoring())
    for run in study.runs:
        execute(run.config, dataset, store, torch.device("cpu"))
    store.write_study("tiny", study.record(["study.py"]))
    shutil.copytree(dataset.path, store.cache / dataset.fingerprint)
    return store, study


@pytest.fixture(scope="module")
def trained(tiny_dataset, tmp_path_factory) -> tuple[Store, Study]:
    arms = ("baseline", "sme", "sme-shuffled", "baseline-stratified")
    return finished(tmp_path_factory.mktemp("trained"), tiny_dataset, arms)


@pytest.fixture
def store(trained, tmp_path) -> Store:
    """A copy that a test may damage."""
    shutil.copytree(trained[0].where, tmp_path / "store")
    return Store.at(tmp_path / "store")


def score(store: Store, *scores, tolerance: float = 2.0, jobs: int = 1) -> tuple[bool, str]:
    console = Console(file=io.StringIO(), width=300, highlight=False)
    done = score_study(store, "tiny", scores or EXTRA_SCORES, tolerance, jobs, console)
    return done, console.file.getvalue()


def files(store: Store) -> dict[str, bytes]:
    """All of the store's runs and scores."""
    root = Path(store.where)
    return {str(path): path.read_bytes() for name in ("runs", "scores") for path in sorted((root / name).rglob("*.*"))}


def test_scores_are_of_the_masks_that_the_run_predicts(trained, store, tiny_dataset):
    before = files(store)
    assert score(store)[0]
    assert {path: content for path, content in files(store).items() if "/runs/" in path} == before
    run = next(run for run in trained[1].runs if run.arm.name == "sme")
    rows = pd.read_parquet(Path(store.where) / score_file(run.run_id))
    predictor = Predictor.load(Path(store.run_folder(run.run_id)))
    test = tiny_dataset.indices("test")
    assert list(rows["image"]) == list(tiny_dataset.table["image"].iloc[test])
    for sample, row in zip(test, rows.to_dict("records"), strict=True):
        metadata = {name: tiny_dataset.table[name][sample] for name in ("line", "dose")}
        predicted = predictor.predict(tiny_dataset.image(sample), metadata) == 1
        expected = score_masks(predicted, tiny_dataset.mask(sample) == 1, EXTRA_SCORES, 2.0)
        assert {name: row[name] for name in expected} == pytest.approx(expected, nan_ok=True)


def test_each_runs_file_says_how_it_was_made_and_agrees_with_what_was_counted(trained, store):
    score(store)
    for run in trained[1].runs:
        path = Path(store.where) / score_file(run.run_id)
        about = json.loads(pq.read_schema(path).metadata[b"metaseg.scores"])
        assert (about["version"], about["tolerance"], about["scores"]) == (1, 2.0, list(EXTRA_SCORES))
        assert about["versions"]["monai"]
        assert (about["differing_images"], about["largest_share"]) == (0, 0)
        counted = pd.read_parquet(Path(store.run_folder(run.run_id)) / "images.parquet")
        assert len(pd.read_parquet(path)) == (counted["evaluation"] == "as-trained").sum()


def test_scoring_again_computes_only_what_is_missing(trained, store):
    runs = len(trained[1].runs)
    assert f"{runs} runs scored, 0 had them" in score(store, "objects")[1]
    first = files(store)
    assert f"0 runs scored, {runs} had them" in score(store, "objects")[1]
    assert files(store) == first
    store.storage.delete(score_file(trained[1].runs[0].run_id))
    assert f"1 runs scored, {runs - 1} had them" in score(store, "objects")[1]
    assert files(store) == first
    assert f"{runs} runs scored" in score(store, "surface-dice")[1]  # and keeps the objects
    assert f"{runs} had them" in score(store, "objects", "surface-dice", tolerance=2.0)[1]
    assert f"{runs} runs scored" in score(store, "surface-dice", tolerance=1.0)[1]
    store.storage.write(score_file(trained[1].runs[0].run_id), b"half a fi")
    assert "1 runs scored" in score(store, "objects")[1]


@pytest.mark.slow
def test_several_processes_write_the_same_bytes_as_one(trained, store):
    score(store, "objects")
    alone = files(store)
    store.storage.delete_folder("scores")
    assert score(store, "objects", jobs=2)[0]
    assert files(store) == alone


def test_damaged_files_of_a_run_are_named_and_the_others_are_scored(trained, store):
    damaged, changed, gone = (Path(store.run_folder(run.run_id)) for run in trained[1].runs[:3])
    content = bytearray((damaged / "weights.safetensors").read_bytes())
    content[-5] ^= 1
    (damaged / "weights.safetensors").write_bytes(content)
    (gone / "weights.safetensors").unlink()
    # Weights of another run, with a checksum that says they are right: the masks tell.
    counted = pd.read_parquet(changed / "images.parquet")
    swapped = counted.rename(columns={"tp": "fn", "fn": "tp"})[list(counted)]
    swapped.to_parquet(changed / "images.parquet", index=False)
    done = json.loads((changed / "DONE").read_text())
    done["sha256"]["images.parquet"] = hashlib.sha256((changed / "images.parquet").read_bytes()).hexdigest()
    (changed / "DONE").write_text(json.dumps(done))

    ok, told = score(store, "objects")
    assert not ok
    assert f"{damaged}/weights.safetensors: corrupt: its SHA-256 is" in told
    assert f"{gone}/weights.safetensors: missing, though its run is done" in told
    assert f"{changed}: its weights predict" in told
    assert len(list((Path(store.where) / "scores").iterdir())) == len(trained[1].runs) - 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("other", ["objects"]), "unknown study 'other' in .*; known: tiny"),
        (("tiny", []), "scores is empty; expected some of surface-dice, hd95, objects"),
        (("tiny", ["objects"], -1.0), "tolerance is -1.0; expected pixels, at least 0"),
        (("tiny", ["objects"], 2.0, 0), "jobs is 0; expected at least 1"),
    ],
)
def test_a_wrong_setting_is_refused(store, arguments, message):
    with pytest.raises(ConfigError, match=message):
        score_study(store, *arguments)


def test_images_that_are_gone_are_asked_for_before_anything_is_computed(store):
    shutil.rmtree(store.cache)
    with pytest.raises(ConfigError, match=r"images of study 'tiny' .* are gone .* give its command .*: study\.py"):
        score(store)


def test_several_classes_are_scored_each(tmp_path):
    generator = np.random.default_rng(1)
    rows = []
    for number, split in enumerate(["train"] * 6 + ["val"] * 2 + ["test"] * 3):
        mask = np.zeros((24, 24), np.uint8)
        mask[2:11, 3 + number : 12 + number], mask[14:20, 6:12] = 1, 2
        pixels = (mask * 90 + generator.integers(0, 60, mask.shape)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"i{number}.png")
        Image.fromarray(mask).save(tmp_path / f"m{number}.png")
        rows.append({"image": f"i{number}.png", "mask": f"m{number}.png", "split": split})
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    manifest = read_table(tmp_path / "table.csv", [])
    dataset = prepare(manifest, DataConfig(classes=("kidney", "tumour")), tmp_path / "decoded")
    store, study = finished(tmp_path / "store", dataset, ("baseline",))
    assert score(store)[0]
    rows = pd.read_parquet(Path(store.where) / score_file(study.runs[0].run_id))
    assert list(rows["class"]) == ["kidney", "tumour"] * 3
    # Each class of each image has one object, which a network that predicts none misses.
    assert (rows["object_tp"] + rows["object_fn"] == 1).all()


def test_the_command_scores_and_says_in_a_line_what_is_wrong(store, monkeypatch, capsys):
    def command(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["metaseg", "score", store.where, *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code, *capsys.readouterr())

    code, told, wrong = command("--study", "tiny", "--scores", "objects", "--jobs", "1")
    assert (code, wrong) == (0, "")
    assert "Extra scores (objects): 6 runs scored, 0 had them" in " ".join(told.split())
    code, _, wrong = command("--study", "other")
    assert (code, wrong.count("\n")) == (2, 1)
    Path(store.run_folder(next(iter(store.done()))), "weights.safetensors").unlink()
    assert command("--study", "tiny", "--scores", "hd95", "--jobs", "1")[0] == 1


def test_a_study_that_wants_scores_says_before_it_trains_that_their_package_is_missing(
    tmp_path, monkeypatch, capsys, tiny_manifest
):
    monkeypatch.setattr(
        sys, "argv", ["study.py", "--extra-scores", "hd95", "objects", "--storage", str(tmp_path / "s")]
    )
    options = parse({"quick": StudyOptions()}, "")
    assert options.extra_scores == ("hd95", "objects")
    monkeypatch.setattr(extra_scores, "find_spec", lambda name: None)
    page = Page(name="page", read=lambda folder, progress: read_table(tiny_manifest, ["line"]))
    assert launch(lambda options: page, options) == MISUSED
    assert install("scores") in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


# --- analysis


@pytest.mark.parametrize("metric", ["surface_dice", "hd95", "object_f1"])
def test_results_by_an_extra_score_are_those_of_the_files(trained, store, metric):
    score(store)
    collected = collect(store.storage, "tiny")
    scored, about = with_scores(collected, store.storage, metric)
    assert "pixel" in about or "objects" in about
    table = image_scores(scored.images, scored.study.arms, scored.metric, scored.study.empty)
    run = trained[1].runs[0]
    rows = pd.read_parquet(Path(store.where) / score_file(run.run_id)).set_index("image")
    ours = table[(table["arm"] == run.arm.name) & (table["class"] == "foreground")].set_index("image")["score"]
    if metric == "object_f1":
        tp, fp, fn = (rows[f"object_{name}"] for name in ("tp", "fp", "fn"))
        expected = (2 * tp / (2 * tp + fp + fn)).fillna(1)
    else:
        expected = -rows["hd95"] if metric == "hd95" else rows["surface_dice"]
    ours.index = ours.index.astype(expected.index.dtype)
    pd.testing.assert_series_equal(ours, expected[ours.index], check_names=False)
    sizes = table.groupby(["arm", "image"], observed=True).size()
    assert set(sizes) == {1}


def rewrite(store: Store, run_id: str, rows: slice, **values: object) -> None:
    """Give a run other scores."""
    path = Path(store.where) / score_file(run_id)
    before = pq.read_table(path)
    table = before.to_pandas()
    for column, value in values.items():
        table.loc[table.index[rows], column] = value
    pq.write_table(pa.Table.from_pandas(table).replace_schema_metadata(before.schema.metadata), path)


ALL, FIRST = slice(None), slice(1)


@pytest.fixture
def near(trained, store) -> Store:
    """A store whose networks have found something everywhere, 1.5 pixels from where it should be."""
    score(store)
    for run in trained[1].runs:
        rewrite(store, run.run_id, ALL, hd95=1.5)
    return store


def test_an_image_without_a_distance_is_left_out_of_all_runs_and_counted(trained, near):
    collected = collect(near.storage, "tiny")
    whole, about = with_scores(collected, near.storage, "hd95")
    assert about.endswith("Every run has one of every image.")
    sme = next(run.run_id for run in trained[1].runs if run.arm.name == "sme")
    rewrite(near, sme, FIRST, hd95=np.nan)
    cut, about = with_scores(collected, near.storage, "hd95")
    assert len(set(whole.images["image"]) - set(cut.images["image"])) == 1
    assert cut.images.groupby("arm", observed=True).size().eq(whole.images["image"].nunique() - 1).all()
    assert "1 of 6 images" in about
    assert "0 whose reference is empty, 1 in which a run found nothing (by arm, over runs: sme 1" in about
    assert cut.study.margin == 1.0
    for run in trained[1].runs:
        rewrite(near, run.run_id, ALL, hd95=np.nan)
    with pytest.raises(ResultsError, match="no image has hd95 in all runs"):
        with_scores(collected, near.storage, "hd95")


def test_an_arm_that_is_farther_off_is_worse_by_so_many_pixels(trained, near):
    run = next(run for run in trained[1].runs if run.arm.name == "sme")
    rewrite(near, run.run_id, ALL, hd95=9.0)
    scored, _ = with_scores(collect(near.storage, "tiny"), near.storage, "hd95")
    means = scored.images.groupby("arm", observed=True)["score"].mean()
    assert means["sme"] - means["baseline"] == -7.5


def test_scores_that_dont_fit_are_refused(trained, store):
    collected = collect(store.storage, "tiny")
    with pytest.raises(ResultsError, match=r"6 of 6 runs have no hd95.*metaseg score STORE --study tiny --scores hd95"):
        with_scores(collected, store.storage, "hd95")
    score(store)
    with pytest.raises(ResultsError, match="unknown metric 'assd'; known: surface_dice, hd95, object_f1"):
        with_scores(collected, store.storage, "assd")
    first = trained[1].runs[0].run_id
    rewrite(store, first, ALL, surface_tolerance=3.0)
    with pytest.raises(ResultsError, match="tolerances of 2 and 3 pixels; expected one"):
        with_scores(collected, store.storage, "surface_dice")
    rewrite(store, first, FIRST, image="other.png")
    with pytest.raises(ResultsError, match=rf"{first}\.parquet: its rows aren't those"):
        with_scores(collected, store.storage, "object_f1")
    done = Path(store.run_folder(first)) / "DONE"
    done.write_text(done.read_text().replace(json.loads(done.read_text())["sha256"]["weights.safetensors"], "0" * 64))
    with pytest.raises(ResultsError, match=r"scores of other weights than run baseline seed 0"):
        with_scores(collected, store.storage, "object_f1")
    store.storage.write(score_file(first), b"half a fi")
    with pytest.raises(ResultsError, match="not Parquet"):
        with_scores(collected, store.storage, "object_f1")


def test_images_without_the_class_are_left_out_where_the_study_says_so(trained, store):
    score(store)
    collected = collect(store.storage, "tiny")
    image = collected.images["image"].iloc[0]
    empty = collected.images["image"] == image
    images = collected.images.assign(**{name: collected.images[name].where(~empty, 0) for name in ("tp", "fn")})
    study = dataclasses.replace(collected.study, empty="left out")
    with_all, _ = with_scores(dataclasses.replace(collected, images=images), store.storage, "object_f1")
    cut, _ = with_scores(dataclasses.replace(collected, images=images, study=study), store.storage, "object_f1")
    assert image in set(with_all.images["image"])
    assert image not in set(cut.images["image"])
