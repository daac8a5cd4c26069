"""The manifest: the table that is a dataset, and the rules that it must keep."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from metaseg.config import SPLITS
from metaseg.data.metadata import MetadataColumn

MEANT = ("image", "mask", "split", "group")
"""Columns whose meaning is ours in the user's table, too, so that metadata can't be called so."""

PAIR = "="
"""Joins a column's name and a value wherever both are one text, so that no column of the user's has it in its name."""

ROW = PAIR + "row"
"""Column of tables that are being prepared: each sample's position in the manifest."""

_SHOWN = 10


class ManifestError(ValueError):
    """Data that can't be used. The message names the file or row, what it holds and what was expected.

    Example:
        >>> from pathlib import Path
        >>> from metaseg import read_table
        >>> read_table(Path("absent.csv"), ["cell_line"])
        Traceback (most recent call last):
            ...
        metaseg.data.manifest.ManifestError: absent.csv doesn't exist; expected a table with columns image and mask
    """

    @classmethod
    def check(cls, source: str, problems: Sequence[str]) -> None:
        """Raise one error that lists `problems`, the first few in full, unless there are none."""
        if len(problems) == 1:
            raise cls(f"{source}: {problems[0]}")
        if problems:
            lines = [f"{source}: {len(problems)} problems", *problems[:_SHOWN]]
            if len(problems) > _SHOWN:
                lines.append(f"... and {len(problems) - _SHOWN} more")
            raise cls("\n  ".join(lines))


