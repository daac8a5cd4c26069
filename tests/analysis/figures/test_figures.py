"""Figures of a report: all data are on the axes, whatever the numbers of arms, subgroups and seeds."""

import json
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from scipy import stats

from analysis.figures.forest import build_forest, draw_forest
from analysis.figures.learning import build_learning, draw_learning, learning_curves, read_history
from analysis.figures.paired import build_paired, draw_paired, paired_means
from analysis.figures.ranks import build_ranks, draw_ranks, rank_stability
from analysis.figures.scores import Title, build_scores
from analysis.figures.size import build_size, draw_size, size_curves, sized_images
from analysis.figures.style import SMALL, WIDTH
from analysis.figures.variance import PARTS, build_variance, contributions, draw_variance, variance_table
from analysis.results.declaration import ResultsError, read_study
from analysis.scores.image_scores import image_scores
from analysis.scores.score_matrix import ScoreMatrix, score_matrices
from analysis.stats.mrmc import Difference, difference
from fake_store import image_rows, run_id, write_study
from metaseg.schema import OVERALL
from metaseg.store.storage import open_storage

Array = npt.NDArray[np.float64]

ABOUT = Title("a study", "SIMULATED data that need a sentence long enough to be broken into two lines, or three. " * 2)


def arm_names(count: int) -> list[str]:
    return ["baseline", *(f"an arm with a long name {i}" for i in range(1, count))]


def make_images(
    rng: np.random.Generator,
    arms: Sequence[str],
    seeds: int = 3,
    subgroups: Sequence[str] = ("x", "y"),
    images: int = 24,
    empty: int = 0,
    classes: Sequence[str] = ("cell",),
) -> pd.DataFrame:
    """Rows as collected: of areas from tens to tens of thousands of pixels; the first `empty` references are empty."""
    names = np.arange(images)
    rows = []
    for name in classes:
        area = np.exp(rng.normal(7, 1, images)).astype(int) + 50
        area[:empty] = 0
        easy = rng.normal(0.85, 0.05, images)
        for i, arm in enumerate(arms):
            for seed in range(seeds):
                found = np.round(area * np.clip(easy + 0.01 * i + rng.normal(0, 0.02, images), 0.1, 1)).astype(int)
                rows.append(
                    pd.DataFrame(
                        {
                            "class": name, "arm": arm, "seed": seed, "evaluation": "as-trained",
                            "subgroup": np.array(subgroups)[names % len(subgroups)],
                            "group": [f"g{k // 2}" for k in names], "image": [f"i{k}" for k in names],
                            "tp": found, "fp": area - found, "fn": area - found, "tn": 100_000,
                        }
                    )
                )  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def make_tests(arms: int, subgroups: int, seeds: int = 3, classes: Sequence[str] = ("cell",)) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    names = [OVERALL, *(f"line {k}" for k in range(subgroups))]
    rows = [
        {"class": name, "subgroup": subgroup, "arm": arm, "reference": "baseline", "n_images": 20, "n_units": 10,
         "n_seeds": seeds, "difference": rng.normal(0, 0.01), "p": 0.5, "p_adjusted": rng.choice([0.01, 1.0]),
         "verdict": ""}
        for name in classes for subgroup in reversed(names) for arm in arm_names(arms + 1)[1:]
    ]  # fmt: skip
    tests = pd.DataFrame(rows)
    half = np.nan if seeds == 1 else 0.02
    tests["p_adjusted"] = tests["p_adjusted"] if seeds > 1 else np.nan
    return tests.assign(ci_low=tests["difference"] - half, ci_high=tests["difference"] + half)


def make_matrix(**arms: Array) -> ScoreMatrix:
    """Make a matrix from `(seeds, units)` scores by arm."""
    values = list(arms.values())
    arm = np.repeat(np.arange(len(values)), [len(each) for each in values])
    seed = np.concatenate([np.arange(len(each)) for each in values])
    units = tuple(f"u{k}" for k in range(values[0].shape[1]))
    return ScoreMatrix(tuple(arms), arm, seed, np.concatenate(values), units, len(units))


