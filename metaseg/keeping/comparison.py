"""Two studies side by side: what they differ in, what their arms scored, what their reports concluded.

A description, not a test: arms of two studies are tested against each other in one study that has both.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.report.last_report import LastReport
from analysis.results.dataset import read_results
from analysis.results.declaration import Study, read_study
from analysis.results.merge import gather
from analysis.scores.image_scores import image_scores, summarise
from metaseg.schema import DONE, OVERALL, run_folder, study_file
from metaseg.store.memory import MemoryStorage
from metaseg.store.runs import FinishedRun, Store, from_json

DESCRIBED = ("dataset", "about", "baseline", "average", "empty", "endpoint", "margin", "seeds", "sequential")
"""Parts of a study's declaration besides arms, runs and comparisons."""

ABSENT = "-"


@dataclass(frozen=True)
class Facts:
    """A study, as its store has it."""

    study: Study
    where: str
    done: int
    """Number of its runs that are finished."""
    fingerprints: tuple[str, ...]
    """Fingerprints of the datasets of its finished runs; one, where nothing is wrong."""
    settings: Mapping[str, str]
    """Settings that it was declared, started and run with, by name."""
    scores: pd.DataFrame
    """Mean score of each arm: columns class, arm, n_runs, n_seeds, mean, sd; without rows if no run is finished."""
    verdicts: pd.DataFrame
    """Tests of its last report: columns class, arm, reference, difference, ci_low, ci_high, verdict; empty without one,
    or if it is out of date."""
    outdated: bool = False
    """True if the last report is of other runs than those that are finished now."""


def facts_of(store: Store, name: str) -> Facts:
    """Read a study; nothing is written.

    Raises:
        ResultsError: the store has no such study, or its runs or its report can't be read.
        DamagedRunError: a finished run's settings can't be read.
    """
    study = read_study(store.storage, name)
    record = from_json(store.storage.read(study_file(name))) or {}
    done = store.storage.subfolders_with("runs", DONE)
    finished = [run for run in study.runs if run.run_id in done]
    configs = [FinishedRun.open(store.storage, run_folder(run.run_id)).description() for run in finished]
    fingerprints = tuple(dict.fromkeys(str(_under(config, "dataset", "fingerprint")) for config in configs))
    settings = _declared(study) | _options(record.get("config")) | _ran(configs)
    scores = _scores(store, study) if finished else pd.DataFrame(columns=["class", "arm"])
    last, ids = LastReport.read(store.storage, name), frozenset(run.run_id for run in finished)
    outdated = last.tests is not None and last.runs != ids
    verdicts = _verdicts(None if outdated else last.tests)
    return Facts(study, store.where, len(finished), fingerprints, settings, scores, verdicts, outdated)


def _declared(study: Study) -> dict[str, str]:
    described = {name: str(value) for name in DESCRIBED if (value := getattr(study, name)) not in (None, "")}
    compared = [
        f"{each.arm} {'=' if each.claim == 'equal' else 'against'} {each.reference}" for each in study.comparisons
    ]
    return described | {
        "arms": ", ".join(study.arms),
        "comparisons": ", ".join(compared),
        "folds": ", ".join(study.folds) or "one split",
        "seeds of an arm": str(len({run.seed for run in study.runs})),
        "runs": str(len(study.runs)),
        **{f"network of {arm}": network for arm, network in study.networks.items()},
    }


def _options(kept: object) -> dict[str, str]:
    """Options that the study was started with, from the TOML in its record."""
    try:
        options = tomllib.loads(kept) if isinstance(kept, str) else {}
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}
    found: dict[str, str] = {}
    for name, value in options.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        found |= {f"--{name}{'.' if key else ''}{key}": _word(each) for key, each in inner}
    return found


