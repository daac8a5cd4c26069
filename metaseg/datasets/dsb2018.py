"""Data Science Bowl 2018 (BBBC038), stage 1, as published: one folder per image, with one mask file per nucleus."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from metaseg.data.manifest import Manifest, ManifestError
from metaseg.datasets.source import Source
from metaseg.datasets.table import read_frame, to_manifest


def read_dsb2018(source: Source) -> Manifest:
    """Read `stage1_train/ID/images/ID.png` with `stage1_train/ID/masks/*.png`.

    A file `folds.csv` (columns `img_id`, `cluster`, `mosaic_idx`, ...) beside `stage1_train` is joined on `img_id`.

    Args:
        source: the folder that holds `stage1_train`. Its metadata and `group_by` are columns of folds.csv; `mosaic_idx`
            is the field of view that images were cut from.

    Raises:
        ManifestError: the folder hasn't this layout, or `folds.csv` lacks an image or has one twice.
    """
    root, metadata, group_by = source.path, source.metadata, source.group_by
    folder = root / "stage1_train"
    if not folder.is_dir():
        raise ManifestError(f"{root} has no folder stage1_train; expected stage1_train/ID/images/ID.png in it")
    ids = sorted(entry.name for entry in folder.glob("[!._]*") if entry.is_dir())
    table = pd.DataFrame({"img_id": pd.Series(ids, dtype=str)})
    table["image"] = [f"stage1_train/{name}/images/{name}.png" for name in ids]
    table["mask"] = [f"stage1_train/{name}/masks" for name in ids]
    path = root / "folds.csv"
    if path.is_file():
        table = table.merge(_read_folds(path, ids, metadata, group_by), on="img_id", validate="one_to_one")
    return to_manifest(table, root, metadata, group_by, str(root))


def _read_folds(path: Path, ids: Sequence[str], metadata: Sequence[str], group_by: str | None) -> pd.DataFrame:
    folds = read_frame(path, metadata, group_by)
    if "img_id" not in folds:
        raise ManifestError(f"{path}: has no column 'img_id'; it has {', '.join(map(str, folds.columns))}")
    missing = sorted(set(ids) - set(folds["img_id"]))
    twice = sorted(set(folds["img_id"][folds["img_id"].duplicated()]))
    problems = [f"has no row for image {name!r} of stage1_train" for name in missing]
    problems += [f"has image {name!r} in several rows; expected one" for name in twice]
    ManifestError.check(str(path), problems)
    return folds