def make_history(arms: Sequence[str], seeds: int = 3, epochs: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    epoch = np.arange(1, epochs + 1)
    runs = [
        pd.DataFrame(
            {"arm": arm, "seed": seed, "part": "", "epoch": epoch, "train_loss": 1 / epoch, "lr": 0.01,
             "val_f1": np.where(epoch % 2, np.nan, 0.8 + rng.normal(0, 0.02, epochs))}
        )
        for arm in arms for seed in range(seeds)
    ]  # fmt: skip
    return pd.concat(runs, ignore_index=True)


@cache
def scored(arms: int, seeds: int) -> tuple[pd.DataFrame, pd.DataFrame, ScoreMatrix]:
    """A study's images, scores and, over all images, matrix."""
    images = make_images(np.random.default_rng(3), arm_names(arms), seeds)
    scores = image_scores(images, arm_names(arms))
    (_, _, data), *_ = score_matrices(scores)
    return images, scores, data


def drawn(kind: str, arms: int, seeds: int = 3, title: Title = ABOUT) -> bytes:
    """A figure of some arms, of which the first is the baseline."""
    names = arm_names(arms)
    images, scores, data = scored(arms, seeds)
    others = [difference(data, arm, "baseline") for arm in names[1:]]
    draw: dict[str, Callable[[], bytes]] = {
        "forest": lambda: draw_forest(make_tests(arms - 1, 2, seeds), title, 0.01),
        "paired": lambda: draw_paired(scores, names[1], "baseline", title),
        "variance": lambda: draw_variance(variance_table(others), title),
        "learning": lambda: draw_learning(make_history(names, seeds), title, "baseline"),
        "ranks": lambda: draw_ranks(rank_stability(data, np.random.default_rng(4), 50), title),
        "size": lambda: draw_size(images, names, "baseline", title),
    }
    return draw[kind]()


@pytest.mark.parametrize("kind", ["forest", "paired", "variance", "learning", "ranks", "size"])
@pytest.mark.parametrize(("arms", "seeds"), [(2, 1), (10, 2)])
def test_a_figure_is_a_png_as_wide_as_the_others(kind: str, arms: int, seeds: int) -> None:
    with Image.open(BytesIO(drawn(kind, arms, seeds))) as picture:
        assert picture.format == "PNG"
        assert picture.width == WIDTH * 160
        assert 0.15 < picture.height / picture.width < 1.6
        assert len(picture.convert("RGB").resize((70, 70)).getcolors(5000) or []) > 20, "not an empty page"


@pytest.mark.parametrize("kind", ["learning", "ranks", "size"])
def test_an_arm_alone_is_drawn(kind: str) -> None:
    with Image.open(BytesIO(drawn(kind, 1))) as picture:
        assert picture.width == WIDTH * 160


def build_all(arms: int = 10, subgroups: int = 8) -> dict[str, Figure]:
    names = arm_names(arms)
    lines = [f"a long cell line {k}" for k in range(subgroups)]
    images = make_images(np.random.default_rng(5), names, 2, lines, 40, empty=2)
    scores = image_scores(images, names)
    (_, _, data), *_ = score_matrices(scores)
    return {
        "forest": build_forest(make_tests(arms - 1, subgroups), 0.01),
        "paired": build_paired(scores, names[1], "baseline"),
        "variance": build_variance(variance_table(difference(data, arm, "baseline") for arm in names[1:])),
        "learning": build_learning(make_history(names), "baseline"),
        "ranks": build_ranks(rank_stability(data, np.random.default_rng(6), 50)),
        "size": build_size(images, names, "baseline"),
    }


def test_nothing_is_cut_off_and_legends_and_notes_stand_apart_however_many_and_long_the_names() -> None:
    for kind, figure in build_all().items():
        assert isinstance(figure.canvas, FigureCanvasAgg)
        figure.draw_without_rendering()
        page = figure.bbox
        panels = [panel.get_tightbbox() for panel in figure.axes]
        feet = [each.get_window_extent() for each in (*figure.texts, *figure.legends)]
        for box in (*panels, *feet):
            assert box is not None
            assert box.x0 > page.x0 - 1, kind
            assert box.x1 < page.x1 + 1, kind
            assert box.y0 > page.y0 - 1, kind
            assert box.y1 < page.y1 + 1, kind
        assert min(panel.y0 for panel in panels if panel) > max(foot.y1 for foot in feet) - 1, kind
        if figure.legends:
            assert figure.legends[0].get_window_extent().y0 > figure.texts[0].get_window_extent().y1 - 3, kind
        texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]
        sizes = [text.get_fontsize() for text in texts if text.get_visible()]
        assert min(sizes) >= SMALL, kind


