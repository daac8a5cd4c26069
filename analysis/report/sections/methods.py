"""The methods: a paragraph for a paper, made of what the sections before it did."""

from importlib.metadata import version
from importlib.util import find_spec

from analysis.report.data import ReportData
from analysis.report.declared import from_elsewhere
from analysis.report.section import Part, Section
from analysis.report.sections.scores import score_formula
from analysis.wording import listed
from metaseg import __version__
from metaseg.schema import AS_TRAINED


def section(data: ReportData) -> Section:
    """One paragraph on what was done here and nothing else, and its sources."""
    text = [
        _arms(data),
        *(sentence for each in data.before for sentence in each.methods),
        f"Computed with metaseg {__version__}, NumPy {_version('numpy')} and SciPy {_version('scipy')}.",
    ]
    sources = [source for each in data.before for source in each.sources]
    words = (" ".join(text), *([" ".join(sources)] if sources else []))
    return Section("Methods", (Part((), words, ()),))


def _arms(data: ReportData) -> str:
    """Names the arms, their numbers of runs, and the images that they were scored on."""
    collected, names = data.collected, data.names
    trained = collected.images[collected.images["evaluation"] == AS_TRAINED]
    images, groups, subgroups = (trained[column].nunique() for column in ("image", "group", "subgroup"))
    where = f"{images} {names.tested}" + (f" in {groups} {names.groups}" if names.grouped else "")
    where += f" and {subgroups} values of {collected.subgroup_column}" if subgroups > 1 else ""
    run = ["arm", "seed", *(["fold"] if data.folds else [])]
    arms = trained.drop_duplicates(run).groupby("arm", observed=True).size()
    counts = listed([f"{arm} ({arms[arm]})" for arm in data.study.arms if arm in arms.index])
    verb = "There were" if from_elsewhere(collected) else "We trained"
    each = "one for each seed and fold" if data.folds else "each with its own seed"
    text = (
        f"{verb} the following arms (number of runs, {each}): {counts}. All were scored on {where} by "
        f"{score_formula(collected, names)}."
    )
    if data.folds:
        whole = f", whole {names.groups} together" if names.grouped else ""
        text += (
            f" The {names.images} were divided into {data.folds} folds{whole}; the networks of a fold were trained "
            f"without it and scored on it alone, so that each {names.image} has out-of-fold scores."
        )
    return text


def _version(package: str) -> str:
    return version(package) if find_spec(package) else "?"
