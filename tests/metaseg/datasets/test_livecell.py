"""LIVECell: its layout, its annotations' oddities, broken files, and simulated images in the same layout."""

import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from PIL import Image
from skimage.draw import disk

from metaseg.config import ConfigError, DataConfig
from metaseg.data.manifest import Manifest, ManifestError
from metaseg.data.metadata import MetadataColumn
from metaseg.data.preparation import prepare
from metaseg.datasets.coco import CocoImage, draw_outlines
from metaseg.datasets.livecell import read_livecell
from metaseg.datasets.source import Source
from metaseg.simulators.livecell import LINES, field_of_view, file_name, outline, simulate_livecell, to_polygons
from metaseg.simulators.settings import LiveCellSimulation

pycocotools_mask: Any = pytest.importorskip("pycocotools.mask")

Mask = npt.NDArray[np.bool_]

SMALL = LiveCellSimulation(size=64, images_per_line=3, wells_per_line=3)
PAIRS = (("A172", "SKOV3"), ("BT474", "MCF7"))
SPLITS = ("train", "val", "test")


def read(root: Path, *metadata: str, group_by: str | None = None) -> Manifest:
    return read_livecell(Source(root, root.parent / "scratch", metadata, group_by))


def mask_of(manifest: Manifest, name: str) -> Mask:
    row = manifest.table["image"].str.endswith(name).to_numpy().nonzero()[0].item()
    return np.asarray(Image.open(manifest.mask_file(manifest.table["mask"].iloc[row]))) > 0


def json_file(root: Path, split: str) -> Path:
    return root / "annotations" / "LIVECell" / f"livecell_coco_{split}.json"


def edit(root: Path, split: str, change: Callable[[Any], object]) -> None:
    content = json.loads(json_file(root, split).read_text())
    change(content)
    json_file(root, split).write_text(json.dumps(content))


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    """Images of 20x30 pixels: three wells of A172 for training, one for validation, one for test; a cell in each."""
    root = tmp_path / "LIVECell"
    json_file(root, "train").parent.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for split, wells in (("train", "ABC"), ("val", "D"), ("test", "E")):
        folder = root / "images" / f"livecell_{'test' if split == 'test' else 'train_val'}_images" / "A172"
        folder.mkdir(parents=True, exist_ok=True)
        images = []
        for number, well in enumerate(wells):
            name = f"A172_Phase_{well}7_1_02d16h30m_2.tif"
            Image.fromarray(generator.integers(0, 256, (20, 30), dtype=np.uint8)).save(folder / name)
            images.append({"id": number, "file_name": name, "height": 20, "width": 30})
        annotations = [
            {"id": 7 + image["id"], "image_id": image["id"], "segmentation": [[2, 3, 8, 3, 8, 9, 2, 9]]}
            for image in images
        ]
        json_file(root, split).write_text(json.dumps({"images": images, "annotations": annotations}))
    return root


def box() -> Mask:
    """The cell of each image."""
    mask = np.zeros((20, 30), dtype=np.bool_)
    mask[3:9, 2:8] = True
    return mask


def shapes() -> Mask:
    """A ring and a disk."""
    mask = np.zeros((20, 30), dtype=np.bool_)
    mask[disk((9, 10), 8)] = True
    mask[disk((9, 10), 4)] = False
    mask[disk((15, 26), 3)] = True
    return mask


def counts(mask: Mask) -> list[int]:
    """Run lengths of background and object in turn, column by column."""
    values = mask.T.ravel()
    ends = np.flatnonzero(np.diff(values.astype(int))) + 1
    return [*([0] if values[0] else []), *np.diff([0, *ends, len(values)]).tolist()]


def test_the_published_layout_becomes_a_manifest_of_masks_wells_and_splits(plate: Path, tmp_path: Path) -> None:
    manifest = read(plate)
    table = manifest.table.set_index("image")
    row = table.loc["images/livecell_test_images/A172/A172_Phase_E7_1_02d16h30m_2.tif"]
    assert (row["split"], row["group"], row["cell_line"], row["hours"]) == ("test", "A172-E7", "A172", 64.5)
    assert sorted(table["split"]) == ["test", "train", "train", "train", "val"]
    assert manifest.metadata == (MetadataColumn("cell_line", "categorical"),)
    assert manifest.about == "LIVECell, phase-contrast images of 1 cell lines"
    assert np.array_equal(mask_of(manifest, "E7_1_02d16h30m_2.tif"), box())
    assert prepare(manifest, DataConfig(), tmp_path / "cache").mask(0).sum() == box().sum()
    assert read(plate, "cell_line", "hours").metadata[1] == MetadataColumn("hours", "continuous")


