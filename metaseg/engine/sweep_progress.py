"""A sweep's progress in the terminal: a line for each trial that ends, and a live table of the running ones."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune import Callback
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from metaseg.engine.progress import HEARTBEAT_SECONDS, clock
from metaseg.store.claims import Claimant
from metaseg.sweeps.continuation import pruner_settings
from metaseg.sweeps.outcome import best_trial, keeps_to
from metaseg.sweeps.sweep import FACTS, Sweep, readable

LOOK_SECONDS = 1.0
"""Time between looks at the reports of running trials."""


class SweepProgress(Callback):
    """Shows trials as they start, train and end, here and in `metaseg status`. Use as a context manager.

    Ray Tune calls it in its loop.
    """

    def __init__(self, sweep: Sweep, study: optuna.Study, claims: Claimant, console: Console) -> None:
        self._sweep, self._study, self._claims, self._console = sweep, study, claims, console
        self._steps = pruner_settings(sweep).last_epoch
        self._params: dict[int, str] = {}
        self._since: dict[int, float] = {}
        self._states: dict[int, str] = {}
        self._counts = {"complete": 0, "pruned": 0, "failed": 0}
        self._best: tuple[float, int] | None = None
        if best := best_trial(sweep, study):
            self._best = (best.user_attrs[FACTS]["values"]["val_f1"], best.number)
        self._began = self._looked = self._heartbeat = time.monotonic()
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=2, transient=True)

    def __getstate__(self) -> dict[str, Any]:
        """Return no state: Tune writes itself and its parts to a file, which nobody reads here."""
        return {}

    def __enter__(self) -> "SweepProgress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def started(self, number: int, params: Mapping[str, Any]) -> None:
        """Show that a trial has been proposed, or is resumed."""
        self._params[number] = ", ".join(f"{name} {readable(value)}" for name, value in params.items())
        self._since[number] = time.monotonic()
        self._states[number] = "starting"

    def ended(self, number: int, facts: Mapping[str, Any]) -> None:
        """Show that a trial has ended as its facts say."""
        self._since.pop(number)
        self._states.pop(number)
        self._counts[facts["state"]] += 1
        score = facts["values"].get("val_f1")
        fits = facts["state"] == "complete" and keeps_to(self._sweep.constraints, facts["values"])
        if fits and (self._best is None or score > self._best[0]):
            self._best = (score, number)
        word, style = {
            "complete": ("done  ", "green"), "pruned": ("pruned", "yellow"), "failed": ("FAILED", "bold red")
        }[facts["state"]]  # fmt: skip
        what = facts["error"] or f"val F1 {score:.4f}, {facts['epochs']} of {facts['epochs_planned']} epochs"
        kept = " (the store had it)" if facts.get("reused") else ""
        star = " *best*" if self._best and self._best[1] == number else ""
        line = f" {self._sweep.arm.name} trial {number:>3}  {what}{kept}{star}  {self._params[number]}"
        self._console.print(Text.assemble((word, style), line), soft_wrap=True, highlight=False)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print a note about a trial that is retried after a fault that isn't its own."""
        reason = (trial.last_result or {}).get("fault", "its process died")
        line = f" {self._sweep.arm.name} trial {trial.config['job'].number:>3} again: {reason}"
        self._console.print(Text.assemble(("note  ", "yellow"), line), soft_wrap=True, highlight=False)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look now and then at the reports of running trials."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number in self._states and trial.intermediate_values:
                step = max(trial.intermediate_values)
                self._states[trial.number] = f"{step / self._steps:.0%}, val F1 {trial.intermediate_values[step]:.3f}"
        self._claims.status = {
            "sweep": self._sweep.name,
            "summary": self._summary(),
            "running": [{"label": f"trial {number}", "state": state} for number, state in self._states.items()],
        }
        if not self._console.is_terminal and time.monotonic() - self._heartbeat > HEARTBEAT_SECONDS:
            self._heartbeat = time.monotonic()
            running = " | ".join(f"trial {number}: {state}" for number, state in self._states.items())
            self._console.print(f"  {self._summary()} | {running}", soft_wrap=True, highlight=False)

    def _summary(self) -> str:
        ended = ", ".join(f"{count} {state}" for state, count in self._counts.items() if count) or "none ended"
        best = f", best val F1 {self._best[0]:.4f} (trial {self._best[1]})" if self._best else ""
        return f"{self._sweep.name}: {ended}{best}, {clock(time.monotonic() - self._began)}"

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, show_header=False)
        for number, state in list(self._states.items()):
            table.add_row(f"trial {number}", clock(time.monotonic() - self._since[number]), state, self._params[number])
        return Group(table, Text(self._summary(), "bold"))
