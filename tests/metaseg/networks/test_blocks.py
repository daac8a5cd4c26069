"""Blocks: one contract for all, and each against an independent reference."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from metaseg.config import Activation, ConfigError
from metaseg.networks.blocks import BLOCKS, Matched, block_name, build_block
from metaseg.networks.mlp import MLPConfig

WITH_METADATA = [name for name, block in BLOCKS.items() if block.needs_metadata]

every_perceptron = pytest.mark.parametrize(
    "mlp",
    [
        MLPConfig(reduction=2, layers=layers, activation=activation)
        for layers in (1, 2)
        for activation in get_args(Activation)
    ],
    ids=lambda mlp: f"{mlp.layers}-{mlp.activation}",
)


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 16, 5, 7, generator=generator), torch.randn(3, 4, generator=generator)


@every_perceptron
@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_keeps_the_shape_and_conditions_each_sample_alone(name, mlp, inputs):
    features, metadata = inputs
    torch.manual_seed(0)
    block = build_block(name, channels=16, metadata_size=4, mlp=mlp).train(not BLOCKS[name].couples_samples)
    together = block(features, metadata)
    assert together.shape == features.shape
    one_by_one = torch.cat([block(features[i : i + 1], metadata[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, one_by_one)


@pytest.mark.parametrize("name", BLOCKS)
def test_samples_of_a_training_batch_depend_on_each_other_exactly_where_a_block_says_so(name, inputs):
    features, metadata = inputs
    torch.manual_seed(0)
    block = build_block(name, channels=16, metadata_size=4)
    others = torch.cat([features[:1], 3 * features[1:]])
    same = torch.allclose(block(features, metadata)[0], block(others, metadata)[0], rtol=1e-4, atol=1e-5)
    assert same != BLOCKS[name].couples_samples


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_takes_volumes_too_and_conditions_each_sample_alone(name):
    torch.manual_seed(0)
    features, metadata = torch.randn(3, 16, 4, 5, 7), torch.randn(3, 4)
    block = build_block(name, channels=16, metadata_size=4, dims=3).eval()
    together = block(features, metadata)
    assert together.shape == features.shape
    one_by_one = torch.cat([block(features[i : i + 1], metadata[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, one_by_one)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_volume_of_one_slice_is_an_image(name, inputs):
    features, metadata = inputs
    image, volume = (build_block(name, channels=16, metadata_size=4, dims=dims) for dims in (2, 3))
    state = image.state_dict()
    for key, weights in volume.state_dict().items():
        if weights.ndim > state[key].ndim:  # a kernel, whose middle slice is the image's
            kernel = torch.zeros_like(weights)
            kernel[:, :, weights.shape[2] // 2] = state[key]
            state[key] = kernel
    volume.load_state_dict(state)
    torch.testing.assert_close(volume(features[:, :, None], metadata)[:, :, 0], image(features, metadata))


def test_other_dimensions_than_two_and_three_are_refused():
    with pytest.raises(ConfigError, match="dims is 1; expected 2 for images or 3 for volumes"):
        build_block("se", channels=16, metadata_size=0, dims=1)


@every_perceptron
@pytest.mark.parametrize("name", BLOCKS)
def test_metadata_changes_the_output_exactly_where_a_block_takes_it(name, mlp, inputs):
    features, metadata = inputs
    torch.manual_seed(0)
    block = build_block(name, channels=16, metadata_size=4, mlp=mlp)
    metadata.requires_grad_()
    output = block(features, metadata)
    (gradient,) = torch.autograd.grad(output.sum(), metadata, allow_unused=True) if output.requires_grad else (None,)
    if name in WITH_METADATA:
        assert gradient is not None
        assert (gradient.abs().sum(dim=1) > 0).all()
    else:
        assert gradient is None


@pytest.mark.parametrize("name", WITH_METADATA)
def test_a_block_that_needs_metadata_refuses_to_be_built_without(name):
    with pytest.raises(ConfigError, match="needs metadata"):
        build_block(name, channels=16, metadata_size=0, mlp=MLPConfig())


def test_an_unknown_block_lists_the_known_ones():
    with pytest.raises(ConfigError, match="'smee'; known: none, se, se-matched, me, sme, film, film-ivadomed"):
        build_block("smee", channels=16, metadata_size=4, mlp=MLPConfig())


@every_perceptron
@pytest.mark.parametrize("name", BLOCKS)
def test_weights_survive_a_round_trip(name, mlp, inputs):
    features, metadata = inputs
    first, second = (build_block(name, channels=16, metadata_size=4, mlp=mlp) for _ in range(2))
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(first(features, metadata), second(features, metadata), rtol=0, atol=0)


def test_se_equals_the_formulation_by_1x1_convolutions(inputs):
    """torchvision's layout, built here: average pooling, two 1x1 convolutions, ReLU and sigmoid."""
    features, metadata = inputs
    block = build_block("se", channels=16, metadata_size=0, mlp=MLPConfig())
    reduce, _, expand, _ = block.excitation
    fc1, fc2 = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
    with torch.no_grad():
        for convolution, linear in ((fc1, reduce), (fc2, expand)):
            convolution.weight.copy_(linear.weight[:, :, None, None])
            convolution.bias.copy_(linear.bias)
    reference = features * torch.sigmoid(fc2(torch.relu(fc1(nn.AdaptiveAvgPool2d(1)(features)))))
    torch.testing.assert_close(block(features, metadata[:, :0]), reference)


