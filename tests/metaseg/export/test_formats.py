"""Exported networks: each format gives the network's own masks, wherever it is opened."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from exported_arms import ARMS, train
from metaseg.config import ConfigError
from metaseg.data.dataset import Dataset
from metaseg.data.decode import decode_image, pixel_statistics
from metaseg.data.metadata import MetadataEncoder
from metaseg.export.export import Exported, export_run
from metaseg.export.formats import FORMATS
from metaseg.export.model import CheckError, Model
from metaseg.export.whole_image import WholeImage
from metaseg.store.runs import Store
from metaseg.study.predict import Predictor
from single_precision import in_single_precision

TOLD = [{"line": "a", "dose": 0.1}, {"line": "c", "dose": 2.4}]
NEEDS = {"onnx": "onnxruntime", "bioimageio": "bioimageio.core", "monai-bundle": "PIL"}
AUTHORS, LICENCE = ("A. Author",), "CC-BY-4.0"


def available(name: str) -> bool:
    package = NEEDS.get(name, "torch")
    return find_spec(package.partition(".")[0]) is not None and find_spec(package) is not None


@pytest.fixture(scope="module")
def runs(tiny_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a finished run by its arm, trained once."""
    store, made = Store.at(tmp_path_factory.mktemp("store")), dict[str, Path]()

    def find(arm: str) -> Path:
        if arm not in made:
            made[arm] = train(arm, tiny_dataset, store)
        return made[arm]

    return find


