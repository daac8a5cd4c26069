"""`metaseg watch`: what the page says of unfinished, failed, damaged and finished studies, and who may see it."""

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.results.merge import peek
from analysis.scores.image_scores import image_scores
from analysis.stats.comparisons import compare
from checkout import ROOT
from fake_store import noisy_rows, run_id, seal, write_study
from html_page import Page
from metaseg.config import ConfigError
from metaseg.store.runs import Store
from metaseg.training.checkpoint import State, pack
from metaseg.training.history import Epoch
from metaseg.watching.pages import Pages
from metaseg.watching.server import Server
from metaseg.watching.state import Watched

COMPARISONS = [{"arm": "sme", "reference": "baseline", "claim": "differs"}]
NASTY = "<script>alert(1)</script>\x1b[2J"


def driver(study: str, *running: dict[str, object], seconds: float = 0.0) -> bytes:
    status = {"study": study, "running": list(running), "time_left": "1:23"}
    about = {"machine": "m", "host": "lab", "pid": 7, "started": None, "time": time.time() - seconds, "status": status}
    return json.dumps(about).encode()


def content(store: Path, study: str | None = None) -> str:
    return Pages(Store.at(store), study).overview().decode()


def text(page: str) -> str:
    read = Page(page)  # checks nesting, and that there are no scripts
    return re.sub(r"\s+", " ", " ".join(read.texts))


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """Two arms with three seeds each: the last is running in one and has failed in the other."""
    write_study(tmp_path, noisy_rows, seeds=3, unfinished={("baseline", 2), ("sme", 2)}, comparisons=COMPARISONS)
    for folder in (tmp_path / "runs").iterdir():
        shutil.rmtree(folder) if not (folder / "DONE").exists() else _seal_history(folder)
    store = Store.at(tmp_path)
    running = {
        "run_id": run_id("baseline", 2),
        "label": "baseline seed 2",
        "state": "epoch 3/9",
        "curve": [[3, 0.4321]],
    }
    store.storage.write("sessions/a.json", driver("cells", running))
    store.record_failure(run_id("sme", 2), f"DivergedError: {NASTY}", "")
    return tmp_path


def _seal_history(folder: Path) -> None:
    import hashlib

    seal(folder)
    done = json.loads((folder / "DONE").read_text())
    done["sha256"]["history.parquet"] = hashlib.sha256((folder / "history.parquet").read_bytes()).hexdigest()
    (folder / "DONE").write_text(json.dumps(done))


def test_progress_failures_and_differences_so_far_are_told_without_tests(unfinished):
    page = content(unfinished)
    seen = text(page)
    assert "4 of 6 runs done, 1 running, 0 waiting, 1 failed." in seen
    assert "time left 1:23" in seen
    assert "epoch 3/9" in seen
    assert "sme seed 2" in seen
    assert "DivergedError" in seen
    assert "not final" in seen
    difference = float(re.search(r"until now ([+-][\d.]+) F1, on 24 images with 2 seeds", seen)[1])
    assert difference == pytest.approx(0.1, abs=0.02), "the effect that was planted"
    for word in ("helps", "hurts", "equal", "95 %", "p ="):
        assert word not in seen
    assert 'content="10"' in page


def test_names_and_reasons_are_shown_and_not_obeyed(unfinished):
    page = content(unfinished)
    assert NASTY not in page
    assert "\x1b" not in page
    assert "<script>alert(1)</script>\\x1b[2J" in text(page)


def test_a_running_run_is_drawn_from_its_checkpoint_and_from_what_its_driver_says(unfinished):
    store = Store.at(unfinished)
    epochs = [Epoch(number, 0.5, f1, 0.1, 1.0, 1.0) for number, f1 in ((1, 0.1), (2, None))]
    store.save_checkpoint(run_id("baseline", 2), "000003-00000000", pack(State(epoch=3, history=epochs), {}))
    store.save_checkpoint(run_id("baseline", 2), "000004-00000000", b"half written")
    watched = Watched(store)
    view = watched.view(watched.statuses()[0])
    running = next(run for run in view.runs if run.state == "running")
    assert running.curve == ((1, 0.1), (3, 0.4321))
    assert [run.state for run in view.runs].count("done") == 4
    finished = next(run for run in view.runs if run.state == "done")
    assert dict(finished.curve) == pytest.approx({1: 0.7, 3: 0.8 - 0.1 / 3})