def test_json_files_and_images_may_lie_one_folder_higher(plate: Path) -> None:
    expected = read(plate)
    for split in SPLITS:
        json_file(plate, split).rename(plate / json_file(plate, split).name)
    for path in list(plate.glob("images/*/A172/*.tif")):
        path.rename(path.parents[1] / path.name)
    found = read(plate)
    assert found.table["image"].str.replace("_images/", "_images/A172/").tolist() == expected.table["image"].tolist()
    assert found.mask_root == expected.mask_root, "masks are made of the annotations alone"


def test_without_all_three_files_images_are_split_by_well(plate: Path) -> None:
    json_file(plate, "train").unlink()
    with pytest.warns(UserWarning, match="3 of 5 images aren't listed; left out"):
        manifest = read(plate)
    assert "split" not in manifest.table
    assert sorted(manifest.table["group"]) == ["A172-D7", "A172-E7"]


@pytest.mark.parametrize("compressed", [False, True])
def test_run_lengths_of_both_kinds_polygons_and_crowds_are_united(plate: Path, compressed: bool) -> None:
    content: Any = counts(shapes())
    if compressed:
        content = pycocotools_mask.encode(np.asfortranarray(shapes().astype(np.uint8)))["counts"].decode()

    def add(annotations: Any) -> None:
        outline = {"size": [20, 30], "counts": content}
        annotations["annotations"].append({"id": 1, "image_id": 0, "segmentation": outline, "iscrowd": 1})
        two = [[20, 0, 24, 0, 24, 5, 20, 5], [26, 1, 29, 1, 29, 4, 26, 4], [1, 1, 2, 2]]
        annotations["annotations"].append({"id": 2, "image_id": 0, "segmentation": two})

    edit(plate, "test", add)
    expected = shapes() | box()
    expected[0:5, 20:24] = expected[1:4, 26:29] = True
    assert np.array_equal(mask_of(read(plate), "E7_1_02d16h30m_2.tif"), expected)


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=60)))
def test_run_lengths_are_what_pycocotools_wrote(mask: Mask) -> None:
    height, width = mask.shape
    compressed = pycocotools_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    for content in (compressed, counts(mask)):
        image = CocoImage("i", height, width, outlines=[(1, {"size": [height, width], "counts": content})])
        assert np.array_equal(draw_outlines(image, "test"), mask)


def test_an_image_without_cells_has_an_empty_mask(plate: Path) -> None:
    edit(plate, "val", lambda content: content["annotations"].clear())
    assert not mask_of(read(plate), "D7_1_02d16h30m_2.tif").any()


def again(content: Any) -> None:
    """List the first image again, with another cell."""
    content["images"].append(content["images"][0] | {"id": 99})
    polygon = [[20, 12, 26, 12, 26, 18, 20, 18]]
    content["annotations"].append({"id": 50, "image_id": 99, "segmentation": polygon})


def test_an_image_that_was_annotated_twice_is_one_image_with_all_cells(plate: Path) -> None:
    edit(plate, "train", again)
    with pytest.warns(UserWarning, match="1 images are listed several times"):
        manifest = read(plate)
    assert len(manifest.table) == 5
    expected = box()
    expected[12:18, 20:26] = True
    assert np.array_equal(mask_of(manifest, "A7_1_02d16h30m_2.tif"), expected)


def test_an_image_of_training_and_validation_is_left_to_validation(plate: Path) -> None:
    shared = json.loads(json_file(plate, "train").read_text())["images"][0]
    edit(plate, "val", lambda content: content["images"].append(shared | {"id": 99}))
    with pytest.warns(UserWarning, match="1 images are listed several times"):
        table = read(plate).table
    assert table["split"][table["image"].str.contains("A7_")].tolist() == ["val"]


