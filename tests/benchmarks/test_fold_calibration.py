"""Tests over folds against their formulas, trainings against themselves, the committed table against its scores."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from analysis.scores.score_matrix import ScoreMatrix
from analysis.stats.mrmc import Overlap, difference
from benchmarks import fold_tests as tests
from benchmarks import fold_trainings as trainings
from benchmarks.fold_calibration import OUT, SIZES, comparisons, components, drawn_table, methods, rates
from benchmarks.fold_page import CORRECTED, OURS, WIDENED
from benchmarks.fold_scores import Runs, load, pack, parted, save
from benchmarks.fold_tests import Floats, Study, Tested, drawn, parts_of

STUDY = Study(40, 4, 3, 0.002, seed_sd=0.004)


def pair(study: Study = STUDY, draws: int = 12, effect: float = 0.01) -> tuple[Floats, Floats]:
    return drawn(np.random.default_rng(3), study, draws, effect)


def matrix_of(arm: Floats, reference: Floats) -> ScoreMatrix:
    """One study's."""
    values = np.concatenate([each.reshape(len(each), -1) for each in (arm, reference)])
    places = np.repeat([0, 1], [len(arm), len(reference)])
    units, fold = tuple(map(str, range(values.shape[1]))), np.repeat(np.arange(arm.shape[1]), arm.shape[2])
    return ScoreMatrix(("a", "b"), places, np.arange(len(places)), values, units, len(units), fold=fold)


@pytest.mark.parametrize(
    "study",
    [STUDY, replace(STUDY, folds=5, seeds=2), replace(STUDY, seeds=1), replace(STUDY, folds=1, seeds=12)],
    ids=["folds", "two seeds", "one seed", "single split"],
)
@pytest.mark.parametrize("overlap", get_args(Overlap))
def test_the_batch_is_the_test_study_by_study(study: Study, overlap: Overlap) -> None:
    arm, reference = pair(study)
    wider = 1 / (study.folds - 1) if study.folds > 1 else 0.0
    batches: dict[Overlap, Tested] = {
        "ignored": tests.ours(arm, reference),
        "corrected": tests.widened(arm, reference, wider),
    }
    found = batches[overlap]
    singly = [difference(matrix_of(*each), "a", "b", overlap=overlap) for each in zip(arm, reference, strict=True)]
    assert found.estimate == pytest.approx([each.estimate for each in singly], abs=1e-12)
    assert found.se == pytest.approx([each.se for each in singly], rel=1e-8)
    assert found.p() == pytest.approx([each.p for each in singly], rel=1e-8)


def test_tests_over_folds_are_their_formulas() -> None:
    arm, reference = pair()
    naive, corrected = tests.naive_t(arm, reference), tests.nadeau_bengio(arm, reference)
    for study in range(len(arm)):
        by_fold = [arm[study, :, k].mean() - reference[study, :, k].mean() for k in range(4)]
        assert naive.p()[study] == pytest.approx(stats.ttest_1samp(by_fold, 0).pvalue)
        mean = sum(by_fold) / 4
        variance = sum((each - mean) ** 2 for each in by_fold) / 3
        # 30 images train, 10 test.
        t = mean / np.sqrt((1 / 4 + 10 / 30) * variance)
        assert corrected.p()[study] == pytest.approx(2 * stats.t.sf(abs(t), 3))


def test_tests_of_halves_are_their_formulas() -> None:
    changes = np.random.default_rng(1).normal(0.01, 0.02, (6, 5, 2))
    t, f = tests.dietterich(changes).p(), tests.alpaydin(changes)
    for study, each in enumerate(changes):
        squares = []
        for first, second in each:
            mean = (first + second) / 2
            squares.append((first - mean) ** 2 + (second - mean) ** 2)
        assert t[study] == pytest.approx(2 * stats.t.sf(abs(each[0, 0]) / np.sqrt(sum(squares) / 5), 5))
        ratio = sum(value**2 for value in each.ravel()) / (2 * sum(squares))
        assert f[study] == pytest.approx(stats.f.sf(ratio, 10, 5))
    assert tests.alpaydin(changes + 0.3, 0.3) == pytest.approx(f)


