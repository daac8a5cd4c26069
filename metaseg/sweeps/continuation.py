"""Opening a sweep's study: for the first time, again, or again with more trials or a wider space.

Optuna requires that a parameter's distribution stays the same. A wider space is therefore a new study in the same
journal, `NAME@2`, which takes over all trials with their numbers, restated in the new space.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from metaseg.config import ConfigError
from metaseg.schema import SWEEP, sweep_file
from metaseg.store.runs import Store, from_json, to_json
from metaseg.sweeps.journal import mend_journal, open_journal
from metaseg.sweeps.pruners import PrunerSettings, build_pruner
from metaseg.sweeps.samplers import SamplerSettings, build_sampler
from metaseg.sweeps.sweep import Sweep

SAME = (
    "fingerprint", "fold", "arm_settings", "objectives", "constraints", "tuning_seed", "loss", "early_stopping",
    "architecture",
)  # fmt: skip
"""Entries of a sweep's record that all its trials share; sampler, pruner and their seed may change."""

KINDS = {
    "name": str, "fingerprint": str, "arm_settings": dict, "objectives": list, "constraints": list, "tuning_seed": int,
    "generation": int, "space": dict, "conditions": dict, "network": dict, "schedule": dict,
}  # fmt: skip
"""Entries of a sweep's record that are needed to continue it, and their types."""


def load_record(store: Store, name: str) -> dict[str, Any] | None:
    """Read the store's record of the sweep `name`, None if there is none; raises `ConfigError` if it isn't a record."""
    content = store.storage.read_or_none(sweep_file(name, SWEEP))
    if content is None:
        return None
    record = from_json(content)
    wrong = [part for part, kind in KINDS.items() if type((record or {}).get(part, kind())) is not kind]
    if record is None or wrong or not {"name", "generation", "space"} <= record.keys():
        raise ConfigError(_no_record(store, name))
    return record


def _no_record(store: Store, name: str) -> str:
    path = store.storage.locate(sweep_file(name, SWEEP))
    return f"{path}: not a sweep's record; restore it, or give the sweep another --name"


def study_name(record: Mapping[str, Any]) -> str:
    """Name of a sweep's current study in Optuna."""
    return f"{record['name']}@{record['generation']}"


def check_sweep(sweep: Sweep, store: Store) -> None:
    """Check that the sweep is possible, before anything is done for it.

    Raises:
        ConfigError: the sampler or pruner is unknown or can't search this space; the grid has fewer settings than there
            are to be trials; the store has an unreadable record of this name, or a different sweep: other images,
            another arm, other objectives or other settings outside the space.
    """
    search, settings = sweep.search, sampler_settings(sweep)
    build_sampler(settings)
    pruner_settings(sweep)
    if search.sampler == "grid" and search.trials > (size := len(settings.space.grid(settings.grid_points))):
        raise ConfigError(f"trials is {search.trials}; expected at most {size}, the settings of the grid")
    old = load_record(store, sweep.name)
    if old is not None:
        if not KINDS.keys() <= old.keys():
            raise ConfigError(_no_record(store, sweep.name))
        _require_same(sweep, old, json.loads(to_json(sweep.record([]))))


def open_sweep(sweep: Sweep, store: Store, command: Sequence[str]) -> optuna.Study:
    """Open the sweep's study, with all trials so far; only the holder of the sweep's claim may call this.

    Raises:
        ConfigError: as `check_sweep`; or the store's sweep of this name had a space that isn't part of this one.
    """
    check_sweep(sweep, store)
    mend_journal(store.storage, sweep.name)
    storage = open_journal(store.storage, sweep.name)
    record, old = json.loads(to_json(sweep.record(command))), load_record(store, sweep.name)
    generation = 1 if old is None else old["generation"]
    trials: list[FrozenTrial] = []
    if old is not None and any(old[part] != record[part] for part in ("space", "conditions", "network", "schedule")):
        trials = [_restate(trial, sweep, old) for trial in _trials(storage, study_name(old))]
        generation += 1
    record["generation"] = generation
    name = study_name(record)
    known = {summary.study_name for summary in optuna.get_all_study_summaries(storage)}
    if name in known and (old is None or old["generation"] != generation):
        optuna.delete_study(study_name=name, storage=storage)  # half restated by a process that was killed
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=sweep.directions,
        sampler=build_sampler(sampler_settings(sweep)),
        pruner=build_pruner(pruner_settings(sweep)),
        load_if_exists=True,
    )
    for trial in trials:
        study.add_trial(trial)
    store.storage.write(sweep_file(sweep.name, SWEEP), to_json(record))
    return study


