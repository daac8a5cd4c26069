"""Tables of per-image scores from elsewhere: read, checked, and a study like any other."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.results.dataset import read_results
from analysis.results.declaration import ResultsError
from analysis.results.external_study import adopt
from analysis.results.external_tables import Table
from analysis.results.row_files import SCHEMA
from analysis.results.store_rows import Collected
from analysis.scores.image_scores import image_scores
from analysis.scores.score_matrix import score_matrices
from analysis.stats.comparisons import compare
from analysis.stats.mrmc import difference
from metaseg.schema import OVERALL
from metaseg.store.folder import FolderStorage


def frame(arms: tuple[str, ...] = ("sme", "baseline"), seeds: int = 2, images: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([arms, range(seeds), [f"{k:03}" for k in range(images)]])
    rows = index.to_frame(index=False, name=["arm", "seed", "image"])
    return rows.assign(Dice=rng.uniform(0.5, 1, len(rows)).round(4), patient="p" + rows["image"].str[-1])


def adopted(tmp_path: Path, *tables: Table | Path, **settings: object) -> Collected:
    out = FolderStorage(tmp_path / "out")
    listed = [table if isinstance(table, Table) else Table(table) for table in tables]
    adopt(out, listed, "theirs", **settings)  # type: ignore[arg-type]
    return read_results(out, "theirs")


def write(tmp_path: Path, rows: pd.DataFrame, name: str = "scores.csv", separator: str = ",") -> Path:
    path = tmp_path / name
    if name.endswith(".csv"):
        rows.to_csv(path, index=False, sep=separator)
    else:
        rows.to_parquet(path, index=False)
    return path


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.csv", ";"), ("a.csv", "\t"), ("a.parquet", "")])
def test_scores_come_back_as_they_were(tmp_path: Path, name: str, separator: str) -> None:
    rows = frame()
    found = adopted(tmp_path, write(tmp_path, rows, name, separator), columns={"group": "patient"})
    key = ["arm", "seed", "image"]
    images = found.images.astype(dict.fromkeys(("arm", "image", "group"), str))
    merged = rows.merge(images, on=key, validate="one_to_one")
    assert len(merged) == len(rows) == len(images)
    assert merged["score"].tolist() == merged["Dice"].tolist()
    assert merged["group"].tolist() == merged["patient"].tolist()
    assert set(images["image"]) == {f"{k:03}" for k in range(6)}, "names of digits stay as they are"
    assert (set(images["class"]), set(images["subgroup"])) == ({"foreground"}, {"all"})
    assert found.metric == "f1"
    assert (found.study.arms, found.study.baseline) == (("sme", "baseline"), "baseline")
    assert not {"tp", "fp", "fn", "tn"} & set(images)


def test_counts_give_the_scores_that_they_mean(tmp_path: Path) -> None:
    rows = frame().drop(columns="Dice").assign(TP=3, FP=1, FN=1)
    found = adopted(tmp_path, write(tmp_path, rows))
    assert image_scores(found.images, found.study.arms)["score"].unique().tolist() == [0.75]
    assert image_scores(found.images, found.study.arms, "iou")["score"].unique().tolist() == [0.6]
    assert "score" not in found.images
    assert list(found.images)[2 : len(SCHEMA)] == [name for name in SCHEMA.names if name not in ("score", "metric")]


def test_a_table_is_tested_like_a_study_of_ours(tmp_path: Path) -> None:
    rows = frame(seeds=3, images=40)
    rows["Dice"] -= 0.2 * (rows["arm"] == "baseline")
    found = adopted(tmp_path, write(tmp_path, rows.sample(frac=1, random_state=0)))
    scores = image_scores(found.images, found.study.arms, found.metric)
    ((_, subgroup, matrix),) = score_matrices(scores)
    tested = difference(matrix, "sme", found.study.baseline)
    means = rows.groupby("arm")["Dice"].mean()
    assert subgroup == OVERALL
    assert tested.estimate == pytest.approx(means["sme"] - means["baseline"])
    assert tested.p < 0.05


@pytest.mark.parametrize(
    ("column", "columns", "metric"),
    [("dice", {}, "f1"), ("IoU", {}, "iou"), ("score", {}, "score"), ("NSD", {"score": "NSD"}, "nsd")],
)
def test_what_a_score_is_is_known_by_its_columns_name(
    tmp_path: Path, column: str, columns: dict[str, str], metric: str
) -> None:
    found = adopted(tmp_path, write(tmp_path, frame().rename(columns={"Dice": column})), columns=columns)
    assert (found.metric, found.images["metric"].unique().tolist()) == (metric, [metric])
    if metric != "f1":
        with pytest.raises(ResultsError, match=f"scores called '{metric}', not 'f1'"):
            image_scores(found.images, found.study.arms)


def summary(tp: int) -> str:
    """Make a `summary.json` of nnU-Net v2, which gives an empty case the Dice NaN."""
    counts = [{"TP": tp, "FP": 1, "FN": 10 - tp, "TN": 5}, {"TP": 0, "FP": 0, "FN": 0, "TN": 9}]
    cases = [
        {
            "metrics": {label: each | {"Dice": float("nan"), "IoU": 0.5, "n_pred": 1, "n_ref": 1} for label in "12"},
            "prediction_file": f"/predicted/case_{k}.nii.gz",
            "reference_file": f"/labels/case_{k}.nii.gz",
        }
        for k, each in enumerate(counts)
    ]
    return json.dumps({"metric_per_case": cases, "mean": {}, "foreground_mean": {}})


def test_nnunets_summaries_are_read_an_arm_and_seed_a_file(tmp_path: Path) -> None:
    tables = []
    for arm, seed, tp in (("plain", 0, 3), ("plain", 1, 4), ("big", 0, 8), ("big", 1, 9)):
        path = tmp_path / f"{arm}{seed}.json"
        path.write_text(summary(tp))
        tables.append(Table(path, arm, seed))
    found = adopted(tmp_path, *tables)
    assert sorted(found.images["image"].unique()) == ["case_0.nii.gz", "case_1.nii.gz"]
    assert sorted(found.images["class"].unique()) == ["1", "2"]
    scores = image_scores(found.images, found.study.arms).set_index(["class", "arm", "seed", "image"])
    assert scores.loc[("1", "big", 1, "case_0.nii.gz"), "score"] == 0.9
    assert scores.loc[("2", "plain", 0, "case_1.nii.gz"), ["score", "empty"]].tolist() == [1.0, True]
    assert found.study.baseline == "plain"


def test_monais_tables_have_a_column_a_class(tmp_path: Path) -> None:
    tables = []
    for arm, value in (("baseline", 0.5), ("sme", 0.75)):
        path = tmp_path / arm / "val_mean_dice_raw.csv"
        path.parent.mkdir()
        path.write_text(f"filename,liver,tumour,mean\na.nii,{value},0.25,0.4\nb.nii,{value},0.125,0.4\n")
        tables.append(Table(path, arm))
    found = adopted(tmp_path, *tables)
    assert found.metric == "f1"
    scores = found.images.set_index(["class", "arm", "image"])["score"]
    assert scores["liver", "sme", "b.nii"] == 0.75
    assert scores["tumour", "baseline", "b.nii"] == 0.125
    assert len(scores) == 8


BASE = frame()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (BASE.assign(Dice=[*BASE["Dice"][:-1], 1.5]), r"row 24: score is 1\.5; expected a number in 0\.\.1"),
        (BASE.assign(Dice=[*BASE["Dice"][:-1], -0.1]), r"row 24: score is -0\.1"),
        (BASE.assign(Dice=[np.nan, *BASE["Dice"][1:]]), "row 1: score is empty or NaN; expected .*both masks"),
        (BASE.assign(Dice=["good", *BASE["Dice"][1:]]), r"row 1: score is 'good'"),
        (BASE.assign(seed=[0.5, *BASE["seed"][1:]]), r"row 1: seed is 0\.5; expected an integer"),
        (BASE.assign(arm=[None, *BASE["arm"][1:]]), "row 1: arm is .*; expected a name"),
        (pd.concat([BASE, BASE.iloc[[3]]]), "1 rows are there twice; the first is row 25: arm 'sme', seed 0"),
        (BASE[BASE["arm"] == "sme"], "a single arm, 'sme'; expected at least two"),
        (BASE.iloc[:-4], "baseline seed 1 lacks image '002'"),
        (BASE.drop(columns="arm"), "no column 'arm'; it has .*--table ARM=FILE"),
        (BASE.drop(columns="image"), "no column 'image'"),
        (BASE.drop(columns="Dice"), "no column score, f1, dice.*--column score=NAME"),
        (BASE.iloc[:0], "no rows"),
        (BASE.assign(dice=1.0), "two columns are called 'dice'"),
        (BASE.assign(group=["x", *["y"] * 23]), "image '000' is in group 'x' .* in group 'y' .* one group an image"),
        (BASE.assign(group=BASE["arm"]), "image '000' is in group 'sme' of sme seed 0 and in group 'baseline' of"),
        (
            BASE.assign(site=np.where(BASE["arm"] == "sme", "HeLa ", "HeLa")).rename(columns={"site": "subgroup"}),
            "image '000' is in subgroup 'HeLa' of baseline seed 0 and in subgroup 'HeLa ' of sme",
        ),
        (BASE.assign(tp=1, fp=1, fn=[-1, *[0] * 23]), "row 1: fn is -1; expected a count"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_what_is_wrong_is_named(tmp_path: Path, rows: pd.DataFrame, message: str, name: str) -> None:
    if name == "a.parquet" and rows["Dice"].dtype == object if "Dice" in rows else False:
        pytest.skip("a column of Parquet has one type")
    path = write(tmp_path, rows, name)
    with pytest.raises(ResultsError, match=rf"^{path}: .*{message}"):
        adopted(tmp_path, path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("{}", "summary.json", "not a summary.json of nnU-Net v2.*expected metric_per_case"),
        ("image,arm\n1,2,3\n", "a.csv", "not CSV"),
        ("nonsense", "a.parquet", "not Parquet"),
    ],
)
def test_files_that_arent_what_they_are_called_are_named(tmp_path: Path, content: str, name: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ResultsError, match=message):
        adopted(tmp_path, tmp_path / name)


def test_a_run_that_lacks_half_of_the_images_is_compared_and_one_that_lacks_more_refused(tmp_path: Path) -> None:
    rows = frame(images=20)
    gaps = adopted(tmp_path, write(tmp_path, rows.iloc[:-10]))
    study = gaps.study
    tests = compare(image_scores(gaps.images, study.arms, gaps.metric), study.comparisons, study.margin)
    assert tests["n_units"].tolist() == [20]
    assert np.isfinite(tests[["se", "p"]].to_numpy(float)).all()
    with pytest.raises(ResultsError, match=r"baseline seed 1 lacks image '009'.*11 such rows of 20; expected all"):
        adopted(tmp_path, write(tmp_path, rows.iloc[:-11]))


def test_columns_and_arms_that_arent_there_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, frame())
    with pytest.raises(ResultsError, match="no column 'Well' to be taken as 'group'; it has arm, seed, image, Dice"):
        adopted(tmp_path, path, columns={"group": "Well"})
    with pytest.raises(ResultsError, match="no arm 'unet' to be the baseline; its arms are sme, baseline"):
        adopted(tmp_path, path, baseline="unet")
    with pytest.raises(ResultsError, match="has a column 'arm', and arm 'unet' is given"):
        adopted(tmp_path, Table(path, "unet"))


def test_two_files_of_one_arm_and_seed_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path, frame())
    second = write(tmp_path, frame(("film", "sme")), "second.csv")
    with pytest.raises(ResultsError, match="two of these files have arm 'sme', seed 0, image '000'"):
        adopted(tmp_path, first, second)


def test_the_same_table_again_changes_nothing_and_a_changed_one_replaces(tmp_path: Path) -> None:
    path = write(tmp_path, frame())
    first = adopted(tmp_path, path)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*") if file.is_file()}
    adopted(tmp_path, path)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*") if file.is_file()} == files
    write(tmp_path, frame(("film", "baseline")))
    second = adopted(tmp_path, path)
    assert (first.study.arms, second.study.arms) == (("sme", "baseline"), ("film", "baseline"))
    assert len(second.images) == len(first.images)


def test_one_command_collects_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = write(tmp_path, frame(("unet", "sme")).rename(columns={"Dice": "Overlap"})), tmp_path / "out"
    arguments = [str(out), "--table", str(path), "--name", "theirs", "--column", "score=Overlap", "--baseline", "unet"]
    assert main(["collect", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "Study theirs (theirs): 4 runs collected, 0 unchanged" in printed
    assert "compared with: unet" in printed
    assert printed.endswith(f"Next: analysis report {out}\n")
    study = read_results(out, "theirs").study
    assert study.command == f"analysis collect {' '.join(arguments)}"
    assert study.baseline == "unet"
    assert main(["collect", *arguments[:-2], "--column", "arm=Model"]) == 1
    assert capsys.readouterr().err.startswith(f"error: {path}: no column 'Model'")


def test_counts_against_another_reference_are_refused(tmp_path: Path) -> None:
    rows = frame().drop(columns="Dice").assign(tp=500, fp=10, fn=500)
    rows.loc[rows["arm"] == "baseline", "fn"] = 0
    with pytest.raises(ResultsError, match=r"has 500 reference pixels \(tp \+ fn\) for baseline seed 0 and 1000 for"):
        adopted(tmp_path, write(tmp_path, rows))