def _word(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _ran(configs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Versions and machines of finished runs; several where runs differ."""
    found: dict[str, dict[str, None]] = {}
    for config in configs:
        versions = config.get("versions")
        values = {f"{name} version": value for name, value in (versions if isinstance(versions, dict) else {}).items()}
        values |= {
            "training version": config.get("training_version"), "device": _under(config, "hardware", "device"),
            "commit": str(config.get("git_commit") or "unknown")[:12],
        }  # fmt: skip
        for name, value in values.items():
            if value is not None:
                found.setdefault(name, {})[str(value)] = None
    return {name: ", ".join(values) for name, values in found.items()}


def _under(config: Mapping[str, Any], key: str, inner: str) -> Any:
    value = config.get(key)
    return value.get(inner) if isinstance(value, dict) else None


def _scores(store: Store, study: Study) -> pd.DataFrame:
    """Mean F1 of each arm, as the study's report has it."""
    memory = MemoryStorage()
    gather(memory, [store.storage], study.name)
    results = read_results(memory, study.name)
    scores = image_scores(results.images, study.arms, "f1", study.empty, study.folds)
    cells = summarise(scores, study.average)
    return cells[cells["subgroup"] == OVERALL][["class", "arm", "n_runs", "n_seeds", "mean", "sd"]]


def _verdicts(tests: pd.DataFrame | None) -> pd.DataFrame:
    """The declared comparisons of a report on all images; empty without one."""
    columns = ["class", "arm", "reference", "difference", "ci_low", "ci_high", "verdict"]
    if tests is None:
        return pd.DataFrame(columns=columns)
    return tests[tests["subgroup"] == OVERALL][columns].reset_index(drop=True)


def differences(one: Facts, other: Facts) -> list[tuple[str, str, str]]:
    """Settings in which two studies differ: name, value in the first and in the second."""
    pairs = {"fingerprint": (_short(one.fingerprints), _short(other.fingerprints))}
    for name in dict.fromkeys([*one.settings, *other.settings]):
        pairs[name] = (one.settings.get(name, ABSENT), other.settings.get(name, ABSENT))
    return [(name, *values) for name, values in pairs.items() if values[0] != values[1]]


def agreements(one: Facts, other: Facts) -> int:
    """Number of settings that both studies have alike."""
    return sum(other.settings.get(name) == value for name, value in one.settings.items())


def _short(fingerprints: Sequence[str]) -> str:
    return ", ".join(each[:8] for each in fingerprints) or ABSENT


def caution(one: Facts, other: Facts) -> str:
    """Limits of the two columns of scores."""
    shared = {run.run_id for run in one.study.runs} & {run.run_id for run in other.study.runs}
    runs = f" They share {len(shared)} runs." if shared else ""
    if not one.fingerprints or not other.fingerprints:
        return "A study without finished runs has no scores: there is nothing to compare yet."
    if set(one.fingerprints) != set(other.fingerprints):
        return (
            "This is a description, not a test. THE DATASETS DIFFER: scores are of other images, masks, splits or "
            "metadata, so that a higher one may only mean easier images."
        )
    return (
        f"This is a description, not a test: both studies are of one dataset.{runs} To test arms of one against those "
        "of the other, ask for them in one study: runs that are finished aren't trained again."
    )


def score_rows(one: Facts, other: Facts) -> list[tuple[str, str, str, str]]:
    """Each arm's scores side by side: its name (and class, if there are several), both scores and their difference."""
    keyed = [{(row["class"], row["arm"]): row for _, row in each.scores.iterrows()} for each in (one, other)]
    several = len({name for each in keyed for name, _ in each}) > 1
    rows = []
    for name, arm in dict.fromkeys(key for each in keyed for key in each):
        cells = [each.get((name, arm)) for each in keyed]
        gain = f"{cells[1]['mean'] - cells[0]['mean']:+.4f}" if cells[0] is not None and cells[1] is not None else ""
        label = f"{arm} ({name})" if several else str(arm)
        first, second = (ABSENT if cell is None else _score(cell) for cell in cells)
        rows.append((label, first, second, gain or ABSENT))
    return rows


def _score(cell: "pd.Series[Any]") -> str:
    sd = f" ± {cell['sd']:.4f}" if pd.notna(cell["sd"]) else ""
    return f"{cell['mean']:.4f}{sd} ({cell['n_seeds']:.0f} seeds, {cell['n_runs']:.0f} runs)"


def verdict_rows(one: Facts, other: Facts) -> list[tuple[str, str, str]]:
    """Verdicts of both reports side by side; empty where neither study has a report."""
    keyed = [
        {(str(row["class"]), f"{row['arm']} against {row['reference']}"): row for _, row in each.verdicts.iterrows()}
        for each in (one, other)
    ]
    several = len({name for each in keyed for name, _ in each}) > 1
    rows = []
    for name, pair in dict.fromkeys(key for each in keyed for key in each):
        cells = (each.get((name, pair)) for each in keyed)
        label = f"{pair} ({name})" if several else pair
        first, second = (ABSENT if cell is None else _verdict(cell) for cell in cells)
        rows.append((label, first, second))
    return rows


def _verdict(cell: "pd.Series[Any]") -> str:
    if pd.isna(cell["difference"]):
        return str(cell["verdict"])
    interval = "" if pd.isna(cell["ci_low"]) else f" [{cell['ci_low']:+.4f}, {cell['ci_high']:+.4f}]"
    return f"{cell['verdict']}: {cell['difference']:+.4f}{interval}"
