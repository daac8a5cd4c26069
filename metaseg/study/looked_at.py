"""Looks at a study's results before it had all its seeds, which p-values of a plain study know nothing of."""

from collections.abc import Mapping

from metaseg.schema import study_file
from metaseg.store.runs import Store, from_json


def looked_at(store: Store, study: str, runs: Mapping[str, str]) -> list[int]:
    """Numbers of seeds at which a plain study was reported on before some of its present runs were asked for.

    Args:
        store: which may have a record of the study, of an earlier command.
        study: its name.
        runs: arm of each run that is asked for now, by its id. Where they lack one of the record's, the study is
            another one.

    Returns:
        Ascending; empty where the study is new, or hasn't been reported on.
    """
    before = from_json(store.storage.read_or_none(study_file(study))) or {}
    listed = before.get("runs")
    known = [run for run in listed if isinstance(run, dict)] if isinstance(listed, list) else []
    seeds = {str(run.get("run_id")): run.get("seed") for run in known}
    earlier = before.get("looked_at", [])
    found = {each for each in earlier if type(each) is int} if isinstance(earlier, list) else set()
    if not seeds or not (shared := seeds.keys() & set(runs)):
        return []
    reported = {str(run.get("arm")) for run in known}
    # An arm that is added has not been seen; seeds of one that was reported on are added because of what was.
    grows = len(shared) == len(seeds) and any(arm in reported for run, arm in runs.items() if run not in seeds)
    numbers = [seed for seed in seeds.values() if type(seed) is int]
    if grows and numbers and store.storage.exists(f"reports/{study}/report.html") and seeds.keys() <= store.done():
        found.add(max(numbers) + 1)
    return sorted(found)
