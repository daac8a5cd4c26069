"""Images with a mask for each of several tasks: the task is the metadata, and says which mask is wanted."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from metaseg.data.manifest import Manifest, ManifestError
from metaseg.data.metadata import MetadataColumn
from metaseg.datasets.table import read_frame, to_manifest

TASK = "task"
BOTH_MASKS = "both_masks"
"""Stratum: `yes` if the image has a row for each of several tasks, else `no`."""


def read_tasks(path: Path, group_by: str | None = None) -> Manifest:
    """Read a CSV or Parquet table with columns `image`, `mask` and `task`; an image may have a row for each task.

    Raises:
        ManifestError: the file isn't such a table, or an image has two rows for one task.
    """
    table = read_frame(path, [f"{TASK}:categorical"], group_by)
    missing = [name for name in ("image", TASK) if name not in table]
    ManifestError.check(str(path), [f"has no column {name!r}; it has {', '.join(table.columns)}" for name in missing])
    table[BOTH_MASKS] = _both(table["image"])
    return to_manifest(
        table, path.parent, [f"{TASK}:categorical"], group_by, str(path), strata=(BOTH_MASKS,), per=(TASK,)
    )


def join_tasks(first: Manifest, second: Manifest, tasks: tuple[str, str]) -> Manifest:
    """Join two manifests into one; rows of the first are of task `tasks[0]`, those of the second of `tasks[1]`.

    Images in both (the same file) get a row for each task, and their groups are merged. Other metadata are left
    out, and so are classes unless both name the same.

    Raises:
        ManifestError: one has splits and the other hasn't, or an image is in different splits.
    """
    if ("split" in first.table) != ("split" in second.table):
        have, lack = (first, second) if "split" in first.table else (second, first)
        raise ManifestError(f"{lack.source} has no column 'split', but {have.source} has; expected both or neither")
    root = Path(os.path.commonpath([manifest.root.resolve() for manifest in (first, second)]))
    mask_root = Path(os.path.commonpath([(part.mask_root or part.root).resolve() for part in (first, second)]))
    parts = []
    for manifest, task in zip((first, second), tasks, strict=True):
        images, masks = manifest.root.resolve(), (manifest.mask_root or manifest.root).resolve()
        kept = [name for name in ("image", "mask", "split", "group", "fold") if name in manifest.table]
        part = manifest.table[kept].copy()
        if "group" not in part:
            part["group"] = part["image"]
        # Different groups of the two manifests may have the same name.
        part["group"] = [f"{task} {group}" for group in part["group"]]
        part["image"] = [(images / image).relative_to(root).as_posix() for image in part["image"]]
        part["mask"] = [(masks / mask).relative_to(mask_root).as_posix() for mask in part["mask"]]
        parts.append(part.assign(**{TASK: task}))
    table = pd.concat(parts, ignore_index=True)
    table["group"] = _joined_groups(table)
    table[BOTH_MASKS] = _both(table["image"])
    abouts = dict.fromkeys(part.about for part in (first, second) if part.about)
    return replace(
        first,
        name=f"{first.name}+{second.name}",
        root=root,
        table=table,
        metadata=(MetadataColumn(TASK, "categorical"),),
        source=f"{first.source} and {second.source}",
        mask_root=mask_root,
        strata=(BOTH_MASKS,),
        per=(TASK,),
        lines=(),
        about="; ".join(abouts),
        classes=first.classes if first.classes == second.classes else (),
    )


def _joined_groups(table: pd.DataFrame) -> pd.Series:
    """Merge groups that share images, directly or through others; each gets the name of its first."""
    image, group = (pd.factorize(table[name])[0] for name in ("image", "group"))
    links = coo_array((np.ones(len(table)), (image, group + len(table))), shape=(2 * len(table),) * 2)
    _, component = connected_components(links, directed=False)
    return table.groupby(component[image], sort=False)["group"].transform("first")


def _both(image: pd.Series) -> pd.Series:
    return pd.Series(np.where(image.duplicated(keep=False), "yes", "no"), image.index)
