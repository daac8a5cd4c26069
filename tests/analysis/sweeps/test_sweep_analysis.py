"""Sweeps as `analysis` reads them, on a landscape that is known: importance, figures, pages, and an arm's tuning."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from PIL import Image

from analysis.__main__ import main
from analysis.figures.style import SMALL
from analysis.figures.sweep_course import build_best_so_far, build_expected, build_pareto, build_pruning
from analysis.figures.sweep_space import build_contour, build_importance, build_parallel, build_slices
from analysis.report.study import report
from analysis.report.sweep import SweepReport, report_sweep
from analysis.results.declaration import ResultsError
from analysis.sweeps.expected_best import best_so_far, expected_best, trial_scores
from analysis.sweeps.importance import FEWEST_TRIALS, importance
from analysis.sweeps.pareto import pareto_front
from analysis.sweeps.trials import (
    Objective,
    Sweep,
    best_trial,
    read_arm_sweeps,
    read_sweep,
    read_trials,
    settings_of,
    sweep_names,
    to_optuna,
)
from analysis.sweeps.wording import at_edges, options_line
from checkout import ROOT
from fake_store import image_rows, write_study
from fake_sweep import EPOCHS, IMAGES, SPACE, make_trial, make_trials, write_sweep
from metaseg.store.storage import Storage, open_storage

NAME = "sweep_schedule.sme"
TWO = [("val_f1", "maximize"), ("parameters", "minimize")]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path))


def read(storage: Storage, name: str = NAME) -> tuple[pd.DataFrame, Sweep]:
    sweep = read_sweep(storage, name)
    return read_trials(storage, sweep), sweep


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_sweep_is_read_as_it_was_written(storage: Storage):
    write_sweep(storage, NAME, make_trials()[::-1], objectives=TWO, constraints=["parameters<=500000"])
    trials, sweep = read(storage)
    assert sweep_names(storage) == [NAME]
    assert (sweep.arm, sweep.dataset, sweep.about) == ("sme", "fake-cells", "SIMULATED cells")
    assert sweep.space == SPACE
    assert sweep.conditions == {"cycles": ("shape", ("cyclic",))}
    assert sweep.objectives == (Objective("val_f1", "maximize"), Objective("parameters", "minimize"))
    assert trials["number"].tolist() == list(range(48))
    assert len(trials["curve_epoch"][0]) == EPOCHS


def test_optuna_gets_states_settings_values_and_curves(storage: Storage):
    write_sweep(storage, NAME, make_trials())
    trials, sweep = read(storage)
    study = to_optuna(trials, sweep)
    states = [trial.state for trial in study.trials]
    assert len(study.trials) == 47, "the running one is left out"
    assert states.count(TrialState.PRUNED) == (trials["state"] == "pruned").sum() > 5
    assert states.count(TrialState.FAIL) == 1
    best = best_trial(trials)
    assert study.best_trial.user_attrs == {"number": best["number"], "run_id": best["run_id"]}
    assert study.best_params == settings_of(best, sweep)
    assert len(study.best_trial.intermediate_values) == EPOCHS
    cyclic = {trial.params["shape"] == "cyclic": "cycles" in trial.params for trial in study.trials}
    assert cyclic == {True: True, False: False}


def test_choices_of_several_names_and_numbers_are_found_again(storage: Storage):
    space = {
        "lr_max": FloatDistribution(1e-4, 1e-1, log=True),
        "reduction": IntDistribution(1, 32),
        "width": CategoricalDistribution(["8", "16"]),
    }
    settings = {"lr_max": 1e-3, "reduction": 4, "width": "16"}
    write_sweep(storage, NAME, [make_trial(0, settings, rng())], space)
    trials, sweep = read(storage)
    numbers = replace(sweep, space={**sweep.space, "width": CategoricalDistribution([8, 16])})
    assert settings_of(trials.iloc[0], numbers) == settings | {"width": 16}
    assert settings_of(trials.iloc[0], sweep) == settings


def test_trials_outside_a_changed_space_are_left_out_of_optunas_study(storage: Storage):
    write_sweep(storage, NAME, make_trials())
    trials, sweep = read(storage)
    narrow = replace(sweep, space={**sweep.space, "reduction": IntDistribution(1, 4, log=True)})
    inside = (trials["param_reduction"] <= 4) & (trials["state"] != "running")
    assert len(to_optuna(trials, narrow).trials) == inside.sum() < 47


def test_the_best_trial_is_complete_and_keeps_the_constraints():
    trials = pd.DataFrame(make_trials(6, prunes=False)).assign(val_f1=[0.5, 0.9, 0.8, 0.7, 0.7, 0.1], state="complete")
    trials.loc[1, "state"], trials.loc[2, "feasible"] = "pruned", False
    assert best_trial(trials)["number"] == 3, "of equal ones the first"
    assert best_trial(trials.assign(state="failed")) is None


@pytest.mark.parametrize("prunes", [True, False])
def test_settings_that_matter_are_told_from_those_that_do_not(storage: Storage, prunes: bool):
    write_sweep(storage, NAME, make_trials(100, prunes=prunes))
    found = importance(*read(storage), rng()).set_index("setting")
    assert found["ped_anova"].sum() == pytest.approx(1)
    assert found.index[:2].tolist() == ["lr_max", "reduction"]
    matters = found["ped_anova"] > found["chance"]
    assert matters["lr_max"]
    assert matters["reduction"]
    assert matters.sum() <= 3
    assert found["fanova"].idxmax() == "lr_max", "what it is of the logarithm; Optuna's own says reduction"
    assert found.loc["weight_decay", "fanova"] < 0.1
    assert np.isnan(found.loc["cycles", "fanova"])
    assert found.loc["cycles", "trials"] < found.loc["shape", "trials"]


def test_importance_of_few_trials_or_equal_scores_is_not_told(storage: Storage):
    few = make_trials(FEWEST_TRIALS - 1, prunes=False)
    equal = [trial | {"val_f1": 0.5} for trial in make_trials(30, prunes=False)]
    for name, trials in (("few", few), ("equal", equal)):
        write_sweep(storage, name, trials)
        assert importance(*read(storage, name), rng()).empty


def test_the_pareto_front_is_what_no_other_trial_beats(storage: Storage):
    write_sweep(storage, NAME, make_trials(), objectives=TWO)
    trials, sweep = read(storage)
    front = pareto_front(trials, sweep)
    complete = trials[trials["state"] == "complete"]
    for _, trial in complete.iterrows():
        beaten = ((complete["val_f1"] > trial["val_f1"]) & (complete["parameters"] <= trial["parameters"])).any()
        beaten |= ((complete["val_f1"] >= trial["val_f1"]) & (complete["parameters"] < trial["parameters"])).any()
        assert (trial["number"] in set(front["number"])) != beaten
    assert 1 < len(front) < len(complete)
    assert pareto_front(trials.assign(feasible=False), sweep).empty


def test_numbers_at_the_ends_of_what_was_searched_are_named():
    sweep = Sweep("s", "d", "", "a", SPACE, {}, (), (), "tpe", "asha", 0, 0, 1, {}, {}, "")
    assert at_edges({"lr_max": 9e-2, "reduction": 2, "shape": "cyclic", "weight_decay": 0.0}, sweep) == [
        "lr_max",
        "weight_decay",
    ]
    assert at_edges({"lr_max": 1e-2, "reduction": 32, "cycles": 8}, sweep) == ["reduction", "cycles"]


def test_settings_become_options_that_give_the_very_same_run():
    assert options_line({"lr_max": 0.008144886973076106, "positions": "encoder+decoder", "embedding": 0}) == (
        "--lr-max 0.008144886973076106 --positions encoder decoder --embedding 0"
    )
    assert options_line({"positions": ("encoder",), "activation": "relu"}) == "--positions encoder --activation relu"


def figures(trials: pd.DataFrame, sweep: Sweep) -> dict[str, Callable[[], Figure]]:
    course = best_so_far(trials)
    curve = expected_best(trial_scores(trials), None, range(1, len(course) + 1), rng(), draws=50)
    names = list(sweep.space)
    return {
        "importance": lambda: build_importance(importance(trials, sweep, rng(), permutations=3)),
        "slices": lambda: build_slices(trials, sweep),
        "contour": lambda: build_contour(trials, sweep, (names[0], names[1])),
        "contour of choices": lambda: build_contour(trials, sweep, (names[0], "shape")),
        "parallel": lambda: build_parallel(trials, sweep),
        "pruning": lambda: build_pruning(trials),
        "best so far": lambda: build_best_so_far({"baseline": course, "sme": course}),
        "expected": lambda: build_expected({"baseline": curve, "sme": curve}, {"baseline": course, "sme": course}, ""),
        "pareto": lambda: build_pareto(trials, sweep),
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure]:
    storage = open_storage(str(tmp_path_factory.mktemp("drawn")))
    write_sweep(storage, NAME, make_trials(), objectives=TWO)
    found = {name: build() for name, build in figures(*read(storage)).items()}
    for figure in found.values():
        figure.draw_without_rendering()
    return found


def test_nothing_of_a_figure_is_cut_off_or_too_small_to_read(drawn: dict[str, Figure]):
    for name, figure in drawn.items():
        page = figure.bbox
        boxes = [panel.get_tightbbox() for panel in figure.axes]
        boxes += [each.get_window_extent() for each in (*figure.texts, *figure.legends)]
        for box in boxes:
            assert box.x0 > page.x0 - 1, name
            assert box.x1 < page.x1 + 1, name
            assert box.y0 > page.y0 - 1, name
            assert box.y1 < page.y1 + 1, name
        assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= SMALL, name


def test_tick_labels_do_not_lie_on_each_other(drawn: dict[str, Figure]):
    for name, figure in drawn.items():
        for panel in figure.axes:
            low, high = sorted(panel.get_xlim())
            labels = [
                label
                for at, label in zip(panel.get_xticks(), panel.get_xticklabels(), strict=True)
                if low <= at <= high and label.get_text() and label.get_rotation() == 0
            ]
            boxes = [label.get_window_extent() for label in labels]
            for left, right in pairwise(boxes):
                assert left.x1 < right.x0, (name, [label.get_text() for label in labels])


def test_all_trials_are_in_the_slices_and_pruned_ones_are_hollow(drawn: dict[str, Figure]):
    first = drawn["slices"].axes[0]
    assert sum(len(points.get_offsets()) for points in first.collections) == 46  # all but the failed, the running
    low, high = first.get_ylim()
    for points in first.collections:
        assert ((points.get_offsets()[:, 1] > low) & (points.get_offsets()[:, 1] < high)).all()
    faces = np.concatenate([points.get_facecolors() for points in first.collections])
    assert (faces[:, 3] == 0).sum() == 16


def test_a_single_trial_or_value_is_drawn_too(storage: Storage):
    space = {"lr_max": FloatDistribution(1e-3, 1e-3), "reduction": IntDistribution(4, 4), "shape": SPACE["shape"]}
    trials = [make_trial(0, {"lr_max": 1e-3, "reduction": 4, "shape": "cosine"}, rng(), "complete")]
    write_sweep(storage, NAME, trials, space, TWO)
    for name, build in figures(*read(storage)).items():
        if name != "importance":
            build().draw_without_rendering()
    assert report_sweep(storage, NAME).result


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, SweepReport]:
    storage = open_storage(str(tmp_path_factory.mktemp("reported")))
    write_sweep(storage, NAME, make_trials(), objectives=TWO, sampler="tpe", pruner="asha")
    return storage, report_sweep(storage, NAME)


def test_the_page_needs_nothing_else_and_says_what_was_found(reported: tuple[Storage, SweepReport]):
    storage, found = reported
    page = storage.read(f"reports/sweeps/{NAME}/report.html").decode()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    for heading in ("Best settings", "What was spent", "Which settings matter?", "How good is it, and what next?",
                    "Would more trials help?", "What does it cost?", "Provenance"):  # fmt: skip
        assert f">{heading}</h2>" in page
    best = best_trial(found.trials)
    assert f"validation F1 {best['val_f1']:.4f} (trial {best['number']})" in found.result[0]
    assert f"--lr-max {best['param_lr_max']}" in page
    assert "sampler: tpe" in page
    assert page.count("data:image/png") == 8
    names = {file.rpartition("/")[2] for file in found.files}
    assert {"report.html", "table.md", "trials.csv", "importance.csv", "pareto.png", "expected_best.csv"} <= names
    for name in names:
        if name.endswith(".png"):
            Image.open(BytesIO(storage.read(f"reports/sweeps/{NAME}/{name}"))).verify()


def test_trials_are_written_as_csv_to_the_last_digit(reported: tuple[Storage, SweepReport]):
    storage, _ = reported
    table = pd.read_csv(BytesIO(storage.read(f"reports/sweeps/{NAME}/trials.csv")))
    original = pq.read_table(BytesIO(storage.read(f"sweeps/{NAME}/trials.parquet"))).to_pandas()
    assert len(table) == 48
    np.testing.assert_array_equal(table["param_lr_max"], original["param_lr_max"])
    np.testing.assert_array_equal(table["val_f1"], original["val_f1"])


def test_what_was_spent_leaves_out_what_was_reused(storage: Storage):
    settings = {"lr_max": 1e-2, "reduction": 2, "shape": "cosine", "positions": "encoder", "weight_decay": 0.0}
    trials = [make_trial(i, settings, rng(), "complete") | {"reused": i == 2} for i in range(3)]
    write_sweep(storage, NAME, trials)
    report_sweep(storage, NAME)
    table = storage.read(f"reports/sweeps/{NAME}/table.md").decode()
    each = EPOCHS * IMAGES
    assert f"| all | 3 | 1 | {3 * EPOCHS} | {3 * each:,} | {2 * each:,} |" in table


def test_the_command_gives_the_same_page_in_another_folder(reported: tuple[Storage, SweepReport], tmp_path, capsys):
    storage, _ = reported
    assert main(["sweep", storage.where, NAME, "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / NAME / "report.html").read_bytes()
    assert page == storage.read(f"reports/sweeps/{NAME}/report.html")
    assert "Best of" in capsys.readouterr().out


def test_the_command_goes_on_after_a_sweep_that_cannot_be_reported_on(storage: Storage, monkeypatch, capsys):
    for name in ("a.sme", "b.sme"):
        write_sweep(storage, name, make_trials(3))
    asked = []

    def reports(_: Storage, name: str, __: Storage | None) -> None:
        asked.append(name)
        if name == "a.sme":
            raise ResultsError("a.sme: nonsense")

    monkeypatch.setattr("analysis.commands.sweep.report_sweep", reports)
    assert main(["sweep", storage.where]) == 1
    assert asked == ["a.sme", "b.sme"]
    assert capsys.readouterr().err == "error: a.sme: nonsense\n"


def test_an_unknown_sweep_is_an_error_that_lists_the_known_ones(storage: Storage, capsys):
    write_sweep(storage, "a.sme", make_trials(3))
    assert main(["sweep", storage.where, "c.sme"]) == 1
    assert "unknown sweep 'c.sme'" in capsys.readouterr().err


def broken(storage: Storage, how: str) -> None:
    write_sweep(storage, NAME, make_trials(12))
    record = json.loads(storage.read(f"sweeps/{NAME}/sweep.json"))
    table = pq.read_table(BytesIO(storage.read(f"sweeps/{NAME}/trials.parquet")))
    if how == "no table":
        storage.delete(f"sweeps/{NAME}/trials.parquet")
    elif how == "not Parquet":
        storage.write(f"sweeps/{NAME}/trials.parquet", b"nonsense")
    elif how == "no record":
        storage.write(f"sweeps/{NAME}/sweep.json", b'{"arm": "sme"}')
    elif how == "no objective":
        record["objectives"] = [{"name": "flops", "direction": "minimize"}]
        storage.write(f"sweeps/{NAME}/sweep.json", json.dumps(record).encode())
    else:
        frame = table.to_pandas()
        if how == "no column":
            frame = frame.drop(columns="param_lr_max")
        elif how == "state":
            frame.loc[3, "state"] = "lost"
        elif how == "twice":
            frame.loc[3, "number"] = 2
        elif how == "no score":
            frame["val_f1"] = np.nan
        content = BytesIO()
        frame.to_parquet(content)
        storage.write(f"sweeps/{NAME}/trials.parquet", content.getvalue())


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no table", "trials.parquet: not there"),
        ("not Parquet", "trials.parquet: not Parquet"),
        ("no record", "sweep.json: not a sweep's description"),
        ("no objective", "sweep.json: objectives are .* expected val_f1"),
        ("no column", "no column 'param_lr_max'"),
        ("state", "state 'lost'; expected one of complete"),
        ("twice", "trial 2 is there twice"),
        ("no score", "none of its 12 trials has a validation score"),
    ],
)
def test_a_damaged_sweep_is_an_error_that_names_the_file(storage: Storage, how: str, message: str):
    broken(storage, how)
    with pytest.raises(ResultsError, match=message):
        report_sweep(storage, NAME)


def test_a_store_without_sweeps_says_so(storage: Storage):
    with pytest.raises(ResultsError, match="no sweep there"):
        report_sweep(storage, NAME)


def tuned_study(storage: Storage, tmp_path: Path, trials: dict[str, int]) -> dict[str, str]:
    names = {arm: f"cells.{arm}" for arm in trials}
    for number, (arm, count) in enumerate(trials.items()):
        write_sweep(storage, names[arm], make_trials(count, number), trials_planned=20)
    write_study(tmp_path, lambda arm, seed: image_rows(np.linspace(0.7, 0.9, 12) + 0.01 * seed), sweeps=names)
    return names


def test_a_tuned_studys_report_shows_what_each_arms_search_found(storage: Storage, tmp_path: Path):
    tuned_study(storage, tmp_path, {"baseline": 20, "sme": 20})
    report(storage, "cells")
    page = storage.read("reports/cells/report.html").decode()
    assert ">Were arms tuned alike?</h2>" in page
    assert "Each arm had 19 trials." in page
    assert {"tuning.png", "tuning_cost.png", "tuning.csv", "tuned.csv"} <= set(storage.names("reports/cells"))
    tuned = pd.read_csv(BytesIO(storage.read("reports/cells/tuned.csv"))).set_index("arm")
    best = best_trial(read(storage, "cells.sme")[0])
    assert tuned.loc["sme", "val_f1"] == pytest.approx(best["val_f1"], abs=1e-5)
    assert tuned.loc["sme", "lr_max"] == pytest.approx(best["param_lr_max"], rel=1e-5)


def test_unequal_budgets_are_said(storage: Storage, tmp_path: Path):
    tuned_study(storage, tmp_path, {"baseline": 20, "sme": 12})
    report(storage, "cells")
    text = storage.read("reports/cells/table.md").decode()
    assert "Budgets are NOT equal" in text
    assert "baseline 19 of 20 and sme 11 of 20" in text


def test_a_study_without_sweeps_has_no_such_section(storage: Storage, tmp_path: Path):
    write_study(tmp_path, lambda arm, seed: image_rows(np.linspace(0.7, 0.9, 12) + 0.01 * seed))
    assert read_arm_sweeps(storage, "cells") == {}
    report(storage, "cells")
    assert "tuned alike" not in storage.read("reports/cells/report.html").decode()


def test_optunas_own_importance_takes_the_study(storage: Storage):
    write_sweep(storage, NAME, make_trials(60, prunes=False))
    assert next(iter(optuna.importance.get_param_importances(to_optuna(*read(storage))))) == "lr_max"


def test_the_notebook_runs_on_a_store_and_says_what_is_in_it(storage: Storage, tmp_path: Path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="the notebooks need the extra 'notebooks'")
    nbformat = pytest.importorskip("nbformat", reason="the notebooks need the extra 'notebooks'")
    pytest.importorskip("ipykernel", reason="the notebooks need the extra 'notebooks'")
    write_sweep(storage, NAME, make_trials())
    monkeypatch.setenv("METASEG_STORE", storage.where)
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    path = ROOT / "analysis" / "notebooks" / "sweep.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(notebook.cells) < 15
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code), "committed clean"
    assert all(len(line) <= 100 for cell in code for line in cell.source.splitlines())
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [output for cell in code for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 6
    best = best_trial(read(storage)[0])
    said = "".join(output.get("text", "") for output in outputs)
    assert f"trial {best['number']}: validation F1 {best['val_f1']:.4f}" in said
