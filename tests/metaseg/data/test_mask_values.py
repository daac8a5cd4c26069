"""Masks that aren't masks are refused with the reason, and masks of all common kinds are read."""

import io
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter, label

from metaseg.config import IGNORED, ConfigError, DataConfig
from metaseg.data.dataset import Dataset
from metaseg.data.decode import decode_mask
from metaseg.data.manifest import ManifestError
from metaseg.data.mask_checks import MaskFacts, implausible
from metaseg.data.mask_values import MaskValues
from metaseg.data.preparation import prepare
from metaseg.datasets.table import read_table
from metaseg.training.metrics import confusion_counts

Mask = npt.NDArray[np.uint8]
Y, X = np.mgrid[:64, :64]
ONE = MaskValues(("cell",))


def disc(k: int = 0, radius: float = 12) -> npt.NDArray[np.bool_]:
    return (Y - 20 - 3 * k) ** 2 + (X - 30) ** 2 < radius**2


def through_jpeg(mask: Mask, quality: int) -> Mask:
    return through("JPEG", mask, quality)


def through(kind: str, mask: Mask, quality: int) -> Mask:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, kind, quality=quality)
    return np.asarray(Image.open(buffer).convert("L"))


def smaller(mask: Mask, resampling: Image.Resampling) -> Mask:
    return np.asarray(Image.fromarray(mask).resize((45, 35), resampling))


WHITE = (disc() * 255).astype(np.uint8)
SQUARE = (((abs(Y - 30) < 17) & (abs(X - 31) < 21)) * 255).astype(np.uint8)
SPOTS = np.zeros((64, 64), np.uint8)
for spot, (row, column) in enumerate([(5, 5), (9, 40), (30, 22), (50, 50), (60, 8), (33, 60)], 1):
    SPOTS[row, column : column + 1 + spot % 2] = spot