def _trials(storage: BaseStorage, name: str) -> list[FrozenTrial]:
    return storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)


def _require_same(sweep: Sweep, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise a `ConfigError` if the stored sweep is a different one."""
    for part in SAME:
        if old.get(part) != new.get(part):
            raise ConfigError(
                f"the store has a sweep {sweep.name!r} whose {part.replace('_', ' ')} is {old.get(part)!r}; this one's "
                f"is {new.get(part)!r}: give it another --name"
            )
    searched = sweep.space.distributions().keys() | old["space"].keys()
    for group in ("network", "schedule"):
        for setting, value in old[group].items():
            if setting not in searched and (own := new[group].get(setting)) != value:
                raise ConfigError(
                    f"the store has a sweep {sweep.name!r} with {setting} {value!r}; this one has {own!r}: give it "
                    "another --name"
                )


def _restate(trial: FrozenTrial, sweep: Sweep, old: Mapping[str, Any]) -> FrozenTrial:
    """Restate an old trial in the new space: parameters that weren't searched get the value that all trials had."""
    fixed = {**old["network"], **old["schedule"]}
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for dimension in sweep.space.dimensions:
        if not dimension.exists(params):
            continue
        stored = trial.params.get(dimension.name, dimension.stored(fixed[dimension.name]))
        distribution = dimension.distribution
        if not _holds(distribution, stored):
            raise ConfigError(
                f"trial {trial.number} of sweep {sweep.name!r} has {dimension.name} {stored!r}, which isn't in the "
                f"space any more ({distribution}); expected a wider space, or another --name"
            )
        params[dimension.name], distributions[dimension.name] = stored, distribution
    dropped = trial.params.keys() - params.keys()
    if dropped:
        raise ConfigError(
            f"trial {trial.number} of sweep {sweep.name!r} has {', '.join(sorted(dropped))}, which the space doesn't "
            "have any more; expected a wider space, or another --name"
        )
    epochs = distributions.get("epochs")
    same = old["space"].get("epochs") == (epochs and distribution_to_json(epochs))
    finished = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    restated = create_trial(
        state=trial.state,
        values=trial.values if finished else None,
        params=params,
        distributions=distributions,
        user_attrs=trial.user_attrs,
        # Pruners compare scores at fractions of the longest trial. If that has changed, old scores are left out, and
        # new trials are only compared with each other.
        system_attrs={name: value for name, value in trial.system_attrs.items() if same or "rung" not in name},
        intermediate_values=trial.intermediate_values if same or trial.state is TrialState.PRUNED else {},
    )
    restated.datetime_start, restated.datetime_complete = trial.datetime_start, trial.datetime_complete
    return restated


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:  # a choice that doesn't exist any more
        return False


def sampler_settings(sweep: Sweep) -> SamplerSettings:
    """Settings of the sweep's sampler."""
    search = sweep.search
    return SamplerSettings(
        sweep.space, search.sampler, search.search_seed, search.startup, objectives=len(search.objectives)
    )


def pruner_settings(sweep: Sweep) -> PrunerSettings:
    """Settings of the sweep's pruner; the longest trials are those with the highest `epochs` in the space."""
    search, schedule = sweep.search, sweep.schedule
    epochs = next((dimension.ends for dimension in sweep.space.dimensions if dimension.name == "epochs"), ())
    return PrunerSettings(
        last_epoch=max((int(str(end)) for end in epochs), default=schedule.epochs),
        name=search.pruner,
        validate_every=schedule.validate_every,
        objectives=len(search.objectives),
    )