@pytest.fixture(scope="module")
def onnx(runs: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The arm `sme` as ONNX."""
    if not available("onnx"):
        pytest.skip("onnxruntime isn't installed")
    return export_run(str(runs("sme")), tmp_path_factory.mktemp("exported") / "model", "onnx", AUTHORS, LICENCE)


def images(dataset: Dataset) -> list[np.ndarray[Any, Any]]:
    """Images of sizes that aren't multiples of the network's stride, and that are."""
    return [dataset.image(0)[:19, :13], dataset.image(1)]


def assert_same_masks(found: Any, expected: Predictor, dataset: Dataset) -> None:
    with in_single_precision():
        for pixels in images(dataset):
            for told in TOLD:
                np.testing.assert_allclose(
                    found.probabilities(pixels, told), expected.probabilities(pixels, told), atol=1e-5
                )
                np.testing.assert_array_equal(found.predict(pixels, told), expected.predict(pixels, told))


def test_predictor_runs_an_onnx_file_to_the_same_masks(runs, onnx, tiny_dataset):
    predictor, expected = Predictor.load(onnx.folder / "model.onnx"), Predictor.load(runs("sme"))
    assert_same_masks(predictor, expected, tiny_dataset)
    a, c = (expected.probabilities(tiny_dataset.image(1), told) for told in TOLD)
    assert np.abs(a - c).max() > 1e-3, "the network ignores what it is told: the comparison is of nothing"


def test_the_script_gives_the_same_masks_where_neither_torch_nor_metaseg_can_be_imported(
    runs, onnx, tiny_dataset, tiny_manifest, tmp_path
):
    image = tiny_manifest.parent / "image1.png"
    blocked = tmp_path / "blocked.py"
    blocked.write_text(
        "import runpy, sys\n"
        "for name in ('torch', 'metaseg', 'analysis', 'pandas', 'ray', 'scipy', 'onnx'):\n"
        "    sys.modules[name] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    expected = Predictor.load(runs("sme"))
    for number, told in enumerate(TOLD):
        mask = tmp_path / f"{number}.png"
        pairs = [f"{name}={value}" for name, value in told.items()]
        command = [sys.executable, blocked, onnx.folder / "predict.py", image, mask, "--metadata", *pairs]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path, timeout=60)
        assert done.returncode == 0, done.stderr
        with in_single_precision():
            wanted = expected.predict(decode_image(image), told)
        np.testing.assert_array_equal(np.asarray(Image.open(mask)), wanted * 255)
    command[-2:] = ["line=HeLa", "dose=1"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 1
    assert done.stderr.strip().startswith("error: metadata column 'line' has value 'HeLa', not seen in training; known")


def test_the_graph_takes_raw_pixels_in_batches_and_its_axes_have_names(runs, onnx, tiny_dataset):
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx.folder / "model.onnx")
    assert [(each.name, each.shape) for each in session.get_inputs()] == [
        ("image", ["batch", 1, "height", "width"]),
        ("metadata", ["batch", 4]),
    ]
    predictor = Predictor.load(runs("sme"))
    pixels = np.stack([tiny_dataset.image(sample)[:20, :20] for sample in range(3)])
    vectors = np.concatenate([predictor.encode(TOLD[k % 2]) for k in range(3)])
    given = {"image": np.moveaxis(pixels, 3, 1).astype(np.float32), "metadata": vectors}
    (found,) = session.run(["probabilities"], given)
    with in_single_precision():
        expected = [predictor.probabilities(pixels[k], TOLD[k % 2]) for k in range(3)]
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-5)


def test_the_passport_in_the_file_is_the_one_beside_it_and_names_no_machine(runs, onnx):
    import onnxruntime

    notes = onnxruntime.InferenceSession(onnx.folder / "model.onnx").get_modelmeta().custom_metadata_map
    text = (onnx.folder / "passport.json").read_text()
    assert json.loads(notes["passport"]) == json.loads(text)
    passport, config = json.loads(text), json.loads((runs("sme") / "config.json").read_text())
    assert passport["metadata"]["elements"][:3] == ["line=a", "line=b", "line=c"]
    assert passport["training"]["images"] == {"test": 6}  # the decoded dataset isn't in this store
    assert passport["provenance"]["run_id"] == config["run_id"]
    assert config["hardware"]["host"] not in text
    assert str(runs("sme").parent) not in text + (onnx.folder / "README.md").read_text()


def test_weights_alone_open_as_the_run_does(runs, tiny_dataset, tmp_path):
    for arm in ARMS:
        exported = export_run(str(runs(arm)), tmp_path / arm, "safetensors")
        predictor, expected = Predictor.load(tmp_path / arm / "model.safetensors"), Predictor.load(runs(arm))
        assert exported.checked.largest == 0
        assert predictor.metadata_mode == expected.metadata_mode
        assert_same_masks(predictor, expected, tiny_dataset)


def torch_program(folder: Path) -> Callable[..., np.ndarray[Any, Any]]:
    program = torch.export.load(folder / "model.pt2").module()
    return lambda **given: program(**{name: torch.from_numpy(value) for name, value in given.items()}).numpy()


def onnx_program(folder: Path) -> Callable[..., np.ndarray[Any, Any]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return lambda **given: session.run(["probabilities"], given)[0]


def bioimageio_program(folder: Path) -> Callable[..., np.ndarray[Any, Any]]:
    import bioimageio.core

    model = bioimageio.core.load_model(folder / "model.bioimageio.zip", perform_io_checks=False)

    def run(**given: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        sample = bioimageio.core.predict(model=model, inputs=given)
        return np.asarray(sample.members["probabilities"].data)

    return run


def monai_program(folder: Path) -> Callable[..., np.ndarray[Any, Any]]:
    code = "import sys, numpy, torch; sys.path.insert(0, sys.argv[1]); from scripts.network import Network; " + (
        "network = Network(sys.argv[1] + '/models/model.pt2'); "
        "network.load_state_dict(torch.load(sys.argv[1] + '/models/model.pt', weights_only=True)); "
        "given = numpy.load(sys.argv[2]); "
        "told = torch.from_numpy(given['metadata']) if 'metadata' in given else None; "
        "numpy.save(sys.argv[3], network(torch.from_numpy(given['image']), told).detach().numpy())"
    )

    def run(**given: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        asked, answer = folder.with_suffix(".npz"), folder.with_suffix(".npy")
        np.savez(asked, **given)  # type: ignore[arg-type]
        subprocess.run([sys.executable, "-c", code, folder, asked, answer], check=True, timeout=120)
        return np.asarray(np.load(answer))

    return run


OPENED = {
    "torch.export": torch_program,
    "onnx": onnx_program,
    "bioimageio": bioimageio_program,
    "monai-bundle": monai_program,
}
IN_EVERY_SUITE = [("torch.export", "heads")]
MATRIX = [
    pytest.param(name, arm, marks=() if (name, arm) in IN_EVERY_SUITE else pytest.mark.slow)
    for name in OPENED
    for arm in ARMS
]


@pytest.mark.parametrize(("name", "arm"), MATRIX)
def test_every_format_gives_the_probabilities_of_every_arm(runs, tiny_dataset, tmp_path, name, arm):
    if not available(name):
        pytest.skip(f"{NEEDS[name]} isn't installed")
    exported = export_run(str(runs(arm)), tmp_path / "model", name, AUTHORS, LICENCE)
    assert {"README.md", "passport.json"} <= set(exported.files)
    passport = json.loads((exported.folder / "passport.json").read_text())
    told_nothing = ARMS[arm][1] in ("absent", "zeros")
    assert passport["metadata"]["is_input"] == (not told_nothing)
    program, predictor = OPENED[name](exported.folder), Predictor.load(runs(arm))
    for pixels, told in zip([tiny_dataset.image(0)[:19, :17], tiny_dataset.image(1)], TOLD, strict=True):
        given = {"image": np.moveaxis(pixels, 2, 0)[None].astype(np.float32)}
        given |= {} if told_nothing else {"metadata": predictor.encode(told)}
        with in_single_precision():
            expected = predictor.probabilities(pixels, told)
        np.testing.assert_allclose(program(**given)[0], expected, atol=1e-5)


def test_pixels_are_standardised_inside_as_numpy_does_it_and_only_once(tiny_dataset):
    """Networks with group normalisation would hardly show it: here the logits are the standardised pixels."""

    class Same(torch.nn.Module):
        def forward(self, image: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
            assert metadata.shape == (len(image), 0)
            return image

    whole = WholeImage(Predictor(Same(), MetadataEncoder(()), "absent", ("cell",), 1))
    pixels = np.stack([tiny_dataset.image(0), 3 * tiny_dataset.image(0), np.full_like(tiny_dataset.image(0), 7)])
    image = torch.from_numpy(pixels).movedim(3, 1).float()
    probabilities, logits = whole(image)
    for found, each in zip(logits, pixels, strict=True):
        mean, std = pixel_statistics(each)
        torch.testing.assert_close(found, (torch.from_numpy(each).movedim(2, 0).float() - mean) / std)
    torch.testing.assert_close(probabilities, logits.sigmoid())
    assert torch.equal(whole(image, None, torch.tensor(True))[1], logits)
    assert torch.equal(whole(image, None, torch.tensor(False))[1], image)


def test_formats_are_those_of_the_command():
    from typing import get_args

    from metaseg.commands.export import FormatName

    assert get_args(FormatName) == tuple(FORMATS)
    assert set(OPENED) | {"safetensors"} == set(FORMATS)


def test_a_program_that_gives_something_else_is_refused(runs):
    predictor = Predictor.load(runs("sme"))
    model = Model(predictor, {}, {})
    assert model.check(model.probabilities).differing == 0
    with pytest.raises(CheckError, match="differ from PyTorch's"):
        model.check(lambda images, rows: model.probabilities(images, rows[:, ::-1].copy()))
    with pytest.raises(CheckError, match="differ from PyTorch's"):
        model.check(lambda images, rows: np.full_like(model.probabilities(images, rows), np.nan))


def test_a_network_that_cant_be_a_program_is_one_clear_error(runs, tmp_path):
    class Odd(torch.nn.Module):
        stride = 2

        def forward(self, image: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
            return image * float(image.mean())

    predictor = Predictor.load(runs("sme"))
    object.__setattr__(predictor, "model", Odd())
    with pytest.raises(ConfigError, match=r"PyTorch can't export this network \(Odd\) for images of any size: "):
        Model(predictor, {}, {}).trace()


def test_a_package_of_bioimageio_holds_no_pixels_but_simulated_ones(runs, tmp_path):
    if not available("bioimageio"):
        pytest.skip("bioimageio.core isn't installed")
    exported = export_run(str(runs("me")), tmp_path / "model", "bioimageio", AUTHORS, LICENCE)
    with zipfile.ZipFile(exported.folder / "model.bioimageio.zip") as package:
        names = set(package.namelist())
        image = np.load(io.BytesIO(package.read("test_image.npy")))
    assert {"rdf.yaml", "README.md", "cover.png", "model.onnx", "test_metadata.npy", "test_probabilities.npy"} <= names
    from metaseg.export.model import shapes_image

    np.testing.assert_array_equal(image[0], shapes_image(96, 128, 1, seed=3))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not an ONNX model"), (b"\x00" * 99, "not an ONNX model")],
)
def test_a_file_that_is_no_exported_model_is_named(tmp_path, content, message):
    if not available("onnx"):
        pytest.skip("onnxruntime isn't installed")
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        Predictor.load(file)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(content)
    with pytest.raises(ConfigError, match="not a safetensors file"):
        Predictor.load(weights)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("passport",), 99),
        (("classes",), 3),
        (("metadata", "columns"), None),
        (("metadata", "columns", 0, "vocabulary"), ["a", "a"]),
        (("image", "reading", "shrink"), -1),
        (("network", "depth"), 10**9),
    ],
)
def test_a_passport_that_cant_be_is_named(runs, tmp_path, where, value):
    from safetensors.torch import load_file, save_file

    export_run(str(runs("me")), tmp_path / "model", "safetensors")
    passport = json.loads((tmp_path / "model" / "passport.json").read_text())
    inner = passport
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    file = tmp_path / "model" / "model.safetensors"
    save_file(load_file(file), file, {"passport": json.dumps(passport)})
    with pytest.raises(ConfigError, match=r"model\.safetensors: "):
        Predictor.load(file)