TISSUE = (Y // 16 * 4 + X // 16).astype(np.uint8)


@pytest.mark.parametrize("shape", [WHITE, SQUARE], ids=["disc", "square"])
@pytest.mark.parametrize(
    "blur",
    [
        *(lambda mask, quality=quality: through_jpeg(mask, quality) for quality in (30, 75, 90, 95, 100)),
        *(lambda mask, how=how: smaller(mask, how) for how in (
            Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX,
        )),
        *(lambda mask, quality=quality: through("WEBP", mask, quality) for quality in (50, 80)),
        *(lambda mask, times=times: through_jpeg(mask, 90).repeat(times, 0).repeat(times, 1) for times in (2, 3, 4)),
        *(lambda mask, width=width: gaussian_filter(mask, width) for width in (1, 4, 8)),
    ],
)  # fmt: skip
def test_a_mask_with_blurred_edges_is_refused_with_its_values(tmp_path: Path, shape: Mask, blur) -> None:
    Image.fromarray(blur(shape)).save(tmp_path / "m.png")
    with pytest.raises(ManifestError, match=r"m\.png: has .*--foreground \(1, or 128\.\.255\)"):
        decode_mask([tmp_path / "m.png"], ONE)
    told = decode_mask([tmp_path / "m.png"], MaskValues.of(DataConfig(classes=("cell",), foreground=("128..255",))))
    truth = Image.fromarray(shape).resize(told.shape[::-1], Image.Resampling.NEAREST)
    assert (told == (np.asarray(truth) > 0)).mean() > 0.9


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (WHITE, WHITE > 0),
        (WHITE // 255, WHITE > 0),
        ((WHITE > 0) * np.uint8(254), WHITE > 0),
        (WHITE > 0, WHITE > 0),
        (np.zeros((64, 64), np.uint8), np.zeros((64, 64), bool)),
        (SPOTS, SPOTS > 0),
        (TISSUE, TISSUE > 0),
        (TISSUE.astype(np.uint16) * 700, TISSUE > 0),
        (disc(0) * np.uint8(17) + disc(9, 6) * np.uint8(23), disc(0) | disc(9, 6)),
        (np.dstack([WHITE] * 3), WHITE > 0),
        (np.dstack([*[WHITE] * 3, np.full_like(WHITE, 255)]), WHITE > 0),
        (np.dstack([*[WHITE] * 3, WHITE]), WHITE > 0),
    ],
    ids=["0 and 255", "0 and 1", "0 and 254", "1-bit", "empty", "small numbered spots", "touching numbered objects",
         "16-bit numbers", "two objects of many", "equal channels", "opaque", "transparent where it is black"],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_masks_of_all_common_kinds_are_read(tmp_path: Path, values: npt.NDArray, expected: Mask, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    if suffix == ".tif":
        rgb = values.ndim == 3
        extra = {"extrasamples": ["unassalpha"]} if rgb and values.shape[2] == 4 else {}
        tifffile.imwrite(path, values, photometric="rgb" if rgb else "minisblack", metadata=None, **extra)
    else:
        Image.fromarray(values).save(path)
    np.testing.assert_array_equal(decode_mask([path], ONE) == 1, expected)


def noise(side: int, width: float | tuple[float, ...], seed: int = 0, depth: int = 1) -> npt.NDArray[np.float64]:
    return gaussian_filter(np.random.default_rng(seed).standard_normal((depth, side, side)), width)


MANY = label(noise(400, 3)[0] > 0.03)[0]


@pytest.mark.parametrize(
    "values",
    [
        MANY.astype(np.uint16),
        MANY[100:180, 100:180].astype(np.uint16),
        (MANY % 256).astype(np.uint8),
        (label(noise(200, (4, 8, 8), depth=9) > 0)[0][4] * 37).astype(np.uint16),
        np.where((Y % 16 < 2) & (X % 16 < 2), Y // 16 * 4 + X // 16 + 100, 0).astype(np.uint8),
        (Y // 4 * 16 + X // 4).astype(np.uint16),
        (Y // 4 * 16 + X // 4).astype(np.uint8),
        np.random.default_rng(0).integers(0, 4, (16, 16)).repeat(4, 0).repeat(4, 1).astype(np.uint8),
    ],
    ids=["objects", "some of many objects", "numbers that begin again after 255", "profiles of bodies", "dots",
         "superpixels", "superpixels up to 255", "classes of many pieces"],
)  # fmt: skip
def test_objects_and_classes_are_read_however_they_lie(values: npt.NDArray) -> None:
    np.testing.assert_array_equal(ONE.decode(Path("m.png"), values), values > 0)


@given(st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_numbered_objects_are_never_taken_for_blurred(objects: int, seed: int) -> None:
    rng, values = np.random.default_rng(seed), np.zeros((48, 48), np.uint8)
    for number in range(1, objects + 1):
        top, left = rng.integers(0, 40, 2)
        values[top : top + rng.integers(3, 9), left : left + rng.integers(3, 9)] = number
    np.testing.assert_array_equal(ONE.decode(Path("m.png"), values), values > 0)


@pytest.mark.parametrize("colour", [0, 255, 90])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_mask_that_is_in_the_transparency_is_refused(tmp_path: Path, colour: int, suffix: str) -> None:
    pixels = np.dstack([np.full((64, 64, 3), colour, np.uint8), WHITE])
    path = tmp_path / f"m{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unassalpha"], metadata=None)
    else:
        Image.fromarray(pixels).save(path)
    with pytest.raises(ManifestError, match=r"transparency and colour show different masks; .*save it as a grey image"):
        decode_mask([path], ONE)


def test_a_grey_mask_whose_transparency_is_another_mask_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([WHITE, SQUARE]), "LA").save(tmp_path / "m.png")
    with pytest.raises(ManifestError, match="transparency and colour show different masks"):
        decode_mask([tmp_path / "m.png"], ONE)


def test_a_lossy_tiff_is_refused_whatever_its_values(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "m.tif", compression="jpeg")
    with pytest.raises(ManifestError, match=r"m\.tif: its compression, JPEG, blurs a mask's values"):
        decode_mask([tmp_path / "m.tif"], ONE)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "raw"])
def test_a_lossless_tiff_is_read(tmp_path: Path, compression: str) -> None:
    Image.fromarray(WHITE).save(tmp_path / "m.tif", compression=compression)
    np.testing.assert_array_equal(decode_mask([tmp_path / "m.tif"], ONE), WHITE > 0)


@pytest.mark.parametrize("values", [(1, 255), (128, 255), (1, 2, 255)])
def test_a_few_values_up_to_255_may_mean_several_things(values: tuple[int, ...]) -> None:
    mask = np.choose(X // 8 % (len(values) + 1), [0, *values]).astype(np.uint8)
    with pytest.raises(ManifestError, match=r"has mask values 0, .*255, which are ambiguous; choose the foreground"):
        ONE.decode(Path("m.png"), mask)
    told = MaskValues.of(DataConfig(classes=("cell",), foreground=(str(values[0]),), ignore=255)).decode(
        Path("m.png"), mask
    )
    np.testing.assert_array_equal(told == 1, mask == values[0])
    np.testing.assert_array_equal(told == IGNORED, mask == 255)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_the_largest_value_after_numbered_objects_is_taken_for_void(kind: type[np.unsignedinteger]) -> None:
    objects = (X // 8).astype(kind)
    np.testing.assert_array_equal(ONE.decode(Path("m.png"), objects), objects > 0)
    objects[30:34] = np.iinfo(kind).max
    with pytest.raises(ManifestError, match=r"has mask values 0, 1, 2, .* which are ambiguous"):
        ONE.decode(Path("m.png"), objects)
    told = MaskValues(("cell",), ignore=int(np.iinfo(kind).max)).decode(Path("m.png"), objects)
    np.testing.assert_array_equal(told[:30], objects[:30] > 0)
    assert (told[30:34] == IGNORED).all()


def test_classes_are_the_values_and_one_may_not_count() -> None:
    mask = np.choose(X // 16, [0, 1, 2, 9]).astype(np.uint8)
    with pytest.raises(ManifestError, match="has mask values 0, 1, 2, 9; expected 0 background, 1 a, 2 b"):
        MaskValues(("a", "b")).decode(Path("m.png"), mask)
    told = MaskValues.of(DataConfig(classes=("a", "b"), ignore=9)).decode(Path("m.png"), mask)
    np.testing.assert_array_equal(told, np.where(mask == 9, IGNORED, mask))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"foreground": ("x",)}, "foreground"),
        ({"foreground": ("1..",)}, "foreground"),
        ({"foreground": ("255..128",)}, "the lower value of a range first"),
        ({"foreground": ("1",), "classes": ("a", "b")}, "foreground"),
        ({"ignore": -1}, "ignore"),
        ({"classes": tuple(map(str, range(255)))}, "fewer than 255"),
    ],
)
def test_settings_that_cant_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DataConfig(**options)


