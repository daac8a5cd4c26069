"""A small sweep's settings, and trials that are told a score or trained in this process."""

import numpy as np
import torch

from metaseg.config import EngineConfig, NetworkConfig, ScheduleConfig
from metaseg.sweeps.dimensions import Choice, Float
from metaseg.sweeps.outcome import tell
from metaseg.sweeps.space import Space
from metaseg.sweeps.sweep import FACTS
from metaseg.sweeps.trial import execute_trial

CPU = torch.device("cpu")
SPACE = Space((Float("lr_max", 1e-3, 1e-1, log=True), Choice("batch_size", (2, 4))))
NETWORK = NetworkConfig(width=2, depth=1, reduction=1)
SCHEDULE = ScheduleConfig(epochs=4, cycles=1, lr_max=1e-2, batch_size=4, crop=16, validate_every=2)


def facts(score, state="complete", **more):
    """Facts of a trial of 4 epochs, as `metaseg.sweeps.trial.Facts` in JSON."""
    told = {"state": state, "run_id": "0" * 16, "values": {"val_f1": score}, "reused": False, "epochs": 4}
    return {**told, "epochs_planned": 4, "image_epochs": 48, "seconds": 1.0, "curve": [[4, score]], "error": "", **more}


def ask_and_tell(sweep, study, score, **more):
    """Let a trial be proposed and end with a score, or with a function of its settings; returns the settings."""
    trial = study.ask()
    params = sweep.space.suggest(trial)
    told = facts(score(params) if callable(score) else score, **more)
    trial.set_user_attr(FACTS, told)
    tell(study, study.get_trials(deepcopy=False)[trial.number], told, sweep)
    return params


def closed_form(params):
    """A score that is best at a learning rate of 0.01."""
    return 1 - (np.log10(params["lr_max"]) + 2) ** 2


def run_trial(sweep, store, params, judge=lambda epoch, score: False, number=0, measured=()):
    """Train a trial in this process."""
    origin = (sweep.name, number)
    config = sweep.config(params)
    return execute_trial(config, sweep.dataset, store, CPU, measured, origin, judge, EngineConfig())
