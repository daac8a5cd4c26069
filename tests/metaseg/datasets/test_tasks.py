"""Images with a mask for each task: from one table, or joined from two manifests."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from metaseg.config import DataConfig
from metaseg.data.manifest import ManifestError
from metaseg.data.preparation import prepare
from metaseg.datasets.table import read_table
from metaseg.datasets.tasks import join_tasks, read_tasks
from table_files import write_dataset

SPLITS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3


def test_a_table_may_have_a_row_for_each_task_of_an_image(tmp_path):
    path = write_dataset(tmp_path / "d", split=SPLITS, task=["nuclei"] * 12)
    table = pd.read_csv(path)
    Image.fromarray(np.tile(np.uint8([0, 255]), (6, 4))).save(path.parent / "anomaly.png")
    few = table.iloc[[0, 6, 9]].assign(task="anomaly", mask="anomaly.png")
    pd.concat([table, few]).to_csv(path, index=False)
    manifest = read_tasks(path)
    assert manifest.table["both_masks"].value_counts().to_dict() == {"no": 9, "yes": 6}
    dataset = prepare(manifest, DataConfig(), tmp_path / "cache")
    rows = dataset.table[dataset.table["both_masks"] == "yes"]
    assert rows["subgroup"].tolist() == ["anomaly", "nuclei"] * 3
    anomaly, nuclei = rows.index[:2]
    assert (dataset.image(anomaly) == dataset.image(nuclei)).all()
    assert (dataset.mask(anomaly) != dataset.mask(nuclei)).any()


def test_a_table_without_tasks_says_what_it_has(tmp_path):
    with pytest.raises(ManifestError, match="has no column 'task'; it has image, mask"):
        read_tasks(write_dataset(tmp_path / "d"))


def test_two_manifests_are_joined_by_file_and_keep_their_groups_apart(tmp_path):
    nuclei = read_table(write_dataset(tmp_path / "a", split=SPLITS, well=range(12)), (), "well")
    other = read_table(write_dataset(tmp_path / "b", split=SPLITS, well=range(12)), (), "well")
    joined = join_tasks(nuclei, other, ("nuclei", "anomaly"))
    assert joined.table["task"].value_counts().to_dict() == {"nuclei": 12, "anomaly": 12}
    assert joined.table["group"].nunique() == 24
    assert set(joined.table["both_masks"]) == {"no"}
    assert all(joined.image_file(image).exists() for image in joined.table["image"])
    assert all(joined.mask_file(mask).exists() for mask in joined.table["mask"])
    table = nuclei.table.drop(columns="group").assign(image="a/" + nuclei.table["image"])
    deeper = replace(nuclei, root=tmp_path, mask_root=nuclei.root, table=table)
    shared = join_tasks(deeper, nuclei, ("nuclei", "anomaly"))
    assert (shared.table["group"].nunique(), set(shared.table["both_masks"])) == (12, {"yes"})
    same = join_tasks(nuclei, nuclei, ("nuclei", "anomaly"))
    assert (same.table["group"].nunique(), set(same.table["both_masks"])) == (12, {"yes"})


def test_classes_that_both_manifests_name_are_kept_and_others_arent(tmp_path):
    named = replace(read_table(write_dataset(tmp_path / "a"), ()), classes=("object",))
    other = read_table(write_dataset(tmp_path / "b"), ())
    assert join_tasks(named, replace(other, classes=("object",)), ("nuclei", "anomaly")).classes == ("object",)
    assert join_tasks(named, other, ("nuclei", "anomaly")).classes == ()


def test_a_group_of_one_manifest_joins_the_others_that_share_an_image_with_it(tmp_path):
    """Wells 0 to 5 of two images each; the second manifest calls them otherwise, and lacks every other image."""
    nuclei = read_table(write_dataset(tmp_path / "a", well=[k // 2 for k in range(12)]), (), "well")
    anomalies = replace(nuclei, table=nuclei.table.iloc[::2].assign(group=[f"W{k}" for k in range(6)]))
    joined = join_tasks(nuclei, anomalies, ("nuclei", "anomaly")).table
    assert joined["group"].nunique() == 6
    assert (joined.groupby("group").size() == 3).all()
    # The second manifest has all images of wells 0 and 1 in one group, which makes one of them.
    wider = replace(nuclei, table=nuclei.table.iloc[[0, 2]].assign(group="plate"))
    assert join_tasks(nuclei, wider, ("nuclei", "anomaly")).table["group"].nunique() == 5


def test_a_split_in_one_manifest_alone_is_refused(tmp_path):
    with_split = read_table(write_dataset(tmp_path / "a", split=SPLITS), ())
    without = read_table(write_dataset(tmp_path / "b"), ())
    with pytest.raises(ManifestError, match=r"has no column 'split', but .* has; expected both or neither"):
        join_tasks(with_split, without, ("nuclei", "anomaly"))
