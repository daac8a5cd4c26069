"""A report has the options of its study beside it."""

import json
from pathlib import Path

from analysis.report.study import report
from analysis.report.sweep import report_sweep
from fake_store import image_rows, write_study
from fake_sweep import make_trials, write_sweep
from metaseg.store.folder import FolderStorage

KEPT = 'preset = "quick"\nmanifest = "/data/é.csv"\n'


def test_the_options_that_the_store_keeps_of_a_study_are_beside_each_of_its_reports(tmp_path: Path) -> None:
    write_study(tmp_path, lambda arm, seed: image_rows([0.7 + 0.1 * (arm == "sme")] * 4, ["a", "b"] * 2))
    storage, record = FolderStorage(tmp_path), tmp_path / "studies" / "cells.json"
    before = report(storage, "cells")
    assert not [file for file in before.files if "config" in file], "older studies have none"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"config": KEPT}))
    for metric, folder in (("f1", "cells"), ("iou", "cells-iou")):
        written = report(storage, "cells", metric=metric)
        kept = tmp_path / "reports" / folder / "config.toml"
        assert kept.read_text("utf-8") == KEPT
        assert str(kept) in written.files
    elsewhere = FolderStorage(tmp_path / "elsewhere")
    report(storage, "cells", elsewhere)
    assert (tmp_path / "elsewhere" / "config.toml").read_text("utf-8") == KEPT


def test_a_record_whose_options_are_no_text_is_reported_on_without_them(tmp_path: Path) -> None:
    write_study(tmp_path, lambda arm, seed: image_rows([0.7 + 0.1 * (arm == "sme")] * 4, ["a", "b"] * 2))
    record = tmp_path / "studies" / "cells.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"config": {"preset": "quick"}}))
    report(FolderStorage(tmp_path), "cells")
    assert not (tmp_path / "reports" / "cells" / "config.toml").exists()


def test_a_sweep_has_its_options_beside_its_report_too(tmp_path: Path) -> None:
    storage, name = FolderStorage(tmp_path), "sweep_schedule.sme"
    write_sweep(storage, name, make_trials(8))
    kept = tmp_path / "reports" / "sweeps" / name / "config.toml"
    report_sweep(storage, name)
    assert not kept.exists(), "older sweeps have none"
    storage.write(f"sweeps/{name}/config.toml", KEPT.encode())
    assert str(kept) in report_sweep(storage, name).files
    assert kept.read_text("utf-8") == KEPT
