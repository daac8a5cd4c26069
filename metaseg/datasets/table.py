"""A table of images: a CSV or Parquet file, in the folder to which its paths are relative."""

import csv
import io
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast, get_args

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from metaseg.data.manifest import Manifest, ManifestError
from metaseg.data.metadata import Kind, MetadataColumn
from metaseg.datasets.numerals import check_numerals, leading_zero
from metaseg.schema import UNKNOWN
from metaseg.text import clean_column, clean_text

_TEXT = ("image", "mask", "split", "group", "fold")

_UNKNOWN = f":{UNKNOWN}"

LINE = "line of the file"
"""Name of a frame's index that holds the line of the file in which each row begins."""


def read_table(path: Path, metadata: Sequence[str], group_by: str | None = None, per: Sequence[str] = ()) -> Manifest:
    """Read a CSV (UTF-8) or Parquet file with columns `image` and `mask`, and optionally `split` and `group`.

    Args:
        path: the table. Its folder is the manifest's root and, by its name, the dataset's.
        metadata: columns that the network may see, each `COLUMN`, `COLUMN:categorical` or `COLUMN:continuous`. Without
            a kind, numbers are continuous; everything else, including booleans, is categorical. `:unknown` at the end
            declares that values may be absent: unknown in a categorical column, the mean in a continuous one.
        group_by: column whose equal values must share a split; it fills the column `group`.
        per: columns that distinguish the rows of one image, such as its annotator.

    Raises:
        ManifestError: the file isn't such a table.

    Example:
        >>> from pathlib import Path
        >>> import pandas as pd
        >>> from metaseg import read_table
        >>> table = pd.DataFrame({"image": ["a.png"], "mask": ["b.png"], "cell_line": ["HeLa"], "dose": [0.5]})
        >>> table.to_csv("images.csv", index=False)
        >>> [column.kind for column in read_table(Path("images.csv"), ["cell_line", "dose"]).metadata]
        ['categorical', 'continuous']
    """
    frame = read_frame(path, metadata, group_by, per)
    return to_manifest(frame, path.parent, metadata, group_by, str(path), per=per)


def read_frame(
    path: Path, metadata: Sequence[str], group_by: str | None, per: Sequence[str] = (), required: Sequence[str] = ()
) -> pd.DataFrame:
    """Read the file's rows. Names (paths, groups, categories) are text as written: `007` stays `007`.

    Column names and values are stripped and normalised to composed Unicode (`metaseg.text`); paths stay as written.

    Args:
        path: a CSV or Parquet file.
        metadata: names of metadata columns, each with a kind or without (`dose`, `dose:continuous`).
        group_by: name of the column of groups.
        per: names of columns that tell the rows of one image apart.
        required: names of columns of text that a published layout has.

    Raises:
        ManifestError: the file doesn't exist or can't be read, lacks a required column, a column occurs twice, a line
            has more values than the header, or numbers have leading zeros in a column without a declared kind.
    """
    kinds = dict(map(_column_and_kind, metadata))
    names = {*_TEXT, *per, *required, *([group_by] if group_by else [])} - kinds.keys()
    names |= {name for name, kind in kinds.items() if kind == "categorical"}
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise ManifestError(f"{path} is not a table; expected a .csv or .parquet file")
    unsaid = [name for name, kind in kinds.items() if kind is None]
    try:
        table = pd.read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path, names, unsaid)
    except ManifestError:
        raise
    except FileNotFoundError as error:
        raise ManifestError(f"{path} doesn't exist; expected a table with columns image and mask") from error
    except Exception as error:  # a damaged file can raise anything inside a parser
        raise ManifestError(f"{path}: unreadable table ({error}); expected CSV in UTF-8, or Parquet") from error
    table.columns = pd.Index([clean_text(str(name)) for name in table.columns])
    twice = sorted(set(table.columns[table.columns.duplicated()]) - {""})
    ManifestError.check(str(path), [f"has the column {name!r} twice; expected each name once" for name in twice])
    lacking = [name for name in required if name not in table]
    ManifestError.check(str(path), [f"has no column {name!r}; it has {', '.join(table.columns)}" for name in lacking])
    for name in table.columns:
        if name not in ("image", "mask"):
            table[name] = clean_column(table[name])
    return table


def _read_csv(path: Path, texts: Iterable[str], unsaid: Iterable[str]) -> pd.DataFrame:
    """Read the table with pandas, columns `texts` as text; its index is the line in which each row begins."""
    content = path.read_bytes().decode("utf-8-sig")
    reader = csv.reader(io.StringIO(content, newline=""))
    rows: list[list[str]] = []
    lines: list[int] = []
    before = 0
    for row in reader:
        if len(row) > 1 or "".join(row).strip():
            rows.append(row)
            lines.append(before + 1)
        before = reader.line_num
    header = rows[0] if rows else []
    longer = [
        f"line {line}: has {len(row)} values; expected {len(header)}, as in the header (quote a value with a comma)"
        for row, line in zip(rows, lines, strict=True)
        if any(value.strip() for value in row[len(header) :])
    ]
    ManifestError.check(str(path), longer)
    if any(len(row) > len(header) for row in rows):  # commas at the end of lines
        trimmed = io.StringIO()
        csv.writer(trimmed).writerows(row[: len(header)] for row in rows)
        content = trimmed.getvalue()
    clean = [clean_text(name) for name in header]
    kinds = {name: str for name, text in zip(header, clean, strict=True) if text in set(texts)}
    table = pd.read_csv(io.StringIO(content), dtype=cast(dict[str, type], kinds))
    # pandas renames a second column of the same name, and calls one without a name "Unnamed"
    table.columns = pd.Index(clean if len(clean) == len(table.columns) else table.columns)
    if len(table) == len(lines) - 1:
        table.index = pd.Index(lines[1:], name=LINE)
    for name in set(unsaid) & {name for name in clean if clean.count(name) == 1}:
        place = clean.index(name)
        if not is_numeric_dtype(table[name]):
            numbers = pd.to_numeric(clean_column(table[name]), errors="coerce")
            if not is_bool_dtype(table[name]) and numbers.notna().equals(clean_column(table[name]).notna()):
                table[name] = numbers
        if is_numeric_dtype(table[name]) and not is_bool_dtype(table[name]):
            written = zip((row[place] if place < len(row) else "" for row in rows[1:]), lines[1:], strict=True)
            ManifestError.check(str(path), leading_zero(name, written))
    return table