def test_se_equals_torchvisions(inputs):
    misc = pytest.importorskip("torchvision.ops.misc", reason="torchvision isn't installed")
    features, metadata = inputs
    block = build_block("se", channels=16, metadata_size=0, mlp=MLPConfig())
    reference = misc.SqueezeExcitation(16, 4)
    reference.load_state_dict(
        {
            f"fc{number}.{name}": tensor[:, :, None, None] if name == "weight" else tensor
            for number, layer in ((1, block.excitation[0]), (2, block.excitation[2]))
            for name, tensor in layer.state_dict().items()
        }
    )
    torch.testing.assert_close(block(features, metadata[:, :0]), reference(features))


def test_me_scales_by_gates_of_metadata_alone(inputs):
    features, metadata = inputs
    block = build_block("me", channels=16, metadata_size=4, mlp=MLPConfig())
    w1, b1, w2, b2 = block.state_dict().values()
    gates = 1 / (1 + torch.exp(-(torch.clamp(metadata @ w1.T + b1, min=0) @ w2.T + b2)))
    torch.testing.assert_close(block(features, metadata), torch.einsum("nchw,nc->nchw", features, gates))


@pytest.mark.parametrize(
    ("activation", "formula"),
    [
        ("relu", lambda x: torch.clamp(x, min=0)),
        ("silu", lambda x: x / (1 + torch.exp(-x))),
        ("gelu", lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2),
        ("tanh", lambda x: (torch.exp(x) - torch.exp(-x)) / (torch.exp(x) + torch.exp(-x))),
    ],
)
def test_hidden_layers_follow_each_other_each_with_the_activation(activation, formula, inputs):
    features, metadata = inputs
    block = build_block("me", channels=16, metadata_size=4, mlp=MLPConfig(2, layers=3, activation=activation))
    w1, b1, w2, b2, w3, b3, w4, b4 = block.state_dict().values()
    assert (w1.shape, w2.shape, w3.shape, w4.shape) == ((8, 4), (8, 8), (8, 8), (16, 8))
    hidden = formula(formula(formula(metadata @ w1.T + b1) @ w2.T + b2) @ w3.T + b3)
    gates = 1 / (1 + torch.exp(-(hidden @ w4.T + b4)))
    torch.testing.assert_close(block(features, metadata), torch.einsum("nchw,nc->nchw", features, gates))


def test_films_generator_has_the_hidden_layers_too_and_ivadomeds_keeps_its_own():
    mlp = MLPConfig(layers=2, activation="tanh")
    film = build_block("film", channels=16, metadata_size=4, mlp=mlp)
    kinds = [nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear]
    assert [type(layer) for layer in film.generator] == kinds, "no activation at the end: it is unbounded"
    ivadomed = [
        [str(layer) for layer in build_block("film-ivadomed", 16, 4, which).generator] for which in (mlp, MLPConfig())
    ]
    assert ivadomed[0] == ivadomed[1]


