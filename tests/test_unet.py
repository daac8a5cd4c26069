"""The conditioned U-Net, for every block: any size, any subset of positions, metadata a sample."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metaseg.blocks import BLOCKS, Identity
from metaseg.config import POSITIONS, ConfigError
from metaseg.unet import UNet

WITH_METADATA = [name for name, block in BLOCKS.items() if block.needs_metadata]


def network(block: str, **settings) -> UNet:
    torch.manual_seed(0)
    return UNet(
        **{"in_channels": 1, "out_channels": 1, "block": block, "metadata_size": 3, "width": 4, "depth": 2, **settings}
    )


@pytest.mark.parametrize("block", BLOCKS)
@settings(max_examples=6, deadline=None)
@given(height=st.integers(1, 41), width=st.integers(1, 41))
def test_logits_have_the_images_size_whatever_it_is(block, height, width):
    logits = network(block, in_channels=3, out_channels=4)(torch.randn(2, 3, height, width), torch.randn(2, 3))
    assert logits.shape == (2, 4, height, width)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("block", BLOCKS)
def test_a_samples_logits_dont_depend_on_its_batch(block):
    model = network(block)
    image, metadata = torch.randn(3, 1, 16, 16), torch.randn(3, 3)
    alone = torch.cat([model(image[i : i + 1], metadata[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(model(image, metadata), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("block", WITH_METADATA)
def test_metadata_reaches_the_logits_from_every_position(block, position):
    model = network(block, positions=[position])
    image = torch.randn(1, 1, 16, 16)
    metadata = torch.zeros(1, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(image, metadata).square().sum(), metadata)
    assert (gradient != 0).any()


def test_blocks_sit_only_where_they_are_put():
    model = network("sme", positions=["bottleneck"])
    assert not isinstance(model.bottleneck.block, Identity)
    assert all(isinstance(level.block, Identity) for level in [*model.encoder, *model.decoder])


def test_width_depth_and_reduction_shape_the_network():
    model = network("se", width=8, depth=3, reduction=2)
    assert [level.block.channels for level in model.encoder] == [8, 16, 32]
    assert model.bottleneck.block.channels == 64
    assert model.bottleneck.block.excitation[0].out_features == 32


def test_se_ignores_and_none_equals_its_absence_of_metadata():
    image = torch.randn(2, 1, 16, 16)
    for block in ("se", "none"):
        model = network(block, metadata_size=0)
        torch.testing.assert_close(model(image), model(image, torch.zeros(2, 0)))


def test_wrong_shapes_are_refused_with_the_expected_one():
    model = network("sme")
    with pytest.raises(ValueError, match=r"image has shape \(2, 3, 8, 8\); expected \(N, 1, H, W\)"):
        model(torch.randn(2, 3, 8, 8), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"metadata has shape \(1, 3\); expected \(2, 3\)"):
        model(torch.randn(2, 1, 8, 8), torch.zeros(1, 3))
    with pytest.raises(ConfigError, match="needs metadata"):
        network("me", metadata_size=0)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_network_exports(block):
    model = network(block).eval()
    example = (torch.randn(2, 1, 16, 16), torch.randn(2, 3))
    exported = torch.export.export(model, example).module()
    torch.testing.assert_close(exported(*example), model(*example))


def test_with_heads_a_samples_metadata_picks_its_output_layer_and_nothing_else():
    model = network("se", heads=True, out_channels=2)
    image = torch.randn(1, 1, 16, 16).expand(3, -1, -1, -1)
    logits = model(image, torch.eye(3))
    assert logits.shape == (3, 2, 16, 16)
    with torch.no_grad():  # the second head becomes the first one
        model.head.weight[2:4], model.head.bias[2:4] = model.head.weight[:2], model.head.bias[:2]
    after = model(image, torch.eye(3))
    torch.testing.assert_close(after[1], logits[0])
    torch.testing.assert_close(after[2], logits[2])
    assert not torch.allclose(logits[1], logits[0])


def test_with_heads_only_the_picked_one_learns():
    model = network("se", heads=True)
    model(torch.randn(2, 1, 16, 16), torch.eye(3)[[1, 1]]).sum().backward()
    assert [bool(gradient.any()) for gradient in model.head.weight.grad] == [False, True, False]
