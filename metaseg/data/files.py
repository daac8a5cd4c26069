"""The files that a manifest lists: their paths, their digests, and duplicates among them."""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from metaseg.data.decode import mask_files
from metaseg.data.manifest import ROW, Manifest, ManifestError
from metaseg.data.reserved_names import FOLD

Files = tuple[Path, list[Path]]
"""Image file of a sample, and the file or files of its mask."""


def source_files(manifest: Manifest, table: pd.DataFrame) -> list[Files]:
    """Find each sample's image file and mask files.

    Raises:
        ManifestError: files don't exist or lie outside the root; all are listed.
    """
    files: list[Files] = []
    problems = []
    for row, image, mask in zip(table[ROW], table["image"], table["mask"], strict=True):
        try:
            files.append((manifest.image_file(image), mask_files(manifest.mask_file(mask))))
            if files[-1][0].is_dir():
                raise ManifestError(f"{image!r} is a folder; expected an image file")
            for file in files[-1][1]:
                if file.is_symlink() and not manifest.holds_mask(file):
                    root = manifest.mask_root or manifest.root
                    raise ManifestError(f"{file} leaves the root {root}; expected a file inside it")
        except ManifestError as error:
            problems.append(f"{manifest.where(row)}: {error}")
    ManifestError.check(manifest.source, problems)
    return files


def digests_of(files: Files) -> list[str]:
    """Compute SHA-256 of a sample's files, the image's first."""
    return [sha256(path) for path in (files[0], *files[1])]


def sha256(path: Path) -> str:
    """Compute a file's SHA-256, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def warn_of_duplicates(manifest: Manifest, table: pd.DataFrame, digests: Sequence[str]) -> None:
    """Warn of images with equal bytes, separately of those within one split or fold and of those across several."""
    part, kind = ("split", "split") if "split" in table else (FOLD, "fold")
    equal = table.assign(digest=digests).drop_duplicates("image")
    equal = equal[equal["digest"].duplicated(keep=False)]
    within: list[str] = []
    across: list[str] = []
    for _, rows in equal.groupby("digest", sort=False):
        first, *others = (f"{image} ({name})" for image, name in zip(rows["image"], rows[part], strict=True))
        (across if rows[part].nunique() > 1 else within).extend(f"{first} = {other}" for other in others)
    for pairs, consequence in (
        (within, f"in one {kind}"),
        (across, f"in different {kind}s, which makes test scores too good"),
    ):
        if pairs:
            shown = "; ".join(pairs[:10]) + (f"; ... and {len(pairs) - 10} more" if len(pairs) > 10 else "")
            warnings.warn(f"{manifest.source}: images with equal content {consequence}: {shown}", stacklevel=3)
