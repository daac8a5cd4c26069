"""Seeds until decided: what is asked for after each look, interruptions, and rules that change."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from analysis.results.looks import Rule, read_looks
from metaseg.cli.options import StudyOptions
from metaseg.cli.status import print_status
from metaseg.cli.study_page import carry_out
from metaseg.cli.until_decided import looks_at, require_same_rule, rule_record, train_until_decided, with_rule
from metaseg.config import ConfigError, NetworkConfig
from metaseg.data.dataset import Dataset
from metaseg.store.folder import FolderStorage
from metaseg.store.runs import Store
from metaseg.study.plan import Study, plan
from scored_runs import Trainer
from small_study import SCHEDULE

GAINS = {"sme": 0.05, "film": 0.004}
"""One arm is found at the first look; the other isn't."""
LOOKS = [3, 5, 8]


@pytest.fixture
def study(tiny_dataset: Dataset) -> Study:
    found = plan("cells", tiny_dataset, ["baseline", "sme", "film"], 8, NetworkConfig(width=4, depth=2), SCHEDULE)
    return replace(found, sequential={**Rule((3, 5, 8)).to_record(), "futility": 0.0})


def train(study: Study, store: Store, trainer: Trainer) -> tuple[Study, str]:
    console = Console(file=io.StringIO(), width=200)
    asked, _ = train_until_decided(study, store, trainer, console, ["study.py"])
    return asked, console.file.getvalue()


def record(store: Store, name: str = "studies/cells.json") -> dict[str, Any]:
    return json.loads(store.storage.read(name))


def contents(store: Store) -> dict[str, bytes]:
    """All that is left of a study."""
    files = [path for folder in ("studies", "looks", "runs") for path in Path(store.where, folder).rglob("*")]
    return {path.relative_to(store.where).as_posix(): path.read_bytes() for path in files if path.is_file()}


def test_only_open_comparisons_get_more_seeds(study, tmp_path):
    store, trainer = Store.at(tmp_path), Trainer(GAINS)
    asked, printed = train(study, store, trainer)
    seeds = {arm: sum(run.arm.name == arm for run in asked.runs) for arm in ("baseline", "sme", "film")}
    assert seeds == {"baseline": 8, "sme": 3, "film": 8}
    assert set(trainer.times.values()) == {1}
    assert len(trainer.times) == len(record(store)["runs"]) == 19
    looks = read_looks(store.storage, "cells")
    assert [(look.seeds, [test.arm for test in look.tests]) for look in looks] == [
        (3, ["sme", "film"]), (5, ["film"]), (8, ["film"]),
    ]  # fmt: skip
    decisions = record(store, "looks/cells.json")["decisions"]
    assert decisions == {"sme against baseline": "helps", "film against baseline": "no evidence"}
    assert "Look at 3 seeds an arm (1 of at most 3):\n  sme against baseline: helps, +0.0" in printed
    assert "next: 4 more runs, to 5 seeds of baseline, film" in printed
    assert "film against baseline: undecided" in printed


def test_the_rule_is_declared_before_anything_is_trained(study, tmp_path):
    store = Store.at(tmp_path)

    def look(run: Any) -> None:
        declared = record(store)
        assert declared["sequential"] == {**Rule((3, 5, 8)).to_record(), "futility": 0.0}
        assert all(each["seed"] < 3 for each in declared["runs"]) or store.done()

    train(study, store, Trainer(GAINS, look))


def test_a_study_that_is_killed_anywhere_ends_as_one_that_isnt(study, tmp_path, monkeypatch):
    """Killed before runs and while records and looks are written, over and over: same files, nothing twice."""
    whole = Store.at(tmp_path / "whole")
    train(study, whole, Trainer(GAINS))

    store, trainer, rng, kills = Store.at(tmp_path / "killed"), Trainer(GAINS), np.random.default_rng(0), 0
    write = FolderStorage.write

    def killed(*_: object) -> None:
        if rng.random() < 0.15:
            raise KeyboardInterrupt

    def killed_write(self: FolderStorage, name: str, *rest: Any, **more: Any) -> None:
        if name.startswith(("studies", "looks")) and rng.random() < 0.3:
            raise KeyboardInterrupt
        write(self, name, *rest, **more)
        if name.startswith(("studies", "looks")) and rng.random() < 0.3:
            raise KeyboardInterrupt

    trainer.before = killed
    monkeypatch.setattr(FolderStorage, "write", killed_write)
    while True:
        try:
            train(study, store, trainer)
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills > 5
    assert set(trainer.times.values()) == {1}
    assert contents(store) == contents(whole)


