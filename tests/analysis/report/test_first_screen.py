"""The first screen: what each arm does, in words that its test bears out, and a picture where there is one."""

import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.report.data import ReportData, Supplement, report_data
from analysis.report.first_screen import FirstScreen, Row, first_screen
from analysis.report.study import report
from analysis.results.merge import collect
from fake_store import image_rows, run_id, write_study
from html_page import page_of
from metaseg.store.folder import FolderStorage

ARMS = ["baseline", "sme", "me", "film", "dummy"]
EFFECT = {"sme": 0.1, "me": -0.1, "dummy": 0.0}
DECLARED = [
    *({"arm": arm, "reference": "baseline", "claim": "differs"} for arm in ("film", "me", "sme")),
    {"arm": "dummy", "reference": "baseline", "claim": "equal"},
    {"arm": "sme", "reference": "dummy", "claim": "differs"},
]


def rows(arm: str, seed: int) -> pd.DataFrame:
    """Forty images; the seeds of film differ too much to say anything about it."""
    rng = np.random.default_rng([ARMS.index(arm), seed])
    shift = EFFECT.get(arm, 0.0) + (0.04 * (seed - 1) if arm == "film" else 0.0)
    return image_rows(0.7 + shift + rng.uniform(-0.01, 0.01, 40))


def png() -> bytes:
    content = BytesIO()
    Image.new("RGB", (8, 6), "red").save(content, "png")
    return content.getvalue()


def data_of(store: Path, **study: object) -> ReportData:
    write_study(store, rows, **({"arms": ARMS, "seeds": 3, "comparisons": DECLARED} | study))  # type: ignore[arg-type]
    return report_data(collect(FolderStorage(store), "cells"), Supplement(), styled=False)


def test_each_arm_that_is_compared_with_the_baseline_has_its_verdict(tmp_path: Path) -> None:
    data = data_of(tmp_path)
    screen = first_screen(data)
    assert {row.arm: row.verdict for row in screen.rows} == {
        "sme": "helps", "me": "hurts", "film": "undecided", "dummy": "equal",
    }  # fmt: skip
    assert [row.arm for row in screen.rows][2:] == ["film", "dummy"], "what is expected to be equal comes last"
    tests = data.declared[data.declared["reference"] == "baseline"].set_index("arm")
    for row in screen.rows:
        assert row.gain == tests.loc[row.arm, "difference"]
        assert row.interval == tuple(tests.loc[row.arm, ["ci_low", "ci_high"]])
    remarks = {row.arm: row.remark for row in screen.rows}
    assert remarks["film"] == "not shown to differ or to be equal"
    assert remarks["dummy"] == "within ±0.01 by two one-sided tests; expected to be equal"


@pytest.mark.parametrize(("seeds", "remark"), [(1, "one seed"), (3, "too few images")])
def test_what_isnt_tested_is_undecided_and_says_why(tmp_path: Path, seeds: int, remark: str) -> None:
    write_study(tmp_path, lambda arm, seed: rows(arm, seed).head(3 if seeds > 1 else 40), arms=ARMS[:2], seeds=seeds)
    screen = first_screen(report_data(collect(FolderStorage(tmp_path), "cells"), Supplement(), styled=False))
    (row,) = screen.rows
    assert (row.verdict, row.remark) == ("undecided", remark)


def test_an_arm_without_an_interval_has_none_on_the_screen() -> None:
    nothing = float("nan"), float("nan")
    row = Row("<b>sme", "undecided", "one seed", 0.1, nothing, nothing)
    html = FirstScreen((row,), "Gain.", (-0.2, 0.2), 0.01, None).to_html()
    assert "nan" not in html
    assert 'class="hollow"' in html
    assert "&lt;b&gt;sme" in html
    assert '<line class="thick"' not in html


def places(html: str, kind: str) -> list[float]:
    return [float(x) for x in re.findall(rf'class="{kind}" x1="([\d.]+)%" x2="([\d.]+)%"', html)[0]]


def test_lines_lie_where_their_intervals_are() -> None:
    row = Row("sme", "helps", "", 0.1, (0.05, 0.15), (0.0, 0.5))
    html = FirstScreen((row,), "", (-0.2, 0.2), 0.02, None).to_html()
    assert places(html, "zero") == [50, 50]
    assert places(html, "thick") == pytest.approx([62.5, 87.5])
    assert places(html, "thin") == pytest.approx([50, 100]), "cut off at the axis' end"
    assert html.count("\u25b8") == 1, "and marked there"
    assert 'cx="75.00%"' in html
    assert 'class="margin" x="45.00%" y="0" width="10.00%"' in html


def test_the_page_begins_with_verdicts_and_the_studys_picture(tmp_path: Path) -> None:
    data_of(tmp_path)
    report(FolderStorage(tmp_path), "cells", pictures={"overlays.png": png()})
    out = tmp_path / "reports" / "cells"
    page = page_of((out / "report.html").read_text())
    assert page.pictures[0] == png()
    assert page.pictures.count(png()) == 1
    assert page.text.index("hurts") < page.text.index("Scores")
    assert "![Overlays](overlays.png)" in (out / "table.md").read_text()


def test_a_report_again_has_the_picture_of_the_last_one_but_not_of_other_runs(tmp_path: Path) -> None:
    data_of(tmp_path)
    report(FolderStorage(tmp_path), "cells", pictures={"overlays.png": png()})
    report(FolderStorage(tmp_path), "cells", FolderStorage(tmp_path / "out"))
    assert (tmp_path / "out" / "overlays.png").read_bytes() == png()
    (tmp_path / "runs" / run_id("sme", 2) / "DONE").unlink()
    report(FolderStorage(tmp_path), "cells", FolderStorage(tmp_path / "later"))
    assert not (tmp_path / "later" / "overlays.png").exists()
    assert "What changes in the masks" not in (tmp_path / "later" / "report.html").read_text()


def test_a_study_that_is_declared_anew_has_no_picture_of_its_old_runs(tmp_path: Path) -> None:
    data_of(tmp_path)
    report(FolderStorage(tmp_path), "cells", pictures={"overlays.png": png()})
    path = tmp_path / "studies" / "cells.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"runs": record["runs"][:-2]}))
    report(FolderStorage(tmp_path), "cells", FolderStorage(tmp_path / "out"))
    assert not (tmp_path / "out" / "overlays.png").exists()


def test_a_study_that_compares_nothing_has_no_first_screen(tmp_path: Path) -> None:
    write_study(tmp_path, rows, unfinished=[("sme", 0), ("sme", 1)])
    report(FolderStorage(tmp_path), "cells")
    assert 'class="first"' not in (tmp_path / "reports" / "cells" / "report.html").read_text()
