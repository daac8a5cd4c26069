"""The regression check: our ratios to the bare loop, against those that are committed."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.machine import RESULTS
from benchmarks.training.bare import BareForward, BareLoop
from benchmarks.training.contender import Contender
from benchmarks.training.ours import OurEvaluation, chosen_arithmetic
from benchmarks.training.rounds import interleaved, rates, ratios
from benchmarks.training.trainers import OURS, TRAINERS, evaluation_limit, limits_of
from benchmarks.training.work import Work

COMMITTED = RESULTS / "training_check.json"
TOLERANCES = {"training": 0.2, "arithmetic": 0.12, "evaluation": 0.2}
"""Share of its committed value that a ratio may lose: machines differ, and share their cores with others. Bare loops
differ in nothing but their arithmetic."""

TRIES = 3
"""A ratio that is too low is measured again: noise passes, a slow-down stays."""


class SlowerError(RuntimeError):
    """Ratios are well below their committed values; the message has them."""


def measure(work: Work, small: Work, rounds: int) -> dict[str, float]:
    """Medians of our shares of bare loops' speed.

    `training` and `evaluation` are ours, beside the loop and the forward pass of the arithmetic that ours has.
    `arithmetic` is the loop with the arithmetic that ours chooses, beside the fastest of all that the device has: for
    the small network and batch of the default study.
    """
    limit = chosen_arithmetic(work)
    contenders: dict[str, Contender] = {
        "training": TRAINERS[OURS](work, 0, 100), "loop": BareLoop(work, limit),
        "evaluation": OurEvaluation(work), "forward": BareForward(work, evaluation_limit(work.device)),
    }  # fmt: skip
    try:
        laps = interleaved(contenders, rounds)
    finally:
        for contender in contenders.values():
            contender.close()
    loops = {str(each): BareLoop(small, each) for each in limits_of(OURS, small.device)}
    others = interleaved(loops, rounds)
    fastest = max(loops, key=lambda name: median(rates(others[name])))
    return {
        "training": median(ratios(laps["training"], laps["loop"])),
        "arithmetic": median(ratios(others[str(chosen_arithmetic(small))], others[fastest])),
        "evaluation": median(ratios(laps["evaluation"], laps["forward"])),
    }


def record(measured: dict[str, float], path: Path = COMMITTED) -> None:
    """Write what is to be committed."""
    rounded = {name: round(ratio, 3) for name, ratio in measured.items()}
    path.write_text(json.dumps({"ratios": rounded, "tolerances": TOLERANCES}, indent=2) + "\n")


def check(measure_again: Callable[[], dict[str, float]], path: Path = COMMITTED) -> dict[str, float]:
    """The best of up to `TRIES` measurements of each ratio; ends with the first in which all are fine.

    Args:
        measure_again: measures all ratios.
        path: of what is committed.

    Raises:
        SlowerError: a ratio stays below its committed value less the tolerance.
    """
    committed = json.loads(path.read_text())
    tolerances = committed["tolerances"]
    least = {name: (1 - tolerances[name]) * ratio for name, ratio in committed["ratios"].items()}
    best = dict.fromkeys(least, 0.0)
    for _ in range(TRIES):
        measured = measure_again()
        best = {name: max(best[name], measured[name]) for name in least}
        if all(best[name] >= least[name] for name in least):
            return best
    slow = [
        f"{name} runs at {best[name]:.3f} of the bare loop's speed; expected at least {least[name]:.3f} (committed: "
        f"{committed['ratios'][name]:.3f}, tolerance {tolerances[name]:.0%})"
        for name in least
        if best[name] < least[name]
    ]
    raise SlowerError(f"slower than {path.name} says, in each of {TRIES} measurements: {'; '.join(slow)}")
