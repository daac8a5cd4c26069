"""Training until decided: a study looks at its comparisons, and adds seeds only to those that are still open.

When it looks, and when it stops, is in the study's record before the first run (`analysis.results.looks.Rule`); what
each look saw is in `looks/STUDY.json`. Whatever is interrupted goes on from there: looks that were taken stay.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from math import isclose
from typing import TYPE_CHECKING, Any

from rich.text import Text

from metaseg.cli.options import StudyOptions
from metaseg.config import ConfigError
from metaseg.schema import study_file
from metaseg.store.names import as_name
from metaseg.store.runs import from_json, to_json
from metaseg.terminal import visible

if TYPE_CHECKING:
    from rich.console import Console

    from analysis.results.looks import Look, Rule
    from analysis.stats.sequential import Standing
    from metaseg.engine.outcome import Outcome
    from metaseg.store.runs import Store
    from metaseg.study.plan import Study

LOOKS = (3, 5, 8, 12, 20, 30, 50, 80, 120)
"""Seeds at looks after the first: each about 1.6 times as many, since less changes the estimate little."""

DECLARED = ("sequential", "comparisons", "baseline", "average", "empty", "margin", "endpoint", "seeds")
"""Keys of a study's record that decisions depend on."""

Train = Callable[["Study", "Store"], "Outcome"]
"""Trains what the store lacks of a study: `metaseg.engine.run_study`."""


def looks_at(first: int, most: int) -> tuple[int, ...]:
    """Seeds of each arm at each look: `first`, those of `LOOKS` between, and `most`.

    Raises:
        ConfigError: fewer than two seeds at the first look, or `most` below it.
    """
    if first < 2:
        raise ConfigError(f"--until-decided starts with --seeds {first}; expected 2 or more: one seed can't be tested")
    if most < first:
        raise ConfigError(f"--max-seeds is {most}; expected at least the {first} seeds of the first look (--seeds)")
    return tuple(sorted({first, most, *(seeds for seeds in LOOKS if first < seeds < most)}))


def with_rule(name: str, options: StudyOptions) -> str:
    """Name of a study: one until decided has a name beside that of the same page without, unless it was given."""
    if not options.until_decided or getattr(options, "name", None) is not None:
        return name
    return as_name(f"{name}-until_decided")


def rule_record(options: StudyOptions) -> dict[str, Any] | None:
    """The rule that the options ask for, for the study's record; None where they ask for none."""
    if not options.until_decided:
        if options.max_seeds != StudyOptions.max_seeds:
            raise ConfigError(
                f"--max-seeds is {options.max_seeds}, which is for --until-decided; expected both, or --seeds alone"
            )
        return None
    from analysis.results.looks import Rule

    return Rule(looks_at(options.seeds, options.max_seeds)).to_record()


def require_same_rule(study: "Study", store: "Store") -> None:
    """Refuse to go on with a study by another rule than it began with, which would make its levels void.

    Args:
        study: with all runs that it may ask for.
        store: which may have its record. A study of which nothing has been trained may change.

    Raises:
        ConfigError: names what has changed.
    """
    before = from_json(store.storage.read_or_none(study_file(study.name)))
    now = from_json(to_json(study.record(()))) or {}
    if before is None or ("sequential" not in before and "sequential" not in now):
        return
    runs = [run for run in before.get("runs", []) if isinstance(run, dict)]
    if not {run.get("run_id") for run in runs} & store.done():
        return
    advice = "expected the same, since what was seen would count for nothing: start another study, by another name or "
    advice += "in another --storage"
    for key in DECLARED:
        if (was := before.get(key)) != (is_ := now.get(key)):
            shown = "none: it is a plain study" if is_ is None and key == "sequential" else repr(is_)
            raise ConfigError(
                f"study {study.name!r} has been started with {key} {was!r:.300} and is now given {shown:.300}; {advice}"
            )
    planned = {run["run_id"] for run in now["runs"]}
    for run in runs:
        if run.get("run_id") not in planned:
            raise ConfigError(
                f"study {study.name!r}: its run of {run.get('arm')} with seed {run.get('seed')} isn't "
                f"{run.get('run_id')} any more: settings, images or the training code have changed; {advice}"
            )


