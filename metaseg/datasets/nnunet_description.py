"""The file dataset.json of nnU-Net's raw format, versions 1 and 2."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from metaseg.config import ConfigError
from metaseg.data.manifest import ManifestError
from metaseg.data.metadata import Kind, MetadataColumn, Missing

METADATA = "metaseg_metadata"
"""Key under which an export notes the metadata columns; nnU-Net ignores it."""

_ENDINGS = (".png", ".tif", ".tiff")


@dataclass(frozen=True)
class Description:
    """Content of dataset.json."""

    channels: int
    """Number of channels of a case."""
    classes: tuple[str, ...]
    """Names of mask values 1, 2, ..."""
    ending: str
    """Ending of the images' and masks' file names: .png, .tif or .tiff."""
    cases: int | None
    """Expected number of training cases."""
    metadata: tuple[MetadataColumn, ...]
    """Columns of metadata.csv that an export noted."""
    about: str
    """A sentence about the images."""


def describe(root: Path) -> Description:
    """Read `root/dataset.json`.

    Raises:
        ManifestError: the file is missing or can't be read, or, listed together, its entries are wrong or unsupported.
    """
    path = root / "dataset.json"
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ManifestError(f"{path} doesn't exist; expected nnU-Net's, beside imagesTr and labelsTr") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: unreadable JSON ({error}); expected nnU-Net's dataset.json") from error
    if not isinstance(content, dict):
        raise ManifestError(f"{path}: is {content!r:.80}; expected an object with channel_names and labels")
    problems = []
    channels = content.get("channel_names", content.get("modality"))
    if not isinstance(channels, dict) or not channels:
        problems.append(f'channel_names is {channels!r:.80}; expected such as {{"0": "grey"}}')
        channels = {}
    if "dataset" in content:
        problems.append("lists its files under 'dataset'; expected them in imagesTr and labelsTr")
    ending = str(content.get("file_ending") or _ending(root))
    if ending not in _ENDINGS:
        problems.append(f"file_ending is {ending!r}; expected {', '.join(_ENDINGS)} (images, no volumes)")
    cases = content.get("numTraining")
    if cases is not None and type(cases) is not int:
        problems.append(f"numTraining is {cases!r:.80}; expected a whole number")
    metadata = _metadata(content, problems)
    classes = _classes(content, problems)
    ManifestError.check(str(path), problems)
    about = " ".join(str(content.get("description") or f"nnU-Net dataset {root}").split())
    return Description(len(channels), classes, ending, cases, metadata, about)


def _ending(root: Path) -> str:
    """Find the ending of the training images, which version 1 doesn't name."""
    names = [path.name for path in (root / "imagesTr").glob("[!.]*")]
    found = sorted({match[0] for name in names if (match := re.search(r"(\.nii)?\.[^.]+$", name))})
    return ", ".join(found)


def _metadata(content: Mapping[str, Any], problems: list[str]) -> tuple[MetadataColumn, ...]:
    columns = content.get(METADATA, [])
    try:
        metadata = tuple(MetadataColumn(**column) for column in columns)
        kinds = {column.kind for column in metadata} <= set(get_args(Kind))
        if kinds and all(isinstance(column.name, str) and column.missing in get_args(Missing) for column in metadata):
            return metadata
    except (TypeError, ConfigError):  # no list of objects, or with other fields
        pass
    problems.append(f"{METADATA} is {columns!r:.80}; expected a list of objects with name, kind and missing")
    return ()


def _classes(content: Mapping[str, Any], problems: list[str]) -> tuple[str, ...]:
    """Read the names of values 1, 2, ...; `labels` maps names to values in version 2, values to names in version 1."""
    labels = content.get("labels")
    if not isinstance(labels, dict):
        problems.append(f'labels is {labels!r:.80}; expected such as {{"background": 0, "nucleus": 1}}')
        return ()
    pairs = [(name, value) for name, value in labels.items()]
    if "modality" in content and "channel_names" not in content:
        pairs = [(name, int(value) if re.fullmatch(r"\d{1,5}", value) else value) for value, name in labels.items()]
    if regions := [name for name, value in pairs if isinstance(value, list)]:
        problems.append(f"label {regions[0]!r} is a region of several values; expected one value per label")
    elif "ignore" in (name for name, _ in pairs):
        problems.append("has a label 'ignore', for pixels without annotation; expected masks without it")
    elif any(type(value) is not int or not isinstance(name, str) for name, value in pairs):
        problems.append(f"labels is {labels!r:.80}; expected a name and a whole number each")
    elif sorted(value for _, value in pairs) != list(range(max(2, len(pairs)))):
        values = ", ".join(str(value) for _, value in sorted(pairs, key=lambda pair: pair[1]))
        problems.append(f"labels have the values {values}; expected 0 (background), 1, 2 ... without a gap")
    else:
        return tuple(name for name, _ in sorted(pairs, key=lambda pair: pair[1])[1:])
    return ()
