"""Networks besides the U-Net: one contract for all, and each against an independent reference."""

from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from metaseg.config import POSITIONS, ConfigError, Modulate, NetworkConfig
from metaseg.networks.blocks import BLOCKS
from metaseg.networks.initialisation import initialise_by_name
from metaseg.networks.mlp import MLPConfig
from metaseg.networks.resdunet import CascadedDilation, ResDUNet, ResidualLevel
from metaseg.networks.unet import UNet
from metaseg.networks.unet_concat import UNetConcat

NETWORKS: tuple[type[UNet], ...] = (ResDUNet, UNetConcat)
WITH_METADATA = [name for name, block in BLOCKS.items() if block.needs_metadata]

every_network = pytest.mark.parametrize("kind", NETWORKS)


def network(kind: type[UNet], block: str = "sme", **settings) -> UNet:
    torch.manual_seed(0)
    return kind(3, 2, block, 3, NetworkConfig(**{"width": 4, "depth": 2, **settings})).eval()


@every_network
@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 41), width=st.integers(1, 41))
def test_logits_have_the_images_size_whatever_it_is(kind, height, width):
    logits = network(kind)(torch.randn(2, 3, height, width), torch.randn(2, 3))
    assert logits.shape == (2, 2, height, width)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("block", BLOCKS)
@every_network
def test_every_block_can_be_in_it_and_a_sample_doesnt_depend_on_its_batch(kind, block):
    model = network(kind, block)
    image, metadata = torch.randn(3, 3, 9, 11), torch.randn(3, 3)
    together = model(image, metadata)
    alone = torch.cat([model(image[i : i + 1], metadata[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    told = (model(image, metadata + 1) - together).abs().max() > 0
    assert told == (kind is UNetConcat or block in WITH_METADATA)


@every_network
def test_all_parameters_learn_and_weights_survive_a_round_trip(kind):
    model, other = network(kind), kind(3, 2, "sme", 3, NetworkConfig(width=4, depth=2)).eval()
    image, metadata = torch.randn(2, 3, 16, 16), torch.randn(2, 3, requires_grad=True)
    model(image, metadata).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters()), "else workers wait for each other"
    assert (metadata.grad != 0).any(dim=1).all()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(image, metadata), model(image, metadata), rtol=0, atol=0)


@every_network
def test_it_exports(kind):
    model = network(kind)
    example = (torch.randn(2, 3, 16, 16), torch.randn(2, 3))
    exported = torch.export.export(model, example).module()
    torch.testing.assert_close(exported(*example), model(*example))


@every_network
def test_wrong_shapes_are_refused_with_the_expected_one(kind):
    model = network(kind)
    with pytest.raises(ValueError, match=r"image has shape \(2, 1, 8, 8\); expected \(N, 3, H, W\)"):
        model(torch.randn(2, 1, 8, 8), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"metadata has shape \(2, 2\); expected \(2, 3\)"):
        model(torch.randn(2, 3, 8, 8), torch.zeros(2, 2))
    with pytest.raises(ConfigError, match="unknown block 'smee'"):
        network(kind, "smee")


@every_network
def test_blocks_sit_only_where_they_are_put(kind):
    for position in POSITIONS:
        model = network(kind, positions=(position,))
        levels = {"encoder": model.encoder, "bottleneck": [model.bottleneck], "decoder": model.decoder}
        for place, members in levels.items():
            assert all((type(level.block) is BLOCKS["sme"]) == (place == position) for level in members)


@every_network
def test_networks_with_other_blocks_can_start_from_the_same_weights(kind):
    states = []
    for block in ("none", "sme"):
        model = network(kind, block)
        initialise_by_name(model, 5)
        states.append({key: value for key, value in model.state_dict().items() if ".block." not in key})
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_unet_that_is_told_at_its_input_is_the_unet_of_an_image_with_constant_channels():
    model = network(UNetConcat, "none")
    plain = UNet(6, 2, "none", 0, NetworkConfig(width=4, depth=2)).eval()
    plain.load_state_dict(model.state_dict())
    image, metadata = torch.randn(2, 3, 13, 10), torch.randn(2, 3)
    painted = image.new_empty(2, 6, 13, 10)
    painted[:, :3] = image
    for n in range(2):
        for m in range(3):
            painted[n, 3 + m] = float(metadata[n, m])
    torch.testing.assert_close(model(image, metadata), plain(painted))


def test_a_unet_that_is_told_at_its_input_cant_be_told_nothing():
    with pytest.raises(ConfigError, match="metadata_size is 0; expected at least 1"):
        UNetConcat(1, 1, "none", 0)


@pytest.mark.parametrize("inputs", [2, 8])
@pytest.mark.parametrize("modulate", get_args(Modulate))
def test_a_residual_level_adds_its_input_before_the_second_activation(inputs, modulate):
    torch.manual_seed(0)
    level = ResidualLevel(inputs, 8, "film", 3, MLPConfig(), modulate)
    first, norm1, _, second, norm2, _ = level.convolutions
    features, metadata = torch.randn(2, inputs, 9, 11), torch.randn(2, 3)

    def film(maps: torch.Tensor, at: str) -> torch.Tensor:
        return level.block(maps, metadata) if at == modulate else maps

    branch = second(torch.relu(norm1(first(features))))
    branch = film(norm2(film(branch, "convolved")), "normalised")
    if inputs == 8:
        added = features
    else:
        convolution, norm = level.shortcut
        added = norm(F.conv2d(features, convolution.weight))
    expected = film(torch.relu(branch + added), "output")
    torch.testing.assert_close(level(features, metadata), expected)


def test_a_cascade_of_dilated_convolutions_sees_fifteen_pixels_wide_and_adds_every_stage():
    torch.manual_seed(0)
    cascade = CascadedDilation(8).double()
    features = torch.randn(1, 8, 21, 21, dtype=torch.double)
    stages = [features]
    for dilation, (convolution, norm, _) in zip((1, 2, 4), cascade.stages, strict=True):
        convolved = F.conv2d(F.pad(stages[-1], [dilation] * 4), convolution.weight, dilation=dilation)
        stages.append(torch.relu(norm(convolved)))
    torch.testing.assert_close(cascade(features), sum(stages))

    for stage in cascade.stages:  # group normalisation sees everything
        stage[1] = torch.nn.Identity()
        torch.nn.init.uniform_(stage[0].weight, 0.1, 1)
    seen = features.abs().requires_grad_()
    cascade(seen)[0, 0, 10, 10].backward()
    rows, columns = torch.nonzero(seen.grad[0, 0], as_tuple=True)
    assert (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) == (3, 17, 3, 17)


def test_resdunets_skip_connections_pass_the_cascades():
    model = network(ResDUNet)
    image, metadata = torch.randn(1, 3, 16, 16), torch.randn(1, 3)
    before = model(image, metadata)
    with torch.no_grad():
        model.cascades[1].stages[2][0].weight.mul_(-1)
    assert not torch.allclose(model(image, metadata), before)
