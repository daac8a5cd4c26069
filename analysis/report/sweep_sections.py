"""The sections of a sweep's report."""

from importlib.metadata import version

import numpy as np
import pandas as pd

from analysis.figures.scores import Title
from analysis.figures.sweep_course import draw_best_so_far, draw_expected, draw_pareto, draw_pruning
from analysis.figures.sweep_space import draw_contour, draw_importance, draw_parallel, draw_slices
from analysis.report.grid import Cell, Grid
from analysis.report.section import Section, to_csv
from analysis.sweeps.expected_best import best_so_far, expected_best, trial_scores
from analysis.sweeps.importance import FEWEST_TRIALS
from analysis.sweeps.pareto import pareto_front
from analysis.sweeps.trials import CURVES, PARAM, SCORE, Sweep, best_trial, settings_of
from analysis.sweeps.wording import (
    CAPTION_IMPORTANCE,
    belief_sentences,
    expected_caption,
    objective_name,
    options_line,
    range_of,
    short,
)

TOP = 10
MOST_BUDGETS = 60
ADAPTIVE = (
    "These trials aren't independent draws: the thick line says what random orders of them would give, the thin one "
    "what the search did."
)


def best_section(trials: pd.DataFrame, sweep: Sweep) -> Section:
    """The best trial's settings beside what was searched, and as options; the best trials."""
    best = best_trial(trials)
    files = {"trials.csv": to_csv(trials.drop(columns=list(CURVES)), digits=None)}
    if best is None:
        return Section(files=files)
    found = settings_of(best, sweep)
    base = {**sweep.network, **sweep.schedule}
    rows = tuple(
        (
            name,
            (
                Cell(short(found[name]) if name in found else "-", emphasis="best"),
                Cell(range_of(kind)),
                Cell(short(base[name]) if name in base else "-"),
            ),
        )
        for name, kind in sweep.space.items()
    )
    table = Grid("The best settings", "setting", ("best", "searched", "before"), rows)
    words = (
        "before: what the sweep's page would have used. As options of a page of studies/, other settings being those "
        f"of its preset: {options_line(found)}",
        f"All settings of the network and its schedule: {options_line(base | found)}",
    )
    return Section((table, _top(trials, sweep)), words, words[:1], files=files, heading="Best settings")


def _top(trials: pd.DataFrame, sweep: Sweep) -> Grid:
    """The trials with the highest validation F1, pruned ones apart."""
    known = trials[(trials["state"] == "complete") & trials["feasible"].astype(bool)]
    complete = len(known)
    known = known.sort_values([SCORE, "number"], ascending=[False, True]).head(TOP)
    others = [each.name for each in sweep.objectives if each.name != SCORE]
    rows = []
    for _, trial in known.iterrows():
        found = settings_of(trial, sweep)
        cells = [Cell(f"{trial[SCORE]:.4f}"), *(Cell(f"{trial[name]:,.6g}") for name in others)]
        cells += [Cell(short(found[name]) if name in found else "-") for name in sweep.space]
        cells += [Cell(f"{trial['epochs']}"), Cell(str(trial["run_id"]))]
        rows.append((f"{trial['number']}{' (reused)' if trial['reused'] else ''}", tuple(cells)))
    columns = (objective_name(SCORE), *map(objective_name, others), *sweep.space, "epochs trained", "run id")
    return Grid(f"The best of {complete} complete trial{'' if complete == 1 else 's'}", "trial", columns, tuple(rows))


def spent_section(trials: pd.DataFrame) -> Section:
    """Trials by what became of them, and image-epochs."""
    rows = []
    for state in ("complete", "pruned", "failed", "running"):
        own = trials[trials["state"] == state]
        if len(own):
            rows.append((state, _spent(own)))
    rows.append(("all", _spent(trials)))
    columns = ("trials", "of them reused", "epochs", "image-epochs", "trained for this sweep", "hours")
    table = Grid("Trials and image-epochs", "trials that are", columns, tuple(rows))
    pruned = trials[(trials["state"] == "pruned") & (trials["epochs"] > 0)]
    left = (pruned["epochs_planned"] - pruned["epochs"]) * pruned["image_epochs"] / pruned["epochs"]
    words = "image-epochs: training images times epochs. Reused: the store had the run already; nothing was trained."
    if left.sum() > 0:
        part = left.sum() / (left.sum() + trials["image_epochs"].sum())
        words += f" Pruning left out {left.sum():,.0f} image-epochs, {100 * part:.0f} % of what there would have been."
    failed = trials.loc[trials["state"] == "failed", ["number", "error"]]
    causes = [f"{error} (trial {number})" for number, error in failed.drop_duplicates("error").itertuples(index=False)]
    reasons = (f"Failed: {'; '.join(causes)}.",) if causes else ()
    return Section((table,), (words, *reasons), reasons, heading="What was spent")


def _spent(rows: pd.DataFrame) -> tuple[Cell, ...]:
    own = rows[~rows["reused"].astype(bool)]
    return (
        Cell(f"{len(rows)}"),
        Cell(f"{int(rows['reused'].sum())}"),
        Cell(f"{rows['epochs'].sum():,.0f}"),
        Cell(f"{rows['image_epochs'].sum():,.0f}"),
        Cell(f"{own['image_epochs'].sum():,.0f}"),
        Cell(f"{own['seconds'].sum() / 3600:.2f}"),
    )


