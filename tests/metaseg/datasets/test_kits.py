"""KiTS19, KiTS21 and KiTS23 as downloaded: which slices become images, and what is metadata."""

import math
import os
import shutil
import tracemalloc
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest

from kits_files import (
    AFFINE,
    FOLDERS,
    SHAPE,
    labels,
    pixels,
    read,
    record,
    save,
    simulate_volume,
    windowed,
    write_clinical,
    write_release,
)
from metaseg.config import ConfigError, DataConfig
from metaseg.data.manifest import ManifestError
from metaseg.data.metadata import MetadataColumn
from metaseg.data.preparation import prepare
from metaseg.datasets.kits_clinical import read_clinical
from metaseg.datasets.settings import KitsConfig


@pytest.fixture(params=list(FOLDERS))
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kits19(tmp_path: Path) -> Path:
    """Four cases of KiTS19 in `tmp_path / "kits" / "data"`."""
    return write_release(tmp_path / "kits", "KiTS19")


def test_slices_with_a_label_become_windowed_images_and_masks(release: str, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "kits", release)
    manifest = read(tmp_path / "kits")
    assert manifest.name == release.lower()
    assert manifest.about.startswith(f"{release}, axial slices")
    assert manifest.metadata == (MetadataColumn("radiographic_size", "continuous"),)
    table = manifest.table
    assert table["slice"].tolist() == [1, 2, 3, 4] * 4
    assert table["group"].tolist() == [f"case_{case:05d}" for case in range(4) for _ in range(4)]
    assert table["radiographic_size"].tolist() == [2.5 + case for case in range(4) for _ in range(4)]
    classes = manifest.classes
    assert classes == (("kidney", "tumour") if release == "KiTS19" else ("kidney", "tumour", "cyst"))
    found = zip(table["case_id"], table["slice"], pixels(manifest, "image"), pixels(manifest, "mask"), strict=True)
    for case, number, image, mask in found:
        values = labels(int(case[-5:]), len(classes))
        np.testing.assert_array_equal(mask, values[number])
        np.testing.assert_array_equal(image, windowed(simulate_volume(values, int(case[-5:])))[number])
        assert image.dtype == mask.dtype == np.uint8
    dataset = prepare(manifest, DataConfig(), tmp_path / "cache")
    assert (dataset.channels, dataset.classes) == (1, classes)
    assert read(folder).table.equals(table)


def test_slices_are_where_they_were_asked_for_and_the_source_is_only_read(kits19: Path, tmp_path: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in kits19.rglob("*"))
    manifest = read(kits19)
    assert manifest.root.is_relative_to(tmp_path / "scratch")
    assert sorted((path, path.stat().st_mtime_ns) for path in kits19.rglob("*")) == before


def test_images_have_the_same_names_wherever_the_release_lies(kits19: Path, tmp_path: Path) -> None:
    first = read(kits19)
    shutil.move(kits19, tmp_path / "elsewhere")
    second = read(tmp_path / "elsewhere")
    assert first.root != second.root
    assert first.table.equals(second.table)


def test_the_older_clinical_file_of_kits21_is_read(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "kits", "KiTS21")
    (folder / "kits.json").rename(folder / "clinical_data.json")
    assert read(folder).name == "kits21"


def test_kits21_has_three_annotations_and_the_others_one(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "kits", "KiTS21", cases=1)
    union = labels(0, 3)
    union[5, 0, 0] = 1
    save(folder / "case_00000" / "aggregated_OR_seg.nii.gz", union)
    assert read(folder).table["slice"].tolist() == [1, 2, 3, 4]
    assert read(folder, KitsConfig(annotation="OR")).table["slice"].tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(ManifestError, match=r"case_00000 has no aggregated_AND_seg\.nii\.gz"):
        read(folder, KitsConfig(annotation="AND"))
    other = write_release(tmp_path / "other", "KiTS23", cases=1)
    with pytest.raises(ConfigError, match="annotation is 'OR'; expected MAJ, as KiTS23 has one annotation"):
        read(other, KitsConfig(annotation="OR"))


def test_steps_first_cases_and_windows_are_chosen(kits19: Path) -> None:
    manifest = read(kits19, KitsConfig(slice_step=3, cases=2, hu_window=(0, 100)))
    assert manifest.table["slice"].tolist() == [1, 4, 1, 4]
    units = simulate_volume(labels(0, 2), 0)
    np.testing.assert_array_equal(pixels(manifest, "image")[1], windowed(units, 0, 100)[4])