@dataclass(frozen=True, eq=False)
class Manifest:
    """A dataset as a table with one row a sample: paths of image and mask, split, group and metadata.

    Raises:
        ManifestError: the table breaks a rule that can be checked without opening a file: a missing column or value, an
            unknown split, a group in two splits, an image listed twice, a metadata value that is no number.

    Example:
        >>> from pathlib import Path
        >>> import pandas as pd
        >>> from metaseg import Manifest
        >>> table = pd.DataFrame({"image": ["a.png", "b.png"], "mask": ["a-mask.png", "b-mask.png"]})
        >>> Manifest("two", Path("images"), table, metadata=(), source="two images").where(1)
        'row 2'
    """

    name: str
    """Short name of the dataset."""
    root: Path
    """Folder that image and mask paths are relative to, and never leave."""
    table: pd.DataFrame
    """Columns `image` and `mask` (a file, or a folder of one file an object); optionally `split` (train, val or test)
    and `group` (samples that must share a split); and the metadata columns. Paths, splits and groups are strings."""
    metadata: tuple[MetadataColumn, ...]
    """Which columns are metadata."""
    source: str
    """What errors call the manifest."""
    mask_root: Path | None = None
    """Folder that mask paths are relative to, and never leave; `root` by default."""
    strata: tuple[str, ...] = ()
    """Further columns, of strings, that arms may be restricted by and networks don't see."""
    per: tuple[str, ...] = ()
    """Columns, of metadata or strata, that tell the rows of one image apart: its task, annotator or style."""
    about: str = ""
    """A sentence for tables and figures: what these images are, and above all whether they are simulated."""
    reported_by: str | None = None
    """Column, of metadata or a stratum, that results are broken down by; the first categorical metadata column by
    default."""
    share: float = 1.0
    """Which share of the study's images these are; below 1 only where they serve to plan it."""
    lines: tuple[int, ...] = ()
    """Line of the text file that each row begins in, counted from 1; empty for any other table."""
    classes: tuple[str, ...] = ()
    """Names of mask values 1, 2, ... where the layout has them; `DataConfig.classes` overrides them."""

    def __post_init__(self) -> None:
        columns = list(self.table.columns)
        required = ["image", "mask", *(column.name for column in self.metadata), *self.strata]
        problems = [f"has no column {name!r}; it has {_listed(columns)}" for name in required if name not in columns]
        problems += [
            f"metadata column {name!r} has a name that the dataset needs for itself; rename it in the table"
            for name in (*(column.name for column in self.metadata), *self.strata)
            if name in MEANT
        ]
        problems += [
            f"metadata column {name!r} has a name with {PAIR!r}, as in COLUMN=VALUE; rename it in the table"
            for name in (*(column.name for column in self.metadata), *self.strata)
            if PAIR in name or not name
        ]
        names = [*(column.name for column in self.metadata), *self.strata]
        problems += [f"metadata column {name!r} is given twice" for name in names if names.count(name) > 1]
        if self.reported_by not in (None, *self._categorical, *self.strata):
            problems.append(f"reported_by is {self.reported_by!r}; expected one of the categorical columns")
        problems += [
            f"rows of an image are told apart by {name!r}; expected one of the metadata columns or strata"
            for name in self.per
            if name not in names
        ]
        if not len(self.table):
            problems.append("has no rows")
        ManifestError.check(self.source, problems)
        ManifestError.check(self.source, [*self._empty(), *self._not_numbers(), *self._listed_twice(), *self._splits()])

    @property
    def subgroup_column(self) -> str | None:
        """What results are broken down by."""
        return self.reported_by or next(iter(self._categorical), None)

    @property
    def _categorical(self) -> list[str]:
        return [column.name for column in self.metadata if column.kind == "categorical"]

    def where(self, row: int) -> str:
        """How errors name the row at position `row`: counted from 1, with its line in a CSV file."""
        return f"row {row + 1} (line {self.lines[row]})" if self.lines else f"row {row + 1}"

    def image_file(self, relative: str) -> Path:
        """Path of an image; raises as `inside` does."""
        return inside(self.root, relative)

    def mask_file(self, relative: str) -> Path:
        """Path of a mask; raises as `inside` does."""
        return inside(self.mask_root or self.root, relative)

    def holds_mask(self, path: Path) -> bool:
        """Whether `path`, its symbolic links followed, lies inside the masks' root."""
        return holds(self.mask_root or self.root, path)

    def _empty(self) -> Iterator[str]:
        optional = [name for name in ("split", "group") if name in self.table]
        needed = [column.name for column in self.metadata if column.missing == "error"]
        for name in dict.fromkeys(["image", "mask", *optional, *needed, *self.strata, *self.per]):
            for row in np.flatnonzero(self.table[name].isna()).tolist():
                yield f"{self.where(row)}: no value in column {name!r} (empty, or a marker such as NA)"

    def _not_numbers(self) -> Iterator[str]:
        for column in self.metadata:
            if column.kind == "continuous":
                values = self.table[column.name]
                bad = ~np.isfinite(column.cast(values).to_numpy()) & values.notna().to_numpy()
                for row in np.flatnonzero(bad).tolist():
                    yield f"{self.where(row)}: {column.name!r} is {values.iloc[row]!r}; expected a finite number"

    def _listed_twice(self) -> Iterator[str]:
        paths = [str(PurePosixPath(image)) if isinstance(image, str) else image for image in self.table["image"]]
        keys = zip(map(str, paths), *(self.table[name].astype(str) for name in self.per), strict=True)
        columns = " and ".join(self.per)
        group = self.table["group"] if "group" in self.table else self.table["image"]
        split = self.table["split"] if "split" in self.table else self.table["image"]
        first_rows: dict[tuple[str, ...], int] = {}
        first_of_image: dict[str, int] = {}
        for row, (image, key) in enumerate(zip(paths, keys, strict=True)):
            if pd.isna(image):
                continue
            first = first_rows.setdefault(key, row)
            if first != row:
                same = f" with the same {columns} ({', '.join(key[1:])})" if columns else ""
                one = f"an image and {columns}" if columns else "an image, or columns that tell its rows apart (--per)"
                yield f"{self.where(row)}: image {image!r} is also {self.where(first)}{same}; expected one row {one}"
                continue
            elder = first_of_image.setdefault(image, row)
            for name, values in (("group", group), ("split", split)):
                if values.iloc[elder] != values.iloc[row] and not values.iloc[[elder, row]].isna().any():
                    yield (
                        f"{self.where(row)}: image {image!r} has {name} {values.iloc[row]!r}, but "
                        f"{values.iloc[elder]!r} in {self.where(elder)}; expected all rows of an image in one {name}"
                    )

    def _splits(self) -> Iterator[str]:
        if "split" not in self.table:
            return
        split = self.table["split"]
        for row in np.flatnonzero(~split.isin(SPLITS) & split.notna()).tolist():
            yield f"{self.where(row)}: split is {split.iloc[row]!r}; expected one of {', '.join(SPLITS)}"
        if "group" in self.table:
            rows = pd.DataFrame({"group": self.table["group"], "split": split, "row": range(len(split))})
            firsts = rows.dropna().drop_duplicates(["group", "split"])
            for group, found in firsts[firsts["group"].duplicated(keep=False)].groupby("group"):
                places = " and ".join(
                    f"{s} ({self.where(r)})" for s, r in zip(found["split"], found["row"], strict=True)
                )
                yield f"group {group!r} is in {places}; expected all of a group in one split"


def inside(root: Path, relative: str) -> Path:
    """Path of an existing file or folder in `root`.

    Raises:
        ManifestError: when it leaves the root (absolute, by "..", or by a symbolic link) or doesn't exist.
    """
    if "\0" in relative:
        raise ManifestError(f"{relative!r} holds a zero byte; expected a relative path inside {root}")
    path = root / relative
    pure = PurePosixPath(relative)
    if pure.is_absolute() or ".." in pure.parts or not holds(root, path):
        raise ManifestError(f"{relative!r} leaves the root {root}; expected a relative path inside it")
    if not path.exists():
        raise ManifestError(f"{relative!r} doesn't exist; expected it in {root}")
    return path


def holds(root: Path, path: Path) -> bool:
    """Whether `path`, its symbolic links followed, lies inside `root`."""
    return path.resolve().is_relative_to(root.resolve())


def _listed(names: Sequence[object]) -> str:
    return ", ".join(map(str, names))
