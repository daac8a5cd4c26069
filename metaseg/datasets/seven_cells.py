"""Seven Cell Lines in its laboratory's layout: images of a plate's wells, stencils of nuclei, and an Index.xml."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pandas as pd

from metaseg.config import SPLITS, ConfigError
from metaseg.data.manifest import Manifest, ManifestError
from metaseg.datasets.settings import Channel, SevenCellsConfig
from metaseg.datasets.source import Source
from metaseg.datasets.table import read_frame, read_table, to_manifest

_CHANNELS: Mapping[str, Channel] = {"1": "fluorescence", "2": "brightfield"}

_NAME = re.compile(r"(?P<row>\d{2})(?P<column>\d{2})K1F(?P<field>[1-9]\d*)P1R(?P<channel>[12])\.png")
_WELL = re.compile(r"(?P<row>[A-Z])(?P<column>\d{1,2})")

_WELL_AT, _FIELD_AT, _LINE_AT = 2, 3, 7
"""Positions of an image's sub-elements in Index.xml, counted from 0."""


class _Field(NamedTuple):
    """One field of view."""

    well: str
    field: int

    def __str__(self) -> str:
        return f"{self.well} field {self.field}"

    def file(self, channel: Channel) -> str:
        """Return the name of its image's file."""
        number = next(number for number, name in _CHANNELS.items() if name == channel)
        row = ord(self.well[0]) - ord("A") + 1
        return f"{row:02d}{int(self.well[1:]):02d}K1F{self.field}P1R{number}.png"


def read_seven_cells(source: Source, config: SevenCellsConfig = SevenCellsConfig()) -> Manifest:
    """Read `images/RRCCK1F{field}P1R{1,2}.png` (R1 fluorescence, R2 brightfield) with `StencilsNuclei/...R1.png`.

    RR is the row's letter as a number (A is 01) and CC the column. `Index.xml` beside them has each field's cell line:
    every child of its root is an image, whose sub-elements are, counted from 0, [2] the well (A10), [3] the field and
    [7] the cell line. Entries of images that don't exist are ignored; so are files other than PNG.

    Args:
        source: the folder; or a CSV or Parquet table of images, or a folder that holds `manifest.csv` or just one CSV,
            which `metaseg.datasets.table.read_table` reads. The metadata is `cell_line` by default; the columns `well`
            and `field` are available too.
        config: channel and split, which a table has itself.

    Returns:
        One row per field. Wells stay together, by column `group`, unless the source names another column; if a split
        file puts fields of one well into several splits, each image is a group of its own, with a warning.

    Raises:
        ManifestError: the folder hasn't this layout; or, listed together, images have no stencil or no cell line, have
            other names, or are missing from the split file.
        ConfigError: a channel or split file is given for a table.
    """
    root = source.path
    metadata = source.metadata or ("cell_line",)
    if (table := _table_file(root)) is not None:
        if config != SevenCellsConfig():
            raise ConfigError(f"{table} is a table, which has images and split itself; got {config}, expected none")
        return replace(read_table(table, metadata, source.group_by), about=f"cell lines, images listed in {table}")
    for name, kind in (("images", "folder"), ("StencilsNuclei", "folder"), ("Index.xml", "file")):
        if not ((root / name).is_dir() if kind == "folder" else (root / name).is_file()):
            raise ManifestError(
                f"{root} has no {kind} {name}; expected images/, StencilsNuclei/ and Index.xml, or one table in CSV"
            )
    fields, problems = _fields(root, config.channel)
    lines = _cell_lines(root / "Index.xml")
    for field in fields:
        image, stencil = field.file(config.channel), field.file("fluorescence")
        if not (root / "StencilsNuclei" / stencil).is_file():
            problems.append(f"images/{image} has no mask; expected StencilsNuclei/{stencil}")
        if field not in lines:
            problems.append(f"images/{image} has no cell line; expected {field} in Index.xml")
    ManifestError.check(str(root), problems)
    frame = pd.DataFrame(
        {
            "image": [f"images/{field.file(config.channel)}" for field in fields],
            "mask": [f"StencilsNuclei/{field.file('fluorescence')}" for field in fields],
            "well": [field.well for field in fields],
            "field": [field.field for field in fields],
            "cell_line": [lines[field] for field in fields],
        }
    )
    group_by: str | None = source.group_by or "well"
    if config.split_file is not None:
        splits = _splits(config.split_file, fields)
        frame["split"] = [splits[field] for field in fields]
        wells = frame.groupby("well")["split"].nunique()
        straddling = [str(well) for well in wells.index[wells > 1]]
        if straddling and source.group_by is None:
            group_by = None
            warnings.warn(
                f"{config.split_file}: fields of {len(straddling)} wells (first {straddling[0]}) are in several "
                "splits, which makes test scores too good; expected all of a well in one split",
                stacklevel=2,
            )
    about = f"Seven Cell Lines, {config.channel}, {root}"
    return to_manifest(frame, root, metadata, group_by, str(root), about=about)