def test_a_volume_may_be_floats_or_scaled_by_its_header(kits19: Path) -> None:
    before = pixels(read(kits19), "image")
    units = simulate_volume(labels(0, 2), 0)
    save(kits19 / "case_00000" / "imaging.nii.gz", units.astype(np.float64))
    scaled = nibabel.Nifti1Image(units, AFFINE)
    scaled.header.set_slope_inter(2.0, -1024)
    nibabel.save(scaled, kits19 / "case_00001" / "imaging.nii.gz")
    stored = nibabel.load(kits19 / "case_00001" / "imaging.nii.gz").get_fdata()
    shutil.rmtree(kits19.parent.parent / "scratch")
    after = pixels(read(kits19), "image")
    assert all(np.array_equal(a, b) for a, b in zip(before[:4], after[:4], strict=True))
    assert all(np.array_equal(windowed(stored)[1 + k], after[4 + k]) for k in range(4))


def test_clinical_columns_are_there_to_be_named(kits19: Path) -> None:
    manifest = read(kits19, metadata=("histology", "malignant", "age", "bmi"), group_by="case_id")
    assert [column.kind for column in manifest.metadata] == ["categorical", "categorical", "continuous", "continuous"]
    assert set(manifest.table["histology"]) == {"papillary_rcc"}
    assert manifest.table.groupby("case_id")["malignant"].first().tolist() == ["yes", "no", "yes", "yes"]


def test_real_records_of_two_releases_agree(real_data: Path) -> None:
    old = read_clinical(real_data / "kits_official" / "kits19" / "kits.json")
    new = read_clinical(real_data / "kits_official" / "kits23" / "kits23.json")
    assert (len(old), len(new)) == (210, 489)
    for case in old:
        for column in ("radiographic_size", "malignant", "histology", "gender"):
            assert old[case][column] == new[case][column], (case, column)
    assert old["case_00000"]["bmi"] == new["case_00000"]["bmi"] == 29.47
    assert sum(math.isnan(float(one["radiographic_size"])) for one in new.values()) == 7
    assert {one["malignant"] for one in new.values()} == {"yes", "no", "unknown"}


@pytest.mark.parametrize(
    ("field", "value", "column", "expected"),
    [
        ("age_at_nephrectomy", ">=90", "age", 90.0),
        ("radiographic_size", "3.5", "radiographic_size", 3.5),
        ("bmi", 31, "bmi", 31.0),
        ("malignant", None, "malignant", "unknown"),
        ("tumor_histologic_subtype", None, "histology", "unknown"),
        ("gender", "Female ", "gender", "female"),
        ("age_at_nephrectomy", "not_applicable", "age", None),
        ("radiographic_size", None, "radiographic_size", None),
        ("radiographic_size", math.nan, "radiographic_size", None),
    ],
)
def test_messy_values_are_cleaned(tmp_path: Path, field: str, value: object, column: str, expected: object) -> None:
    write_clinical(tmp_path / "kits.json", [record(0, **{field: value})])
    found = read_clinical(tmp_path / "kits.json")["case_00000"][column]
    assert found == expected or (expected is None and math.isnan(float(found)))