def points(figure: Figure, panel: int = 0) -> Array:
    """Markers of an axis that are at data, `(n, 2)`."""
    lines = figure.axes[panel].get_lines()
    marked = [line.get_xydata() for line in lines if line.get_marker() not in ("None", "|", "<", ">")]
    return np.concatenate([np.asarray(each, dtype=np.float64) for each in marked])


def words(figure: Figure, panel: int = 0) -> list[str]:
    return [text.get_text() for text in figure.axes[panel].texts]


def test_a_forest_has_all_differences_and_the_average_on_top() -> None:
    tests = make_tests(3, 4, classes=("kidney", "tumour"))
    figure = build_forest(tests)
    for k, name in enumerate(("kidney", "tumour")):
        own = tests[tests["class"] == name]
        found = points(figure, k)
        assert sorted(found[:, 0]) == pytest.approx(sorted(own["difference"]))
        labels = [label.get_text() for label in figure.axes[k].get_yticklabels()]
        assert labels[0] == OVERALL
        assert [label for label in labels if label.startswith("line")] == [f"line {i}" for i in reversed(range(4))]
        average = own[own["subgroup"] == OVERALL]["difference"]
        assert sorted(found[found[:, 1] <= 3, 0]) == pytest.approx(sorted(average))
        assert words(figure, k).count("*") == (own["p_adjusted"] < 0.05).sum()
        assert words(figure, k).count("20") == len(own)
        assert figure.axes[k].get_ylim()[0] > figure.axes[k].get_ylim()[1], "the first row is the uppermost"


def test_one_seed_is_a_hollow_point_without_interval() -> None:
    for seeds, hollow in ((1, True), (3, False)):
        figure = build_forest(make_tests(2, 1, seeds))
        markers = [line for line in figure.axes[0].get_lines() if line.get_marker() in ("o", "^")]
        intervals = [line for line in figure.axes[0].get_lines() if line.get_marker() == "None"]
        assert len(markers) == 4
        assert all((line.get_markerfacecolor() == "white") == hollow for line in markers)
        assert len(intervals) == (1 if hollow else 5), "the zero line is one"
        assert ("Hollow" in figure.texts[0].get_text()) == hollow


def test_an_interval_far_wider_than_others_is_cut_off_with_an_arrow() -> None:
    tests = make_tests(4, 4)
    tests.loc[0, ["ci_low", "ci_high"]] = [-9.0, 9.0]
    figure = build_forest(tests)
    low, high = figure.axes[0].get_xlim()
    assert -0.3 < low < tests["difference"].min()
    assert tests["difference"].max() < high < 0.3
    assert {line.get_marker() for line in figure.axes[0].get_lines()} >= {"<", ">"}
    assert "continues" in figure.texts[0].get_text()


def test_several_references_are_named_in_every_row() -> None:
    tests = pd.concat([make_tests(2, 1), make_tests(2, 1).assign(reference="dummy")])
    labels = [label.get_text() for label in build_forest(tests).axes[0].get_yticklabels()]
    assert (
        labels.count("an arm with a long name 1 vs dummy") == labels.count("an arm with a long name 1 vs baseline") == 2
    )


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="no tests"):
        build_forest(make_tests(1, 1).iloc[:0])
    with pytest.raises(ValueError, match="no variance components"):
        build_variance(variance_table([]))
    with pytest.raises(ValueError, match="no history"):
        build_learning(make_history(["a"]).iloc[:0], "a")
    images = make_images(np.random.default_rng(7), ["baseline"], images=4, empty=4)
    with pytest.raises(ValueError, match="no image has a reference"):
        build_size(images, ["baseline"], "baseline")
    with pytest.raises(ValueError, match="share no image"):
        build_paired(image_scores(images, ["baseline", "sme"]), "sme", "baseline")