def test_validation_may_share_a_well_with_training_as_published_but_not_under_a_rule_of_ones_own(plate: Path) -> None:
    def rename(content: Any) -> None:
        content["images"][0]["file_name"] = "A172_Phase_A7_1_03d00h00m_1.tif"

    folder = plate / "images" / "livecell_train_val_images" / "A172"
    (folder / "A172_Phase_D7_1_02d16h30m_2.tif").rename(folder / "A172_Phase_A7_1_03d00h00m_1.tif")
    edit(plate, "val", rename)
    with pytest.warns(UserWarning, match="training shares 1 wells with 1 of 1 validation images"):
        table = read(plate).table
    groups = dict(zip(table["image"].str[-30:], table["group"], strict=True))
    assert groups["A172_Phase_A7_1_03d00h00m_1.tif"[-30:]] == "A172-A7 (val)"
    assert groups["A172_Phase_A7_1_02d16h30m_2.tif"[-30:]] == "A172-A7"
    with pytest.raises(ManifestError, match=r"group 'A172-A7' is in .* expected all of a group in one split"):
        read(plate, group_by="well")


def set_outline(outline: object) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        content["annotations"][0]["segmentation"] = outline

    return change


def set_image(**values: object) -> Callable[[Any], None]:
    return lambda content: content["images"][0].update(values)


def runs(**values: object) -> Callable[[Any], None]:
    return set_outline({"size": [20, 30], "counts": [600]} | values)


