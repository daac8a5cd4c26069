"""Looks at a study's results before it had all its seeds, which p-values of a plain study know nothing of."""

from collections.abc import Mapping
from typing import Any

from metaseg.schema import study_file
from metaseg.store.runs import Store, from_json


def looked_at(store: Store, study: str, runs: Mapping[str, str], sequential: bool = False) -> list[int]:
    """Numbers of seeds at which results were reported on before some of the present runs were asked for.

    For a study with a rule of its own looks: before that was declared, by another study of the store.

    Args:
        store: which may have a record of the study, of an earlier command.
        study: its name.
        runs: arm of each run that is asked for now, by its id. Where they lack one of the record's, the study is
            another one.
        sequential: whether it has a rule.

    Returns:
        Ascending; empty where none of the runs has been reported on, or all that was is asked for again.
    """
    before = _record(store, study)
    if not _seeds(before).keys() & runs.keys():  # it is new: others may have reported on its runs
        names = [file.removesuffix(".json") for file in store.storage.names("studies") if file.endswith(".json")]
        others = (_reported(store, name, _record(store, name), runs, sequential) for name in names if name != study)
        return sorted({seeds for seeds in others if seeds})
    earlier = before.get("looked_at", [])
    found = {each for each in earlier if type(each) is int} if isinstance(earlier, list) else set()
    if not sequential and _seeds(before).keys() <= runs.keys() & store.done():
        found.add(_reported(store, study, before, runs, sequential))
    return sorted(found - {0})


def _reported(store: Store, study: str, record: Mapping[str, Any], runs: Mapping[str, str], sequential: bool) -> int:
    """Seeds of a study whose report tells of the runs that are asked for; 0 where it tells nothing that matters."""
    seeds = _seeds(record)
    shared = seeds.keys() & runs.keys()
    if not shared or not store.storage.exists(f"reports/{study}/report.html"):
        return 0
    done = store.done()
    arms = {runs[run] for run in shared & done}
    # An arm that is added has not been seen; seeds of one that was reported on are added because of what was.
    matters = bool(arms) if sequential else any(arm in arms for run, arm in runs.items() if run not in seeds)
    return max(seeds[run] for run in seeds.keys() & done) + 1 if matters else 0


def _record(store: Store, study: str) -> dict[str, Any]:
    return from_json(store.storage.read_foreign(study_file(study))) or {}


def _seeds(record: Mapping[str, Any]) -> dict[str, int]:
    """Seed of each run of a study's record, by its id."""
    listed = record.get("runs")
    runs = [run for run in listed if isinstance(run, dict)] if isinstance(listed, list) else []
    return {str(run.get("run_id")): run["seed"] for run in runs if type(run.get("seed")) is int}