def test_wilcoxon_is_of_images() -> None:
    arm, reference = pair()
    found = tests.wilcoxon(arm, reference, 0.01)
    for study in range(3):
        changes = (arm[study].mean(axis=0) - reference[study].mean(axis=0)).ravel() - 0.01
        known = stats.wilcoxon(changes, method="asymptotic")  # type: ignore[call-overload]
        assert found[study] == pytest.approx(known.pvalue, rel=1e-6)


def test_the_correction_keeps_the_size_where_the_effect_of_training_sets_is_as_large_as_it_says() -> None:
    """3000 draws; 5 % have a standard deviation of 0.4 %."""
    study = Study(100, 5, 2, 0.006 * np.sqrt(0.5))
    arm, reference = drawn(np.random.default_rng(5), study, 3000)
    corrected = tests.with_training_sets(parts_of(arm, reference), 0.5)
    assert 0.03 <= (corrected.p() < 0.05).mean() <= 0.062
    assert (tests.ours(arm, reference).p() < 0.05).mean() > 0.12
    split = drawn(np.random.default_rng(6), replace(study, folds=1, seeds=10), 3000)
    assert 0.03 <= (tests.with_training_sets(parts_of(*split), 0.5).p() < 0.05).mean() <= 0.062


def test_corrections_of_nothing_are_our_test() -> None:
    arm, reference = pair()
    parts, plain = parts_of(arm, reference), tests.ours(arm, reference)
    assert tests.with_training_sets(parts, 0.0).se == pytest.approx(plain.se)
    assert tests.with_training_sets(parts, 0.0).df == pytest.approx(plain.df)
    assert tests.widened(arm, reference, 0.0).p() == pytest.approx(plain.p())
    assert (tests.with_fold_excess(parts).se >= plain.se - 1e-12).all()
    assert (tests.at_least_among_folds(arm, reference).p() >= plain.p() - 1e-12).all()


def test_the_widened_interval_has_nadeau_and_bengios_factor() -> None:
    """In its way from the naive t test over folds to the corrected one."""
    arm, reference = pair()
    factor = tests.nadeau_bengio(arm, reference).se / tests.naive_t(arm, reference).se
    assert tests.widened(arm, reference, 1 / 3).se / tests.ours(arm, reference).se == pytest.approx(factor)


def test_components_are_those_that_were_planted() -> None:
    """Images don't matter, so that folds' own are as good as new ones."""
    study = Study(2000, 4, 3, 0.006, seed_sd=0.004, arm_image_sd=0.0, residual_sd=0.0)
    arm, reference = drawn(np.random.default_rng(2), study, 1500)
    changes = (arm - reference).mean(axis=3)
    found = components(changes.mean(axis=1), changes.mean(axis=1), float(changes.var(axis=1, ddof=1).mean()) / 3)
    assert found["specific"] == pytest.approx(2 * 0.006**2 / 3, rel=0.1)
    assert found["shared"] == pytest.approx(2 * 0.006**2 * 2 / 3, rel=0.1)
    assert found["own"] == pytest.approx(found["shared"], rel=0.05)