BROKEN: dict[str, tuple[Callable[[Any], object], str]] = {
    "no list": (lambda c: c.pop("annotations"), "has no list 'annotations'; expected COCO annotations"),
    "no key": (lambda c: c["images"][0].pop("width"), "image 1 has no width; expected id, file_name, height, width"),
    "no object": (lambda c: c["annotations"].append(3), "annotation 4 is 3; expected an object with image_id"),
    "unknown image": (lambda c: c["annotations"][0].update(image_id=77), "annotation 1 is of image id 77; expected"),
    "id twice": (lambda c: c["images"][1].update(id=0), r"images .*A7_.* and .*B7_.* both have id 0"),
    "no size": (set_image(height=0), "width 30 and height 0; expected positive whole numbers"),
    "a bomb": (set_image(height=10**9), "claims 30x1000000000 pixels; expected at most"),
    "two sizes": (lambda c: (again(c), set_image(width=31)(c)), "is listed as 31x20 and 30x20"),
    "wrong name": (set_image(file_name="A172_A7.tif"), "has the name 'A172_A7.tif'; expected LINE_Phase_WELL"),
    "path": (set_image(file_name="../A172_Phase_A7_1_02d16h30m_2.tif"), "has the name '../A172.*; expected LINE_"),
    "unknown line": (set_image(file_name="HeLa_Phase_A7_1_02d16h30m_2.tif"), "cell line 'HeLa'; expected one of A172"),
    "absent": (set_image(file_name="A172_Phase_H9_1_02d16h30m_2.tif"), r"1 of 3 annotated images aren't on disk"),
    "odd": (set_outline([[1, 2, 3, 4, 5]]), "image 'A172_Phase_A7.*', annotation 7: polygon has 5 numbers; expected"),
    "outside": (set_outline([[1, 2, 3, 4, 32, 5]]), "a vertex at x 32, y 5; expected x 0 to 30, y 0 to 20"),
    "infinite": (set_outline([[1, 2, 3, 4, float("nan"), 5]]), "a vertex at x nan, y 5; expected x 0 to 30"),
    "nested": (set_outline([[[1, 2], [3, 4], [5, 6]]]), r"polygon is \[\[1, 2\], .*; expected a list of numbers"),
    "text": (set_outline([["a", 2, 3, 4, 5, 6]]), r"polygon is \['a', 2, .*; expected a list of numbers"),
    "nothing": (set_outline([]), r"segmentation is \[\]; expected a list of polygons"),
    "RLE of another size": (runs(size=[30, 20]), r"of size \[30, 20\]; expected \[20, 30\] \(height, width\)"),
    "short RLE": (runs(counts=[500, 99]), "run lengths cover 599 pixels; expected 600"),
    "negative RLE": (runs(counts=[700, -100]), r"counts are \[700, -100\]; expected whole numbers from 0"),
    "long text": (runs(counts="oooooooo0"), "run lengths cover [0-9]+ pixels; expected 600"),
    "cut text": (runs(counts="h"), "counts are 'h'; expected COCO's compressed text"),
    "no COCO text": (runs(counts="h\u00e9"), "counts are 'h.'; expected COCO's compressed text"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_annotations_are_one_error_that_says_where_and_what(plate: Path, what: str) -> None:
    change, message = BROKEN[what]
    edit(plate, "train", change)
    with pytest.raises(ManifestError, match=message) as caught:
        read(plate)
    assert "livecell_coco_train.json" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not list((plate.parent / "scratch").iterdir()), "no half-made folder"


def test_what_is_no_json_is_an_error(plate: Path) -> None:
    for content in (b"{", b"\xff\xfe\xfa", b"[" * 100_000):
        json_file(plate, "val").write_bytes(content)
        with pytest.raises(ManifestError, match=r"livecell_coco_val\.json: is not JSON"):
            read(plate)


def test_a_folder_that_is_not_livecell_is_an_error(plate: Path) -> None:
    with pytest.raises(ManifestError, match="has no annotations; expected livecell_coco_train"):
        read(plate / "images")
    (plate / "livecell_coco_val.json").write_bytes(b"{}")
    with pytest.raises(ManifestError, match=r"livecell_coco_val\.json is also in .*; expected one"):
        read(plate)


def test_two_files_of_one_name_are_an_error(plate: Path) -> None:
    name = "A172_Phase_A7_1_02d16h30m_2.tif"
    folder = plate / "images" / "livecell_train_val_images"
    (folder / name).write_bytes((folder / "A172" / name).read_bytes())
    with pytest.raises(ManifestError, match=rf"has the name of '.*{name}'; expected one file per name"):
        read(plate)


def test_a_test_image_in_training_is_an_error(plate: Path) -> None:
    image = json.loads(json_file(plate, "test").read_text())["images"][0]
    edit(plate, "train", lambda content: content["images"].append(image | {"id": 99}))
    with pytest.raises(ManifestError, match=r"'A172_Phase_E7_.*' is for train, but also for test"):
        read(plate)


def test_an_image_that_has_gone_since_its_mask_was_made_is_an_error(plate: Path) -> None:
    read(plate)
    next(plate.glob("images/*/A172/A172_Phase_B7*")).unlink()
    with pytest.raises(ManifestError, match=r"1 of 5 annotated images aren't on disk \(A172_Phase_B7_"):
        read(plate)


def test_masks_are_made_once_with_progress_and_anew_for_other_annotations(plate: Path) -> None:
    calls: list[tuple[int, int]] = []
    source = Source(plate, plate.parent / "scratch", progress=lambda done, total: calls.append((done, total)))
    first = read_livecell(source)
    assert calls == [(1, 1), (1, 1), (1, 3), (2, 3), (3, 3)]
    assert read_livecell(source).mask_root == first.mask_root
    assert len(calls) == 5
    edit(plate, "test", lambda content: content["annotations"].clear())
    assert read_livecell(source).mask_root != first.mask_root


def test_without_pycocotools_the_error_says_how_to_install_it(plate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.mask", None)
    with pytest.raises(ConfigError, match="pip install 'pycocotools>="):
        read(plate)


def test_real_images_are_read(real_data: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="32 of 52 images aren't listed; left out"):
        manifest = read_livecell(Source(real_data / "livecell", tmp_path))
    table = manifest.table
    assert len(table) == 20
    assert "split" not in table
    assert table["cell_line"].value_counts().to_dict() == {
        "A172": 3, "BT474": 4, "Huh7": 3, "MCF7": 4, "SHSY5Y": 1, "SKOV3": 4, "SkBr3": 1
    }  # fmt: skip
    content = json.loads((real_data / "livecell" / "livecell_coco_test.json").read_text())
    image = content["images"][0]
    annotations = [a for a in content["annotations"] if a["image_id"] == image["id"]]
    mask = mask_of(manifest, image["file_name"])
    assert mask.shape == (520, 704)
    sum_of_areas = sum(annotation["area"] for annotation in annotations)
    assert 0.9 * sum_of_areas < mask.sum() < 1.05 * sum_of_areas, "but for cells that overlap"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = prepare(manifest, DataConfig(), tmp_path / "cache")
    assert dataset.channels == 1
    assert (dataset.table["height"] == 520).all()


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Manifest]:
    """Manifests by metadata effect."""
    folder = tmp_path_factory.mktemp("simulated")
    configs = [dataclasses.replace(SMALL, metadata_effect=effect) for effect in (0.0, 1.0)]
    return {c.metadata_effect: read(simulate_livecell(folder / c.name, c)) for c in configs}


def test_simulated_images_are_read_as_published_ones_and_called_simulated(simulated: dict[float, Manifest]) -> None:
    manifest = simulated[1.0]
    table = manifest.table
    about = "SIMULATED images of 8 cell lines in LIVECell's layout, metadata effect 1 (0: none)"
    assert manifest.about == about
    assert len(table) == 24
    assert table.groupby("cell_line")["split"].agg(set).eq({"train", "val", "test"}).all()
    assert set(table["cell_line"]) == set(LINES)
    assert "images/livecell_test_images/A172/A172_Phase_C1_1_00d00h00m_1.tif" in set(table["image"])


def test_polygons_are_drawn_back_to_the_outlines_they_were_made_of(simulated: dict[float, Manifest]) -> None:
    config = dataclasses.replace(SMALL, metadata_effect=1.0)
    for line in LINES:
        expected = outline(field_of_view(config, line, 1, 0), line, 1.0)
        assert expected.any()
        assert np.array_equal(mask_of(simulated[1.0], file_name(line, 1, 0)), expected), line


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.bool_, (9, 12)))
def test_polygons_of_any_mask_are_drawn_back_but_for_holes(mask: Mask) -> None:
    outlines: list[tuple[object, object]] = [(k, [polygon]) for k, polygon in enumerate(to_polygons(mask))]
    drawn = draw_outlines(CocoImage("i", 9, 12, outlines=outlines), "test")
    assert not (mask & ~drawn).any()


