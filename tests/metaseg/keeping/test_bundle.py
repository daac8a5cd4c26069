"""A bundle holds a study's counts, declarations and report, and nothing that tells of pixels, paths or machines."""

import base64
import hashlib
import io
import json
import platform
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.results.dataset import read_results
from analysis.results.declaration import read_study
from analysis.results.merge import gather
from analysis.scores.image_scores import image_scores, summarise
from analysis.stats.comparisons import compare
from fake_store import noisy_rows, run_id, write_study
from kept_store import contents, kept_store, table_bytes
from metaseg.cli.process import open_store
from metaseg.config import ConfigError
from metaseg.keeping import bundling
from metaseg.keeping.bundling import make_bundle
from metaseg.keeping.hashed_names import NameSearch
from metaseg.keeping.redaction import command_without_paths, options_without_paths, record_without_paths, without_paths
from metaseg.schema import BUNDLE
from metaseg.store.bundle import BundleStorage
from metaseg.store.folder import FolderStorage
from metaseg.store.memory import MemoryStorage
from metaseg.store.runs import Store, to_json
from metaseg.store.storage import open_storage
from results_dataset import assert_same_rows
from typed_command import typed

PIXELS = b"\x89PNG\r\n\x1a\n" + b"pixels of a patient" * 20
SECRETS = ("jane", "secret-host-77", "secret-bucket", "sites/hospital", "pixels of a patient", "weights of")


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store, Store, Path]:
    """A store with a study of three seeds; a lab that has trained two of them, with secrets; another lab that has
    trained the third; and the bundle of the first lab."""
    root = tmp_path_factory.mktemp("labs")
    whole = kept_store(
        root,
        seeds=3,
        command="python own.py --manifest '/home/jane/my images/t.csv' --storage s3://secret-bucket/jane --x=~jane/x",
        config='manifest = "/home/jane/my images/t.csv"\nlimit = ["a=/home/jane"]\nepochs = 3\n',
        about="Images of /sites/hospital/jane, see https://doi.org/10.1",
    )
    one, two = (Store(FolderStorage(root / name)) for name in ("one", "two"))
    for lab, seeds in ((one, (0, 1)), (two, (2,))):
        shutil.copytree(Path(whole.where) / "studies", Path(lab.where) / "studies")
        for run in (run_id(arm, seed) for arm in ("baseline", "sme") for seed in seeds):
            shutil.copytree(Path(whole.where) / "runs" / run, Path(lab.where) / "runs" / run)
    one = Store(FolderStorage(root / "one"))
    record = json.loads(one.storage.read("studies/cells.json"))
    one.record_failure(run_id("sme", 2), "/home/jane/x.png is corrupt", "File /home/jane/metaseg.py")
    for name in ("reports/cells/overlays.png", "reports/cells/probabilities.png", "cache/f00d/images.bin"):
        one.storage.write(name, PIXELS)
    drawn = json.dumps(sorted(run["run_id"] for run in record["runs"]))
    one.storage.write("reports/cells/overlays.json", drawn.encode())
    made = make_bundle(one, "cells", "CC-BY-4.0")
    (root / "cells.zip").write_bytes(made.content)
    return whole, one, two, root / "cells.zip"


