"""Images a second of training and of evaluation, as ratios to their limits."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from benchmarks.training.bare import ALL, BareForward, BareLoop
from benchmarks.training.contender import Contender, Lap
from benchmarks.training.ours import OurEvaluation, chosen_arithmetic
from benchmarks.training.rounds import Spread, interleaved, rates, ratios
from benchmarks.training.trainers import OURS, TRAINERS, evaluation_limit, limits_of, make_trainers, usual_limit
from benchmarks.training.work import Work
from metaseg.networks.blocks import BLOCKS

WITHIN = "ours, within training"
LONG = 100
"""Epochs that schedules are for: how long a run of the paper is. No benchmark trains so long."""


def _row(name: str, laps: list[Lap], limit: list[Lap], fastest: list[Lap]) -> dict[str, Any]:
    return {
        "name": name,
        "images_per_second": vars(Spread.of(rates(laps))),
        "ratio": vars(Spread.of(ratios(laps, limit))),
        "ratio_to_fastest": vars(Spread.of(ratios(laps, fastest))),
    }


def _fastest(laps: Mapping[str, list[Lap]]) -> list[Lap]:
    return max(laps.values(), key=lambda each: Spread.of(rates(each)).median)


def training(
    work: Work, names: list[str], rounds: int, compiled: bool, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """A row a bare loop and a trainer.

    `ratio` is to the fastest bare loop of the arithmetic that the trainer may have, whose name is `limit`;
    `ratio_to_fastest` to the fastest of all; `share_of_peak` of the FLOP/s of a product of two large matrices.
    `validation_share` is the share of an epoch that validation takes, where a trainer validates.
    """
    limits = [limit for name in names for limit in limits_of(name, work.device)]
    ways = [*dict.fromkeys([*ALL, *limits]), *(replace(each, compiled=True) for each in ALL if compiled)]
    bare = {f"bare {way}": BareLoop(work, way) for way in ways}
    rows: list[dict[str, Any]] = []
    trainers = make_trainers(
        names, work, 0, LONG, lambda name, reason: rows.append({"name": name, "not_measured": reason})
    )
    contenders: dict[str, Contender] = {**bare, **trainers}
    with ExitStack() as stack:
        for contender in contenders.values():
            stack.callback(contender.close)
        laps = interleaved(contenders, rounds, say)
    fastest = _fastest({name: laps[name] for name in bare})
    measured = []
    for name, loop in bare.items():
        measured.append(_row(name, laps[name], laps[name], fastest) | {"parameters": loop.parameters})
    for name, trainer in trainers.items():
        limits_here = [f"bare {each}" for each in limits_of(name, work.device)]
        limit = max(limits_here, key=lambda each: Spread.of(rates(laps[each])).median)
        row = _row(name, laps[name], laps[limit], fastest)
        shares = [lap.validation / (lap.seconds + lap.validation) for lap in laps[name]]
        row |= {"limit": limit, "parameters": trainer.parameters, "about": trainer.about}
        measured.append(row | ({"validation_share": vars(Spread.of(shares))} if any(shares) else {}))
    if OURS in trainers:
        for row in measured:
            row["ours_is_faster_by"] = vars(Spread.of(ratios(laps[OURS], laps[row["name"]])))
    return measured + rows


def blocks(work: Work, rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """A row a block: the bare loop with it, relative to the one without any."""
    limit = usual_limit(work.device)
    loops = {name: BareLoop(work, limit, name) for name in BLOCKS}
    laps = interleaved(loops, rounds, say)
    return [
        {
            "name": name, "parameters": loop.parameters, "images_per_second": vars(Spread.of(rates(laps[name]))),
            "ratio_to_none": vars(Spread.of(ratios(laps[name], laps["none"]))),
        }
        for name, loop in loops.items()
    ]  # fmt: skip


def evaluation(work: Work, rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """A row for each bare forward pass of the same pixels, for our evaluation alone, and for that within training."""
    ways = dict.fromkeys([*ALL, evaluation_limit(work.device)])
    bare: dict[str, Contender] = {f"bare forward {way}": BareForward(work, way) for way in ways}
    trained = TRAINERS[OURS](work, 0, LONG)
    try:
        laps = interleaved({**bare, OURS: OurEvaluation(work), WITHIN: trained}, rounds, say)
    finally:
        trained.close()
    images = len(work.dataset.indices("val"))
    laps[WITHIN] = [Lap(images, lap.validation) for lap in laps[WITHIN]]
    fastest = _fastest({name: laps[name] for name in bare})
    limit = f"bare forward {evaluation_limit(work.device)}"
    rows = [_row(name, laps[name], laps[name], fastest) for name in bare]
    ours = [_row(name, laps[name], laps[limit], fastest) | {"limit": limit} for name in (OURS, WITHIN)]
    return [*rows, *ours]


def arithmetic(works: Mapping[str, Work], rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """A row a network and number and memory format: the bare loop's speed; and ours, with what it chose.

    `ratio` is to the fastest loop of the same network.
    """
    rows = []
    for name, work in works.items():
        ours = TRAINERS[OURS](work, 0, LONG)
        contenders: dict[str, Contender] = {str(each): BareLoop(work, each) for each in limits_of(OURS, work.device)}
        try:
            laps = interleaved({**contenders, OURS: ours}, rounds, say)
        finally:
            ours.close()
        fastest = _fastest({each: laps[each] for each in contenders})
        chosen = {OURS: {"chosen": str(chosen_arithmetic(work))}}
        rows += [{"network": name, **_row(each, laps[each], fastest, fastest), **chosen.get(each, {})} for each in laps]
    return rows