def importance_section(found: pd.DataFrame, title: Title) -> Section:
    """Which settings matter."""
    heading = "Which settings matter?"
    if found.empty:
        return Section(
            (), (f"With fewer than {FEWEST_TRIALS} scored trials nothing can be said.",), (), heading=heading
        )
    figure = Title(f"{title.text}: importance of settings", title.about)
    return Section(
        (), (CAPTION_IMPORTANCE,), (), False,
        {"importance.png": draw_importance(found, figure), "importance.csv": to_csv(found)},
        {"importance.png": "Importance of settings for validation F1"}, heading,
    )  # fmt: skip


def space_sections(trials: pd.DataFrame, sweep: Sweep, ranked: pd.DataFrame, title: Title) -> list[Section]:
    """Where in the space good trials lie: each setting, the two that matter most, and all at once."""
    files = {"slices.png": draw_slices(trials, sweep, Title(f"{title.text}: each setting", title.about))}
    captions = {"slices.png": "Validation F1 against each setting"}
    everywhere = [name for name in ranked["setting"] if trials[PARAM + name].notna().sum() > 2]
    if len(everywhere) > 1:
        across, upwards = everywhere[:2]
        about = Title(f"{title.text}: {across} and {upwards}", title.about)
        files["contour.png"] = draw_contour(trials, sweep, (across, upwards), about)
        captions["contour.png"] = "The two most important settings"
    if len(sweep.space) > 1:
        files["parallel.png"] = draw_parallel(trials, sweep, Title(f"{title.text}: all settings", title.about))
        captions["parallel.png"] = "All settings of each trial"
    headings = ["Where do good trials lie?", "", ""]
    return [
        Section((), (), (), files={name: content}, pictures={name: captions[name]}, heading=heading)
        for (name, content), heading in zip(files.items(), headings, strict=False)
    ]


def course_sections(trials: pd.DataFrame, sweep: Sweep, generator: np.random.Generator, title: Title) -> list[Section]:
    """How the search went: best so far, expected best, pruning."""
    course = best_so_far(trials)
    curve = expected_curve(trials, generator)
    note = "" if independent(sweep) else ADAPTIVE
    pictures = {
        "best.png": (
            "The best so far, by what was spent",
            draw_best_so_far({sweep.name: course}, _to(title, "course")),
        ),
        "expected.png": (
            "The expected best by number of trials",
            draw_expected({sweep.name: curve}, {sweep.name: course}, _to(title, "expected best"), note),
        ),
    }
    if (trials["curve_epoch"].map(len) > 0).any():
        content = draw_pruning(trials, _to(title, "trials by epoch"))
        pictures["pruning.png"] = ("Trials by epoch, and where they were pruned", content)
    tables = {"best.png": {"best_so_far.csv": to_csv(course)}, "expected.png": {"expected_best.csv": to_csv(curve)}}
    words = {"expected.png": (expected_caption(trials),)}
    return [
        Section(
            (), words.get(name, ()), (), False, {name: content, **tables.get(name, {})}, {name: caption},
            "Would more trials help?" if name == "best.png" else "",
        )
        for name, (caption, content) in pictures.items()
    ]  # fmt: skip


def expected_curve(trials: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """The expected best (`analysis.sweeps.expected_best`) for numbers of trials from 1 to all that ended."""
    scores = trial_scores(trials).to_numpy(float)
    budgets = np.unique(np.linspace(1, len(scores), MOST_BUDGETS).round().astype(np.int64))
    return expected_best(scores, None, budgets, generator)


def independent(sweep: Sweep) -> bool:
    """Whether trials are independent draws: none depends on how others did."""
    return sweep.sampler == "random" and sweep.pruner == "none"


def pareto_section(trials: pd.DataFrame, sweep: Sweep, title: Title) -> Section:
    """The trials that none beats in all objectives; nothing where there is one objective."""
    front = pareto_front(trials, sweep)
    if len(sweep.objectives) < 2 or front.empty:
        return Section()
    names = [each.name for each in sweep.objectives]
    rows = tuple(
        (
            str(trial["number"]),
            (
                *(Cell(f"{trial[name]:.4f}" if name == SCORE else f"{trial[name]:,.6g}") for name in names),
                Cell(", ".join(f"{name} {short(value)}" for name, value in settings_of(trial, sweep).items())),
            ),
        )
        for _, trial in front.sort_values(SCORE, ascending=False).iterrows()
    )
    table = Grid("The Pareto front", "trial", (*map(objective_name, names), "settings"), rows)
    content = draw_pareto(trials, sweep, _to(title, "Pareto front"))
    words = ("Which of them is best is for you to say: what is a point of F1 worth?",)
    return Section(
        (table,), words, (), False, {"pareto.png": content}, {"pareto.png": "Objectives against each other"},
        "What does it cost?",
    )  # fmt: skip


def belief_section(trials: pd.DataFrame, sweep: Sweep) -> Section:
    """How far to believe the best score, and what to run next."""
    return Section((), tuple(belief_sentences(sweep, trials)), (), heading="How good is it, and what next?")


def provenance_section(sweep: Sweep, path: str) -> Section:
    """What the report was made from."""
    rows = []
    for name, kind in sweep.space.items():
        other = sweep.conditions.get(name)
        only = f"{other[0]} is {' or '.join(map(short, other[1]))}" if other else ""
        rows.append((name, (Cell(range_of(kind)), Cell(only))))
    table = Grid("The space as it is now", "setting", ("searched", "only where"), tuple(rows))
    fixed = options_line({k: v for k, v in {**sweep.network, **sweep.schedule}.items() if k not in sweep.space})
    words = (
        f"Command: {sweep.command}",
        f"Settings that weren't searched: {fixed}",
        f"Trials: {path}. Importances: Optuna {version('optuna')}.",
    )
    return Section((table,), words, (), False, heading="Provenance")


def _to(title: Title, what: str) -> Title:
    return Title(f"{title.text}: {what}", title.about)
