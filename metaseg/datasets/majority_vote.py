"""The majority vote of several masks of each image, as further rows of a manifest that no network is tested on."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from metaseg.config import ConfigError, DataConfig
from metaseg.data.decode import decode_mask
from metaseg.data.files import Files, sha256, source_files
from metaseg.data.manifest import ROW, Manifest, ManifestError
from metaseg.data.mask_values import MaskValues
from metaseg.datasets.derived import derive, mask_name
from metaseg.datasets.source import Progress

VOTE = "majority vote"
"""Begins the annotator's name in rows whose mask is the vote."""

IS_VOTE = "is_vote"
"""Stratum that is added: `yes` in the vote's rows, else `no`."""

_VERSION = 1  # of the masks that are written

Mask = npt.NDArray[np.bool_]


def majority_vote(masks: Sequence[Mask]) -> Mask:
    """Foreground where at least half of the masks have it: of two masks it is their union.

    Args:
        masks: one or more, `(H, W)` each.

    Returns:
        `(H, W)`

    Example:
        >>> import numpy as np
        >>> from metaseg.datasets.majority_vote import majority_vote
        >>> majority_vote([np.array([[True, True, False]]), np.array([[True, False, False]])])
        array([[ True,  True, False]])
    """
    return np.asarray(2 * np.sum(masks, axis=0, dtype=np.int64) >= len(masks))


def with_majority_vote(manifest: Manifest, scratch: Path, progress: Progress = lambda done, total: None) -> Manifest:
    """Repeat each row with the majority vote of all masks of its image as its mask, for training only.

    There are as many rows with the vote as without, so that networks that learn from either take as many steps. Rows
    with the vote have the image's metadata but for the first column of `per`, the annotator: it is `VOTE` and the
    value of the row that is repeated.

    Args:
        manifest: has one class, any value above 0, and two masks or more of each image.
        scratch: folder in which the masks' folder is made, once for the same masks.
        progress: called with the number of images that have a vote and of all images.

    Returns:
        The manifest with the vote's rows at its end, and the stratum `IS_VOTE`. All masks are in one new folder.

    Raises:
        ManifestError: an image has one mask, masks of an image differ in size, a mask can't be read, or the manifest
            has a column `IS_VOTE` or an annotator whose name begins with `VOTE`.
    """
    table = manifest.table.reset_index(drop=True)
    if IS_VOTE in table:
        raise ManifestError(f"{manifest.source}: has a column {IS_VOTE!r} of its own; rename it")
    rows = {str(image): list(own.index) for image, own in table.groupby("image", sort=False)}
    alone = {image: own[0] for image, own in rows.items() if len(own) < 2}
    ManifestError.check(
        manifest.source,
        [f"{manifest.where(row)}: image {image!r} has one mask; expected two or more" for image, row in alone.items()],
    )
    column = manifest.per[0]
    annotator = table[column].astype(str)
    if reserved := sorted(set(annotator[annotator.str.startswith(VOTE)])):
        raise ManifestError(f"{manifest.source}: {column!r} is {reserved[0]!r}; expected names other than {VOTE!r}")
    names, votes, mask_root = _derive_masks(manifest, table, rows, scratch, progress)
    table["mask"], table[IS_VOTE] = names, "no"
    voted = table.copy()
    voted["mask"], voted[IS_VOTE], voted[column] = votes, "yes", f"{VOTE}, " + annotator
    return replace(
        manifest,
        table=pd.concat([table, voted], ignore_index=True),
        mask_root=mask_root,
        strata=(*manifest.strata, IS_VOTE),
        trained_only=IS_VOTE,
        lines=manifest.lines * 2,
    )


def require_one_class(config: DataConfig) -> None:
    """Raise a `ConfigError` unless masks have one class, any value above 0, as the vote takes them."""
    given: tuple[tuple[str, Any, bool], ...] = (
        ("classes", config.classes, len(config.classes) > 1),
        ("foreground", config.foreground, bool(config.foreground)),
        ("ignore", config.ignore, config.ignore is not None),
    )
    for setting, value, is_set in given:
        if is_set:
            raise ConfigError(f"{setting} is {value!r}; expected none: the majority vote is of masks above 0")


def _derive_masks(
    manifest: Manifest, table: pd.DataFrame, rows: dict[str, list[int]], scratch: Path, progress: Progress
) -> tuple[list[str], list[str], Path]:
    """Write all masks and votes; return their names by row, and their folder, named by a hash of what they are of."""
    files = source_files(manifest, table.assign(**{ROW: range(len(table))}))
    made = [[mask, *(sha256(file) for file in own)] for mask, (_, own) in zip(table["mask"], files, strict=True)]
    digest = hashlib.sha256(json.dumps([made, list(rows.items())]).encode()).hexdigest()
    names = [mask_name(mask) for mask in table["mask"]]
    vote_of = {image: mask_name(f"{image}/{VOTE}") for image in rows}

    def write(folder: Path) -> None:
        for done, (image, own) in enumerate(rows.items(), start=1):
            masks = _masks_of(manifest, own, files)
            for name, mask in zip([names[row] for row in own], masks, strict=True):
                _save(mask, folder / name)
            _save(majority_vote(masks), folder / vote_of[image])
            progress(done, len(rows))

    parameters = {"majority_vote": _VERSION, "masks": digest}
    return (
        names,
        [vote_of[str(image)] for image in table["image"]],
        derive(scratch / f"majority-vote-{digest[:12]}", parameters, write),
    )


def _masks_of(manifest: Manifest, own: list[int], files: list[Files]) -> list[Mask]:
    masks = [decode_mask(files[row][1], MaskValues(("object",))) == 1 for row in own]
    for row, mask in zip(own, masks, strict=True):
        if mask.shape != masks[0].shape:
            sizes = " and ".join(f"{width}x{height}" for height, width in (mask.shape, masks[0].shape))
            raise ManifestError(
                f"{manifest.source}: {manifest.where(row)}: its mask and the image's first one are {sizes} (width x "
                "height); expected the same size"
            )
    return masks


def _save(mask: Mask, path: Path) -> None:
    Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).save(path)
