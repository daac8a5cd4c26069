"""KiTS releases of small simulated volumes on disk, and how tests read them."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from PIL import Image

from metaseg.data.manifest import Manifest
from metaseg.datasets.kits import read_kits
from metaseg.datasets.settings import KitsConfig
from metaseg.datasets.source import Source

AFFINE = np.array([[0, 0, -0.8, 0], [0, -0.8, 0, 0], [-2.5, 0, 0, 0], [0, 0, 0, 1.0]])
"""Affine matrix of the published volumes: slices, rows, columns."""

SHAPE = (6, 20, 24)
FOLDERS = {"KiTS19": "data", "KiTS21": "kits21/data", "KiTS23": "dataset"}
CLINICAL = {"KiTS19": "kits.json", "KiTS21": "kits.json", "KiTS23": "kits23.json"}
SEGMENTATION = {
    "KiTS19": "segmentation.nii.gz",
    "KiTS21": "aggregated_MAJ_seg.nii.gz",
    "KiTS23": "segmentation.nii.gz",
}


def save(path: Path, values: npt.NDArray[Any], affine: npt.NDArray[np.float64] = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def simulate_volume(segmentation: npt.NDArray[np.uint8], seed: int) -> npt.NDArray[np.int16]:
    """Hounsfield units for labels: air around a body, kidney at 120, tumour at 70, cyst at 5; noise, and no two slices
    of the same brightness."""
    _, rows, columns = np.ogrid[:1, -1 : 1 : segmentation.shape[1] * 1j, -1 : 1 : segmentation.shape[2] * 1j]
    units = np.array([0, 120, 70, 5], np.int16)[segmentation]
    units += np.arange(len(units), dtype=np.int16)[:, None, None]
    units[:, (rows**2 + columns**2 > 0.8)[0]] = -1000
    return units + np.random.default_rng(seed).integers(-20, 51, segmentation.shape[1:], dtype=np.int16)


def labels(case: int, classes: int) -> npt.NDArray[np.uint8]:
    """Kidney in slices 1 to 4, and in 2 and 3 a lesion."""
    values = np.zeros(SHAPE, np.uint8)
    values[1:5, 4:12, 3 + case : 14] = 1
    values[2:4, 6:9, 5 + case : 9] = 2 if classes == 2 or case % 2 == 0 else 3
    return values


def record(case: int, **fields: object) -> dict[str, object]:
    return {
        "case_id": f"case_{case:05d}",
        "radiographic_size": 2.5 + case,
        "malignant": case != 1,
        "tumor_histologic_subtype": "papillary",
        "gender": "male",
        "age_at_nephrectomy": 50 + case,
        "body_mass_index": 29.5,
        "last_postop_egfr": {"value": ">=90", "days_before_nephrectomy": 7},
        "age_when_quit_smoking": "not_applicable",
        **fields,
    }


def write_release(root: Path, release: str, cases: int = 4) -> Path:
    """Small volumes in a release's layout; gives the folder that holds the cases."""
    folder = root / FOLDERS[release]
    for case in range(cases):
        values = labels(case, 2 if release == "KiTS19" else 3)
        save(folder / f"case_{case:05d}" / SEGMENTATION[release], values)
        save(folder / f"case_{case:05d}" / "imaging.nii.gz", simulate_volume(values, case))
    write_clinical(folder / CLINICAL[release], [record(case) for case in range(cases)])
    return folder


def write_clinical(path: Path, records: object) -> None:
    path.write_text(json.dumps(records))


DEFAULT = KitsConfig()


def read(path: Path, config: KitsConfig = DEFAULT, **fields: Any) -> Manifest:
    """Read with scratch in the test's own folder, above `path`."""
    scratch = next(parent for parent in (path, *path.parents) if parent.name.startswith("test_")) / "scratch"
    return read_kits(Source(path, scratch, **fields), config)


def pixels(manifest: Manifest, column: str) -> list[npt.NDArray[np.uint8]]:
    root = manifest.root if column == "image" else manifest.mask_root or manifest.root
    return [np.asarray(Image.open(root / name)) for name in manifest.table[column]]


def windowed(units: npt.NDArray[Any], low: float = -79, high: float = 304) -> npt.NDArray[np.uint8]:
    return np.rint((np.clip(units.astype(np.float64), low, high) - low) * 255 / (high - low)).astype(np.uint8)
