"""Collect tables of scores from elsewhere into a results dataset, as a study of its own."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.results.codes import combined_codes, first_rows
from analysis.results.dataset import Part, Record, Source, records
from analysis.results.declaration import Comparison, ResultsError, Run, Study
from analysis.results.external_tables import KEY, Scores, Table, read_table
from analysis.results.merge import Gathered, publish
from analysis.results.row_files import FOLD, SCHEMA, TEXT, encode, ordered, repeated
from metaseg.schema import AS_TRAINED, BASELINE, LACKING
from metaseg.store.storage import Storage

RUN = ["arm", "seed", FOLD]


def adopt(
    out: Storage,
    tables: Sequence[Table],
    study: str,
    columns: Mapping[str, str] = {},
    baseline: str | None = None,
    command: str = "",
) -> Gathered:
    """Write tables into a results dataset as a study, which replaces an earlier one of that name.

    Args:
        out: the dataset.
        tables: the study's, all together.
        study: its name.
        columns: the tables' names of columns that are called otherwise here, by the name here.
        baseline: the arm that others are compared with; "baseline" by default, or the first.
        command: what made the study, for its record.

    Raises:
        ResultsError: as `analysis.results.external_tables.read_table`; a single arm, or one that isn't there; a run
            (arm, seed and fold) that lacks more than half of the images of its fold; a group in two folds; a study of
            that name that was collected from a store.
        OSError: a file can't be read.
    """
    contents = [table.path.read_bytes() for table in tables]
    where = ", ".join(str(table.path) for table in tables)
    settings = [[asdict(table) | {"path": table.path.name} for table in tables], dict(columns)]
    digest = hashlib.sha256(json.dumps([settings, [hashlib.sha256(each).hexdigest() for each in contents]]).encode())
    sha256 = digest.hexdigest()
    known = [record for record in records(out, study) if record.fingerprint]
    if known:
        raise ResultsError(f"study {study!r} in {out.where} was collected from a store; give the tables another name")
    before = next(iter(records(out, study)), None)
    if before and _is_there(out, before, sha256) and baseline in (None, before.sources[0].study.baseline):
        return Gathered(before, out.locate(before.folder), (), before.sources[0].study.runs, ())
    scores = _joined([read_table(table, columns) for table in tables], tables)
    rows = scores.rows
    _check(rows, where)
    arms = tuple(map(str, pd.unique(rows["arm"])))
    if baseline is not None and baseline not in arms:
        raise ResultsError(f"{where}: no arm {baseline!r} to be the baseline; its arms are {', '.join(arms)}")
    if len(arms) < 2:
        raise ResultsError(f"{where}: a single arm, {arms[0]!r}; expected at least two to compare")
    chosen = baseline or (BASELINE if BASELINE in arms else arms[0])
    number, keys = pd.factorize(pd.MultiIndex.from_frame(rows[RUN]))
    runs = tuple(Run(_run_id(sha256, *key), key[0], int(key[1]), fold=key[2]) for key in keys)
    file = f"table-{sha256[:16]}.parquet"
    order = np.argsort(number, kind="stable")
    rows, number = rows.iloc[order], number[order]
    counted = np.bincount(number, minlength=len(runs))
    parts = {run.run_id: Part(file, where, sha256, "", int(n)) for run, n in zip(runs, counted, strict=True)}
    about = f"{rows['image'].nunique():,} images, scored elsewhere ({', '.join(table.path.name for table in tables)})"
    comparisons = tuple(Comparison(arm, chosen) for arm in arms if arm != chosen)
    declared = Study(study, study, chosen, arms, runs, command, about, comparisons=comparisons)
    record = Record(study, study, "", "subgroup", scores.metric, (Source(where, declared),), parts)
    content = encode(_arrow(rows, runs, number, scores.metric), {"tables": where, "sha256": sha256})
    publish(out, record, {file: content})
    return Gathered(record, out.locate(record.folder), runs, (), ())


def _run_id(sha256: str, arm: str, seed: int, fold: str) -> str:
    text = f"{sha256} {arm} {seed}" + (f" {fold}" if fold else "")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_there(out: Storage, record: Record, sha256: str) -> bool:
    names = out.names(record.folder)
    return all(part.sha256 == sha256 and part.file in names for part in record.parts.values())


def _joined(scores: Sequence[Scores], tables: Sequence[Table]) -> Scores:
    """All tables' rows; they must be of one kind and not overlap."""
    first = scores[0]
    for each, table in zip(scores[1:], tables[1:], strict=True):
        kinds = [f"scores ({s.metric})" if "score" in s.rows else "counts" for s in (first, each)]
        if kinds[0] != kinds[1]:
            raise ResultsError(f"{table.path}: holds {kinds[1]}, {tables[0].path} holds {kinds[0]}; expected one kind")
    rows = pd.concat([each.rows for each in scores], ignore_index=True)
    twice = rows.duplicated(KEY)
    if twice.any():
        first_twice = rows.loc[twice, KEY].astype(object).iloc[0]
        what = ", ".join(f"{name} {value!r}" for name, value in first_twice.items())
        raise ResultsError(f"{', '.join(str(table.path) for table in tables)}: two of these files have {what}")
    return Scores(rows, first.metric)