def train_until_decided(
    study: "Study", store: "Store", train: Train, console: "Console", command: Sequence[str] = (), options: str = ""
) -> tuple["Study", "Outcome"]:
    """Train, look, and go on with what is open, until nothing is or the last look has been taken.

    Args:
        study: with all runs that it may ask for, and its rule.
        store: where runs, record and looks are kept.
        train: trains what the store lacks of a study.
        console: to print on.
        command: the command line, for the study's record.
        options: all options as TOML, likewise.

    Returns:
        The study with the runs that were asked for; runs that were trained, and those that failed: no look is taken
        without all of its runs.

    Raises:
        ConfigError: the rule, or runs that were looked at, have changed since; or there is nothing to compare.
        ResultsError: results can't be read.
    """
    from analysis.results.looks import Rule, read_looks, write_looks
    from metaseg.engine.outcome import Outcome

    if not study.comparisons:
        raise ConfigError(
            "--until-decided has nothing to decide: it compares arms, and there is one; expected two --arms"
        )
    require_same_rule(study, store)
    rule = Rule.from_record(dict(study.sequential or {}), store.storage.locate(study_file(study.name)))
    looks, outcome = read_looks(store.storage, study.name), Outcome((), {}, 0)
    _require_looks_of(rule, looks, study, store)
    checked = not looks
    while True:
        asked, standings = _asked(study, rule, looks)
        asked.declare(store, command, options)
        if not checked and not _seen_runs(asked, looks).missing(store):  # before anything more is trained in vain
            _require_same_looks(store, asked, rule, looks)
            checked = True
        new = train(asked, store)
        outcome = Outcome((*outcome.trained, *new.trained), new.failed, outcome.faults + new.faults)
        if new.failed or asked.missing(store):
            return asked, outcome
        if not checked:  # runs of its looks were missing, and are there again
            _require_same_looks(store, asked, rule, looks)
        checked = True
        if not any(each.open for each in standings):
            return asked, outcome
        found = _with_next(store, asked, rule, looks)
        if len(found) == len(looks):
            _require_record(store, asked)
            continue
        looks = found
        standings = _standings(study, rule, looks)
        decisions = {each.name: "open" if each.open else each.verdict for each in standings}
        write_looks(store.storage, study.name, rule, looks, decisions)
        _tell(study, rule, looks, standings, console)


def _require_record(store: "Store", asked: "Study") -> None:
    """Raise a `ConfigError` if the next look can't be taken although the record has its runs, and all are done.

    Another command for the same study, which is a look behind, may have written the record: then the next try succeeds.
    """
    record = from_json(store.storage.read_or_none(study_file(asked.name))) or {}
    listed = {run.get("run_id") for run in record.get("runs", []) if isinstance(run, dict)}
    if not {run.run_id for run in asked.runs} <= listed:
        return
    raise ConfigError(
        f"study {asked.name!r}: its next look can't be taken, although all {len(asked.runs)} runs are done: an arm was "
        "tested on fewer than half of the images, as one of several networks is where values of its column lack "
        "validation or test images. Leave that arm out of --arms, or compare it in a study without --until-decided"
    )


def _standings(study: "Study", rule: "Rule", looks: Sequence["Look"]) -> list["Standing"]:
    from analysis.results.declaration import Comparison
    from analysis.stats.sequential import standings

    return standings(looks, rule, [Comparison(each.arm, each.reference, each.claim) for each in study.comparisons])


def _asked(study: "Study", rule: "Rule", looks: Sequence["Look"]) -> tuple["Study", list["Standing"]]:
    """The study with the runs of the looks so far and of the next one, and where its comparisons stand."""
    standings = _standings(study, rule, looks)
    seeds = dict.fromkeys((arm.name for arm in study.arms), 0)
    for each in standings:
        needed = rule.looks[each.looks] if each.open else each.seeds
        for arm in (each.arm, each.reference):
            seeds[arm] = max(seeds[arm], needed)
    return replace(study, runs=tuple(run for run in study.runs if run.config.seed < seeds[run.arm.name])), standings


