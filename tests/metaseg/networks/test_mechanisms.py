"""Mechanisms of other papers: each block against its formula, written out independently."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metaseg.networks.blocks import build_block
from metaseg.networks.mlp import MLPConfig


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 16, 5, 7, generator=generator), torch.randn(3, 4, generator=generator)


def perceptron(state: dict[str, torch.Tensor], name: str, vector: torch.Tensor) -> torch.Tensor:
    """One hidden layer with ReLU and a linear output, for a single vector."""
    hidden = torch.clamp(state[f"{name}.0.weight"] @ vector + state[f"{name}.0.bias"], min=0)
    return state[f"{name}.2.weight"] @ hidden + state[f"{name}.2.bias"]


def test_conditional_batch_norm_in_training_normalises_over_the_batch_and_adds_deltas_for_each_sample(inputs):
    features, metadata = inputs
    torch.manual_seed(0)
    block = build_block("cbn", channels=16, metadata_size=4)
    with torch.no_grad():
        block.gamma.normal_()
        block.beta.normal_()
        block.generator[2].weight.normal_()
        block.generator[2].bias.normal_()
    state = block.state_dict()
    expected = torch.empty_like(features)
    for c in range(16):
        values = features[:, c]
        mean = values.sum() / values.numel()
        variance = ((values - mean) ** 2).sum() / values.numel()
        for n in range(3):
            deltas = perceptron(state, "generator", metadata[n])
            scaled = (values[n] - mean) / (variance + 1e-5) ** 0.5
            expected[n, c] = (state["gamma"][c] + deltas[c]) * scaled + state["beta"][c] + deltas[16 + c]
    torch.testing.assert_close(block(features, metadata), expected, rtol=1e-4, atol=1e-5)


def test_conditional_batch_norm_told_nothing_is_batch_norm_in_training_and_evaluation(inputs):
    features, metadata = inputs
    block, plain = build_block("cbn", channels=16, metadata_size=4), nn.BatchNorm2d(16)
    nn.init.zeros_(block.generator[0].bias)  # zeros in, zeros out
    for _ in range(3):
        torch.testing.assert_close(block(features, 0 * metadata), plain(features), rtol=1e-4, atol=1e-5)
    told, untold = block.eval()(2 * features, metadata), plain.eval()(2 * features)
    torch.testing.assert_close(block(2 * features, 0 * metadata), untold, rtol=1e-4, atol=1e-5)
    assert 0 < (told - untold).abs().max() < 0.5, "deltas start with small variance"


def test_conditioned_unets_simple_layer_has_one_scale_and_shift_and_the_complex_one_has_them_for_each_channel(inputs):
    features, metadata = inputs
    for name, units, outputs in (("cunet-simple", (16, 64, 256), 1), ("cunet-complex", (16, 128, 1024), 16)):
        torch.manual_seed(0)
        block = build_block(name, channels=16, metadata_size=4)
        state = block.state_dict()
        assert [state[f"shared.{layer}.bias"].numel() for layer in (0, 2, 4)] == list(units)
        expected = torch.empty_like(features)
        for n in range(3):
            hidden = metadata[n]
            for layer in (0, 2, 4):
                hidden = torch.clamp(state[f"shared.{layer}.weight"] @ hidden + state[f"shared.{layer}.bias"], min=0)
            control = state["output.weight"] @ hidden + state["output.bias"]
            for c in range(16):
                gamma, beta = 1 + control[c % outputs], control[outputs + c % outputs]
                expected[n, c] = gamma * features[n, c] + beta
        torch.testing.assert_close(block(features, metadata), expected)
        assert control.numel() == 2 * outputs


def attention_by_hand(block: nn.Module, features: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
    """CBAM of one sample `(C, H, W)`, pixel by pixel."""
    state = block.state_dict()
    pooled = [features.mean(dim=(1, 2)), features.flatten(1).max(dim=1).values]
    logits = sum(perceptron(state, "channel_attention", torch.cat([each, told])) for each in pooled)
    attended = features / (1 + torch.exp(-logits))[:, None, None]
    maps = torch.stack([attended.mean(dim=0), attended.max(dim=0).values])
    kernel, bias = state["spatial_attention.weight"][0], state["spatial_attention.bias"]
    around = F.pad(maps, (3, 3, 3, 3))
    gates = torch.empty(features.shape[1:])
    for row in range(gates.shape[0]):
        for column in range(gates.shape[1]):
            logit = (around[:, row : row + 7, column : column + 7] * kernel).sum() + bias
            gates[row, column] = 1 / (1 + torch.exp(-logit))
    return attended * gates


@pytest.mark.parametrize("name", ["cbam", "cbam-metadata"])
def test_cbam_attends_to_channels_and_then_to_pixels(name, inputs):
    features, metadata = inputs
    torch.manual_seed(0)
    block = build_block(name, channels=16, metadata_size=4)
    told = metadata if name == "cbam-metadata" else metadata[:, :0]
    expected = torch.stack([attention_by_hand(block, features[n], told[n]) for n in range(3)])
    torch.testing.assert_close(block(features, metadata), expected, rtol=1e-4, atol=1e-5)


def test_cbam_with_zero_metadata_weights_is_plain(inputs):
    features, metadata = inputs
    told, plain = (build_block(name, channels=16, metadata_size=4) for name in ("cbam-metadata", "cbam"))
    state = told.state_dict()
    state["channel_attention.0.weight"][:, 16:] = 0
    plain.load_state_dict({**state, "channel_attention.0.weight": state["channel_attention.0.weight"][:, :16]})
    torch.testing.assert_close(told(features, metadata), plain(features, metadata))


def test_fused_squeeze_excitation_multiplies_average_and_maximum_of_each_channel(inputs):
    features, metadata = inputs
    torch.manual_seed(0)
    block = build_block("fuse", channels=16, metadata_size=0)
    for n in range(3):
        fused = torch.stack([features[n, c].sum() / 35 * features[n, c].flatten().sort().values[-1] for c in range(16)])
        gates = 1 / (1 + torch.exp(-perceptron(block.state_dict(), "excitation", fused)))
        expected = features[n] * gates[:, None, None]
        torch.testing.assert_close(block(features, metadata[:, :0])[n], expected)


def test_fused_squeeze_excitation_of_maps_without_contrast_is_se_of_their_squares(inputs):
    level = torch.rand(3, 16, 1, 1)
    fused, se = (build_block(name, channels=16, metadata_size=0) for name in ("fuse", "se"))
    se.load_state_dict(fused.state_dict())
    constant = level.expand(-1, -1, 5, 7)
    nothing = torch.zeros(3, 0)
    torch.testing.assert_close(level * fused(constant, nothing), se(constant**2, nothing))


def test_metadata_channels_are_constant_maps_that_a_1x1_convolution_mixes_in(inputs):
    features, metadata = inputs
    block, convolution = build_block("concat", channels=16, metadata_size=4), nn.Conv2d(20, 16, kernel_size=1)
    state = block.state_dict()
    convolution.load_state_dict({"weight": state["mix.weight"][..., None], "bias": state["mix.bias"]})
    maps = metadata[:, :, None, None] * torch.ones(1, 1, 5, 7)
    torch.testing.assert_close(block(features, metadata), convolution(torch.cat([features, maps], dim=1)))


def test_metadata_channels_shift_all_pixels_of_a_channel_alike(inputs):
    features, metadata = inputs
    block = build_block("concat", channels=16, metadata_size=4, mlp=MLPConfig())
    shift = block(features, metadata) - block(features, 0 * metadata)
    assert shift.abs().max() > 0.1
    torch.testing.assert_close(shift, shift[:, :, :1, :1].expand_as(shift), rtol=1e-3, atol=1e-5)
