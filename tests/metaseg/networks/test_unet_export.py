"""Exported U-Nets: one program for every batch, height and width; and what runs without export is unchanged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.export import Dim

from metaseg.config import NetworkConfig
from metaseg.networks.blocks import BLOCKS
from metaseg.networks.unet import UNet

DEPTH = 2
SMALLEST = 2**DEPTH + 1
"""Side of the smallest image that an exported network takes."""

KINDS: dict[str, dict[str, Any]] = {
    "sme": {"block": "sme", "metadata_size": 3},
    "heads": {"block": "se", "metadata_size": 3, "heads": True},
    "no metadata": {"block": "se"},
}


def network(**settings: Any) -> UNet:
    torch.manual_seed(0)
    return UNet(1, 2, network=NetworkConfig(width=4, depth=DEPTH), **settings).eval()


def inputs(model: UNet, samples: int, height: int, width: int) -> tuple[Tensor, ...]:
    image = torch.randn(samples, 1, height, width)
    one_hot = torch.eye(max(model.metadata_size, 1))[torch.arange(samples) % max(model.metadata_size, 1)]
    return (image, one_hot) if model.metadata_size else (image,)


def dynamic_shapes(model: UNet) -> tuple[dict[int, Any], ...]:
    batch, height, width = Dim("batch"), Dim("height", min=SMALLEST), Dim("width", min=SMALLEST)
    return ({0: batch, 2: height, 3: width}, {0: batch})[: 2 if model.metadata_size else 1]


SIZES = [(1, SMALLEST, SMALLEST), (1, 16, 16), (3, 17, 23), (5, 64, 40)]


def assert_same_logits(program: Callable[..., Tensor], model: UNet) -> None:
    for samples, height, width in SIZES:
        given = inputs(model, samples, height, width)
        with torch.no_grad():
            torch.testing.assert_close(program(*given), model(*given), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_network_takes_any_batch_height_and_width(kind: str) -> None:
    model = network(**KINDS[kind])
    example = inputs(model, 2, 18, 21)
    exported = torch.export.export(model, example, dynamic_shapes=dynamic_shapes(model)).module()
    assert_same_logits(exported, model)


@pytest.mark.parametrize("kind", ["sme", "heads"])
def test_an_onnx_file_takes_any_batch_height_and_width(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="pip install onnx onnxscript onnxruntime")
    runtime = pytest.importorskip("onnxruntime")
    model, file = network(**KINDS[kind]), tmp_path / "network.onnx"
    example = inputs(model, 2, 18, 21)
    torch.onnx.export(model, example, file, dynamo=True, dynamic_shapes=dynamic_shapes(model), verbose=False)
    session = runtime.InferenceSession(file)
    names = [each.name for each in session.get_inputs()]
    assert_same_logits(
        lambda *given: torch.from_numpy(
            session.run(None, dict(zip(names, (each.numpy() for each in given), strict=True)))[0]
        ),
        model,
    )


def forward_without_export(model: UNet, image: Tensor, metadata: Tensor) -> Tensor:
    """The network's forward pass as it was before it could be exported."""
    picked = metadata.argmax(dim=1) if model.heads > 1 else None
    metadata = model.embedding(metadata if picked is None else metadata[:, :0])
    height, width = image.shape[2:]
    features = F.pad(image, (0, -width % model.stride, 0, -height % model.stride), mode="replicate")
    skipped = []
    for level in model.encoder:
        features = level(features, metadata)
        skipped.append(features)
        features = F.max_pool2d(features, 2)
    features = model.bottleneck(features, metadata)
    for upsample, level in zip(model.upsample, model.decoder, strict=True):
        features = level(torch.cat([skipped.pop(), upsample(features)], dim=1), metadata)
    logits = model.head(features)
    if picked is not None:
        logits = logits.unflatten(1, (model.heads, -1))[torch.arange(len(image)), picked]
    return logits[:, :, :height, :width]


@pytest.mark.parametrize(("block", "heads"), [*((block, False) for block in BLOCKS), ("se", True)])
def test_logits_are_those_of_the_network_that_could_not_be_exported_to_the_bit(block: str, heads: bool) -> None:
    model = network(block=block, metadata_size=3, heads=heads)
    for samples, height, width in [(1, 1, 1), (2, 16, 16), (3, 17, 23), (2, 41, 30), (1, 5, 64)]:
        image, metadata = inputs(model, samples, height, width)
        with torch.no_grad():
            logits, expected = model(image, metadata), forward_without_export(model, image, metadata)
        assert torch.equal(logits, expected)
        assert logits.stride() == expected.stride(), "sums over them would be rounded otherwise"