def _check(rows: pd.DataFrame, where: str) -> None:
    """Refuse images in two groups or in different subgroups, groups in two folds, and runs that lack too much."""
    image, images = pd.factorize(rows["image"])
    group = pd.factorize(rows["group"])[0]
    wrong = np.flatnonzero(group[first_rows(image.astype(np.int64), len(images))][image] != group)
    if len(wrong):
        row = rows.iloc[wrong[0]]
        other = rows.iloc[int(np.argmax(image == image[wrong[0]]))]
        raise ResultsError(
            f"{where}: image {row['image']!r} is in group {other['group']!r} of {other['arm']} seed {other['seed']} "
            f"and in group {row['group']!r} of {row['arm']} seed {row['seed']}; expected one group an image: "
            "where groups use the same names for their images, put the group into the image's name"
        )
    _check_folds(rows, where)
    _check_subgroups(rows, where)
    if "tp" in rows:
        _check_references(rows, where)
    _check_lacking(rows, where)


def _check_folds(rows: pd.DataFrame, where: str) -> None:
    """Refuse a group, or an image, in two folds, and rows of which only some have a fold."""
    placed = rows[["group", "fold"]].drop_duplicates()
    if len(nameless := placed[placed["fold"] == ""]) and len(nameless) < len(placed):
        row = rows[rows["fold"] == ""].iloc[0]
        raise ResultsError(f"{where}: {row['arm']} seed {row['seed']} has no fold; expected one, as other rows have")
    twice = placed[placed.duplicated("group")]
    if len(twice):
        group, second = twice.iloc[0]
        first = placed.loc[placed["group"] == group, "fold"].iloc[0]
        what = "group" if group not in set(rows["image"]) else "image"
        raise ResultsError(
            f"{where}: {what} {group!r} is in fold {first!r} and in fold {second!r}; expected each in one fold, whose "
            "networks trained on the others. Where networks of all folds were tested on the same images, folds are "
            "seeds: --column seed=fold"
        )


def _check_lacking(rows: pd.DataFrame, where: str) -> None:
    """Refuse runs that lack more than `LACKING` of the rows (of their fold).

    Fewer are missing data, which the tests allow for; with more, the runs were made on different images.
    """
    item, items = pd.factorize(combined_codes([rows[name] for name in ("image", "class", "subgroup")])[0])
    run, runs = pd.factorize(pd.MultiIndex.from_frame(rows[RUN]))
    fold = pd.factorize(rows["fold"])[0]
    of_item, of_run = (
        fold[first_rows(each.astype(np.int64), len(all_))] for each, all_ in ((item, items), (run, runs))
    )
    absent = of_run[:, None] == of_item
    wanted = absent.sum(axis=1)
    absent[run, item] = False
    most = int(np.argmax(absent.sum(axis=1) / wanted))
    missing = np.flatnonzero(absent[most])
    if len(missing) > LACKING * wanted[most]:
        arm, seed, name = runs[most]
        row = rows.iloc[int(np.argmax(item == missing[0]))]
        raise ResultsError(
            f"{where}: {arm} seed {seed} lacks image {row['image']!r} (class {row['class']!r}, subgroup "
            f"{row['subgroup']!r}) that {row['arm']} seed {row['seed']} has; {len(missing)} such rows of "
            f"{wanted[most]}{f' in fold {name}' if name else ''}; expected all runs on the same images, of which a run "
            "may lack half at most"
        )