def test_a_look_waits_for_all_of_its_runs(study, tmp_path):
    store = Store.at(tmp_path)
    asked, _ = train(study, store, Trainer(GAINS, failing=frozenset({("sme", 2)})))
    assert len(asked.runs) == 9
    assert read_looks(store.storage, "cells") == ()
    train(study, store, Trainer(GAINS))
    assert len(read_looks(store.storage, "cells")) == 3


def status(store: Store) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_status(store, console)
    return console.file.getvalue()


def test_status_tells_of_looks_and_what_is_open(study, tmp_path):
    """Between looks all runs that are asked for may be done, which isn't the end of the study."""
    store = Store.at(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(study, store, Trainer(GAINS, lambda run: stop(run.config.seed == 2)))
    assert "cells: no look of 3 yet\ncells: no driver is training it; the same command continues it." in status(store)
    with pytest.raises(KeyboardInterrupt):
        train(study, store, Trainer(GAINS, lambda run: stop(run.config.seed == 3)))
    told = (
        "cells: look 1 of 3; open: film against baseline\ncells: no driver is training it; the same command continues"
    )
    assert told in status(store)
    train(study, store, Trainer(GAINS))
    assert "cells: look 3 of 3; nothing is open\n" in status(store)
    assert "continues it" not in status(store)


def test_a_finished_study_is_left_as_it_is(study, tmp_path):
    store = Store.at(tmp_path)
    train(study, store, Trainer(GAINS))
    before, trainer = contents(store), Trainer(GAINS)
    assert "Look" not in train(study, store, trainer)[1]
    assert contents(store) == before
    assert not trainer.times


def with_epochs(study: Study, epochs: int) -> Study:
    """Other settings, which give other runs."""
    schedule = replace(SCHEDULE, epochs=epochs)
    return replace(study, runs=tuple(replace(run, config=replace(run.config, schedule=schedule)) for run in study.runs))


def test_another_rule_is_another_study(study, tmp_path):
    """Unless nothing has been trained, so that nothing has been seen."""
    changes = [
        (replace(study, sequential=Rule((3, 5, 12)).to_record()), r"sequential .* \[3, 5, 8\]"),
        (replace(study, sequential=None), "now given none: it is a plain study"),
        (replace(study, scoring=replace(study.scoring, margin=0.02)), "margin 0.01 and is now given 0.02"),
        (replace(study, arms=study.arms[:2]), "comparisons"),
        (with_epochs(study, 4), "run of baseline with seed 0 isn't .* settings, images"),
    ]
    store = Store.at(tmp_path)
    study.declare(store)
    for changed, _ in changes:
        require_same_rule(changed, store)
    train(study, store, Trainer(GAINS))
    before = contents(store)
    for changed, message in changes:
        with pytest.raises(ConfigError, match=message):
            require_same_rule(changed, store)
    assert contents(store) == before
    require_same_rule(study, store)


def test_a_plain_study_isnt_taken_for_the_beginning_of_another(study, tmp_path):
    store, plain = Store.at(tmp_path), replace(study, sequential=None)
    plain.declare(store)
    Trainer(GAINS)(plain, store)
    with pytest.raises(ConfigError, match="started with sequential None"):
        train(study, store, Trainer(GAINS))


def test_looks_that_dont_follow_from_the_runs_are_refused(study, tmp_path):
    """Results of a look are compared with what its runs give now."""
    store = Store.at(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(study, store, Trainer(GAINS, lambda run: stop(run.config.seed >= 3)))
    content = record(store, "looks/cells.json")
    content["looks"][0]["tests"][1]["estimate"] += 0.001
    store.storage.write("looks/cells.json", json.dumps(content).encode())
    with pytest.raises(ConfigError, match="look at 3 seeds saw film against baseline with estimate"):
        train(study, store, Trainer(GAINS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["rule"].update(futility=0.1), "taken by the rule .*'futility': 0.1"),
        (lambda content: content["looks"][0].update(seeds=4), r"looked at with \[4\] seeds, and its rule has looks"),
        (lambda content: content["looks"][0]["tests"][1].update(chance=0.01), "film against baseline with chance 0.01"),
        (lambda content: content["looks"][0]["tests"][1].update(fraction=1.0), "with fraction 1.0"),
    ],
)
def test_whatever_a_look_saw_is_checked_before_more_is_trained(study, tmp_path, change, message):
    """Its rule, its seeds, and what decisions follow from beside estimate and p."""
    store = Store.at(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(study, store, Trainer(GAINS, lambda run: stop(run.config.seed >= 3)))
    content, trainer = record(store, "looks/cells.json"), Trainer(GAINS)
    change(content)
    store.storage.write("looks/cells.json", json.dumps(content).encode())
    with pytest.raises(ConfigError, match=message):
        train(study, store, trainer)
    assert not trainer.times


def test_a_look_that_cant_be_taken_is_an_error(study, tmp_path, monkeypatch):
    """Instead of another try without end."""
    monkeypatch.setattr("metaseg.cli.until_decided._with_next", lambda store, study, rule, looks, again=False: looks)
    with pytest.raises(ConfigError, match="next look can't be taken, although all 9 runs are done"):
        train(study, Store.at(tmp_path), Trainer(GAINS))


def test_most_seeds_without_looks_are_refused():
    with pytest.raises(ConfigError, match="--max-seeds is 12, which is for --until-decided"):
        rule_record(StudyOptions(max_seeds=12))


def stop(now: bool) -> None:
    if now:
        raise KeyboardInterrupt


def test_a_study_page_trains_until_decided_and_reports(study, tmp_path, monkeypatch, capsys):
    """Go on as `main` does after planning, with drawn scores."""
    trainer, options = Trainer(GAINS), StudyOptions(until_decided=True, max_seeds=8, storage=str(tmp_path))

    def run(study, store, config, console, followers):
        return trainer(study, store)

    monkeypatch.setattr("metaseg.engine.run_study", run)
    store, console = Store.at(tmp_path), Console(file=io.StringIO(), width=200)
    assert carry_out(study, store, options, lambda *_: {}, console, ["study.py"]) == 0
    assert set(trainer.times.values()) == {1}
    assert "Look at 3 seeds" in console.file.getvalue()
    assert "More seeds" not in console.file.getvalue()
    table = (tmp_path / "reports" / "cells" / "table.md").read_text()
    assert "sme against baseline, 3 seeds: helps" in table
    assert "INCOMPLETE" not in table
    assert "until-decided = true" in (tmp_path / "reports" / "cells" / "config.toml").read_text()


def test_options_become_looks():
    assert looks_at(3, 20) == (3, 5, 8, 12, 20)
    assert looks_at(2, 8) == (2, 3, 5, 8)
    assert looks_at(4, 10) == (4, 5, 8, 10)
    assert looks_at(3, 3) == (3,)
    for first, most, message in ((1, 20, "one seed can't be tested"), (5, 3, "at least the 5 seeds")):
        with pytest.raises(ConfigError, match=message):
            looks_at(first, most)
    options = StudyOptions(until_decided=True, max_seeds=8)
    assert rule_record(options)["looks"] == [3, 5, 8]
    assert rule_record(StudyOptions()) is None
    assert with_rule("cells", options) == "cells-until_decided"
    assert with_rule("cells", StudyOptions()) == "cells"


def test_one_arm_has_nothing_to_decide(tiny_dataset, tmp_path):
    alone = plan("cells", tiny_dataset, ["baseline"], 3, NetworkConfig(width=4, depth=2), SCHEDULE)
    with pytest.raises(ConfigError, match="expected two --arms"):
        train(replace(alone, sequential=Rule((3,)).to_record()), Store.at(tmp_path), Trainer())
