"""Cost against score: the trials that none beats in all objectives."""

from analysis.figures.scores import Title
from analysis.figures.style import rendered
from analysis.figures.sweep_course import build_pareto
from analysis.report.grid import Cell, Grid
from analysis.report.section import Part, Section, picture
from analysis.report.sweep_data import SweepData
from analysis.sweeps.pareto import pareto_front
from analysis.sweeps.trials import SCORE, settings_of
from analysis.sweeps.wording import objective_name, short


def section(data: SweepData) -> Section | None:
    """The Pareto front; None where there is one objective."""
    trials, sweep = data.trials, data.sweep
    front = pareto_front(trials, sweep)
    if len(sweep.objectives) < 2 or front.empty:
        return None
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
    figure = Title(f"{data.title.text}: Pareto front", data.title.about)
    drawing = rendered(build_pareto(trials, sweep), figure)
    words = ("The choice among them is yours: how much is a point of F1 worth to you?",)
    front_part = Part((table,), words, (), False)
    return Section("What does it cost?", (front_part, picture("pareto", drawing, "Objectives against each other")))
