"""The runs that a command is to use: given one by one, or an arm of a study."""

from collections.abc import Callable, Sequence

from metaseg.config import ConfigError
from metaseg.schema import study_file
from metaseg.store.runs import FinishedRun, Store
from metaseg.store.studies import read_study
from metaseg.study.predict import find_run


def select_runs(
    runs: Sequence[str],
    store: str | None = None,
    study: str | None = None,
    arm: str | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> list[FinishedRun]:
    """Open the runs that are named, or an arm's finished ones over all seeds and folds.

    Args:
        runs: folders STORE/runs/RUN_ID, or URLs of them.
        store: folder or URL of the study's store.
        study: its name.
        arm: name of one of its arms.
        warn: is told of runs that aren't finished.

    Raises:
        ConfigError: not one of both is named, a name is unknown, or none of the arm's runs is finished.
        DamagedRunError: as `FinishedRun.open`.
    """
    named = {"--store": store, "--study": study, "--arm": arm}
    if bool(runs) == any(named.values()) or not (runs or all(named.values())):
        raise ConfigError("which networks is unclear; expected --run RUN, or --store STORE --study STUDY --arm ARM")
    if runs:
        return [find_run(run) for run in runs]
    opened = Store.at(str(store))
    record = read_study(opened, str(study))
    try:
        arms: list[str] = list(dict.fromkeys(run["arm"] for run in record["runs"]))
        wanted: list[str] = [run["run_id"] for run in record["runs"] if run["arm"] == arm]
    except (KeyError, TypeError) as error:
        path = opened.storage.locate(study_file(str(study)))
        raise ConfigError(f"{path}: not a study's record; the study's command writes it anew") from error
    if not wanted:
        raise ConfigError(f"study {study!r} has no arm {arm!r}; it has {', '.join(map(str, arms))}")
    wanted = list(dict.fromkeys(wanted))
    finished = [run_id for run_id in wanted if opened.is_done(run_id)]
    if not finished:
        raise ConfigError(f"none of the {len(wanted)} runs of arm {arm!r} is finished; the study's command trains them")
    if len(finished) < len(wanted):
        left = len(wanted) - len(finished)
        warn(f"{left} of the {len(wanted)} runs of arm {arm!r} aren't finished: the others are used")
    return [opened.open_run(run_id) for run_id in finished]