def test_damaged_runs_and_records_are_named_and_passed_over(unfinished):
    (unfinished / "runs" / run_id("sme", 0) / "history.parquet").write_bytes(b"nonsense")
    (unfinished / "studies" / "broken.json").write_text("{")
    (unfinished / "sessions" / "odd.json").write_bytes(driver("cells", {"label": "x", "state": 3, "curve": "no"}))
    seen = text(content(unfinished))
    assert "broken.json" in seen
    assert "history.parquet: corrupt" in seen
    assert "4 of 6 runs done" in seen


def test_a_finished_study_shows_the_verdicts_of_its_report(tmp_path):
    write_study(tmp_path, noisy_rows, seeds=3, comparisons=COMPARISONS)
    for folder in (tmp_path / "runs").iterdir():
        _seal_history(folder)
    assert "not final" in text(content(tmp_path)), "no report yet"
    storage = Store.at(tmp_path).storage
    collected = peek(storage, "cells")
    tests = compare(image_scores(collected.images, collected.study.arms), collected.study.comparisons, 0.01)
    storage.write("reports/cells/tests.csv", tests.to_csv(index=False).encode())
    storage.write("reports/cells/report.html", b"the report")
    ids = [run.run_id for run in collected.study.runs]
    storage.write("reports/cells/runs.csv", "\n".join(["run_id", *ids]).encode())
    page = content(tmp_path)
    seen = text(page)
    assert "sme against baseline helps: difference of F1 +0.099" in seen
    assert "not final" not in seen
    assert 'href="report?study=cells"' in page


def test_verdicts_of_an_old_report_are_not_final_until_it_is_written_anew(tmp_path):
    write_study(tmp_path, noisy_rows, seeds=3, comparisons=COMPARISONS)
    for folder in (tmp_path / "runs").iterdir():
        _seal_history(folder)
    store = Store.at(tmp_path)
    collected = peek(store.storage, "cells")
    tests = compare(image_scores(collected.images, collected.study.arms), collected.study.comparisons, 0.01)
    ids = [run.run_id for run in collected.study.runs]

    def write(runs: list[str], **columns: object) -> None:
        store.storage.write("reports/cells/report.html", b"the report")
        store.storage.write("reports/cells/tests.csv", tests.assign(**columns).to_csv(index=False).encode())
        store.storage.write("reports/cells/runs.csv", "\n".join(["run_id", *runs]).encode())

    pages = Pages(store)  # one server, which sees reports come
    write(ids[:4], verdict="hurts", n_seeds=2)
    seen = text(pages.overview().decode())
    assert "hurts" not in seen
    assert "All 6 declared runs are done, but the last report is of 4 of them: `analysis report` writes it" in seen
    write(ids)
    seen = text(pages.overview().decode())
    assert "sme against baseline helps: difference of F1 +0.099" in seen
    assert "not final" not in seen
    write(ids, verdict="no evidence")
    assert "sme against baseline no evidence" in text(pages.overview().decode())
    store.storage.write("reports/cells/runs.csv", b"nonsense")
    assert "no evidence" not in text(pages.overview().decode())


def test_nothing_is_written_to_the_store(unfinished):
    before = sorted(unfinished.rglob("*"))
    content(unfinished)
    assert sorted(unfinished.rglob("*")) == before


@pytest.fixture
def served(unfinished: Path) -> Iterator[Server]:
    with Server(Pages(Store.at(unfinished)), 0, "secret") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_only_those_with_the_token_see_the_page(served):
    root = served.address.removesuffix("secret/")
    for path in ("", "wrong/", "secretx/", "report?study=cells", "%00/", "%ff/"):
        code, seen = get(root + path)
        assert code == 403
        assert "cells" not in seen
    code, seen = get(served.address)
    assert code == 200
    assert "4 of 6 runs done" in text(seen)
    assert get(f"{served.address}?study=cells")[0] == 200
    for path in ("?study=nothing", "report?study=cells", "report?study=..%2f..%2fstudies", "elsewhere"):
        assert get(served.address + path)[0] == 404
    assert served.server_address[0] == "127.0.0.1"


def test_a_port_in_use_is_one_error_and_code_2(unfinished):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} is in use; expected a free one: --port N"):
            Server(Pages(Store.at(unfinished)), port, "secret")
        command = [sys.executable, "-m", "metaseg", "watch", str(unfinished), "--port", str(port)]
        misused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert misused.returncode == 2
    assert misused.stderr.startswith(f"error: port {port} is in use")
    assert misused.stderr.count("\n") == 1


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the program chromium")
def test_a_browser_shows_the_page(served, tmp_path):
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    dom = subprocess.run([*browser, "--dump-dom", served.address], capture_output=True, text=True, timeout=60).stdout
    assert dom.count("<svg") == 2, "a panel for each arm"
    assert "4 of 6 runs done" in dom
    assert "alert(1)</script>" not in dom