@pytest.mark.parametrize("folds", [1, 5])
def test_draws_vary_as_their_parts_say(folds: int) -> None:
    """With coupling c an image counts 1 + c times over folds; on a split, training images are other images."""
    study = Study(100, folds, 10 // folds, 0.004, coupling=1.0)
    arm, reference = drawn(np.random.default_rng(8), study, 4000)
    found = (arm.mean(axis=(1, 2, 3)) - reference.mean(axis=(1, 2, 3))).var()
    image, noise, seed, of_set = 0.03**2, 0.02**2, 0.006**2, 0.004**2
    if folds == 1:
        wanted = image / 20 + image / 80 + noise / 200 + seed / 10 + of_set
    else:
        wanted = 4 * image / 100 + noise / 200 + seed / 10 + of_set * (0.75 + 0.25 / 5)
    assert found == pytest.approx(2 * wanted, rel=0.1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two data sets' scores, after three steps of training."""
    folder = tmp_path_factory.mktemp("trainings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainings, "STEPS", 3)
        patch.setattr(trainings, "NEW_IMAGES", 4)
        trainings.fill(folder, 40, range(2), 5)
        yield folder / "40"


def test_trainings_are_the_same_again_and_continue_where_they_ended(tiny: Path) -> None:
    paths = sorted(tiny.glob("*"))
    assert [path.name for path in paths] == ["0000.parquet", "0001.parquet"]
    before, kept = pd.read_parquet(paths[1]), paths[0].stat().st_mtime_ns
    paths[1].unlink()
    trainings.fill(tiny.parent, 40, range(2), 0)
    assert not paths[1].exists(), "the time is up"
    trainings.fill(tiny.parent, 40, range(2), 5)
    assert paths[0].stat().st_mtime_ns == kept
    pd.testing.assert_frame_equal(pd.read_parquet(paths[1]), before, check_exact=True)


def test_scores_are_packed_as_they_were(tiny: Path, tmp_path: Path) -> None:
    runs, rows = pack(tiny), pd.concat([pd.read_parquet(path) for path in sorted(tiny.glob("*.parquet"))])
    assert {name: each.folds.shape for name, each in runs.items()} == dict.fromkeys(trainings.ARMS, (2, 3, 4, 10))
    assert (runs["copy"].split.shape, runs["copy"].halves.shape) == ((2, 12, 1, 10), (1, 5, 2))
    one = rows[(rows["dataset"] == 1) & (rows["arm"] == "sme") & (rows["fold"] == 2) & (rows["seed"] == 1)]
    assert runs["sme"].folds[1, 1, 2] == pytest.approx(one.loc[one["image"] >= 0, "f1"])
    assert runs["sme"].new[1, 1, 2] == pytest.approx(one.loc[one["image"] < 0, "f1"].item())
    half = rows[(rows["dataset"] == 0) & (rows["arm"] == "copy") & (rows["design"] == "halves") & (rows["fold"] == 7)]
    assert runs["copy"].halves[0, 3, 1] == pytest.approx(half.loc[half["image"] >= 0, "f1"].mean())
    save({40: runs}, tmp_path / "packed.npz")
    again = load(tmp_path / "packed.npz")[40]
    for arm, own in runs.items():
        assert again[arm].folds == pytest.approx(own.folds, abs=0.0011)
        assert again[arm].new == pytest.approx(own.new, abs=0.00002)


def test_folds_and_halves_part_the_images_by_line_and_arms_share_them() -> None:
    line = trainings.simulate(0, 40).line
    parts = trainings.parts_of(0, line)
    assert len(parts) == 12 + 9 + 10
    assert len(trainings.parts_of(1, line)) == 12 + 9
    for part in parts:
        assert sorted([*part.train, *part.test]) == list(range(40))
        assert line[part.test].sum() * 2 == len(part.test)
    tested = [part.test for part in parts if part.design == "folds" and part.seed == 0]
    assert sorted(np.concatenate(tested)) == list(range(40))


def test_the_line_is_what_the_border_depends_on() -> None:
    images = trainings.simulate(1, 200)
    share = images.masks.double().mean(dim=(1, 2)).numpy()
    assert share[images.line == 0].mean() > 1.2 * share[images.line == 1].mean()
    bright = images.pixels[:, 0].numpy()
    assert bright[images.masks.numpy()].mean() > bright[~images.masks.numpy()].mean() + 1


def test_equal_arms_are_parted_in_all_ways() -> None:
    first = Runs(*(np.full(shape, 1.0) for shape in ((2, 3, 4, 5), (2, 12, 1, 5), (1, 5, 2), (2, 3, 4))))
    second = Runs(*(np.full(shape, 2.0) for shape in ((2, 3, 4, 5), (2, 12, 1, 5), (1, 5, 2), (2, 3, 4))))
    ways = list(parted(first, second))
    assert len(ways) == 10
    for one, other in ways:
        for name in ("folds", "split", "halves", "new"):
            both = getattr(one, name), getattr(other, name)
            assert both[0].shape == both[1].shape == getattr(first, name).shape
            assert both[0].sum() + both[1].sum() == 3 * both[0].size


def test_the_committed_table_is_that_of_the_committed_scores() -> None:
    table = pd.read_csv(OUT / "fold_trainings.csv")
    for size, runs in load().items():
        here = table[table["size"] == size]
        assert sorted(here["method"].unique()) == sorted(method.name for method in methods(size))
        for kind, pairs in comparisons(runs).items():
            for method in methods(size):
                if method.name not in (OURS, WIDENED, CORRECTED, "5x2cv t"):
                    continue
                row = here[(here["arms"] == kind) & (here["method"] == method.name)].iloc[0]
                for name, value in rates(pairs, method, kind == "equal").items():
                    assert row[name] == pytest.approx(value, abs=2e-6), (size, kind, method.name, name)


@pytest.mark.parametrize("size", SIZES)
def test_trained_networks_are_worth_testing(size: int) -> None:
    """They have learnt, differ by seed as those of real studies do, and metadata help."""
    runs = load()[size]
    for each in runs.values():
        assert each.new.min() > 0.7
        assert 0.002 < np.sqrt(each.new.var(axis=1, ddof=1).mean()) < 0.02
    assert runs["sme"].folds.mean() - runs["baseline"].folds.mean() > 0.005
    assert abs(runs["copy"].folds.mean() - runs["baseline"].folds.mean()) < 0.002


def test_equal_arms_are_called_different_as_often_as_they_should_be_and_folds_depend_on_each_other() -> None:
    """The page's rates of small data sets hold at 3 standard errors."""
    table, parts = pd.read_csv(OUT / "fold_trainings.csv"), pd.read_csv(OUT / "fold_trainings_components.csv")
    small = table[table["size"] == SIZES[0]]

    def missed(arms: str, method: str) -> tuple[float, float]:
        row = small[(small["arms"] == arms) & (small["method"] == method)]
        return float(row["missed"].iloc[0]), float(row["missed_se"].iloc[0])

    share, error = missed("equal", OURS)
    assert abs(share - 5) < 3 * error
    share, error = missed("unlike", OURS)
    assert share - 5 > 3 * error
    assert missed("unlike", WIDENED)[0] < share / 2
    difference = parts[(parts["size"] == SIZES[0]) & (parts["of"] == "difference")]
    own, own_error, shared = (float(difference[name].iloc[0]) for name in ("own", "own_se", "shared"))
    assert own > 3 * own_error
    assert own > 5 * shared


@pytest.mark.slow
def test_trainings_give_the_committed_scores_again() -> None:
    """A data set of each size, up to what another processor's arithmetic changes; about 20 seconds."""
    torch.set_num_threads(1)
    new = trainings.simulate(trainings.NEW, trainings.NEW_IMAGES)
    for size, runs in load().items():
        rows = trainings.scores_of(1, size, new)
        for arm, own in runs.items():
            means = rows[(rows["arm"] == arm) & (rows["design"] == "folds") & (rows["image"] < 0)]
            again = means.sort_values(["seed", "fold"])["f1"].to_numpy().reshape(own.new[1].shape)
            assert again.mean() == pytest.approx(own.new[1].mean(), abs=0.003)
            assert np.median(np.abs(again - own.new[1])) < 0.003


@pytest.mark.slow
def test_draws_give_the_committed_table_again() -> None:
    """Fewer draws; about 10 seconds."""
    keys = ["folds", "training_set_sd", "coupling", "method"]
    known = pd.read_csv(OUT / "fold_trainings_drawn.csv").set_index(keys)
    again = drawn_table(np.random.default_rng(9), 4000).set_index(keys)
    assert len(known) == len(again)
    for name in ("false_positives", "power"):
        share = known[name] / 100
        error = 100 * np.sqrt(share * (1 - share) * (1 / 4000 + 1 / 20_000))
        assert ((again[name] - known[name]).abs() <= 4.5 * error + 0.01).all()