def to_manifest(
    table: pd.DataFrame,
    root: Path,
    metadata: Sequence[str],
    group_by: str | None,
    source: str,
    *,
    mask_root: Path | None = None,
    strata: Sequence[str] = (),
    per: Sequence[str] = (),
    about: str = "",
    classes: Sequence[str] = (),
) -> Manifest:
    """Make a manifest of a table's rows, as every importer does in the end.

    Columns of `per` that aren't metadata become strata. Values that differ only in upper and lower case are warned
    about.

    Args:
        table: one row per sample, with columns `image` and `mask`; optionally `split` and `group`.
        root: folder that the paths of images are relative to; its name is the dataset's.
        metadata: columns that the network may see, as in `read_table`.
        group_by: column whose equal values must share a split, as in `read_table`.
        source: name of the manifest in errors, usually its path.
        mask_root: folder that the paths of masks are relative to; `root` by default.
        strata: further columns that arms may be restricted by.
        per: columns that distinguish the rows of one image.
        about: a sentence about the images.
        classes: names of mask values 1, 2, ..., if the layout has them.

    Raises:
        ManifestError: a column is missing, or the table breaks a rule of `Manifest`.
    """
    kinds = dict(map(_column_and_kind, metadata))
    per, strata = tuple(map(clean_text, per)), list(strata)
    strata += [name for name in per if name not in (*kinds, *strata)]
    group_by = clean_text(group_by) if group_by else None
    needed = [*kinds, *([group_by] if group_by else []), *per]
    unknown = [name for name in dict.fromkeys(needed) if name not in table]
    ManifestError.check(
        source, [f"has no column {name!r}; it has {', '.join(map(str, table.columns))}" for name in unknown]
    )
    lines = tuple(map(int, table.index)) if table.index.name == LINE else ()
    table = table.reset_index(drop=True)
    for name, kind in kinds.items():
        if kind is None:
            check_numerals(name, table[name], source)
    absent = {_column_and_kind(item)[0] for item in metadata if item.endswith(_UNKNOWN)}
    columns = tuple(_column(name, kind or _kind(table[name]), name in absent) for name, kind in kinds.items())
    if group_by:
        if "group" in table and not _text(table["group"]).equals(_text(table[group_by])):
            raise ManifestError(
                f"{source}: has a column 'group' of its own, which differs from {group_by!r}; expected one or the other"
            )
        table["group"] = table[group_by]
    for name in _TEXT:
        if name in table and name not in kinds:
            table[name] = _text(table[name])
    for name in strata:
        table[name] = _text(table[name])
    texts = [column.name for column in columns if column.kind == "categorical"]
    for name in dict.fromkeys([*texts, *strata, *(["group"] if "group" in table else [])]):
        _warn_of_case(name, table[name], source)
    return Manifest(
        root.resolve().name,
        root,
        table,
        columns,
        source,
        mask_root,
        tuple(strata),
        per,
        about,
        lines=lines,
        classes=tuple(classes),
    )


def _warn_of_case(name: str, values: pd.Series, source: str) -> None:
    distinct = pd.Series(sorted(set(values.dropna().astype(str))), dtype=str)
    folded = distinct.str.casefold()
    for _, alike in distinct[folded.duplicated(keep=False)].groupby(folded):
        warnings.warn(
            f"{source}: {name!r} is {' and '.join(map(repr, alike))}, which differ in upper and lower case only: they "
            "are treated as different values",
            stacklevel=4,
        )


def _column_and_kind(item: str) -> tuple[str, Kind | None]:
    item = item.removesuffix(_UNKNOWN)
    name, _, kind = item.rpartition(":")
    if clean_text(name) and kind in get_args(Kind):
        return clean_text(name), cast(Kind, kind)
    return clean_text(item), None


def _column(name: str, kind: Kind, may_be_absent: bool) -> MetadataColumn:
    if not may_be_absent:
        return MetadataColumn(name, kind)
    return MetadataColumn(name, kind, "unknown" if kind == "categorical" else "mean")


def _kind(values: pd.Series) -> Kind:
    return "continuous" if is_numeric_dtype(values) and not is_bool_dtype(values) else "categorical"


def _text(values: pd.Series) -> pd.Series:
    """Convert values to strings; missing ones stay missing."""
    return values.astype(str).where(values.notna())
