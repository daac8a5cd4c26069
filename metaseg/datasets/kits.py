"""KiTS19, KiTS21 and KiTS23, the kidney tumour segmentation challenges, as downloaded: axial slices of CT volumes."""

import hashlib
import json
import math
import re
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from metaseg.config import ConfigError
from metaseg.data.manifest import Manifest, ManifestError
from metaseg.data.metadata import MetadataColumn
from metaseg.datasets.derived import derive
from metaseg.datasets.kits_clinical import Record, read_clinical
from metaseg.datasets.kits_volume import write_slices
from metaseg.datasets.settings import KitsConfig
from metaseg.datasets.source import Source
from metaseg.datasets.table import to_manifest

VERSION = 2
"""Version of the slices; raised whenever the same volumes and `KitsConfig` would give other files."""

SIZE = "radiographic_size"


class _Release(NamedTuple):
    name: str
    segmentation: str
    classes: tuple[str, ...]
    download: str
    """The command that fetches the volumes, in a clone of the release's repository."""


_KITS19 = _Release("KiTS19", "segmentation.nii.gz", ("kidney", "tumour"), "python3 -m starter_code.get_imaging")
_KITS21 = _Release(
    "KiTS21",
    "aggregated_{annotation}_seg.nii.gz",
    ("kidney", "tumour", "cyst"),
    "python3 kits21/starter_code/get_imaging.py",
)
_KITS23 = _Release("KiTS23", "segmentation.nii.gz", ("kidney", "tumour", "cyst"), "kits23_download_data")

_FOLDERS = ("", "data", "dataset", "kits21/data")
_CLINICAL = ("kits23.json", "kits.json", "clinical_data.json")
_CASE = re.compile(r"case_\d{5}")


class _Layout(NamedTuple):
    release: _Release
    folder: Path
    clinical: Path
    cases: tuple[str, ...]


def read_kits(source: Source, config: KitsConfig = KitsConfig()) -> Manifest:
    """Read the release at `source.path`: the clone's root, or the folder that holds the case folders.

    | release | cases | labels | clinical data |
    | --- | --- | --- | --- |
    | KiTS19 | data/case_%05d | segmentation.nii.gz | kits.json |
    | KiTS21 | kits21/data/case_%05d | aggregated_MAJ_seg.nii.gz (OR, AND) | kits.json or clinical_data.json |
    | KiTS23 | dataset/case_%05d | segmentation.nii.gz | kits23.json |

    Axial slices that show a kidney, a tumour or a cyst become a folder of PNG files under `source.scratch`, case by
    case, so that an interrupted import resumes with the next case. Cases with neither labels nor a record, such as the
    90 test cases of KiTS19, are left out with a warning. The release determines the classes.

    Args:
        source: its metadata are `radiographic_size` in cm by default; `malignant`, `histology`, `gender`, `age` and
            `bmi` are available too (`kits_clinical.read_clinical`). Each case is a group.
        config: annotation, window and choice of slices.

    Raises:
        ManifestError: the folder isn't such a release, or a case is incomplete or can't be used.
        ConfigError: nibabel isn't installed; the release hasn't `config.annotation`; or a file has changed since its
            slices were made.
    """
    layout = _layout(source.path)
    release = layout.release
    if release is not _KITS21 and config.annotation != "MAJ":
        raise ConfigError(f"annotation is {config.annotation!r}; expected MAJ, as {release.name} has one annotation")
    segmentation = release.segmentation.format(annotation=config.annotation)
    metadata = source.metadata or (f"{SIZE}:continuous",)
    records = read_clinical(layout.clinical)
    cases = _usable(layout, segmentation, records)[: config.cases]
    _check(layout, segmentation, records, cases)
    sized = [name for name in metadata if name in (SIZE, f"{SIZE}:continuous")]
    if sized and config.missing_size == "drop":
        cases = _with_size(layout, records, cases)

    root = source.scratch / f"{release.name.lower()}-{_digest(layout, segmentation, config)}"
    rows: list[dict[str, object]] = []
    for done, case in enumerate(cases, 1):
        folder = _slices(layout, segmentation, config, case, root / case)
        for image in sorted((folder / "images").iterdir()):
            names = {"image": f"{case}/images/{image.name}", "mask": f"{case}/masks/{image.name}"}
            rows.append({**names, "case_id": case, "slice": int(image.stem[-4:]), **records[case]})
        source.progress(done, len(cases))

    low, high = config.hu_window
    about = f"{release.name}, axial slices of the CT of {len(cases)} cases, {low:g} to {high:g} HU"
    mean = sized if config.missing_size == "mean" else []
    others = [name for name in metadata if name not in mean]
    group_by = source.group_by or "case_id"
    manifest = to_manifest(
        pd.DataFrame(rows), root, others, group_by, str(source.path), about=about, classes=release.classes
    )
    columns = dict(zip(others, manifest.metadata, strict=True))
    columns |= {name: MetadataColumn(SIZE, "continuous", "mean") for name in mean}
    return replace(manifest, name=release.name.lower(), metadata=tuple(columns[name] for name in metadata))