def test_pairs_are_means_over_seeds_and_all_are_drawn() -> None:
    images = make_images(np.random.default_rng(8), ["baseline", "sme"], 3, classes=("kidney", "tumour"))
    scores = image_scores(images, ["baseline", "sme"])
    pairs = paired_means(scores, "sme", "baseline")
    assert len(pairs) == 3 * 24, "two classes and macro"
    one = pairs[(pairs["class"] == "tumour") & (pairs["image"] == "i5")].iloc[0]
    for column, arm in (("arm", "sme"), ("reference", "baseline")):
        rows = images[(images["class"] == "tumour") & (images["image"] == "i5") & (images["arm"] == arm)]
        assert one[column] == pytest.approx(np.mean(2 * rows["tp"] / (2 * rows["tp"] + rows["fp"] + rows["fn"])))
    figure = build_paired(scores, "sme", "baseline")
    for k, name in enumerate(("kidney", "tumour", "macro")):
        own = pairs[pairs["class"] == name]
        scatter, agreement = figure.axes[2 * k], figure.axes[2 * k + 1]
        found = np.concatenate([np.asarray(each.get_offsets()) for each in scatter.collections])
        wanted = own[["reference", "arm"]].to_numpy()
        assert np.sort(found, axis=0) == pytest.approx(np.sort(wanted, axis=0))
        assert scatter.get_xlim() == scatter.get_ylim()
        differences = np.concatenate([np.asarray(each.get_offsets())[:, 1] for each in agreement.collections])
        assert np.sort(differences) == pytest.approx(np.sort(own["arm"] - own["reference"]))
        levels = [np.asarray(line.get_ydata())[0] for line in agreement.get_lines()]
        assert float(differences.mean()) == pytest.approx(levels[1])
        assert levels[3] - levels[2] == pytest.approx(2 * 1.96 * differences.std(ddof=1))


def test_contributions_add_up_to_the_variance_of_the_difference() -> None:
    rng = np.random.default_rng(9)
    unit = rng.normal(0, 0.05, 30)
    values = {
        arm: unit + rng.normal(0, 0.01, (count, 1)) + rng.normal(0, 0.03, 30) + rng.normal(0, 0.02, (count, 30))
        for arm, count in (("sme", 4), ("baseline", 4))
    }
    found = difference(make_matrix(**values), "sme", "baseline")
    table = variance_table([found])
    assert (table[list(PARTS)] > 0).to_numpy().all(), "no component is cut off"
    assert contributions(table).iloc[0].sum() == pytest.approx(found.se**2)
    assert contributions(table.assign(n_seeds=400, n_seeds_reference=400, n_units=3000)).iloc[0].to_numpy() == (
        pytest.approx(contributions(table).iloc[0].to_numpy() * [1, 0.01, 0.01, 0.0001])
    )


def test_shares_fill_the_bar_and_unknown_components_are_said_to_be() -> None:
    nan = float("nan")
    unknown = Difference("me", "baseline", (1, 1), 9, 0.1, nan, nan, nan, nan, nan, None)
    table = pd.concat([variance_table([unknown]), variance_table([unknown])], ignore_index=True)
    table.loc[1, list(PARTS)] = [0.5, -0.1, 0.2, 0.3]
    figure = build_variance(table)
    assert sum("unknown" in each for each in words(figure, 0)) == 1
    for panel, shares in ((0, [0.5, 0.0, 0.2, 0.3]), (1, [0.0, 0.0, 0.4, 0.6])):
        widths = np.array([patch.get_width() for patch in figure.axes[panel].patches]).reshape(4, 2)  # type: ignore[attr-defined]
        assert widths[:, 1] == pytest.approx(shares)
        assert widths[:, 0] == pytest.approx([0] * 4)
    assert "below 0" in figure.texts[0].get_text()


