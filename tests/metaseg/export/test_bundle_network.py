"""Parts of a MONAI bundle, without MONAI: rows in, masks out, and the network on another device."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from metaseg.config import NetworkConfig
from metaseg.data.metadata import CategoricalCode, MetadataEncoder
from metaseg.data.reading import Reading
from metaseg.export import torch_program
from metaseg.export.bundle_network import Network, ReadImage, SaveMask, read_rows
from metaseg.export.model import Model
from metaseg.networks.unet import UNet
from metaseg.study.predict import Predictor
from single_precision import in_single_precision

PASSPORT: dict[str, Any] = {
    "metadata": {"is_input": False, "columns": []},
    "image": {"channels": 1, "reading": {"kept": False, "every_channel": False, "shrink": 1}},
    "classes": ["cell"],
}


def table_of(folder: Path, images: list[str]) -> str:
    table = folder / "images.csv"
    table.write_text("\n".join(["image", *images]) + "\n")
    return str(table)


def test_equal_names_in_different_folders_have_a_mask_each(tmp_path: Path) -> None:
    images = {"a/1.png": 0, "b/1.png": 255, "2.png": 255}
    for image, value in images.items():
        (tmp_path / image).parent.mkdir(exist_ok=True)
        Image.new("L", (6, 5), value).save(tmp_path / image)
    read, save = ReadImage(PASSPORT), SaveMask(str(tmp_path / "masks"), PASSPORT)
    for row in read_rows(table_of(tmp_path, list(images)), PASSPORT):
        item = read(row)
        save(item | {"pred": item["image"] / 255})
    masks = {file.relative_to(tmp_path / "masks").as_posix(): file for file in (tmp_path / "masks").rglob("*.png")}
    assert set(masks) == set(images)
    for image, value in images.items():
        np.testing.assert_array_equal(np.asarray(Image.open(masks[image])), np.full((5, 6), value))


def test_masks_stay_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    images = ["../images/1.tif", "/data/2.tif", "a/../a/3.tif", f"{tmp_path}/tables/b/4.tif"]
    rows = read_rows(table_of(tmp_path / "tables", images), PASSPORT)
    assert [row["mask"] for row in rows] == ["1.png", "2.png", "a/3.png", "b/4.png"]
    assert [row["path"] for row in rows] == [str(tmp_path / "tables" / image) for image in images]


@pytest.mark.parametrize("images", [["a/1.tif", "a/1.png"], ["/x/1.tif", "../1.tif"], ["1.tif", "1.tif"]])
def test_two_images_of_one_mask_are_an_error(tmp_path: Path, images: list[str]) -> None:
    with pytest.raises(ValueError, match=f"images '{images[0]}' and '{images[1]}' would have the same mask"):
        read_rows(table_of(tmp_path, images), PASSPORT)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """File of a small network that is told one of three categories."""
    torch.manual_seed(0)
    encoder = MetadataEncoder((CategoricalCode("line", ("a", "b", "c")),))
    network = UNet(1, 1, "sme", 3, NetworkConfig(width=4, depth=1)).eval()
    predictor = Predictor(network, encoder, "true", ("cell",), 1, Reading())
    file = tmp_path_factory.mktemp("program") / "model.pt2"
    file.write_bytes(torch_program.encode(Model(predictor, {}, {})))
    return str(file)


def given(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.rand(2, 1, 41, 35, generator=torch.Generator().manual_seed(0)) * 255
    return pixels.to(device), torch.eye(3, device=device)[:2]


def test_a_moved_network_names_its_first_device_nowhere(program: str) -> None:
    """On the device `meta`, which has shapes without values."""
    network = Network(program).to("meta")
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"meta"}
    steps = [(step.target, *step.args, *step.kwargs.values()) for step in network.program.graph.nodes]
    assert not [step for step in steps if "cpu" in str(step)]
    assert "cpu" not in network.program.code
    found = network(*given("meta"))
    assert found.device.type == "meta"
    assert found.shape == (2, 1, 41, 35)


def test_a_network_keeps_weights_that_were_loaded_when_it_moves(program: str) -> None:
    network = Network(program)
    before = network(*given("cpu"))
    network.load_state_dict({name: tensor * 1.1 for name, tensor in network.state_dict().items()}, assign=True)
    changed = network(*given("cpu"))
    assert (before - changed).abs().max() > 1e-3
    torch.testing.assert_close(network.to("cpu")(*given("cpu")), changed, rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_network_on_cuda_gives_the_same_probabilities(program: str) -> None:
    network = Network(program)
    with in_single_precision():
        expected = network(*given("cpu"))
        torch.testing.assert_close(network.to("cuda")(*given("cuda")).cpu(), expected, rtol=0, atol=1e-4)
        torch.testing.assert_close(network.cpu()(*given("cpu")), expected, rtol=0, atol=0)