def _layout(path: Path) -> _Layout:
    for folder in (path / name for name in _FOLDERS):
        entries = folder.iterdir() if folder.is_dir() else ()
        cases = sorted(entry.name for entry in entries if _CASE.fullmatch(entry.name) and entry.is_dir())
        if cases:
            break
    else:
        raise ManifestError(
            f"{path} holds no case; expected data/case_00000 (KiTS19), kits21/data/case_00000 (KiTS21), "
            "dataset/case_00000 (KiTS23), or the folder that holds the case folders"
        )
    name = next((name for name in _CLINICAL if (folder / name).is_file()), None)
    if name is None:
        raise ManifestError(
            f"{folder} has no clinical data; expected kits.json (KiTS19, KiTS21), clinical_data.json (KiTS21) or "
            "kits23.json (KiTS23) beside the cases"
        )
    if name == "kits23.json":
        release = _KITS23
    elif name == "clinical_data.json" or any(any((folder / case).glob("aggregated_*_seg.nii.gz")) for case in cases):
        release = _KITS21
    else:
        release = _KITS19
    return _Layout(release, folder, folder / name, tuple(cases))


def _usable(layout: _Layout, segmentation: str, records: dict[str, Record]) -> list[str]:
    """List the cases that have labels or a record."""
    cases = [case for case in layout.cases if case in records or (layout.folder / case / segmentation).is_file()]
    if not cases:
        raise ManifestError(f"{layout.folder}: no case has {segmentation} or a record in {layout.clinical.name}")
    if len(cases) < len(layout.cases):
        _warn_left_out(layout, len(layout.cases) - len(cases), "neither labels nor a clinical record")
    return cases


def _check(layout: _Layout, segmentation: str, records: dict[str, Record], cases: list[str]) -> None:
    problems = []
    for case in cases:
        if not (layout.folder / case / segmentation).is_file():
            problems.append(f"{case} has no {segmentation}; expected the labels of {layout.release.name} in it")
        if not (layout.folder / case / "imaging.nii.gz").is_file():
            problems.append(
                f"{case} has no imaging.nii.gz; the repository of {layout.release.name} holds no images: expected "
                f"them from its command `{layout.release.download}`"
            )
        if case not in records:
            problems.append(f"{case} has no record in {layout.clinical.name}; expected one with this case_id")
    ManifestError.check(str(layout.folder), problems)


def _with_size(layout: _Layout, records: dict[str, Record], cases: list[str]) -> list[str]:
    sized = [case for case in cases if not math.isnan(float(records[case][SIZE]))]
    if not sized:
        raise ManifestError(f"{layout.clinical}: no available case has a {SIZE}; expected centimetres")
    if len(sized) < len(cases):
        _warn_left_out(layout, len(cases) - len(sized), f"no {SIZE}")
    return sized


def _warn_left_out(layout: _Layout, count: int, why: str) -> None:
    total = len(layout.cases)
    warnings.warn(f"{layout.folder}: {count} of {total} cases have {why}, and are left out", UserWarning, stacklevel=4)


def _digest(layout: _Layout, segmentation: str, config: KitsConfig) -> str:
    """Hash everything that a case's slices depend on, except the content of its files."""
    window = [float(units) for units in config.hu_window]  # -79 is -79.0
    made_from = [str(layout.folder.resolve()), segmentation, window, config.slice_step, VERSION]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:12]


def _slices(layout: _Layout, segmentation: str, config: KitsConfig, case: str, folder: Path) -> Path:
    imaging, labels = (layout.folder / case / name for name in ("imaging.nii.gz", segmentation))
    parameters = {
        "importer": VERSION,
        "release": layout.release.name,
        "hu_window": config.hu_window,
        "slice_step": config.slice_step,
        "files": {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in (imaging, labels)},
    }
    write = partial(write_slices, imaging, labels, layout.release.classes, config.hu_window, config.slice_step)
    return derive(folder, parameters, write)