def test_histories_are_read_from_the_store(tmp_path: Path) -> None:
    write_study(tmp_path, lambda arm, seed: image_rows([0.5, 0.6]), seeds=2, unfinished=[("sme", 1)])
    for arm in ("baseline", "sme"):
        for seed in range(2):
            frame = pd.DataFrame(
                {"epoch": [1, 2], "train_loss": [1.0, 0.5 + seed], "val_f1": [None, 0.7], "learning_rate": [0.1, 0.2],
                 "images_per_second": 1.0, "seconds": 2.0}
            )  # fmt: skip
            frame.to_parquet(tmp_path / "runs" / run_id(arm, seed) / "history.parquet")
    storage = open_storage(str(tmp_path))
    history = read_history(storage, read_study(storage, "cells"))
    assert list(history.columns) == ["arm", "seed", "part", "fold", "epoch", "train_loss", "val_f1", "lr"]
    assert history.groupby(["arm", "seed"], observed=True).size().to_dict() == {
        ("baseline", 0): 2, ("baseline", 1): 2, ("sme", 0): 2
    }  # fmt: skip
    assert history["val_f1"].isna().tolist() == [True, False] * 3
    assert list(history["arm"].cat.categories) == ["baseline", "sme"]
    curves = learning_curves(history, "train_loss").set_index(["arm", "epoch"])
    assert curves.loc[("baseline", 2), ["mean", "low", "high", "n_runs"]].tolist() == [1.0, 0.5, 1.5, 2]

    broken = tmp_path / "runs" / run_id("sme", 0) / "history.parquet"
    frame.drop(columns="val_f1").to_parquet(broken)
    with pytest.raises(ResultsError, match=r"history\.parquet: no column 'val_f1'"):
        read_history(storage, read_study(storage, "cells"))
    broken.write_bytes(b"not Parquet")
    with pytest.raises(ResultsError, match=r"history\.parquet: not Parquet, or damaged"):
        read_history(storage, read_study(storage, "cells"))
    done = json.loads((broken.parent / "DONE").read_text())
    done["sha256"]["history.parquet"] = "0" * 64
    (broken.parent / "DONE").write_text(json.dumps(done))
    with pytest.raises(ResultsError, match=r"history\.parquet: corrupt: its SHA-256 is .*, DONE says 000"):
        read_history(storage, read_study(storage, "cells"))
    broken.unlink()
    with pytest.raises(ResultsError, match=r"history\.parquet: can't be read"):
        read_history(storage, read_study(storage, "cells"))


def test_learning_curves_skip_epochs_that_were_not_validated_and_average_parts_first() -> None:
    history = make_history(["baseline", "sme"])
    figure = build_learning(history, "baseline")
    for panel, column in ((0, "val_f1"), (1, "train_loss")):
        curves = learning_curves(history, column)
        assert np.isfinite(curves["mean"]).all()
        assert np.sort(points(figure, panel)[:, 1]) == pytest.approx(np.sort(curves["mean"]))
    parts = pd.concat([history.assign(part="a"), history.assign(part="b", train_loss=history["train_loss"] + 2)])
    merged = learning_curves(parts, "train_loss")
    assert merged["n_runs"].eq(3).all()
    assert merged["mean"].to_numpy() == pytest.approx(learning_curves(history, "train_loss")["mean"].to_numpy() + 1)


def test_lines_of_an_arm_end_where_its_first_run_stopped_early() -> None:
    """Else a mean would jump when a good or bad run is no longer in it."""
    history = make_history(["baseline", "sme"])
    stopped = (history["arm"] == "sme") & (history["seed"] == 1) & (history["epoch"] > 4)
    figure = build_learning(history[~stopped], "baseline")
    whole = build_learning(history, "baseline")
    assert points(whole, 1)[:, 0].max() == 8
    assert sorted(points(figure, 1)[:, 0]) == sorted([*range(1, 9), *range(1, 5)])
    assert "where its first run ended" in " ".join(text.get_text() for text in figure.findobj(Text))
    assert "where its first run ended" not in " ".join(text.get_text() for text in whole.findobj(Text))


def test_a_run_that_was_never_validated_is_drawn_by_its_loss() -> None:
    figure = build_learning(make_history(["baseline"]).assign(val_f1=np.nan), "baseline")
    assert len(points(figure, 1)) == 8


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_probabilities_of_ranks_sum_to_one_both_ways(arms: int, seeds: int, units: int, start: int) -> None:
    rng = np.random.default_rng(start)
    data = make_matrix(**{f"a{i}": rng.choice([0.5, 0.6, 0.7], (seeds, units)) for i in range(arms)})
    table = rank_stability(data, rng, 37).pivot(index="arm", columns="rank", values="probability").to_numpy()
    assert table.shape == (arms, arms)
    assert table.sum(axis=0) == pytest.approx(1)
    assert table.sum(axis=1) == pytest.approx(1)
    assert (table >= 0).all()


