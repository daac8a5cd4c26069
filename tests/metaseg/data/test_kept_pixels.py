"""Images whose channels and values are kept: read, stored, cut, trained on and predicted as they are."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from metaseg.commands.predict import predict
from metaseg.config import ConfigError, DataConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.batches import standardise, to_input
from metaseg.data.crops import HostCutter, Placement, ResidentCutter
from metaseg.data.dataset import Dataset
from metaseg.data.decode import decode_image, to_channels
from metaseg.data.display import to_display
from metaseg.data.manifest import ManifestError
from metaseg.data.preparation import prepare
from metaseg.data.reading import Reading
from metaseg.datasets.nnunet_export import export_nnunet
from metaseg.datasets.table import read_table
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.predict import Predictor
from metaseg.study.run_id import run_id

CPU = torch.device("cpu")
KEEP = Reading(kept=True)
ALL = Reading(kept=True, every_channel=True)
Values = npt.NDArray[Any]


def drawn(*shape: int, dtype: str = "uint16") -> Values:
    generator = np.random.default_rng(sum(shape))
    if dtype == "float32":
        return generator.normal(-3, 1e3, shape).astype(np.float32)
    return generator.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def saved(path: Path, pixels: Values, **options: Any) -> Path:
    if path.suffix == ".png":
        Image.fromarray(pixels).save(path)
    else:
        tifffile.imwrite(path, pixels, **{"photometric": "minisblack", **options})
    return path


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        ("bool", "uint8"), ("uint8", "uint8"), ("uint16", "uint16"), (">u2", "uint16"), ("float32", "float32"),
        ("float16", "float32"), ("int8", "float32"), ("int16", "float32"), ("float64", "float32"),
    ],
)  # fmt: skip
def test_values_are_kept_in_the_narrowest_type_that_holds_them(tmp_path: Path, stored: str, kept: str) -> None:
    values = (np.arange(-60, 60).reshape(10, 12) % 251 if "u" in stored else np.arange(-60, 60).reshape(10, 12)) / 1
    values = (values > 0) if stored == "bool" else values
    pixels = values.astype(stored)
    path = saved(tmp_path / "a.tif", pixels, byteorder=">" if stored[0] == ">" else None)
    decoded = decode_image(path, KEEP)
    assert decoded.dtype == np.dtype(kept)
    expected = pixels * 255 if stored == "bool" else pixels
    np.testing.assert_array_equal(decoded[..., 0].astype(np.float64), expected.astype(np.float64))


def test_16_bit_png_grey_and_16_bit_colour_tiff_are_kept(tmp_path: Path) -> None:
    grey, colour = drawn(9, 7), drawn(9, 7, 3)
    np.testing.assert_array_equal(decode_image(saved(tmp_path / "g.png", grey), KEEP)[..., 0], grey)
    np.testing.assert_array_equal(decode_image(saved(tmp_path / "c.tif", colour, photometric="rgb"), KEEP), colour)
    repeated = np.repeat(grey[..., None], 3, axis=2)
    alike = saved(tmp_path / "r.tif", repeated, photometric="rgb")
    assert decode_image(alike, KEEP).shape == (9, 7, 1)
    assert decode_image(alike, ALL).shape == (9, 7, 3), "all channels, equal or not"
    inverted = saved(tmp_path / "w.tif", grey, photometric="miniswhite")
    np.testing.assert_array_equal(decode_image(inverted, KEEP)[..., 0], 65535 - grey)


@pytest.mark.parametrize("dtype", ["int32", "uint32", "complex64"])
def test_values_that_no_type_holds_are_refused(tmp_path: Path, dtype: str) -> None:
    path = saved(tmp_path / "a.tif", np.ones((4, 5), dtype))
    with pytest.raises(
        ManifestError, match=rf"a.tif: wrong bit depth \({dtype}\); expected 1-bit, 8-bit, 16-bit or fl"
    ):
        decode_image(path, KEEP)


def test_a_float_image_says_how_it_is_kept(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", drawn(4, 5, dtype="float32"))
    with pytest.raises(ManifestError, match=r"wrong bit depth \(float32\); .*, or --pixels keep"):
        decode_image(path)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_arent_finite_are_one_error_that_names_the_file(tmp_path: Path, wrong: float) -> None:
    pixels = drawn(4, 5, dtype="float32").astype(np.float64)
    pixels[1, 2:4] = wrong
    path = saved(tmp_path / "bad.tif", pixels)
    with pytest.raises(ManifestError, match=r"bad.tif: 2 of 20 values are NaN, infinite or beyond single precision"):
        decode_image(path, KEEP)


FIVE = drawn(20, 30, 5)
PLANES = np.moveaxis(FIVE, -1, 0).copy()
DECLARED: dict[str, tuple[Values, dict[str, Any]]] = {
    "samples": (FIVE, {"planarconfig": "contig"}),
    "samples in planes": (PLANES, {"planarconfig": "separate"}),
    "samples, deflated": (FIVE, {"planarconfig": "contig", "compression": "zlib"}),
    "tiled": (FIVE, {"planarconfig": "contig", "tile": (16, 16)}),
    "rgb and two more": (FIVE, {"photometric": "rgb"}),
    "axes CYX": (PLANES, {"metadata": {"axes": "CYX"}}),
    "axes CYX, deflated": (PLANES, {"metadata": {"axes": "CYX"}, "compression": "zlib"}),
    "axes YXC": (FIVE, {"metadata": {"axes": "YXC"}}),
    "axes ZCYX": (PLANES[None], {"metadata": {"axes": "ZCYX"}}),
    "OME": (PLANES, {"ome": True, "metadata": {"axes": "CYX"}}),
    "ImageJ": (PLANES, {"imagej": True, "metadata": {"axes": "CYX"}}),
}


@pytest.mark.parametrize("kind", DECLARED)
def test_channels_that_a_file_declares_are_read_along_the_last_axis(tmp_path: Path, kind: str) -> None:
    pixels, options = DECLARED[kind]
    np.testing.assert_array_equal(decode_image(saved(tmp_path / "a.tif", pixels, **options), ALL), FIVE)


@settings(max_examples=25, deadline=None)
@given(axes=st.permutations("CYX"), extra=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("TZ")), max_size=2))
def test_declared_axes_may_have_any_order_and_axes_of_length_one_between(axes, extra, tmp_path_factory) -> None:
    pixels, order = FIVE.transpose(["YXC".index(axis) for axis in axes]), list(axes)
    for name, place in {name: place for place, name in extra}.items():
        order.insert(place, name)
        pixels = np.expand_dims(pixels, place)
    path = tmp_path_factory.mktemp("axes") / "a.tif"
    saved(path, np.ascontiguousarray(pixels), metadata={"axes": "".join(order)})
    np.testing.assert_array_equal(decode_image(path, ALL), FIVE)


@pytest.mark.parametrize(
    ("pixels", "options", "axes"),
    [
        (PLANES, {}, "Q 5, Y 20, X 30"),
        (FIVE, {}, "Q 20, Y 30, X 5"),
        (PLANES[:3], {}, "Q 3, Y 20, X 30"),
        (PLANES, {"metadata": None}, "I 5, Y 20, X 30"),
        (PLANES, {"metadata": {"axes": "ZYX"}}, "Z 5, Y 20, X 30"),
        (PLANES, {"imagej": True, "metadata": {"axes": "TYX"}}, "T 5, Y 20, X 30"),
        (PLANES, {"ome": True, "metadata": {"axes": "ZYX"}}, "Z 5, Y 20, X 30"),
    ],
)
def test_an_axis_that_nobody_called_channels_is_refused(tmp_path: Path, pixels, options, axes: str) -> None:
    path = saved(tmp_path / "stack.tif", pixels, **options)
    with pytest.raises(ManifestError, match=f"stack.tif: has axes {axes}, of which none is known to be channels; exp"):
        decode_image(path, ALL)
    with pytest.raises(ManifestError, match=r"pages; expected one|is a stack of"):
        decode_image(path, KEEP)


@pytest.mark.parametrize("kind", ["axes CYX", "samples in planes", "OME", "ImageJ", "tiled", "axes CYX, deflated"])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, kind: str) -> None:
    pixels, options = DECLARED[kind]
    path = saved(tmp_path / "cut.tif", pixels, **options)
    with tifffile.TiffFile(path) as tiff:
        end = max(max(np.add(page.dataoffsets, page.databytecounts)) for page in tiff.pages)
        end = max(end, (tiff.series[0].dataoffset or 0) + (tiff.series[0].nbytes if tiff.series[0].dataoffset else 0))
    path.write_bytes(path.read_bytes()[: end - 100])
    with pytest.raises(ManifestError, match=r"cut\.tif"):
        decode_image(path, ALL)


def test_alpha_is_no_channel_and_more_channels_are_refused_without_being_asked_for(tmp_path: Path) -> None:
    rgba = drawn(9, 7, 4, dtype="uint8")
    np.testing.assert_array_equal(decode_image(saved(tmp_path / "a.png", rgba), ALL), rgba[..., :3])
    np.testing.assert_array_equal(decode_image(saved(tmp_path / "a.tif", rgba, photometric="rgb"), ALL), rgba[..., :3])
    with pytest.raises(ManifestError, match=r"has 5 channels, .*expected grey or RGB, depth 1; --channels all takes"):
        decode_image(saved(tmp_path / "five.tif", FIVE, planarconfig="contig"))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_luma_is_of_the_images_own_type(dtype: str) -> None:
    colour = drawn(9, 7, 3, dtype=dtype)
    grey = to_channels(colour, 1)
    assert grey.dtype == colour.dtype
    expected = colour.astype(np.float64) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(grey[..., 0], expected, rtol=1e-3, atol=0.5 + 1e-9)
    with pytest.raises(ConfigError, match="the image has 3 channels; expected 5"):
        to_channels(colour, 5)


def write(folder: Path, channels: int, dtypes: tuple[str, ...], count: int = 20) -> Path:
    """A table of images of two sizes whose masks are where the last channel is above its mean; one type after another.

    The other channels hold noise. All values lie closely together, far from 0.
    """
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        size, dtype = ((24, 20), (20, 30))[number % 2], dtypes[number % len(dtypes)]
        inside = np.zeros(size, bool)
        top, left = generator.integers(2, 10, 2)
        inside[top : top + 9, left : left + 8] = True
        base = 100 if dtype == "uint8" else 30_000
        pixels = base + generator.integers(0, 4, (*size, channels)).astype(np.float64)
        pixels[..., -1] += 20 * inside
        planes = np.moveaxis(pixels, -1, 0).astype(dtype)
        tifffile.imwrite(folder / f"i{number}.tif", planes, photometric="minisblack", metadata={"axes": "CYX"})
        Image.fromarray(inside.astype(np.uint8)).save(folder / f"m{number}.png")
        split = "train" if number < count - 8 else "val" if number < count - 4 else "test"
        rows.append({"image": f"i{number}.tif", "mask": f"m{number}.png", "split": split, "line": "ab"[number % 2]})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def prepared(folder: Path, number: int, *dtypes: str, **settings: Any) -> Dataset:
    table = write(folder / "images", number, dtypes)
    return prepare(read_table(table, ["line"]), DataConfig(**settings), folder / "cache")


@pytest.mark.parametrize(
    ("dtypes", "kept"),
    [
        (("uint8",), "uint8"), (("uint16",), "uint16"), (("float32",), "float32"), (("uint8", "uint16"), "uint16"),
        (("uint16", "float32"), "float32"),
    ],
)  # fmt: skip
def test_a_dataset_stores_the_type_that_holds_all_images(tmp_path: Path, dtypes: tuple[str, ...], kept: str) -> None:
    dataset = prepared(tmp_path, 5, *dtypes, pixels="keep", channels="all")
    assert (dataset.channels, dataset.pixel_type, dataset.pixels[0].dtype) == (5, kept, np.dtype(kept))
    for i, name in enumerate(dataset.table["image"]):
        expected = np.moveaxis(tifffile.imread(tmp_path / "images" / name), 0, -1)
        np.testing.assert_array_equal(dataset.image(i), expected)
        assert dataset.statistics[i] == pytest.approx([expected.mean(), expected.std()], rel=1e-5)
    again = Dataset.open(dataset.path)
    assert (again.pixel_type, again.reading) == (kept, ALL)
    np.testing.assert_array_equal(again.image(3), dataset.image(3))


@pytest.mark.parametrize("crop", [12, 41])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_crops_are_cut_alike_on_device_and_host_in_the_datasets_type(tmp_path: Path, dtype: str, crop: int) -> None:
    dataset = prepared(tmp_path, 5, dtype, pixels="keep", channels="all")
    samples = np.tile(np.arange(len(dataset.table)), 8)
    placed = Placement.draw(dataset, samples, crop, seed=3, epoch=2)
    placement = dataclasses.replace(placed, symmetry=np.arange(len(samples)) % 8)
    devices = [CPU, torch.device("cuda")] if torch.cuda.is_available() else [CPU]
    for device in devices:
        host, resident = (kind(dataset, device)(placement, crop) for kind in (HostCutter, ResidentCutter))
        assert resident[0].dtype == host[0].dtype == getattr(torch, dtype)
        assert resident[0].shape == (len(samples), 5, crop, crop)
        assert resident[0].cpu().numpy().tobytes() == host[0].cpu().numpy().tobytes()
        assert torch.equal(resident[1], host[1])


@settings(max_examples=20, deadline=None)
@given(low=st.integers(0, 65000), span=st.integers(1, 535))
def test_values_of_16_bits_are_standardised_exactly(low: int, span: int) -> None:
    values = np.linspace(low, low + span, 24).round().astype(np.uint16).reshape(1, 1, 4, 6)
    mean, std = values.mean(), values.std() or 1.0
    statistics = torch.tensor([[mean, std]], dtype=torch.float32)
    found = standardise(torch.from_numpy(values), statistics, torch.contiguous_format)
    np.testing.assert_allclose(found.numpy(), (values - mean) / std, atol=0.02 / std + 1e-5)


def test_images_of_unlike_channels_are_listed(tmp_path: Path) -> None:
    table = write(tmp_path / "images", 5, ("uint16",))
    saved(table.parent / "i3.tif", drawn(20, 30, 4), planarconfig="contig")
    with pytest.raises(ManifestError, match=r"i3.tif has 4 channels, i0.tif 5; expected one number \(--channels all\)"):
        prepare(read_table(table, []), DataConfig(channels="all"), tmp_path / "cache")


def test_an_image_that_isnt_finite_is_named_with_its_row(tmp_path: Path) -> None:
    table = write(tmp_path / "images", 1, ("float32",))
    saved(table.parent / "i3.tif", np.full((20, 30), np.nan, np.float32))
    with pytest.raises(ManifestError, match=r"row 4 \(line 5\): .*i3.tif: 600 of 600 values are NaN"):
        prepare(read_table(table, []), DataConfig(pixels="keep"), tmp_path / "cache")


def test_datasets_of_8_bits_are_as_before_and_others_have_fingerprints_of_their_own(tiny_manifest, tmp_path) -> None:
    manifest = read_table(tiny_manifest, ["line"])
    plain = prepare(manifest, DataConfig(), tmp_path)
    fields = json.loads((plain.path / "dataset.json").read_text())
    assert not {"reading", "pixel_type"} & fields.keys()
    others = [DataConfig(pixels="keep"), DataConfig(channels="all"), DataConfig(channels="all", pixels="keep")]
    assert len({plain.fingerprint, *(prepare(manifest, other, tmp_path).fingerprint for other in others)}) == 4


def test_a_run_on_kept_pixels_predicts_from_files_what_it_predicts_in_its_evaluation(tmp_path: Path) -> None:
    table = write(tmp_path / "images", 5, ("uint16",))
    dataset = prepare(read_table(table, ["line"]), DataConfig(pixels="keep", channels="all"), tmp_path / "cache")
    schedule = ScheduleConfig(epochs=2, cycles=1, lr_max=2e-2, batch_size=4, crop=16)
    config = RunConfig("se", "absent", 0, dataset.fingerprint, NetworkConfig(width=4, depth=1), schedule)
    store = Store.at(tmp_path / "store")
    execute(config, dataset, store, CPU)
    folder = Path(store.run_folder(run_id(config)))
    assert json.loads((folder / "config.json").read_text())["dataset"]["reading"] == {
        "kept": True,
        "every_channel": True,
    }
    predictor = Predictor.load(folder)
    assert predictor.reading == ALL
    sample = int(dataset.indices("test")[0])
    path = table.parent / dataset.table["image"][sample]
    np.testing.assert_array_equal(decode_image(path, predictor.reading), dataset.image(sample))
    expected = predictor.predict(dataset.image(sample), {})
    with torch.no_grad():
        inputs = to_input(dataset, np.array([sample]), dataset.image(sample)[None].copy(), CPU)
        logits = predictor.model(inputs, torch.zeros(1, 0))
    assert (expected == (logits[0, 0] > 0).numpy()).mean() > 0.99
    predict(path, str(tmp_path / "out.png"), run=(str(folder),))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")) // 255, expected)
    few = saved(tmp_path / "few.tif", drawn(20, 30, 3), photometric="rgb")
    with pytest.raises(ConfigError, match=r"few\.tif: has 3 channels; expected 5, as in training"):
        predict(few, str(tmp_path / "out.png"), run=(str(folder),))


def test_kept_values_tell_apart_what_8_bits_dont(tmp_path: Path) -> None:
    pixels = np.full((20, 20), 30_000, np.uint16)
    pixels[5:9, 5:9] += 23
    pixels[:3, :3], pixels[12:15, :3] = 65535, 0
    path = saved(tmp_path / "a.tif", pixels)
    kept, scaled = decode_image(path, KEEP), decode_image(path)
    assert kept[6, 6] - kept[15, 15] == 23
    assert scaled[6, 6] == scaled[15, 15]


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (5, 3)])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_pictures_show_kept_images_from_dark_to_light(channels: int, shown: int, dtype: str) -> None:
    image = drawn(16, 12, channels, dtype=dtype)
    picture = to_display(image)
    assert (picture.shape, picture.dtype, picture.min(), picture.max()) == ((16, 12, shown), np.uint8, 0, 255)
    flat = image[..., 0].ravel()
    assert (np.diff(picture[..., 0].ravel()[np.argsort(flat)].astype(int)) >= 0).all()


def test_pictures_leave_images_of_8_bits_as_they_are(tiny_dataset) -> None:
    np.testing.assert_array_equal(to_display(tiny_dataset.image(0)), tiny_dataset.image(0))
    assert not to_display(np.full((4, 4, 2), 7, np.uint16)).any(), "a constant image"


def test_what_png_files_cant_hold_isnt_exported(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, 5, "uint16", pixels="keep", channels="all")
    with pytest.raises(ConfigError, match=r"has 5 channels, uint16; expected grey or RGB of 8 bits"):
        export_nnunet(dataset, tmp_path / "raw", 1)


@pytest.mark.parametrize(("setting", "value"), [("channels", "5"), ("pixels", "16-bit")])
def test_settings_that_cant_be_are_refused(setting: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{setting} is '{value}'; expected"):
        DataConfig(**{setting: value})  # type: ignore[arg-type]
