"""Were arms tuned alike? What each arm's search found, and for how much."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.figures.scores import Title
from analysis.figures.style import rendered
from analysis.figures.sweep_course import build_best_so_far, build_expected
from analysis.report.data import ReportData
from analysis.report.grid import Cell, Grid
from analysis.report.section import Part, Section, picture, to_csv
from analysis.report.sweep_sections.course import ADAPTIVE, expected_curve, independent
from analysis.sweeps.expected_best import best_so_far, trial_scores
from analysis.sweeps.trials import SCORE, Sweep, best_trial, settings_of
from analysis.sweeps.wording import expected_caption, short
from analysis.wording import listed

ArmSweeps = Mapping[str, tuple[Sweep, pd.DataFrame]]
"""By arm: `analysis.sweeps.trials.read_arm_sweeps`."""


def section(data: ReportData) -> Section | None:
    """Expected best validation F1 against budget for each arm, and the settings that were chosen.

    The same trials give the same section. None where no arm was tuned.
    """
    sweeps, title = data.supplement.tuned, Title(data.study.name, data.study.about)
    tuned = list(sweeps)
    if not tuned:
        return None
    curves, courses, rows, chosen = {}, {}, [], []
    for number, arm in enumerate(tuned):
        sweep, trials = sweeps[arm]
        curve = expected_curve(trials, np.random.default_rng(number))
        course, best = best_so_far(trials), best_trial(trials)
        curves[arm], courses[arm] = curve, course
        last = curve.iloc[-1]
        settings = settings_of(best, sweep) if best is not None else {}
        cells = (
            Cell(f"{len(trial_scores(trials))}"),
            Cell(f"{int((trials['state'] == 'pruned').sum())}"),
            Cell(f"{trials['epochs'].sum():,.0f}"),
            Cell(f"{course['image_epochs'].iloc[-1]:,.0f}"),
            Cell("-" if best is None else f"{best[SCORE]:.4f}"),
            Cell(f"{last['low']:.4f}"),
            Cell(", ".join(f"{name} {short(value)}" for name, value in settings.items()) or "-"),
        )
        rows.append((arm, cells))
        own = {} if best is None else {"val_f1": best[SCORE], "run_id": best["run_id"]}
        chosen.append({"arm": arm, "sweep": sweep.name, "trials": len(trials), **own, **settings})
    columns = ("trials", "pruned", "epochs", "image-epochs", "best validation F1", "lower limit", "chosen settings")
    table = Grid("What each arm's search found", "arm", columns, tuple(rows))
    note = "" if all(independent(sweeps[arm][0]) for arm in tuned) else ADAPTIVE
    frame = pd.concat([curve.assign(arm=arm) for arm, curve in curves.items()], ignore_index=True)
    files = {
        "tuning.csv": to_csv(frame[["arm", "budget", "expected", "low", "high", "with_replacement"]]),
        # With all digits: these settings are there to be used again.
        "tuned.csv": to_csv(pd.DataFrame(chosen), digits=None),
    }
    expected = rendered(build_expected(curves, courses, note), _to(title, "expected best of each arm's search"))
    spent = rendered(build_best_so_far(courses), _to(title, "best so far of each arm's search"))
    every = pd.concat([sweeps[arm][1] for arm in tuned], ignore_index=True)
    words = (*_fairness(sweeps, tuned), *_orders(curves), expected_caption(every))
    parts = (
        Part((table,), words, files=files),
        picture("tuning", expected, "Expected best validation F1 by number of trials"),
        picture("tuning_cost", spent, "Best validation F1 so far by what was spent"),
    )
    return Section("Were arms tuned alike?", parts)


def _fairness(sweeps: ArmSweeps, tuned: Sequence[str]) -> list[str]:
    """Says whether budgets and spaces are equal, and warns of taking these scores for results."""
    planned = {arm: sweeps[arm][0].trials_planned for arm in tuned}
    ended = {arm: len(trial_scores(sweeps[arm][1])) for arm in tuned}
    words = []
    if len(set(planned.values())) > 1 or len(set(ended.values())) > 1:
        counts = listed([f"{arm} {ended[arm]} of {planned[arm]}" for arm in tuned])
        words.append(f"Budgets are NOT equal yet; trials that ended: {counts}.")
    else:
        words.append(f"Each arm had {ended[tuned[0]]} trials.")
    spaces = {arm: set(sweeps[arm][0].space) for arm in tuned}
    everywhere = set.intersection(*spaces.values())
    more = [f"{arm} also {listed(sorted(own - everywhere))}" for arm, own in spaces.items() if own - everywhere]
    words[0] += f" Searched in all arms: {listed(sorted(everywhere))}." + (f" {listed(more)}." if more else "")
    words.append(
        "These are validation scores of one seed, chosen for being the highest: they show what the searches achieved, "
        "not which arm is better. Arms are compared above, on test images and with fresh seeds at the chosen settings. "
        "lower limit: 97.5 % confidence limit of the expected best of so many trials; where it is far below the best, "
        "another search of the same length might have found less."
    )
    return words


def _orders(curves: Mapping[str, pd.DataFrame]) -> list[str]:
    """Warns where the two estimators rank the arms differently at a number of trials that all arms have."""
    if len(curves) < 2:
        return []
    names = ("expected", "with_replacement")
    budgets = sorted(set.intersection(*(set(curve["budget"]) for curve in curves.values())))
    estimates = [
        pd.DataFrame({arm: curve.set_index("budget")[name] for arm, curve in curves.items()}) for name in names
    ]
    unlike = [
        int(budget)
        for budget in budgets
        if len({tuple(each.loc[budget].sort_values(kind="stable").index) for each in estimates}) > 1
    ]
    if not unlike:
        return []
    counts = f"{unlike[0]}" if len(unlike) == 1 else f"{len(unlike)} numbers from {unlike[0]} to {unlike[-1]}"
    return [
        f"At {counts} of trials the two estimators of the expected best (with and without replacement) put arms in "
        "different orders: don't compare these curves there."
    ]


def _to(title: Title, what: str) -> Title:
    return Title(f"{title.text}: {what}", title.about)
