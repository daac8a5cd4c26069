"""The manifest: the table that is a dataset, and the rules that it must obey."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from metaseg.config import SPLITS
from metaseg.data.metadata import MetadataColumn

MEANT = ("image", "mask", "split", "group")
"""Columns with a fixed meaning in the user's table, so that no metadata column can have these names."""

PAIR = "="
"""Separator of a column's name and its value in COLUMN=VALUE; no column of the user's may contain it."""

ROW = PAIR + "row"
"""Column of a table in preparation: each sample's position in the manifest."""

_SHOWN = 10


class ManifestError(ValueError):
    """Raised for data that can't be used; the message names the place, the value and what was expected.

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
        """Raise one error that lists the first of `problems`, if there are any; `source` begins the message."""
        if len(problems) == 1:
            raise cls(f"{source}: {problems[0]}")
        if problems:
            lines = [f"{source}: {len(problems)} problems", *problems[:_SHOWN]]
            if len(problems) > _SHOWN:
                lines.append(f"... and {len(problems) - _SHOWN} more")
            raise cls("\n  ".join(lines))


@dataclass(frozen=True, eq=False)
class Manifest:
    """The table that is a dataset: one row per sample.

    Raises:
        ManifestError: the table breaks a rule that can be checked without opening a file: a missing column or value, an
            unknown split, a group in two splits, an image listed twice, a continuous metadata value that isn't a
            number.

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
    """Folder that image and mask paths are relative to; they must stay inside it."""
    table: pd.DataFrame
    """Columns `image` and `mask` (a file, or a folder with one file per object); optionally `split` (train, val or
    test) and `group` (samples that must share a split); and the metadata columns. Paths, splits and groups are
    strings."""
    metadata: tuple[MetadataColumn, ...]
    """The metadata columns."""
    source: str
    """Name of the manifest in errors, usually its path."""
    mask_root: Path | None = None
    """Folder that mask paths are relative to, if it isn't `root`; they must stay inside it."""
    strata: tuple[str, ...] = ()
    """Further columns, of strings, that arms may be restricted by and that networks don't see."""
    per: tuple[str, ...] = ()
    """Columns, metadata or strata, that distinguish the rows of one image: its task, annotator or style."""
    about: str = ""
    """A sentence about the images for tables and figures; it says above all whether they are simulated."""
    reported_by: str | None = None
    """Metadata column or stratum that results are broken down by; the first categorical metadata column by default."""
    share: float = 1.0
    """Share of the study's images that are listed; below 1 only where they serve to plan it."""
    lines: tuple[int, ...] = ()
    """Line of the text file that each row begins in, counted from 1; empty for any other table."""
    classes: tuple[str, ...] = ()
    """Names of mask values 1, 2, ... where the layout has them; `DataConfig.classes` overrides them."""
    trained_only: str | None = None
    """Stratum whose value `yes` marks rows that no network is tested on, such as masks made of others: where their
    image is tested, they are left out. Metadata are those of the other rows: networks see zeros for these."""

    def __post_init__(self) -> None:
        columns = list(self.table.columns)
        required = ["image", "mask", *(column.name for column in self.metadata), *self.strata]
        problems = [f"has no column {name!r}; it has {_listed(columns)}" for name in required if name not in columns]
        problems += [
            f"metadata column {name!r} has a reserved name ({', '.join(MEANT)}); rename it in the table"
            for name in (*(column.name for column in self.metadata), *self.strata)
            if name in MEANT
        ]
        problems += [
            f"metadata column {name!r} has a name that is empty or contains {PAIR!r}; rename it in the table"
            for name in (*(column.name for column in self.metadata), *self.strata)
            if PAIR in name or not name
        ]
        names = [*(column.name for column in self.metadata), *self.strata]
        problems += [f"metadata column {name!r} is given twice" for name in names if names.count(name) > 1]
        if self.reported_by not in (None, *self._categorical, *self.strata):
            problems.append(f"reported_by is {self.reported_by!r}; expected one of the categorical columns")
        problems += [
            f"per is {name!r}, to distinguish the rows of one image; expected one of the metadata columns or strata"
            for name in self.per
            if name not in names
        ]
        if self.trained_only not in (None, *self.strata):
            problems.append(f"trained_only is {self.trained_only!r}; expected one of the strata")
        if not len(self.table):
            problems.append("has no rows")
        ManifestError.check(self.source, problems)
        ManifestError.check(self.source, [*self._empty(), *self._not_numbers(), *self._listed_twice(), *self._splits()])

    @property
    def subgroup_column(self) -> str | None:
        """Column that results are broken down by; None without a categorical one."""
        return self.reported_by or next(iter(self._categorical), None)

    @property
    def _categorical(self) -> list[str]:
        return [column.name for column in self.metadata if column.kind == "categorical"]

    def where(self, row: int) -> str:
        """Name the row at position `row` (from 0) for errors: counted from 1, with its line in a text file."""
        return f"row {row + 1} (line {self.lines[row]})" if self.lines else f"row {row + 1}"

    def image_file(self, relative: str) -> Path:
        """Return the path of an image; raises what `inside` raises."""
        return inside(self.root, relative)

    def mask_file(self, relative: str) -> Path:
        """Return the path of a mask; raises what `inside` raises."""
        return inside(self.mask_root or self.root, relative)

    def holds_mask(self, path: Path) -> bool:
        """Return True if `path`, with symbolic links resolved, lies inside the masks' root."""
        return holds(self.mask_root or self.root, path)

    def _empty(self) -> Iterator[str]:
        optional = [name for name in ("split", "group") if name in self.table]
        needed = [column.name for column in self.metadata if column.missing == "error"]
        for name in dict.fromkeys(["image", "mask", *optional, *needed, *self.strata, *self.per]):
            remedy = f"; {name}:unknown in --metadata allows it" if name in needed and name not in self.per else ""
            for row in np.flatnonzero(self.table[name].isna()).tolist():
                yield f"{self.where(row)}: no value in column {name!r} (empty, or a marker such as NA){remedy}"

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
                one = f"image and {columns}" if columns else "image, or columns that distinguish its rows (--per)"
                where, before = self.where(row), self.where(first)
                yield f"{where}: image {image!r} is also {before}{same}; expected one row per {one}"
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
    """Return the path of an existing file or folder in `root`.

    Raises:
        ManifestError: it leaves the root (by an absolute path, "..", or a symbolic link) or doesn't exist.
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
    """Return True if `path`, with symbolic links resolved, lies inside `root`."""
    return path.resolve().is_relative_to(root.resolve())


def _listed(names: Sequence[object]) -> str:
    return ", ".join(map(str, names))
