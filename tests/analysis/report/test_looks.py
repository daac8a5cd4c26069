"""Reports of studies that were looked at: by a rule that allows for it, or without."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.report.conclusion import conclude
from analysis.report.data import Supplement, report_data
from analysis.report.first_screen import first_screen
from analysis.report.opening import describe
from analysis.report.sections import limits, looks, resampling, verdicts
from analysis.report.study import report
from analysis.results.declaration import ResultsError, read_study
from analysis.results.looks import Look, Rule, Seen, read_looks, write_looks
from analysis.results.merge import collect
from fake_store import image_rows, write_study
from metaseg.store.folder import FolderStorage

GAINS = {"baseline": 0.0, "sme": 0.05, "film": -0.002}
RULE = Rule((3, 5, 8))


def rows(arm: str, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng([list(GAINS).index(arm), seed])
    images = np.random.default_rng(0).uniform(0.6, 0.8, 40)
    return image_rows(images + GAINS[arm] + rng.normal(0, 0.006) + rng.normal(0, 0.01, 40), ["A", "B"] * 20)


def test_a_report_shows_each_look_and_what_it_decided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers are those of a comparison's last look; p and intervals allow for all looks."""
    rule = {**RULE.to_record(), "futility": 0.0}
    write_study(tmp_path, rows, arms=list(GAINS), seeds=8, sequential=rule, margin=0.001)
    found = report(FolderStorage(tmp_path), "cells")
    tests = found.tests[found.tests["subgroup"] == "Average"].set_index("arm")
    assert tests["verdict"].to_dict() == {"sme": "helps", "film": "no evidence"}
    assert tests["n_seeds"].to_dict() == {"sme": 3, "film": 8}
    assert tests.loc["sme", "ci_low_adjusted"] > 0
    assert tests.loc["film", "ci_low_adjusted"] < 0
    later = ["seed_sd", "seed_sd_reference", "effect_size", "superiority", "detectable"]
    assert tests.loc["sme", later].isna().all()  # the baseline has five seeds that its last look didn't see
    assert tests.loc["film", later].notna().all()
    table = pd.read_csv(tmp_path / "reports" / "cells" / "looks.csv")
    assert table[["seeds", "arm"]].to_numpy().tolist() == [[3, "sme"], [3, "film"], [5, "film"], [8, "film"]]
    assert (table["level"].diff().dropna() > -1e-9).all()
    assert (table["level"] < 0.05).all()

    table = (tmp_path / "reports" / "cells" / "table.md").read_text()
    assert "Declared before the first run: looks at 3, 5 and 8 seeds" in table
    assert "sme against baseline, 3 seeds: helps, +0.0" in table
    assert "film against baseline, 8 seeds: undecided, " in table
    assert "sequential p-values" in table
    assert "None of these allows for the looks" in table
    assert "nan" not in table
    assert (tmp_path / "reports" / "cells" / "looks.png").is_file()
    assert "What did each look decide?" in (tmp_path / "reports" / "cells" / "report.html").read_text()
    assert "Looks" in capsys.readouterr().out


def test_nothing_is_tested_before_the_first_look(tmp_path: Path) -> None:
    """A clear difference at two of three seeds is no result: that would be a look that wasn't declared."""
    late = [(arm, 2) for arm in GAINS]
    write_study(tmp_path, rows, arms=list(GAINS), seeds=3, unfinished=late, sequential=RULE.to_record())
    data = report_data(collect(FolderStorage(tmp_path), "cells"), Supplement(), styled=False)
    assert (data.tests["verdict"] == "no look").all()
    assert data.tests[["p", "p_adjusted", "ci_low", "p_equivalence"]].isna().all(axis=None)
    assert not data.interactions
    assert resampling.section(data) is None
    assert "no look: the study is tested at its declared looks" in " ".join(verdicts.section(data).words)
    assert "the first is still to come" in " ".join(conclude(data.tests, [], data.study, data.column))


def test_another_metric_than_the_one_that_was_looked_at_has_a_caveat(tmp_path: Path) -> None:
    """Its p-values are those of a fixed number of seeds."""
    write_study(tmp_path, rows, arms=["baseline", "sme"], seeds=3, sequential=RULE.to_record())
    collected = collect(FolderStorage(tmp_path), "cells")
    for metric, said in (("iou", True), ("f1", False)):
        data = report_data(replace(collected, metric=metric), Supplement(), styled=False)
        words = " ".join(word for part in limits.section(data).parts for word in part.words)
        assert ("Looks were at F1: p-values and intervals of IoU don't allow for them" in words) == said


