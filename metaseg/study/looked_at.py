"""Looks at a study's results before it had all its seeds, which p-values of a plain study know nothing of."""

from collections.abc import Collection

from metaseg.schema import study_file
from metaseg.store.runs import Store, from_json


def looked_at(store: Store, study: str, runs: Collection[str]) -> list[int]:
    """Numbers of seeds at which a plain study was reported on before some of its present runs were asked for.

    Args:
        store: which may have a record of the study, of an earlier command.
        study: its name.
        runs: ids of the runs that are asked for now. Where they lack one of the record's, the study is another one.

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
    grows = len(shared) == len(seeds) < len(set(runs))
    numbers = [seed for seed in seeds.values() if type(seed) is int]
    if grows and numbers and store.storage.exists(f"reports/{study}/report.html") and seeds.keys() <= store.done():
        found.add(max(numbers) + 1)
    return sorted(found)
