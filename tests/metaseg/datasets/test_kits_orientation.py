"""Images of KiTS lie as their labels, whatever order their voxels are stored in, or are refused."""

import itertools
import warnings
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest

from kits_files import AFFINE, labels, pixels, read, save, simulate_volume, windowed, write_release
from metaseg.data.manifest import ManifestError

Flips = tuple[bool, bool, bool]


@pytest.fixture
def kits19(tmp_path: Path) -> Path:
    """One case of KiTS19."""
    return write_release(tmp_path / "kits", "KiTS19", cases=1)


def turned(values: npt.NDArray[np.int16], flips: Flips) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float64]]:
    """A volume stored with some axes turned round, and the affine that says so."""
    affine = AFFINE.copy()
    for axis in np.flatnonzero(flips):
        turn = np.eye(4)
        turn[axis, axis], turn[axis, 3] = -1, values.shape[axis] - 1
        values, affine = np.flip(values, axis), affine @ turn
    return values.copy(), affine


@pytest.mark.parametrize("flips", itertools.product((False, True), repeat=3))
def test_axes_that_are_stored_the_other_way_round_are_turned(kits19: Path, flips: Flips) -> None:
    segmentation = labels(0, 2)
    units = simulate_volume(segmentation, 3)
    save(kits19 / "case_00000" / "imaging.nii.gz", *turned(units, flips))
    manifest = read(kits19)
    kept = [k for k in range(len(segmentation)) if segmentation[k].any()]
    for image, mask, k in zip(pixels(manifest, "image"), pixels(manifest, "mask"), kept, strict=True):
        np.testing.assert_array_equal(mask, segmentation[k])
        np.testing.assert_array_equal(image, windowed(units[k]))


@pytest.mark.parametrize(
    "change",
    [
        lambda affine: affine[:, [0, 2, 1, 3]],
        lambda affine: affine * [1, 1, 1.25, 1],
        lambda affine: affine + np.outer([1, 0, 0, 0], [0, 0, 0, 3]),
        lambda affine: affine + np.outer([1, 0, 0, 0], [0, 0, 0, 1]),
        lambda affine: affine @ np.array([[1, 0, 0, 0], [0, 0.94, -0.34, 0], [0, 0.34, 0.94, 0], [0, 0, 0, 1]]),
    ],
    ids=["axes exchanged", "another spacing", "millimetres away", "a pixel and more away", "oblique"],
)
def test_what_turning_axes_doesnt_mend_is_refused(kits19: Path, change) -> None:
    save(kits19 / "case_00000" / "imaging.nii.gz", simulate_volume(labels(0, 2), 3), change(AFFINE))
    with pytest.raises(ManifestError, match=r"imaging\.nii\.gz: isn't aligned with its segmentation: its affine is"):
        read(kits19)


def test_rounding_is_no_difference(kits19: Path) -> None:
    units = simulate_volume(labels(0, 2), 3)
    save(kits19 / "case_00000" / "imaging.nii.gz", units, AFFINE * (1 + 1e-5) + np.diag([1e-4, 1e-4, 1e-4, 0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(pixels(read(kits19), "image")[0], windowed(units[1]))


@pytest.mark.parametrize("code", ["sform_code", "qform_code"])
def test_either_of_the_headers_two_codes_tells_how_a_volume_lies(kits19: Path, code: str) -> None:
    units = simulate_volume(labels(0, 2), 3)
    flipped, affine = turned(units, (False, True, False))
    image = nibabel.Nifti1Image(flipped, affine)
    (image.set_qform if code == "sform_code" else image.set_sform)(None, 0)
    (image.set_sform if code == "sform_code" else image.set_qform)(affine, 1)
    nibabel.save(image, kits19 / "case_00000" / "imaging.nii.gz")
    np.testing.assert_array_equal(pixels(read(kits19), "image")[0], windowed(units[1]))


def test_a_header_that_contradicts_itself_is_refused(kits19: Path) -> None:
    units = simulate_volume(labels(0, 2), 3)
    image = nibabel.Nifti1Image(units, AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(turned(units, (False, False, True))[1], 1)
    nibabel.save(image, kits19 / "case_00000" / "imaging.nii.gz")
    with pytest.raises(ManifestError, match=r"imaging\.nii\.gz: the two affines \(sform, qform\) .* disagree on which"):
        read(kits19)


def test_an_affine_that_fits_nothing_beside_one_that_fits_is_no_matter(kits19: Path) -> None:
    units = simulate_volume(labels(0, 2), 3)
    image = nibabel.Nifti1Image(units, AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(np.diag([2.5, 0.8, 0.8, 1]), 1)
    nibabel.save(image, kits19 / "case_00000" / "imaging.nii.gz")
    np.testing.assert_array_equal(pixels(read(kits19), "image")[0], windowed(units[1]))


def test_a_header_that_tells_nothing_is_warned_of(kits19: Path) -> None:
    image = nibabel.Nifti1Image(simulate_volume(labels(0, 2), 3), AFFINE)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nibabel.save(image, kits19 / "case_00000" / "imaging.nii.gz")
    with pytest.warns(UserWarning, match="the header of it has no orientation; voxels are used as stored"):
        read(kits19)