def test_cases_without_a_size_are_dropped_and_counted(kits19: Path) -> None:
    write_clinical(kits19 / "kits.json", [record(k, radiographic_size=None if k in (1, 2) else 3.0) for k in range(4)])
    with pytest.warns(UserWarning, match="2 of 4 cases have no radiographic_size, and are left out"):
        manifest = read(kits19)
    assert set(manifest.table["case_id"]) == {"case_00000", "case_00003"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a size that no network sees isn't missed
        assert len(read(kits19, metadata=("malignant",)).table) == 16
    write_clinical(kits19 / "kits.json", [record(k, radiographic_size=None) for k in range(4)])
    with pytest.raises(ManifestError, match="no available case has a radiographic_size"):
        read(kits19)


def test_or_their_size_is_taken_for_the_mean(kits19: Path) -> None:
    write_clinical(kits19 / "kits.json", [record(k, radiographic_size=None if k == 1 else 3.0) for k in range(4)])
    manifest = read(kits19, KitsConfig(missing_size="mean"), metadata=("gender", "radiographic_size", "age"))
    assert manifest.metadata == (
        MetadataColumn("gender", "categorical"),
        MetadataColumn("radiographic_size", "continuous", "mean"),
        MetadataColumn("age", "continuous"),
    )
    assert len(manifest.table) == 16
    assert manifest.table["radiographic_size"].isna().sum() == 4


def test_an_interrupted_import_goes_on_with_the_next_case(kits19: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(kits19, progress=interrupt)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("scratch/*/*/images/*")}
    assert len(written) == 8
    calls: list[tuple[int, int]] = []
    manifest = read(kits19, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(k, 4) for k in range(1, 5)]
    assert len(manifest.table) == 16
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_a_case_that_fails_leaves_nothing_behind(kits19: Path, tmp_path: Path) -> None:
    path = kits19 / "case_00001" / "imaging.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ManifestError, match="unreadable"):
        read(kits19)
    assert [folder.name for folder in tmp_path.glob("scratch/*/*")] == ["case_00000"]


def test_a_file_that_changes_afterwards_is_an_error_not_an_old_slice(kits19: Path) -> None:
    read(kits19)
    path = kits19 / "case_00000" / "imaging.nii.gz"
    content, written = path.read_bytes(), path.stat()
    os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns + 1))
    with pytest.raises(ConfigError, match=r"case_00000 exists already, with .*imaging\.nii\.gz.*expected"):
        read(kits19)
    path.write_bytes(content + b"\0")
    os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))
    with pytest.raises(ConfigError, match=r"case_00000 exists already, with .*imaging\.nii\.gz.*expected"):
        read(kits19)


def test_settings_that_give_other_slices_have_a_folder_of_their_own(kits19: Path) -> None:
    roots = {
        read(kits19, KitsConfig(slice_step=step, hu_window=(-79, top))).root for step in (1, 2) for top in (200, 304)
    }
    assert len(roots) == 4
    assert read(kits19, KitsConfig(slice_step=2, cases=1)).root in roots


def test_cases_without_labels_and_record_are_left_out(kits19: Path) -> None:
    save(kits19 / "case_00210" / "imaging.nii.gz", np.zeros(SHAPE, np.int16))  # KiTS19's test cases
    with pytest.warns(UserWarning, match="1 of 5 cases have neither labels nor a clinical record"):
        assert len(read(kits19).table) == 16


def test_the_volume_is_never_held_in_its_own_type(tmp_path: Path) -> None:
    """A volume of 84 MB in int16, 335 MB in float64, 42 MB in uint8."""
    values = np.zeros((160, 512, 512), np.uint8)
    values[::2, 200:260, 100:160] = 1
    folder = tmp_path / "data"
    save(folder / "case_00000" / "segmentation.nii.gz", values)
    save(folder / "case_00000" / "imaging.nii.gz", values.astype(np.int16))
    write_clinical(folder / "kits.json", [record(0)])
    voxels = values.size
    del values
    tracemalloc.start()
    try:
        assert len(read(folder, KitsConfig(slice_step=4)).table) == 20
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * voxels


def test_real_geometry(real_data: Path, tmp_path: Path) -> None:
    """Real labels of one case, under a simulated volume, come back slice by slice."""
    official = real_data / "kits_official" / "kits19"
    folder = tmp_path / "data"
    (folder / "case_00025").mkdir(parents=True)
    shutil.copy(official / "case_00025" / "segmentation.nii.gz", folder / "case_00025")
    shutil.copy(official / "kits.json", folder)
    stored = nibabel.load(official / "case_00025" / "segmentation.nii.gz")
    values = np.asarray(stored.dataobj)
    units = simulate_volume(values, 0)
    save(folder / "case_00025" / "imaging.nii.gz", units, stored.affine)
    manifest = read(folder, KitsConfig(slice_step=4))
    expected = np.flatnonzero(values.any(axis=(1, 2)))[::4].tolist()
    assert manifest.table["slice"].tolist() == expected
    assert len(expected) == 16
    assert set(manifest.table["radiographic_size"]) == {10.4}
    for number, image, mask in zip(expected, pixels(manifest, "image"), pixels(manifest, "mask"), strict=True):
        np.testing.assert_array_equal(mask, values[number])
        np.testing.assert_array_equal(image, windowed(units[number]))