def _table_file(path: Path) -> Path | None:
    """Find the table that is given instead of the laboratory's folder; None if the folder is given."""
    if not path.exists():
        raise ManifestError(f"{path} doesn't exist; expected the laboratory's folder, or a table")
    if not path.is_dir():
        return path
    if (path / "Index.xml").exists() or (path / "StencilsNuclei").exists():
        return None
    if (path / "manifest.csv").is_file():
        return path / "manifest.csv"
    tables = sorted(path.glob("*.csv"))
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables)
        raise ManifestError(f"{path} holds {len(tables)} tables ({names}); expected one, or manifest.csv")
    return tables[0] if tables else None


def _parse(name: str) -> tuple[_Field, Channel] | None:
    """Parse field and channel from a file's name; None for a name that doesn't belong to the layout."""
    match = _NAME.fullmatch(name)
    if not match or not 1 <= int(match["row"]) <= 26 or not int(match["column"]):
        return None
    well = f"{chr(ord('A') + int(match['row']) - 1)}{int(match['column'])}"
    return _Field(well, int(match["field"])), _CHANNELS[match["channel"]]


def _fields(root: Path, channel: Channel) -> tuple[list[_Field], list[str]]:
    """List the fields that have an image, sorted, and problems with the names in `images`."""
    fields, problems = [], []
    for path in sorted(path for path in (root / "images").glob("[!.]*") if path.suffix.lower() == ".png"):
        if (parsed := _parse(path.name)) is None:
            problems.append(f"images/{path.name} isn't an image's name; expected such as 0110K1F1P1R2.png (well A10)")
        elif parsed[1] == channel:
            fields.append(parsed[0])
    if not fields and not problems:
        example = _Field("A10", 1).file(channel)
        raise ManifestError(f"{root / 'images'} holds no {channel} image; expected files such as {example}")
    return sorted(fields), problems


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Builds the tree of a document without a document type declaration, which could define entities."""

    def doctype(self, name: str, _public: str | None, _system: str | None) -> None:
        raise ValueError(f"declares the document type {name!r}, which may define entities; expected none")


def _cell_lines(path: Path) -> dict[_Field, str]:
    """Read each field's cell line from Index.xml."""
    parser = ElementTree.XMLParser(target=_WithoutDoctype())
    try:
        parser.feed(path.read_bytes())
        root: ElementTree.Element = parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise ManifestError(f"{path}: unreadable XML ({error}); expected one whole document") from error
    lines: dict[_Field, str] = {}
    problems = []
    for number, image in enumerate(root, start=1):
        texts = [(element.text or "").strip() for element in image]
        if (field := _field(texts)) is None:
            problems.append(f"image {number} {_told(texts)}; expected well, field and cell line {_PLACES}")
        elif lines.setdefault(field, texts[_LINE_AT]) != texts[_LINE_AT]:
            problems.append(
                f"image {number}: {field} has cell line {texts[_LINE_AT]!r}, but {lines[field]!r} before; expected one"
            )
    if not len(root):
        problems.append("lists no image; expected a child of the root for each")
    ManifestError.check(str(path), problems)
    return lines


_PLACES = f"(such as A10, 1, HeLa) as sub-elements {_WELL_AT}, {_FIELD_AT} and {_LINE_AT}, counted from 0"


def _field(texts: Sequence[str]) -> _Field | None:
    if len(texts) <= _LINE_AT or not texts[_LINE_AT]:
        return None
    well, field = _WELL.fullmatch(texts[_WELL_AT]), texts[_FIELD_AT]
    if not well or not int(well["column"]) or not re.fullmatch(r"0*[1-9]\d{0,5}", field):
        return None
    return _Field(f"{well['row']}{int(well['column'])}", int(field))


def _told(texts: Sequence[str]) -> str:
    if len(texts) <= _LINE_AT:
        return f"has {len(texts)} sub-elements"
    return f"has {texts[_WELL_AT]!r}, {texts[_FIELD_AT]!r} and {texts[_LINE_AT]!r}"


def _splits(path: Path, fields: Sequence[_Field]) -> dict[_Field, str]:
    """Read the split of each field, and possibly of more, from the split file."""
    table = read_frame(path, (), None)
    columns = ", ".join(map(str, table.columns))
    ManifestError.check(
        str(path), [f"has no column {name!r}; it has {columns}" for name in ("image", "split") if name not in table]
    )
    splits: dict[_Field, str] = {}
    problems = []
    for row, (image, split) in enumerate(zip(table["image"].astype(str), table["split"], strict=True), start=1):
        parsed = _parse(re.split(r"[/\\]", image)[-1])
        if parsed is None:
            problems.append(f"row {row}: image is {image!r}; expected a name such as 0110K1F1P1R2.png")
        elif split not in SPLITS:
            problems.append(f"row {row}: split is {split!r}; expected one of {', '.join(SPLITS)}")
        elif splits.setdefault(parsed[0], split) != split:
            problems.append(
                f"row {row}: image {image!r} is in split {split!r}, but its field in {splits[parsed[0]]!r} before; "
                "expected one"
            )
    problems += [f"has no row for {field}; expected one for each image" for field in fields if field not in splits]
    ManifestError.check(str(path), problems)
    if unused := sorted(splits.keys() - set(fields)):
        warnings.warn(
            f"{path}: {len(unused)} fields (first {unused[0]}) have a split but no image; expected the same fields",
            stacklevel=3,
        )
    return splits