def test_recorded_looks_are_what_is_reported(tmp_path: Path) -> None:
    """The store's file of looks comes before what runs give now; a futile comparison is told with its reason."""
    write_study(tmp_path, rows, arms=["baseline", "film"], seeds=3, sequential=RULE.to_record())
    storage = FolderStorage(tmp_path)
    seen = Seen("film", "baseline", 0.003, 0.009, 30.0, 0.7, 0.3, 1e-6, 8e-5, 0.95, 0.04, 0.05, 320)
    write_looks(storage, "cells", RULE, [Look(3, (seen,))], {})
    data = report_data(collect(storage, "cells"), Supplement(looks=read_looks(storage, "cells")), styled=False)
    assert (data.declared["verdict"].iloc[0], data.declared["difference"].iloc[0]) == ("futile", 0.003)
    shown = looks.section(data)
    assert shown is not None
    words = " ".join(shown.words)
    assert "differences between images alone hide ±0.01, whatever the number of seeds; about 320 would do" in words
    assert "futile: further seeds would hardly have decided it" in " ".join(verdicts.section(data).words)
    assert "further seeds would hardly decide it" in first_screen(data).to_html()


def test_a_plain_study_with_seeds_that_were_added_says_that_its_p_values_dont_hold(tmp_path: Path) -> None:
    """In its opening, with what to do instead; other studies say nothing of it."""
    write_study(tmp_path, rows, arms=["baseline", "film"], seeds=3, looked_at=[2])
    collected = collect(FolderStorage(tmp_path), "cells")
    opening = " ".join(describe(collected))
    assert "reported on with 2 seeds before it was given more" in opening
    assert "--until-decided" in opening
    assert looks.section(report_data(collected, Supplement(), styled=False)) is None


def test_a_rule_that_was_declared_after_a_look_is_told(tmp_path: Path) -> None:
    """Instead of that it was declared before the first run."""
    write_study(tmp_path, rows, arms=["baseline", "sme"], seeds=3, sequential=RULE.to_record(), looked_at=[2])
    data = report_data(collect(FolderStorage(tmp_path), "cells"), Supplement(), styled=False)
    assert "reported on with 2 seeds by another study before its rule" in " ".join(describe(data.collected))
    shown = looks.section(data)
    assert shown is not None
    words = " ".join(str(part.words) for part in shown.parts) + " ".join(shown.words)
    assert "Declared after runs had been looked at with 2 seeds: looks at" in words
    assert "but not for the earlier one" in words
    assert "at most about 5 % of studies" not in words, "it isn't true then"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"sequential": [3, 5]}, "sequential is .* expected an object"),
        ({"sequential": {"looks": [5, 3]}}, "expected ascending numbers of seeds"),
        ({"sequential": {"looks": [3], "alpha": 2}}, "alpha is 2; expected a number from"),
        ({"sequential": {"looks": [3], "spending": "all"}}, "spending is 'all'"),
        ({"sequential": {"when": 3}}, "expected an object with"),
        ({"looked_at": ["three"]}, "looked_at is"),
    ],
)
def test_a_rule_that_cant_be_is_refused(tmp_path: Path, record: dict[str, object], message: str) -> None:
    """With the value and what was expected."""
    write_study(tmp_path, rows, arms=["baseline", "film"], seeds=2, **record)
    with pytest.raises(ResultsError, match=message):
        Rule.from_record(read_study(FolderStorage(tmp_path), "cells").sequential, "cells")


def test_looks_are_read_as_they_were_written(tmp_path: Path) -> None:
    """And anything else is refused."""
    storage = FolderStorage(tmp_path)
    assert read_looks(storage, "cells") == ()
    seen = Seen("film", "baseline", 0.003, 0.009, 30.0, 0.7, 0.3, 1e-6, 8e-5, 0.95, 0.04, 0.05, None)
    taken = (Look(3, (seen, Seen("sme", "baseline", 0.1, *[None] * 9))), Look(5, (seen,)))
    write_looks(storage, "cells", RULE, taken, {})
    assert read_looks(storage, "cells") == taken
    for content in (b"{}", b'{"looks": [{"seeds": "3", "tests": []}]}', b'{"looks": [{"seeds": 3, "tests": [1]}]}'):
        storage.write("looks/cells.json", content)
        with pytest.raises(ResultsError, match="not a study's looks"):
            read_looks(storage, "cells")