def _seen_runs(study: "Study", looks: Sequence["Look"]) -> "Study":
    """The study with the runs that its looks have seen."""
    seen = {arm: look.seeds for look in looks for test in look.tests for arm in (test.arm, test.reference)}
    return replace(study, runs=tuple(run for run in study.runs if run.config.seed < seen.get(run.arm.name, 0)))


def _with_next(
    store: "Store", study: "Study", rule: "Rule", looks: Sequence["Look"], again: bool = False
) -> tuple["Look", ...]:
    """The looks and the next one; or all of them taken `again` from the study's runs."""
    from analysis.results.merge import collect
    from analysis.scores.image_scores import image_scores
    from analysis.stats.replay import replay

    collected = collect(store.storage, study.name)
    declared = collected.study
    scores = image_scores(collected.images, declared.arms, collected.metric, declared.empty, declared.folds)
    return replay(
        scores, rule, declared.comparisons, declared.margin, declared.average, declared.endpoint,
        () if again else looks, rule.looks[len(looks) - 1] if again else rule.looks[len(looks)],
        declared.seeds,
    )  # fmt: skip


def _require_looks_of(rule: "Rule", looks: Sequence["Look"], study: "Study", store: "Store") -> None:
    from analysis.results.looks import read_rule

    if not looks:
        return
    if (by := read_rule(store.storage, study.name)) != rule.to_record():
        raise ConfigError(
            f"study {study.name!r}: its looks were taken by the rule {by!r:.300}, and its record has "
            f"{rule.to_record()!r:.300}; expected the same: start another study, by another name or in "
            "another --storage"
        )
    if (kept := [look.seeds for look in looks]) != list(rule.looks[: len(looks)]):
        raise ConfigError(
            f"study {study.name!r} was looked at with {kept} seeds, and its rule has looks at {list(rule.looks)}; "
            "expected looks of this rule: start another study, by another name or in another --storage"
        )


def _require_same_looks(store: "Store", study: "Study", rule: "Rule", looks: Sequence["Look"]) -> None:
    again = _with_next(store, study, rule, looks, again=True)
    for place, look in enumerate(looks):
        now = again[place] if place < len(again) else None
        for test in look.tests:
            found = now.of(test.arm, test.reference) if now else None
            for name in (each.name for each in fields(test) if each.name not in ("arm", "reference")):
                was, is_ = getattr(test, name), getattr(found, name, None)
                if was != is_ and (was is None or is_ is None or not isclose(was, is_, rel_tol=1e-6, abs_tol=1e-12)):
                    raise ConfigError(
                        f"study {study.name!r}: the look at {look.seeds} seeds saw {test.arm} against {test.reference} "
                        f"with {name} {was}, and its runs now give {is_}; expected the same: runs or the analysis have "
                        "changed since. Start another study, by another name or in another --storage"
                    )


def _tell(
    study: "Study", rule: "Rule", looks: Sequence["Look"], standings: Sequence["Standing"], console: "Console"
) -> None:
    """Print what the last look decided, and what goes on."""
    from analysis.report.looks_wording import outcome_of

    last = looks[-1]
    lines = [f"Look at {last.seeds} seeds an arm ({len(looks)} of at most {len(rule.looks)}):"]
    for each in standings:
        if last.of(each.arm, each.reference):
            lines.append(f"  {each.name}: {outcome_of(each, study.scoring.margin, last.seeds < rule.looks[-1])}")
    for line in lines:
        console.print(Text(visible(line), "bold"), soft_wrap=True)
    if not any(each.open for each in standings):
        return
    asked = _asked(study, rule, looks)[0]
    kept = sum(run.config.seed < last.seeds for run in asked.runs)
    arms = ", ".join(dict.fromkeys(run.arm.name for run in asked.runs if run.config.seed >= last.seeds))
    more = len(asked.runs) - kept
    console.print(
        Text(visible(f"  next: {more} more runs, to {rule.looks[len(looks)]} seeds of {arms}")), soft_wrap=True
    )
