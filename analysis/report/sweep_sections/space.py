"""Where do good trials lie? Each setting, the two that matter most, and all at once."""

from analysis.figures.scores import Title
from analysis.figures.style import rendered
from analysis.figures.sweep_space import build_contour, build_parallel, build_slices
from analysis.report.section import Section, picture
from analysis.report.sweep_data import SweepData
from metaseg.schema import PARAM


def section(data: SweepData) -> Section | None:
    """Validation F1 over the space that was searched."""
    trials, sweep, text, about = data.trials, data.sweep, data.title.text, data.title.about
    drawing = rendered(build_slices(trials, sweep), Title(f"{text}: each setting", about))
    parts = [picture("slices", drawing, "Validation F1 against each setting")]
    everywhere = [name for name in data.ranked["setting"] if trials[PARAM + name].notna().sum() > 2]
    if len(everywhere) > 1:
        across, upwards = everywhere[:2]
        drawing = rendered(
            build_contour(trials, sweep, (across, upwards)), Title(f"{text}: {across} and {upwards}", about)
        )
        parts.append(picture("contour", drawing, "The two most important settings"))
    if len(sweep.space) > 1:
        drawing = rendered(build_parallel(trials, sweep), Title(f"{text}: all settings", about))
        parts.append(picture("parallel", drawing, "All settings of each trial"))
    return Section("Where do good trials lie?", tuple(parts))