def test_sme_with_zero_metadata_weights_is_se(inputs):
    features, metadata = inputs
    sme = build_block("sme", channels=16, metadata_size=4, mlp=MLPConfig())
    se = build_block("se", channels=16, metadata_size=0, mlp=MLPConfig())
    state = sme.state_dict()
    state["excitation.0.weight"][:, 16:] = 0
    se.load_state_dict({**state, "excitation.0.weight": state["excitation.0.weight"][:, :16]})
    torch.testing.assert_close(sme(features, metadata), se(features, metadata[:, :0]))


def test_film_equals_a_hand_written_one_and_is_unbounded(inputs):
    features, metadata = inputs
    block = build_block("film", channels=16, metadata_size=4, mlp=MLPConfig())
    w1, b1, w2, b2 = block.state_dict().values()
    expected = torch.empty_like(features)
    for n in range(3):
        generated = torch.relu(w1 @ metadata[n] + b1) @ w2.T + b2
        for c in range(16):
            expected[n, c] = (1 + generated[c]) * features[n, c] + generated[16 + c]
    torch.testing.assert_close(block(features, metadata), expected)

    far = block(torch.ones(1, 16, 1, 1), 1e4 * metadata[:1]) - block(torch.zeros(1, 16, 1, 1), 1e4 * metadata[:1])
    assert far.abs().max() > 100, "gamma grows with metadata"


def test_ivadomed_film_equals_its_published_layout_and_is_bounded(inputs):
    features, metadata = inputs
    block = build_block("film-ivadomed", channels=16, metadata_size=4, mlp=MLPConfig())
    w1, b1, w2, b2, w3, b3 = block.state_dict().values()
    assert (w1.shape, w2.shape, w3.shape) == ((64, 4), (16, 64), (32, 16))
    hidden = torch.sigmoid(torch.sigmoid(metadata @ w1.T + b1) @ w2.T + b2)
    gammas, betas = torch.sigmoid(hidden @ w3.T + b3).split(16, dim=1)
    expected = gammas[:, :, None, None] * features + betas[:, :, None, None]
    torch.testing.assert_close(block(features, metadata), expected)

    offset = block(torch.zeros(1, 16, 1, 1), 1e4 * metadata[:1])
    assert ((offset >= 0) & (offset <= 1)).all(), "beta stays in (0, 1)"


@pytest.mark.parametrize("name", [name for name in BLOCKS if name != "se-matched"])
def test_se_can_be_matched_to_every_block(name):
    wanted, control = (
        sum(parameter.numel() for parameter in build_block(block, 16, 4, dims=3).parameters())
        for block in (name, block_name("se-matched", Matched(name)))
    )
    assert wanted <= control < max(wanted, 2 * 16 + 1 + 16) + 2 * 16 + 1, "a hidden unit of weights more at most"


@settings(max_examples=50, deadline=None)
@given(
    channels=st.integers(1, 128),
    metadata_size=st.integers(1, 20),
    reduction=st.integers(1, 16),
    layers=st.integers(1, 4),
    shared=st.integers(0, 300),
)
def test_the_matched_block_has_at_least_smes_parameters_and_less_than_a_hidden_unit_more(
    channels, metadata_size, reduction, layers, shared
):
    mlp = MLPConfig(reduction, layers, shared=shared)
    blocks = {name: build_block(name, channels, metadata_size, mlp) for name in ("se-matched", "sme", "se")}
    sizes = {name: sum(p.numel() for p in block.parameters()) for name, block in blocks.items()}
    a_unit_of_each_layer = 2 * channels + 1 + 2 * blocks["se-matched"].hidden * (layers - 1)
    assert sizes["se"] < sizes["sme"]
    assert sizes["sme"] + shared <= sizes["se-matched"] < sizes["sme"] + shared + a_unit_of_each_layer
