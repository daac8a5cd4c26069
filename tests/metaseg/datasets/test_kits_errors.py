"""A damaged or incomplete KiTS release is an error, which says what is wrong."""

import gzip
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from kits_files import (
    AFFINE,
    SHAPE,
    labels,
    read,
    record,
    save,
    simulate_volume,
    write_clinical,
    write_release,
)
from metaseg.config import ConfigError
from metaseg.data.manifest import ManifestError
from metaseg.datasets.kits import read_kits
from metaseg.datasets.kits_clinical import read_clinical
from metaseg.datasets.settings import KitsConfig
from metaseg.datasets.source import Source


@pytest.fixture
def kits19(tmp_path: Path) -> Path:
    """Four cases of KiTS19 in `tmp_path / "kits" / "data"`."""
    return write_release(tmp_path / "kits", "KiTS19")


def test_what_is_no_release_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"holds no case; expected data/case_00000 \(KiTS19\)"):
        read(tmp_path)
    folder = write_release(tmp_path / "kits", "KiTS19")
    (folder / "kits.json").unlink()
    with pytest.raises(ManifestError, match=r"has no clinical data; expected kits\.json"):
        read(tmp_path / "kits")


def test_an_incomplete_case_is_named(kits19: Path) -> None:
    (kits19 / "case_00000" / "segmentation.nii.gz").unlink()
    (kits19 / "case_00001" / "imaging.nii.gz").unlink()
    write_clinical(kits19 / "kits.json", [record(0), record(1), record(3)])
    with pytest.raises(ManifestError) as caught:
        read(kits19)
    for expected in (
        "3 problems",
        "case_00000 has no segmentation.nii.gz; expected the labels of KiTS19",
        "case_00001 has no imaging.nii.gz; the repository of KiTS19 holds no images: expected them from its command "
        "`python3 -m starter_code.get_imaging`",
        "case_00002 has no record in kits.json",
    ):
        assert expected in str(caught.value)


def test_the_official_folder_says_where_images_come_from(real_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"case_00025 has no imaging\.nii\.gz; .*starter_code\.get_imaging"):
        read_kits(Source(real_data / "kits_official" / "kits19", tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[{", "unreadable clinical data"),
        (b"\xff\xfe\xff", "unreadable clinical data"),
        (b"{}", "is not a list of records"),
        (b"[1]", "is not a list of records"),
        (b"[{}]", "record 1: case_id is None"),
        (json.dumps([record(0), record(0)]).encode(), "record 2: case_00000 has a record already"),
    ],
)
def test_clinical_data_of_another_form_is_an_error(kits19: Path, content: bytes, message: str) -> None:
    (kits19 / "kits.json").write_bytes(content)
    with pytest.raises(ManifestError, match=rf"kits\.json.*{message}"):
        read(kits19)


def test_volumes_must_be_of_one_shape(kits19: Path) -> None:
    save(kits19 / "case_00000" / "imaging.nii.gz", np.zeros((6, 20, 23), np.int16))
    with pytest.raises(ManifestError, match=r"has shape \(6, 20, 23\); expected \(6, 20, 24\), as its segmentation"):
        read(kits19)


@pytest.mark.parametrize("value", [3, 1.5, np.nan, -1])
def test_unknown_labels_are_an_error(kits19: Path, value: float) -> None:
    values = labels(0, 2).astype(np.float32)
    values[0, 0, 20] = value
    save(kits19 / "case_00000" / "segmentation.nii.gz", values)
    with pytest.raises(ManifestError, match=r"has labels .*; expected 0 background, 1 kidney, 2 tumour"):
        read(kits19)


def test_a_case_without_any_label_is_an_error(kits19: Path) -> None:
    save(kits19 / "case_00000" / "segmentation.nii.gz", np.zeros(SHAPE, np.uint8))
    with pytest.raises(ManifestError, match="has no label; expected slices with kidney or tumour"):
        read(kits19)


def test_values_that_are_not_finite_are_an_error(kits19: Path) -> None:
    units = simulate_volume(labels(0, 2), 0).astype(np.float32)
    units[2, 3, 4] = np.inf
    save(kits19 / "case_00000" / "imaging.nii.gz", units)
    with pytest.raises(ManifestError, match="has a value that is not finite; expected Hounsfield units"):
        read(kits19)


def damage_header(content: bytes) -> bytes:
    return content[:10]


def damage_end(content: bytes) -> bytes:
    return content[:-1]


def damage_middle(content: bytes) -> bytes:
    raw = bytearray(gzip.decompress(content))
    whole = bytearray(gzip.compress(bytes(raw), compresslevel=0))
    whole[len(whole) // 2] ^= 1  # still a stream; only the checksum tells
    return bytes(whole)


@pytest.mark.parametrize("damage", [damage_header, damage_end, damage_middle])
@pytest.mark.parametrize("name", ["imaging.nii.gz", "segmentation.nii.gz"])
def test_damaged_files_are_an_error(kits19: Path, name: str, damage: Any) -> None:
    path = kits19 / "case_00000" / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ManifestError, match=rf"{name}: (unreadable volume .*expected a whole|has labels)"):
        read(kits19)


def test_slices_must_lie_along_the_first_axis_and_be_of_a_believable_number(kits19: Path) -> None:
    save(kits19 / "case_00000" / "segmentation.nii.gz", labels(0, 2), np.eye(4))
    with pytest.raises(ManifestError, match="its first axis is the scanner's x; expected z"):
        read(kits19)
    image = nibabel.Nifti1Image(labels(0, 2), AFFINE)
    header = image.header.copy()
    header.set_data_shape((30000, 30000, 30000))
    path = kits19 / "case_00000" / "segmentation.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + b"\0" * 100))
    with pytest.raises(ManifestError, match=r"has shape \(30000, 30000, 30000\); expected .* at most 1073741824"):
        read(kits19)


def test_without_nibabel_the_error_says_how_to_install_it(kits19: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(ConfigError, match="pip install 'nibabel>="):
        read(kits19)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("annotation", "XOR"),
        ("hu_window", (304.0, -79.0)),
        ("hu_window", (float("nan"), 1.0)),
        ("missing_size", "zero"),
        ("slice_step", 0),
        ("cases", 0),
    ],
)
def test_a_setting_that_cannot_be_is_an_error_that_names_it(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{setting} is .*; expected"):
        replace(KitsConfig(), **{setting: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("radiographic_size", "large"),
        ("radiographic_size", 0),
        ("radiographic_size", -1.0),
        ("radiographic_size", math.inf),
        ("radiographic_size", True),
        ("age_at_nephrectomy", [50]),
        ("malignant", "maybe"),
        ("gender", 1),
    ],
)
def test_values_of_another_kind_are_errors(tmp_path: Path, field: str, value: object) -> None:
    write_clinical(tmp_path / "kits.json", [record(0, **{field: value}), record(1)])
    with pytest.raises(ManifestError, match=rf"kits\.json: case_00000: {field} is .*; expected"):
        read_clinical(tmp_path / "kits.json")