def test_the_effect_moves_the_outlines_of_look_alike_lines_and_nothing_else(simulated: dict[float, Manifest]) -> None:
    without, strong = simulated[0.0], simulated[1.0]
    assert without.table["image"].tolist() == strong.table["image"].tolist()
    alike = {line for pair in PAIRS for line in pair}
    for image, line in zip(strong.table["image"], strong.table["cell_line"], strict=True):
        assert without.image_file(image).read_bytes() == strong.image_file(image).read_bytes()
        before, after = (mask_of(manifest, image).sum() for manifest in (without, strong))
        assert (before != after) == (line in alike), image
    for outer, inner in PAIRS:
        assert LINES[outer].look is LINES[inner].look
        scene = field_of_view(SMALL, outer, 0, 0)
        assert outline(scene, outer, 1.0).sum() > outline(scene, outer, 0.0).sum() > outline(scene, inner, 1.0).sum()
        assert np.array_equal(outline(scene, outer, 0.0), outline(scene, inner, 0.0))


def test_the_same_simulation_gives_the_same_files_and_another_seed_other_images(tmp_path: Path) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    calls: list[tuple[int, int]] = []
    a, b, c = (
        contents(simulate_livecell(tmp_path / name, dataclasses.replace(SMALL, seed=seed), progress))
        for name, seed, progress in (
            ("a", 0, lambda done, total: calls.append((done, total))),
            ("b", 0, lambda done, total: None),
            ("c", 1, lambda done, total: None),
        )
    )
    assert a == b
    images = [name for name in a if name.endswith(".tif")]
    assert len(images) == len({a[name] for name in images}) == 24
    assert all(a[name] != c[name] for name in images)
    assert calls == [(k, 24) for k in range(1, 25)]


def test_images_of_a_well_are_a_time_series() -> None:
    names = [file_name("A172", well, time) for well in (0, 9, 95) for time in (0, 7, 700)]
    assert names[:3] == [f"A172_Phase_A1_1_{time}_1.tif" for time in ("00d00h00m", "01d04h00m", "116d16h00m")]
    assert [name.split("_")[2] for name in names[::3]] == ["A1", "B2", "H12"]


@pytest.mark.parametrize("content", ["[]", '{"simulator": 1}', "{"])
def test_parameters_of_something_else_are_an_error(plate: Path, content: str) -> None:
    (plate / "parameters.json").write_text(content)
    with pytest.raises(ManifestError, match=r"parameters\.json: .*expected a simulator's"):
        read(plate)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("size", 63),
        ("wells_per_line", 2),
        ("wells_per_line", 97),
        ("images_per_line", 14),
        ("metadata_effect", 2.1),
        ("metadata_effect", float("nan")),
        ("seed", -1),
    ],
)
def test_a_setting_that_cannot_be_is_an_error_that_names_it(setting: str, value: float) -> None:
    settings: dict[str, Any] = {setting: value}
    with pytest.raises(ConfigError, match=f"{setting} is {value!r}; expected"):
        LiveCellSimulation(**settings)