def _check_references(rows: pd.DataFrame, where: str) -> None:
    """Each image has a single reference mask, so tp + fn is the same for all runs."""
    pixels = rows["tp"] + rows["fn"]
    first = pixels.groupby([rows[name] for name in ("image", "class", "subgroup")], sort=False).transform("first")
    wrong = (pixels != first).to_numpy()
    if wrong.any():
        at = int(wrong.argmax())
        row = rows.iloc[at]
        raise ResultsError(
            f"{where}: image {row['image']!r} (class {row['class']!r}) has {pixels.iloc[at]} reference pixels "
            f"(tp + fn) for {row['arm']} seed {row['seed']} and {first.iloc[at]} for another run; expected "
            "one reference mask"
        )


def _check_subgroups(rows: pd.DataFrame, where: str) -> None:
    """Refuse an image in two subgroups unless some run has it in both, which makes them two tasks."""
    placed = rows[["image", "class", "subgroup"]].drop_duplicates()
    if not placed.duplicated(["image", "class"]).any():
        return
    several = rows[rows.groupby(["image", "class"], sort=False)["subgroup"].transform("nunique") > 1]
    pair = ["image", "class", "subgroup", "subgroup_other"]
    wanted = placed.merge(placed, on=["image", "class"], suffixes=("", "_other"))
    wanted = wanted[wanted["subgroup"] < wanted["subgroup_other"]]
    both = several.merge(several, on=["arm", "seed", "image", "class"], suffixes=("", "_other"))[pair].drop_duplicates()
    never = wanted.merge(both, "left", pair, indicator=True)["_merge"] == "left_only"
    if never.any():
        apart = wanted[never.to_numpy()].iloc[0]
        own = several[(several["image"] == apart["image"]) & (several["class"] == apart["class"])]
        one, other = (own[own["subgroup"] == apart[name]].iloc[0] for name in pair[2:])
        raise ResultsError(
            f"{where}: image {apart['image']!r} is in subgroup {one['subgroup']!r} of {one['arm']} seed {one['seed']} "
            f"and in subgroup {other['subgroup']!r} of {other['arm']} seed {other['seed']}, and no run has it in both; "
            "expected the same subgroups in all runs"
        )


def _arrow(
    rows: pd.DataFrame, runs: Sequence[Run], number: "np.ndarray[tuple[int], np.dtype[np.int64]]", metric: str
) -> pa.Table:
    """The rows in the schema's columns."""
    n = len(rows)
    ids = pa.DictionaryArray.from_arrays(pa.array(number.astype(np.int32)), [run.run_id for run in runs])
    columns = {name: repeated("", n) for name in ("part", "block", "metadata_mode")}
    columns |= {"run_id": ids, "evaluation": repeated(AS_TRAINED, n)}
    columns["metric"] = repeated(metric if "score" in rows else None, n)
    for field in SCHEMA:
        if field.name not in columns:
            column = pa.array(rows[field.name]) if field.name in rows else pa.nulls(n, field.type)
            columns[field.name] = column.cast(pa.string()).dictionary_encode() if field.type == TEXT else column
    if runs[0].fold:
        columns[FOLD] = pa.array(rows[FOLD]).cast(pa.string()).dictionary_encode()
    return pa.table(
        {name: columns[name].cast(TEXT if name == FOLD else SCHEMA.field(name).type) for name in ordered(columns)}
    )
