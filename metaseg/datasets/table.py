"""A table of images: a CSV or Parquet file in the folder that its paths are relative to."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from metaseg.data.manifest import Manifest, ManifestError
from metaseg.metadata import Kind, MetadataColumn

_TEXT = ("image", "mask", "split", "group")


def read_table(path: Path, metadata: Sequence[str], group_by: str | None = None) -> Manifest:
    """Read a CSV (UTF-8) or Parquet file with columns `image` and `mask`, and optionally `split` and `group`.

    Args:
        path: the table. Its folder is the manifest's root and, by its name, the dataset's.
        metadata: columns that the network may see, each `COLUMN`, `COLUMN:categorical` or `COLUMN:continuous`. Without
            a kind, numbers are continuous; everything else, truth values too, is categorical.
        group_by: column whose equal values must share a split; it fills the column `group`.

    Raises:
        ManifestError: the file isn't such a table.
    """
    return to_manifest(read_frame(path, metadata, group_by), path.parent, metadata, group_by, str(path))


def read_frame(path: Path, metadata: Sequence[str], group_by: str | None) -> pd.DataFrame:
    """The file's rows. What names something (paths, groups, categories) is text as written: `007` stays `007`.

    Raises:
        ManifestError: there is no such file, or it can't be read.
    """
    kinds = dict(map(_column_and_kind, metadata))
    names = {*_TEXT, *([group_by] if group_by else [])} - kinds.keys()
    names |= {name for name, kind in kinds.items() if kind == "categorical"}
    if path.suffix not in (".csv", ".parquet"):
        raise ManifestError(f"{path} is no table; expected a .csv or .parquet file")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype=dict.fromkeys(names, str))
    except FileNotFoundError as error:
        raise ManifestError(f"{path} doesn't exist; expected a table with columns image and mask") from error
    except Exception as error:  # a damaged file can raise anything inside a parser
        raise ManifestError(f"{path}: unreadable table ({error}); expected CSV in UTF-8, or Parquet") from error


def to_manifest(
    table: pd.DataFrame,
    root: Path,
    metadata: Sequence[str],
    group_by: str | None,
    source: str,
    *,
    mask_root: Path | None = None,
    strata: Sequence[str] = (),
    task: str | None = None,
    about: str = "",
) -> Manifest:
    """A manifest of a table as read; arguments as in `read_table`, and as in `Manifest`."""
    kinds = dict(map(_column_and_kind, metadata))
    needed = [*kinds, *([group_by] if group_by else [])]
    unknown = [name for name in dict.fromkeys(needed) if name not in table]
    ManifestError.check(
        source, [f"has no column {name!r}; it has {', '.join(map(str, table.columns))}" for name in unknown]
    )
    table = table.reset_index(drop=True)
    columns = tuple(MetadataColumn(name, kind or _kind(table[name])) for name, kind in kinds.items())
    if group_by:
        if "group" in table and not _text(table["group"]).equals(_text(table[group_by])):
            raise ManifestError(
                f"{source}: has a column 'group' of its own, which differs from {group_by!r}; expected one or the other"
            )
        table["group"] = table[group_by]
    for name in _TEXT:
        if name in table:
            table[name] = _text(table[name])
    for name in strata:
        table[name] = _text(table[name])
    return Manifest(root.resolve().name, root, table, columns, source, mask_root, tuple(strata), task, about)


def _column_and_kind(item: str) -> tuple[str, Kind | None]:
    name, _, kind = item.rpartition(":")
    if name and kind in get_args(Kind):
        return name, cast(Kind, kind)
    return item, None


def _kind(values: pd.Series) -> Kind:
    return "continuous" if is_numeric_dtype(values) and not is_bool_dtype(values) else "categorical"


def _text(values: pd.Series) -> pd.Series:
    """Values as strings; missing ones stay missing."""
    return values.astype(str).where(values.notna())