def test_a_planted_best_arm_is_first_and_equal_arms_share_the_rest() -> None:
    rng = np.random.default_rng(10)
    same = rng.normal(0.8, 0.05, 40)
    data = make_matrix(
        a=same[None].repeat(3, 0), b=same[None].repeat(3, 0), best=same + rng.normal(0.05, 0.01, (3, 40))
    )
    ranks = rank_stability(data, rng).set_index(["arm", "rank"])["probability"]
    assert ranks["best", 1] > 0.99
    assert ranks["a", 2] == pytest.approx(0.5, abs=0.05), "ties are broken at random: 2000 draws, SD 0.011"
    labels = [label.get_text() for label in build_ranks(ranks.reset_index()).axes[0].get_yticklabels()]
    assert labels[0] == "best"


@pytest.mark.parametrize(("seed", "arm_unit"), [(0.01, 0.0), (0.0, 0.05), (0.006, 0.03)])
def test_the_chance_to_be_first_is_that_of_the_differences_normal_distribution(seed: float, arm_unit: float) -> None:
    """Scores whose components are exact: the difference of two arms has variance 2 (seed² / r + arm_unit² / U)."""
    rng, r, units = np.random.default_rng(11), 24, 60

    def exact(count: int, spread: float) -> Array:
        values = rng.normal(size=count)
        centred: Array = values - values.mean()
        return centred / values.std(ddof=1) * spread

    halves = exact(units, arm_unit * np.sqrt(2))
    common = rng.normal(0.8, 0.1, units)
    arms = {
        "sme": common + 0.003 + halves + exact(r, seed)[:, None],
        "baseline": common + exact(r, seed)[:, None],
    }
    ranks = rank_stability(make_matrix(**arms), rng, 8000).set_index(["arm", "rank"])["probability"]
    expected = stats.norm.cdf(0.003 / np.sqrt(2 * (seed**2 / r + arm_unit**2 / units)))
    assert 0.6 < expected < 0.9
    assert ranks["sme", 1] == pytest.approx(expected, abs=0.02)


def test_two_seeds_vary_as_much_as_they_should() -> None:
    """The difference is 0.01 with a standard error of 0.02, of which two seeds leave one degree of freedom."""
    arms = {"sme": np.array([[0.80], [0.84]]), "baseline": np.array([[0.81], [0.81]])}
    data = make_matrix(**{arm: values.repeat(5, 1) for arm, values in arms.items()})
    ranks = rank_stability(data, np.random.default_rng(16)).set_index(["arm", "rank"])["probability"]
    assert ranks["sme", 1] == pytest.approx(stats.t.cdf(0.5, 1), abs=0.03)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(("seed", "arm_unit", "ratio"), [(0.01, 0.01, 1), (0.003, 0.02, 1), (0.02, 0.01, 4)])
def test_of_equal_arms_one_is_called_surely_first_in_a_twentieth_of_studies_at_most(
    seeds: int, seed: float, arm_unit: float, ratio: float
) -> None:
    rng, studies = np.random.default_rng(17), 400
    sure = 0
    for _ in range(studies):
        unit = rng.normal(0.8, 0.05, 40)
        arms = {
            arm: unit
            + rng.normal(0, arm_unit, 40)
            + rng.normal(0, spread, (seeds, 1))
            + rng.normal(0, 0.02, (seeds, 40))
            for arm, spread in (("a", seed), ("b", seed / ratio))
        }
        ranks = rank_stability(make_matrix(**arms), rng, 1000)
        sure += bool(ranks.loc[ranks["rank"] == 1, "probability"].max() >= 0.975)
    assert sure / studies < 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / studies)


@pytest.mark.parametrize(("seeds", "units"), [(1, 30), (3, 1)])
def test_where_seeds_or_units_tell_nothing_every_rank_is_as_likely(seeds: int, units: int) -> None:
    rng = np.random.default_rng(18)
    data = make_matrix(a=rng.normal(1, 0.1, (seeds, units)), b=rng.normal(0, 0.1, (seeds, units)))
    assert rank_stability(data, rng)["probability"].tolist() == [0.5] * 4