def write(folder: Path, mask, count: int = 6) -> Path:
    """Samples of bright discs, the last two for test; `mask` gives each one's values."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        image = (rng.integers(20, 60, (64, 64)) + disc(k) * 150).astype(np.uint8)
        Image.fromarray(image).save(folder / f"i{k}.png")
        Image.fromarray(mask(k).astype(np.uint8)).save(folder / f"m{k}.png")
    table = pd.DataFrame({"image": [f"i{k}.png" for k in range(count)], "mask": [f"m{k}.png" for k in range(count)]})
    table["split"] = ["train"] * (count - 3) + ["val"] + ["test"] * 2
    table["line"] = ["a", "b"] * (count // 2)
    table.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def prepared(table: Path, **options: object) -> Dataset:
    manifest = read_table(table, ("line",))
    return prepare(manifest, DataConfig(**options), table.parent / "cache")


def test_masks_that_are_foreground_everywhere_are_warned_of(tmp_path: Path) -> None:
    table = write(tmp_path, lambda k: np.where(disc(k), 1, 2))
    with pytest.warns(UserWarning, match=r"6 of 6 masks are foreground nearly everywhere \(the first: m0\.png\)"):
        prepared(table)
    dataset = prepared(table, foreground=("1",))
    for k in range(6):
        np.testing.assert_array_equal(dataset.mask(k), disc(k))


@pytest.mark.parametrize("wrong", [(2, 5), (0,), (1, 3)])
def test_masks_that_are_inverted_beside_the_others_are_named(tmp_path: Path, wrong: tuple[int, ...]) -> None:
    table = write(tmp_path, lambda k: (disc(k) ^ (k in wrong)) * 255)
    named = ", ".join(f"m{k}.png" for k in wrong)
    with pytest.warns(UserWarning, match=f"{len(wrong)} of 6 masks look inverted beside the others, .*: {named}$"):
        prepared(table)
    with pytest.warns(UserWarning, match="look inverted"):
        prepared(table)  # as often as it is used, though it is decoded once


@pytest.mark.parametrize("brightness", ["none", "bright"])
def test_an_inverted_mask_is_told_by_its_border_or_else_by_its_brightness(brightness: str) -> None:
    rng = np.random.default_rng(1)
    image, facts = rng.integers(20, 60, (64, 64, 1)).astype(np.uint8), []
    for k in range(12):
        mask = disc(k) | (disc(k, 25) & (X > 30) & (brightness == "bright"))  # large discs reach the border
        lit = 100 if brightness == "bright" else 100 * (k % 2) - 20
        pixels = np.clip(image + lit * mask[..., None].astype(int), 0, 255).astype(np.uint8)
        facts.append(MaskFacts.of((mask ^ (k == 7)).astype(np.uint8), pixels))
    assert "1 of 12 masks look inverted" in (doubt := implausible("t.csv", [f"m{k}" for k in range(12)], facts) or "")
    assert doubt.endswith("m7")


def test_plausible_masks_are_no_matter_for_a_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=r".* masks (are|look) ")
        prepared(write(tmp_path, lambda k: disc(k, 5 + 4 * k) * 255))


def test_a_large_object_on_the_border_isnt_called_inverted() -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(20, 60, (64, 64, 1)).astype(np.uint8)
    masks = [disc(k).astype(np.uint8) for k in range(7)] + [(X < 60).astype(np.uint8)]
    facts = [MaskFacts.of(mask, np.where(mask[..., None] == 1, image + 100, image)) for mask in masks]
    assert implausible("t.csv", [f"m{k}" for k in range(8)], facts) is None


def test_an_image_of_which_nothing_counts_and_a_value_that_is_nowhere_are_told(tmp_path: Path) -> None:
    table = write(tmp_path / "all", lambda k: np.full((64, 64), 255) if k == 5 else np.where(X < 4, 255, disc(k)))
    with pytest.raises(ManifestError, match=r"m5\.png: all pixels have the ignored value 255 \(--ignore\)"):
        prepared(table, ignore=255)
    with pytest.warns(UserWarning, match=r"no mask has the value 7, which isn't to count"):
        prepared(write(tmp_path / "none", lambda k: disc(k)), ignore=7)


def test_void_of_16_bits_is_not_taken_for_an_object(tmp_path: Path) -> None:
    mask = np.choose(X // 13, [0, 2, 3, 4, 65535]).astype(np.uint16)
    Image.fromarray(mask).save(tmp_path / "m.png")
    with pytest.raises(ManifestError, match="has mask values 0, 2, 3, 4, 65535, which are ambiguous"):
        decode_mask([tmp_path / "m.png"], ONE)


def test_what_older_code_has_decoded_is_checked_once_more(tmp_path: Path) -> None:
    table = write(tmp_path, lambda k: (disc(k) ^ (k == 2)) * 255)
    with pytest.warns(UserWarning, match="look inverted"):
        dataset = prepared(table)
    about = json.loads((dataset.path / "dataset.json").read_text())
    del about["doubts"]
    (dataset.path / "dataset.json").write_text(json.dumps(about))
    with pytest.warns(UserWarning, match="look inverted"):
        assert prepared(table).fingerprint == dataset.fingerprint
    assert [path.name for path in dataset.path.parent.iterdir()] == [dataset.fingerprint], "nothing else is left"


def test_ids_are_new_only_where_something_is_declared(tmp_path: Path) -> None:
    table = write(tmp_path, lambda k: disc(k) * 255)
    plain = prepared(table).fingerprint
    assert prepared(table, foreground=("255",)).fingerprint != plain
    assert prepared(table, ignore=7).fingerprint != plain


def test_what_is_ignored_counts_in_no_cell(tmp_path: Path) -> None:
    dataset = prepared(write(tmp_path, lambda k: np.where(X < 4, 255, disc(k))), ignore=255)
    assert dataset.has_ignored
    mask = dataset.mask(0)
    assert set(np.unique(mask)) == {0, 1, IGNORED}
    target = torch.from_numpy(mask.copy())[None]
    for logits in (torch.ones(1, 1, 64, 64), -torch.ones(1, 1, 64, 64), torch.randn(1, 1, 64, 64)):
        counts = confusion_counts(logits, target)
        assert counts.sum() == 64 * 60
        torch.testing.assert_close(counts, confusion_counts(logits[..., 4:], target[..., 4:]))


def test_a_layouts_classes_hold_unless_others_or_mask_values_are_named(tmp_path: Path) -> None:
    table = write(tmp_path, lambda k: disc(k) * (1 + k % 2))
    manifest = replace(read_table(table, ("line",)), classes=("kidney", "tumour"))

    def classes(**options: object) -> tuple[tuple[str, ...], int]:
        dataset = prepare(manifest, DataConfig(**options), tmp_path / "cache")
        return dataset.classes, int(dataset.mask(1).max())

    assert classes() == (("kidney", "tumour"), 2)
    assert classes(classes=("left", "right")) == (("left", "right"), 2)
    assert classes(classes=("foreground",)) == (("foreground",), 1)
    assert classes(foreground=("1..2",)) == (("foreground",), 1)
    named = prepare(read_table(table, ("line",)), DataConfig(classes=("foreground",)), tmp_path / "cache")
    unnamed = prepare(read_table(table, ("line",)), DataConfig(), tmp_path / "cache")
    assert unnamed.fingerprint == named.fingerprint