def unpacked(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def every_text(path: Path) -> Iterator[tuple[str, bytes]]:
    """Each file's bytes, also as Parquet and base64 hide them."""
    for name, content in unpacked(path).items():
        yield name, name.encode() + content
        if name.endswith(".parquet"):
            table = pq.read_table(io.BytesIO(content))
            yield name, repr((table.to_pydict(), table.schema.metadata)).encode()
        for text in re.findall(rb"base64,([A-Za-z0-9+/=]+)", content):
            yield name, base64.b64decode(text)


def test_nothing_in_it_tells_of_paths_machines_people_or_pixels(labs, tmp_path_factory):
    _, one, _, path = labs
    node, home = platform.node(), str(Path.home())
    secrets = [*SECRETS, one.where, str(tmp_path_factory.getbasetemp()), home + "/", *([node] if len(node) > 3 else [])]
    texts = list(every_text(path))
    for secret in secrets:
        assert not [name for name, text in texts if secret.encode() in text], secret
    held = b"\n".join(contents(one).values())
    assert all(secret.encode() in held for secret in SECRETS[:2])  # they were there to be left out


def test_its_pictures_are_the_reports_own_charts(labs):
    files = unpacked(labs[3])
    charts = {name for name, content in files.items() if content.startswith(b"\x89PNG")}
    assert charts == {name for name in files if name.endswith(".png")}
    assert {f"{name[:-4]}.svg" for name in charts} <= files.keys()  # drawn from numbers, in both forms
    page = files["reports/cells/report.html"]
    shown = re.findall(rb'src="data:(image/\w+);base64,([^"]+)"', page)
    assert len(shown) == page.count(b"<img") > 2
    assert {base64.b64decode(content) for _, content in shown} <= {files[name] for name in charts}
    assert not [name for name, content in files.items() if content.startswith(b"\xff\xd8\xff")]
    assert b"overlays" not in page


def test_it_says_what_it_holds_and_keeps_counts_as_they_are(labs):
    _, one, _, path = labs
    files, about = unpacked(path), BundleStorage(path).about
    assert (about["study"], about["license"], about["names"]) == ("cells", "CC-BY-4.0", "kept")
    assert (about["runs"], about["finished"], about["fingerprint"]) == (6, 4, "f00d")
    assert next(iter(files)) == BUNDLE
    assert {name.rpartition("/")[2] for name in files if name.startswith("runs/")} == {
        "DONE", "config.json", "history.parquet", "images.parquet",
    }  # fmt: skip
    for run in one.done():
        assert files[f"runs/{run}/images.parquet"] == one.storage.read(f"runs/{run}/images.parquet")
    record = json.loads(files["studies/cells.json"])
    assert record["command"] == "python own.py --manifest .../t.csv --storage ... --x=..."
    assert record["config"] == 'manifest = ".../t.csv"\nlimit = ["a=..."]\nepochs = 3\n'
    assert record["about"] == "Images of ..., see https://doi.org/10.1"
    assert record["runs"] == json.loads(one.storage.read("studies/cells.json"))["runs"]


def test_a_bundle_of_one_lab_and_the_store_of_another_are_pooled(labs, tmp_path, capsys, monkeypatch):
    whole, _, two, path = labs
    code, out, err = typed(
        capsys, monkeypatch, "collect", str(path), two.where, str(tmp_path / "pooled"), program="analysis"
    )
    assert (code, err) == (0, "")
    assert "0 not finished" in out
    memory = MemoryStorage()
    gather(memory, [whole.storage], "cells")
    pooled, expected = read_results(tmp_path / "pooled", "cells"), read_results(memory, "cells")
    order = ["run_id", "image", "evaluation"]
    ours, theirs = (each.images.astype({"run_id": str}).sort_values(order) for each in (pooled, expected))
    assert_same_rows(ours.reset_index(drop=True), theirs.reset_index(drop=True))
    ours, theirs = (summarise(image_scores(each.images, each.study.arms)) for each in (pooled, expected))
    pd.testing.assert_frame_equal(ours, theirs)
    assert set(theirs["n_seeds"]) == {3}


def test_runs_status_and_compare_read_a_bundle(labs, capsys, monkeypatch):
    _, one, _, path = labs
    code, out, _ = typed(capsys, monkeypatch, "runs", str(path), "--where", "state == 'done'", "--format", "json")
    assert code == 0
    _, ours, _ = typed(capsys, monkeypatch, "runs", one.where, "--where", "state == 'done'", "--format", "json")
    same = ("run", "arm", "seed", "test_f1", "val_f1")
    assert [[row[name] for name in same] for row in json.loads(out)] == [
        [row[name] for name in same] for row in json.loads(ours)
    ]
    _, out, _ = typed(capsys, monkeypatch, "runs", str(path), "--where", "state == 'failed'")
    assert "1 run" in out
    code, out, _ = typed(capsys, monkeypatch, "compare", one.where, "cells", "cells", "--other-store", str(path))
    assert code == 0
    assert "+0.0000" in out


def test_nothing_is_written_to_a_bundle_or_by_making_one(labs, tmp_path, capsys, monkeypatch):
    _, _, two, path = labs
    before, theirs = path.read_bytes(), contents(two)
    with pytest.raises(ConfigError, match="only be read"):
        open_store(str(path))
    code, _, err = typed(capsys, monkeypatch, "collect", two.where, str(path), program="analysis")
    assert code == 1
    assert "is a bundle, which can only be read" in err
    code, _, err = typed(capsys, monkeypatch, "report", str(path), program="analysis")
    assert code == 1
    assert "is a bundle; collect it first: analysis collect" in err
    assert path.read_bytes() == before
    assert contents(two) == theirs


def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let bundles have no report, which takes seconds."""
    monkeypatch.setattr(bundling, "report", lambda storage, study: None)


def test_hashed_names_are_the_same_in_each_lab_and_lead_to_the_same_scores(labs, monkeypatch):
    without_report(monkeypatch)
    whole, one, two, _ = labs
    made = [MemoryStorage() for _ in range(2)]
    bundles = [make_bundle(lab, "cells", hash_names=True).content for lab in (one, two)]
    for lab, content in zip(made, bundles, strict=True):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            lab.contents |= {name: archive.read(name) for name in archive.namelist()}
        assert not [name for name, each in lab.contents.items() if b"images/0" in each]
    hashed, plain = MemoryStorage(), MemoryStorage()
    gather(hashed, made, "cells")
    gather(plain, [whole.storage], "cells")
    ours, theirs = (read_results(each, "cells") for each in (hashed, plain))
    assert set(ours.images["image"]).isdisjoint(theirs.images["image"])
    assert ours.images["image"].nunique() == theirs.images["image"].nunique()
    ours, theirs = (summarise(image_scores(each.images, each.study.arms)) for each in (ours, theirs))
    pd.testing.assert_frame_equal(ours, theirs)


def patients_store(root: Path, kind: str = "groups") -> Store:
    """A store with a study that leaves out one patient after the other, or one clinic."""
    patients = ["Jane Doe", "J. Roe & sons", "P03"]

    def rows(arm: str, seed: int) -> pd.DataFrame:
        table = noisy_rows(arm, seed)
        return table.assign(group=[patients[row % 3] for row in range(len(table))])

    write_study(root / "lab", rows, folds=3, sweeps={"sme": "tuned"})
    store = Store(FolderStorage(root / "lab"))
    names = patients if kind == "groups" else ["Saint Elsewhere", "County General", "Seattle Grace"]
    record = json.loads(store.storage.read("studies/cells.json"))
    for run in record["runs"]:
        run["fold"] = names[int(run["fold"])]
        folder = root / "lab" / "runs" / run["run_id"]
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"fold": run["fold"]}))
        sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.suffix}
        (folder / "DONE").write_text(json.dumps({"sha256": sums}))
    declared = {"folds": {"kind": kind, "names": sorted(names)}, "untold": {"cell_line": {names[0]: ["all"]}}}
    store.write_study("cells", record | declared)
    store.storage.write("sweeps/tuned/sweep.json", to_json({"name": "tuned", "fold": names[1]}))
    store.storage.write("sweeps/tuned/trials.parquet", table_bytes(pd.DataFrame({"run_id": ["1"], "error": [""]})))
    return store


@pytest.mark.parametrize("kind", ["groups", "column"])
def test_folds_that_are_groups_or_values_are_hashed_wherever_they_are_named(kind, monkeypatch, tmp_path):
    if kind == "column":
        without_report(monkeypatch)
    else:  # sweeps' tables here are too small for its pages
        monkeypatch.setattr("analysis.report.study.read_arm_sweeps", lambda storage, study: {})
    store = patients_store(tmp_path, kind)
    (tmp_path / "hashed.zip").write_bytes(make_bundle(store, "cells", hash_names=True).content)
    texts = list(every_text(tmp_path / "hashed.zip"))
    for name in ("Doe", "Roe", "P03", "Elsewhere", "General", "Grace", "images/0"):
        assert not [file for file, text in texts if re.search(rf"\b{name}\b".encode(), text)], name
    hashed, plain = MemoryStorage(), MemoryStorage()
    gather(hashed, [open_storage(str(tmp_path / "hashed.zip"))], "cells")
    gather(plain, [store.storage], "cells")
    ours, theirs = (read_results(each, "cells") for each in (hashed, plain))
    assert [run.run_id for run in ours.study.runs] == [run.run_id for run in theirs.study.runs]
    assert [(run.arm, run.seed) for run in ours.study.runs] == [(run.arm, run.seed) for run in theirs.study.runs]
    folds = {(run.fold, other.fold) for run, other in zip(ours.study.runs, theirs.study.runs, strict=True)}
    assert len(folds) == len(ours.study.folds) == 3, "one hash for each fold"
    if kind == "groups":
        assert set(ours.study.folds) == set(ours.images["group"])
    assert set(ours.study.untold["cell_line"]) <= set(ours.study.folds)
    ours, theirs = (
        compare(image_scores(each.images, each.study.arms, folds=each.study.folds), each.study.comparisons, 0.01)
        for each in (ours, theirs)
    )
    pd.testing.assert_frame_equal(ours, theirs)


def test_drawn_folds_keep_their_numbers(monkeypatch, tmp_path):
    without_report(monkeypatch)
    write_study(tmp_path, noisy_rows, folds=3)
    store = Store(FolderStorage(tmp_path))
    record = json.loads(store.storage.read("studies/cells.json"))
    store.write_study("cells", record | {"folds": {"kind": "drawn", "names": ["0", "1", "2"]}})
    memory = MemoryStorage()
    with zipfile.ZipFile(io.BytesIO(make_bundle(store, "cells", hash_names=True).content)) as archive:
        memory.contents |= {name: archive.read(name) for name in archive.namelist()}
    assert read_study(memory, "cells").folds == ("0", "1", "2")


@pytest.mark.parametrize(
    "told",
    [
        {"about": "Images of Jane Doe."}, {"command": "study.py --limit patient='J. Roe & sons'"},
        {"networks": {"sme": "net (P03)"}}, {"about": "See images/003.png"},
    ],
)  # fmt: skip
def test_a_name_that_stands_elsewhere_stops_a_bundle_with_hashes(told, monkeypatch, tmp_path):
    without_report(monkeypatch)
    store = patients_store(tmp_path)
    record = json.loads(store.storage.read("studies/cells.json"))
    store.write_study("cells", record | told)
    with pytest.raises(ConfigError, match=r"studies/cells\.json would tell others of .*, the name of an image, group"):
        make_bundle(store, "cells", hash_names=True)
    make_bundle(store, "cells")


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("Roe & sons", "<p>Roe &amp; sons</p>", True), ("Doe", "Does", False), ("12", "12", False),
        ("100234", "100234.png of 1002345", True), ("100234", "0.100234 and 100234.5 and x100234", False),
        ("Müller", "by Müller.", True), ("Doe", '"data:image/png;base64,Doe/Doe="', False),
    ],
)  # fmt: skip
def test_names_are_found_as_whole_words(name, text, found):
    assert NameSearch([name]).in_file("page.html", text.encode()) == (name if found else None)


def test_sweeps_extra_scores_looks_and_annotators_come_along_without_what_they_tell(labs, monkeypatch, tmp_path):
    without_report(monkeypatch)
    store = kept_store(tmp_path, sweeps={"sme": "tuned"})
    first = run_id("sme", 0)
    rows = pd.DataFrame({"image": ["a.png"], "hd95": [1.0]})
    store.storage.write(f"scores/{first}.parquet", table_bytes(rows))
    store.storage.write("observers/cells.parquet", table_bytes(rows))
    store.storage.write("looks/cells.json", to_json({"rule": {}, "decisions": {}, "looks": []}))
    store.storage.write("sweeps/tuned/sweep.json", to_json({"name": "tuned", "command": "sweep --storage /home/jane"}))
    trials = pd.DataFrame({"run_id": ["1", "2"], "error": ["", "/home/jane/x.png: corrupt"]})
    store.storage.write("sweeps/tuned/trials.parquet", table_bytes(trials))
    (tmp_path / "all.zip").write_bytes(make_bundle(store, "cells").content)
    found = open_storage(str(tmp_path / "all.zip"))
    assert found.read(f"scores/{first}.parquet") == store.storage.read(f"scores/{first}.parquet")
    assert found.read("observers/cells.parquet") == store.storage.read("observers/cells.parquet")
    assert found.read("looks/cells.json") == store.storage.read("looks/cells.json")
    assert json.loads(found.read("sweeps/tuned/sweep.json"))["command"] == "sweep --storage ..."
    errors = pd.read_parquet(io.BytesIO(found.read("sweeps/tuned/trials.parquet")))["error"]
    assert list(errors) == ["", "(left out of the bundle)"]
    assert not [name for name, text in every_text(tmp_path / "all.zip") if b"jane" in text]


def test_a_path_that_slipped_through_stops_the_bundle(labs, monkeypatch, tmp_path):
    without_report(monkeypatch)
    store = kept_store(tmp_path)
    record = json.loads(store.storage.read("studies/cells.json"))
    store.write_study("cells", record | {"networks": {"sme": f"mine{store.where}/net"}})
    with pytest.raises(ConfigError, match=r"studies/cells\.json would tell others of"):
        make_bundle(store, "cells")


@pytest.mark.slow
def test_the_same_study_is_the_same_bytes(labs):
    assert make_bundle(labs[1], "cells", "CC-BY-4.0").content == labs[3].read_bytes()


def test_misuse_is_one_line(labs, tmp_path, capsys, monkeypatch):
    _, one, _, path = labs
    empty = tmp_path / "empty"
    (empty / "studies").mkdir(parents=True)
    shutil.copy(Path(one.where) / "studies" / "cells.json", empty / "studies")
    (tmp_path / "file").write_text("")
    before = path.read_bytes()
    for arguments, message in [
        ([one.where, str(tmp_path / "out.tar"), "--study", "cells"], "expected a file called .zip"),
        ([one.where, str(path), "--study", "cells"], "is there already; expected another name, or --replace"),
        ([one.where, str(tmp_path / "out.zip"), "--study", "none"], "unknown study 'none'"),
        ([str(empty), str(tmp_path / "out.zip"), "--study", "cells"], "none of its 6 runs is finished"),
        ([one.where, str(tmp_path / "file" / "out.zip"), "--study", "cells"], "is a file; expected a folder"),
    ]:
        code, _, err = typed(capsys, monkeypatch, "bundle", *arguments)
        assert code == 2, err
        assert message in err
        assert err.count("\n") == 1
    assert not (tmp_path / "out.zip").exists()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/jane/tasks.csv", ".../tasks.csv"),
        ("/home/j.doe", "..."),
        ("/home/jane doe/my images/t.csv", ".../t.csv"),
        ("~/x", "..."),
        ("~", "..."),
        ("~5 cells", "~5 cells"),
        ("../shared/data", "..."),
        (r"C:\Users\jane\net.py:Net", ".../net.py:Net"),
        (r"\\server\jane\t.tif", ".../t.tif"),
        ("s3://bucket/jane/t.csv", ".../t.csv"),
        ("https://doi.org/10.1", "https://doi.org/10.1"),
        ("studies/rarity.py", "studies/rarity.py"),
        ("a=/home/jane,b=/data/jane", "a=...,b=..."),
        ("5 mg/ml and 1/2", "5 mg/ml and 1/2"),
        ("HeLa", "HeLa"),
        ("file:///home/jane", "..."),
        ("cells (/home/jane/x.csv)", "cells (.../x.csv)"),
        ("server:/data/jane/x", "server:..."),
        ("root:/home/jane/scans", "root:..."),
        ("jane@server:~/scans/t.csv", "jane@server:.../t.csv"),
        ("see http://doi.org/10.1 and HTTPS://x.org", "see http://doi.org/10.1 and HTTPS://x.org"),
        ("at 12:30, 1:2 and lr:1/2", "at 12:30, 1:2 and lr:1/2"),
        ("root:/home/jane doe/my scans/t.csv", "root:.../t.csv"),
        ("from /data/jane doe/x.tif, in /data/jane", "from .../x.tif, in ..."),
        ("from /data/jane/x.tif and own/y.csv", "from .../x.tif and own/y.csv"),
        ("in /data/jane and at the end", "in ... and at the end"),
        ("see /data/jane, /data/joe then https://doi.org/1", "see ..., ... then https://doi.org/1"),
    ],
)
def test_paths_in_text_are_shortened_and_nothing_else(text, expected):
    assert without_paths(text) == expected


def test_records_lose_hosts_and_paths_but_no_keys_of_ours():
    record = {"hardware": {"host": "h", "device": "cpu"}, "own_blocks": [{"file": "/home/jane/b.py"}], "n": 1}
    assert record_without_paths(record) == {
        "hardware": {"device": "cpu"}, "own_blocks": [{"file": ".../b.py"}], "n": 1,
    }  # fmt: skip
    assert command_without_paths("a 'unclosed /home/jane") == "a 'unclosed ..."
    assert (
        command_without_paths("a 'mask=/home/jane doe' --x 'bb:/home/jane doe,c=/x y'") == "a mask=... --x bb:...,c=..."
    )
    assert options_without_paths('limit = ["a=/home/jane doe", "b"]\n') == 'limit = ["a=...", "b"]\n'
    assert options_without_paths("no = toml = at all") == ""