def test_ranks_need_complete_data_and_are_the_generators() -> None:
    rng = np.random.default_rng(12)
    data = make_matrix(a=rng.normal(size=(2, 9)), b=rng.normal(size=(2, 9)))
    first, second = (rank_stability(data, np.random.default_rng(1)) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    data.values[0, 0] = np.nan
    with pytest.raises(ValueError, match="expected complete data"):
        rank_stability(data, rng)


@given(st.integers(1, 90), st.integers(0, 5), st.booleans())
@settings(max_examples=12, deadline=None)
def test_bins_of_size_hold_each_image_with_a_reference_once(count: int, empty: int, equal: bool) -> None:
    images = make_images(np.random.default_rng(13), ["baseline", "sme"], 1, images=count + empty, empty=empty)
    if equal:
        images.loc[images["tp"] + images["fn"] > 0, ["tp", "fp", "fn"]] = [70, 10, 30]
    sized, curves = sized_images(images), size_curves(images, "baseline")
    assert not sized.duplicated(["class", "image"]).any()
    assert ((sized["bin"] < 0) == (sized["area"] == 0)).all()
    assert (sized["bin"] < 0).sum() == empty
    assert curves.groupby("arm")["n_images"].sum().to_dict() == {"baseline": count, "sme": count}
    bins = sized[sized["bin"] >= 0].groupby("bin")["area"].agg(["min", "max"])
    assert (bins["min"].to_numpy()[1:] > bins["max"].to_numpy()[:-1]).all(), "cut by area"
    assert sorted(bins.index) == list(range(len(bins)))


def test_curves_of_size_are_means_with_intervals_of_groups() -> None:
    images = make_images(np.random.default_rng(14), ["baseline", "sme"], 2, ["x"], 60)
    images["group"] = images["image"]
    curves = size_curves(images, "baseline")
    own = sized_images(images).merge(image_scores(images, ["baseline", "sme"])[["image", "arm", "seed", "score"]])
    first = own[own["bin"] == 0].pivot_table(index="image", columns="arm", values="score", observed=True)
    row = curves[(curves["bin"] == 0) & (curves["arm"] == "sme")].iloc[0]
    wanted = stats.ttest_rel(first["sme"], first["baseline"])
    interval = wanted.confidence_interval()
    assert row["mean"] == pytest.approx(first["sme"].mean())
    assert row["difference"] == pytest.approx((first["sme"] - first["baseline"]).mean())
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((interval.low, interval.high))
    assert row["area"] == own.loc[own["bin"] == 0].drop_duplicates("image")["area"].median()
    twice = pd.concat([images, images.assign(image="again " + images["image"])])
    copied = size_curves(twice, "baseline")
    row = copied[(copied["bin"] == 0) & (copied["arm"] == "sme")].iloc[0]
    narrow = own[own["area"].isin(sized_images(twice).query("bin == 0")["area"])]
    units = narrow[narrow["arm"] == "sme"].groupby("image")["score"].mean()
    half = stats.t.ppf(0.975, len(units) - 1) * units.sem()
    assert row["high"] - row["low"] == pytest.approx(2 * half), "an image's copy in its group tells nothing new"


def test_size_leaves_out_runs_that_lack_images_and_says_how_many_references_are_empty() -> None:
    images = make_images(np.random.default_rng(15), ["baseline", "sme", "me"], 2, empty=3)
    lacking = images[~((images["arm"] == "me") & (images["image"] == "i10"))]
    hole = int(sized_images(images).set_index("image").loc["i10", "bin"])
    curves = size_curves(lacking, "baseline")
    assert hole not in set(curves[curves["arm"] == "me"]["bin"])
    assert hole in set(curves[curves["arm"] == "sme"]["bin"])
    figure = build_size(lacking, ["baseline", "sme", "me"], "baseline")
    assert "3 images with an empty reference are left out" in figure.texts[0].get_text()
    assert np.sort(points(figure, 0)[:, 1]) == pytest.approx(np.sort(curves["mean"]))
    drawn_differences = points(figure, 1)[:, 1]
    known = curves["difference"].dropna()
    assert np.sort(drawn_differences[np.isfinite(drawn_differences)]) == pytest.approx(np.sort(known))


@pytest.mark.parametrize("arms", [2, 12, 30])
def test_the_panel_of_scores_has_room_beside_a_legend_of_any_length(arms: int) -> None:
    scores = image_scores(make_images(np.random.default_rng(0), arm_names(arms)), arm_names(arms))
    figure = build_scores(scores, arm_names(arms), "baseline", Title("a study", "").names, "line")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layout that isn't applied
        figure.canvas.draw()
    assert figure.axes[0].get_position().height * figure.get_figheight() > 2, "inches"
