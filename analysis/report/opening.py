"""The paragraphs before a report's tables: dataset, arms, runs, and what was declared."""

import pandas as pd

from analysis.report.declared import from_elsewhere, names_of
from analysis.results.declaration import Study
from analysis.results.store_rows import Collected
from analysis.stats.comparisons import leading_class
from analysis.wording import Names, listed
from metaseg.schema import AS_TRAINED, MACRO, OVERALL, UNKNOWN


def describe(collected: Collected) -> list[str]:
    """Paragraphs before the tables: dataset, arms, runs, and what was declared."""
    study, missing, names = collected.study, collected.missing, names_of(collected)
    tested = collected.images[collected.images["evaluation"] == AS_TRAINED]
    images, groups, subgroups = (tested[column].nunique() for column in ("image", "group", "subgroup"))
    grouped = f" in {groups} {names.groups}" if groups < images else ""
    spread = f", {subgroups} values of {collected.subgroup_column}" if subgroups > 1 else ""
    about = f"{images} {names.tested}{grouped}{spread}"
    elsewhere = from_elsewhere(collected)
    if elsewhere:
        runs = "arm, seed and fold" if study.folds else "arm and seed"
        about = f"Scores from elsewhere: {about}, scored for {len(study.runs)} runs ({runs})."
    else:
        finished = len(study.runs) - len(missing)
        about = f"Dataset {study.dataset}: {about}. {finished} of {len(study.runs)} runs are finished."
    if study.folds:
        about += f" {_folds(collected, names, images, groups)}"
    networks = tested.drop_duplicates(["arm", "part"])
    named = {arm: study.networks.get(arm) for arm in study.arms}
    shared = named[study.arms[0]] if len(set(named.values())) == 1 else None
    shown = []
    for arm in study.arms:
        own = networks[networks["arm"] == arm]
        if len(own):
            shown.append(arm if elsewhere else f"{arm} ({_network(own, None if shared else named[arm])})")
    paragraphs = [about, f"Arms{f', all with the network {shared}' if shared else ''}: {'; '.join(shown)}."]
    if not elsewhere:
        paragraphs.append(_glossary(set(networks["metadata_mode"]), bool(study.folds)))
    if said := untold_values(collected):
        paragraphs.append(said)
    if elsewhere:
        paragraphs.append(_declared(collected, names))
    if study.looked_at:
        paragraphs.append(_looked_at(study))
    return paragraphs


def _looked_at(study: Study) -> str:
    """Says that p-values don't hold because of results that had been seen before."""
    seen = listed([f"{seeds}" for seeds in study.looked_at])
    if study.sequential:
        return (
            f"Runs of this study were reported on with {seen} seeds by another study before its rule was declared. Its "
            "p-values and intervals allow for the declared looks, not for that one: they are too lenient."
        )
    return (
        f"This study was reported on with {seen} seeds before it was given more: because results were seen in between, "
        "its p-values and intervals no longer hold as stated (5 % becomes up to 15 %). A study that is to add seeds "
        "until it is decided is started with --until-decided, which allows for every look."
    )


def _folds(collected: Collected, names: Names, images: int, groups: int) -> str:
    """Says how folds are tested, and which of them aren't yet."""
    folds = collected.study.folds
    whole = f" of whole {names.groups}" if groups < images else ""
    taken = "is taken to be" if from_elsewhere(collected) else "is"
    text = (
        f"{len(folds)} folds{whole}: each of the {images} {names.images} {taken} tested by networks that didn't train "
        "on it."
    )
    there = set(collected.images["fold"].unique())
    absent = [fold for fold in folds if fold not in there]
    return text + (f" No run of fold {listed(absent)} is finished." if absent else "")


def untold_values(collected: Collected) -> str:
    """Says of which values networks that are given metadata aren't told; empty where there are none."""
    study = collected.study
    if not set(collected.images["metadata_mode"]) & {"true", "shuffled"}:
        return ""
    can_be_told = (collected.images["evaluation"] == UNKNOWN).any()
    given = "zeros for these, or told that they are unknown, if they can be" if can_be_told else "zeros for these"
    return " ".join(
        f"In {len(each)} of {len(study.folds)} folds, test images have values of {column} that training lacks: "
        f"networks are given {given}."
        for column, each in study.untold.items()
    )


GIVEN = {
    "true": "true: each image's own",
    "zeros": "zeros: zeros in their place, a control",
    "shuffled": "shuffled: those of other images, a control",
    "absent": "absent: none",
    "heads": "heads: they select one of several outputs",
}
"""Metadata that a network is given, by mode."""


def _glossary(modes: set[str], folds: bool) -> str:
    given = "; ".join(text for mode, text in GIVEN.items() if mode in modes)
    return (
        f"An arm is one kind of network, trained once per seed{' and fold' if folds else ''}; another seed is another "
        f"random start. Its block re-weights the network's feature channels. Metadata that it is given: {given}."
    )


def missing_runs(collected: Collected) -> str:
    """A warning that names the runs that aren't finished; empty where all are."""
    missing = collected.missing
    if not missing:
        return ""
    return (
        f"INCOMPLETE: {len(missing)} of {len(collected.study.runs)} runs are missing: "
        f"{', '.join(map(str, missing))}. "
        "All numbers are without them; start the study again to compute them."
    )


def _declared(collected: Collected, names: Names) -> str:
    """Says what was declared about scores from elsewhere, and which defaults stand in for the rest."""
    study, images = collected.study, collected.images
    pairs = listed(
        [
            f"{each.arm} {'equals' if each.claim == 'equal' else 'against'} {each.reference}"
            for each in study.comparisons
        ]
    )
    classes = images["class"].unique()
    parts = {
        "margin": (f"a margin of {study.margin:g}", f"a margin of equivalence ({study.margin:g} is assumed)"),
        "comparisons": (
            f"the comparisons: {pairs}", f"comparisons (each arm is compared with {study.baseline}, expected to "
            f"differ)",
        ),
    }  # fmt: skip
    if images["subgroup"].nunique() > 1:
        of = f"the mean of {'all ' + names.images if study.average == 'images' else 'each ' + names.subgroup}"
        parts["average"] = (f"{OVERALL} as {of}", f"an average ({of} is assumed)")
    if len(classes) > 1:
        leading = leading_class(classes if study.endpoint else [*classes, MACRO], study.endpoint)
        parts["endpoint"] = (f"class {leading} as the endpoint", f"an endpoint (class {leading} is concluded on)")
    said = [declared for part, (declared, _) in parts.items() if part not in names.undeclared]
    open_ = [default for part, (_, default) in parts.items() if part in names.undeclared]
    text = [f"Declared with the report: {'; '.join(said)}."] if said else []
    text += [f"Not declared: {'; '.join(open_)}."] if open_ else []
    return " ".join(
        [*text, "The report can't tell whether this was done before or after looking at the scores."] if said else text
    )


def _network(rows: pd.DataFrame, network: str | None) -> str:
    first, parts = rows.iloc[0], [part for part in rows["part"] if part]
    each = f", one network each for {', '.join(parts)}" if parts else ""
    about = f"block {first['block']}, metadata {first['metadata_mode']}, {first['parameters']:,.0f} parameters{each}"
    return about if network is None else f"network {network}; {about}"
