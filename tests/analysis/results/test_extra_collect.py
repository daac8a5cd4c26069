"""Extra scores in a results dataset: collected beside the counts, and once."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.results.dataset import read_results
from analysis.results.declaration import ResultsError
from analysis.results.merge import collect, gather
from analysis.scores.extra_scores import with_scores
from fake_store import image_rows, run_id, write_study
from metaseg.schema import AS_TRAINED
from metaseg.store.storage import open_storage

RUNS = [(arm, seed) for seed in (0, 1) for arm in ("baseline", "sme")]


def rows(arm: str, seed: int) -> pd.DataFrame:
    """Five images as trained, and again with zeros, in between."""
    trained = image_rows(np.linspace(0.5, 0.9, 5))
    both = pd.concat([trained, trained.assign(evaluation="zeros")])
    return both.sort_values("image", kind="stable", ignore_index=True)


def write_scores(store: Path, arm: str, seed: int, best: float) -> None:
    """Write extra scores like those of `metaseg score`."""
    folder = store / "runs" / run_id(arm, seed)
    done = json.loads((folder / "DONE").read_text())
    done["sha256"]["weights.safetensors"] = "w"
    (folder / "DONE").write_text(json.dumps(done))
    trained = rows(arm, seed).query("evaluation == 'as-trained'")[["image", "subgroup", "class"]]
    table = trained.assign(
        surface_dice=best - np.arange(5) / 10, surface_tolerance=2.0, hd95=[np.nan, 1.0, 2.0, 3.0, 4.0]
    )
    about = {"version": 1, "weights_sha256": "w"}
    (store / "scores").mkdir(exist_ok=True)
    content = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(
        {"metaseg.scores": json.dumps(about)}
    )
    pq.write_table(content, store / "scores" / f"{run_id(arm, seed)}.parquet")


@pytest.fixture
def store(tmp_path):
    write_study(tmp_path / "store", rows)
    return tmp_path / "store"


def contents(out: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.rglob("*.*"))}


def test_scores_that_come_later_are_collected_once_and_equal_the_stores(store, tmp_path):
    out, source = open_storage(str(tmp_path / "out")), open_storage(str(store))
    gather(out, [source], "cells")
    with pytest.raises(ResultsError, match="have no surface_dice"):
        with_scores(read_results(out, "cells"), out, "surface_dice")
    for number, (arm, seed) in enumerate(RUNS):
        write_scores(store, arm, seed, 0.9 + number / 100)
    (gathered,) = gather(out, [source], "cells")
    assert len(gathered.added) == len(RUNS)
    before = contents(tmp_path / "out")
    (gathered,) = gather(out, [source], "cells")
    assert (len(gathered.added), len(gathered.unchanged)) == (0, len(RUNS))
    assert contents(tmp_path / "out") == before
    images = read_results(out, "cells").images
    assert images["hd95"].notna().sum() == 4 * len(RUNS)
    assert images.loc[images["evaluation"] != AS_TRAINED, "surface_dice"].isna().all()
    for metric in ("surface_dice", "hd95"):
        theirs = with_scores(collect(source, "cells"), source, metric)[0].images
        ours = with_scores(read_results(out, "cells"), out, metric)[0].images
        for column in ("run_id", "image", "score"):
            assert list(ours[column]) == list(theirs[column])


def test_of_two_stores_that_scored_a_run_the_first_counts(store, tmp_path):
    write_study(tmp_path / "other", rows)
    for folder, best in ((store, 0.9), (tmp_path / "other", 0.8)):
        for arm, seed in RUNS:
            write_scores(folder, arm, seed, best)
    out = open_storage(str(tmp_path / "out"))
    sources = [open_storage(str(folder)) for folder in (store, tmp_path / "other")]
    for added in (len(RUNS), 0):
        (gathered,) = gather(out, sources, "cells")
        assert len(gathered.added) == added
        assert read_results(out, "cells").images["surface_dice"].max() == 0.9


def test_scores_of_other_rows_are_refused(store, tmp_path):
    write_scores(store, "sme", 1, 0.9)
    path = store / "scores" / f"{run_id('sme', 1)}.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(ResultsError, match=r"its rows aren't those of the run's images\.parquet"):
        gather(open_storage(str(tmp_path / "out")), [open_storage(str(store))], "cells")
