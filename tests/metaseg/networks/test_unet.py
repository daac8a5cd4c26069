"""The conditioned U-Net, for every block: any size, any subset of positions, metadata a sample."""

import hashlib
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metaseg.config import POSITIONS, Activation, ConfigError, Modulate, NetworkConfig
from metaseg.networks.blocks import BLOCKS, Identity
from metaseg.networks.mlp import MLPConfig
from metaseg.networks.unet import Level, UNet

WITH_METADATA = [name for name, block in BLOCKS.items() if block.needs_metadata]


def network(
    block: str, in_channels: int = 1, out_channels: int = 1, metadata_size: int = 3, heads: bool = False, **settings
) -> UNet:
    torch.manual_seed(0)
    config = NetworkConfig(**{"width": 4, "depth": 2, **settings})
    return UNet(in_channels, out_channels, block, metadata_size, config, heads)


FROZEN = {
    "none": ("9484675abee5410c", 1318.065626647273, 0.413810670375824, 0.039936214685440063),
    "se": ("d62b3c9b5c6b7257", 1469.7980545439218, 0.16279251873493195, -0.07794316112995148),
    "se-matched": ("d9fb386ec3796069", 1487.1618420734608, -0.15574930608272552, -0.35530751943588257),
    "me": ("adddd09ea069a6b8", 1452.0929808868755, 0.28701165318489075, 0.1372472047805786),
    "sme": ("7073528494a2ba1a", 1472.74333099161, -0.5625516772270203, -0.7100894451141357),
    "film": ("9389e9377d3ad252", 1554.2868117641497, -0.08263110369443893, 0.35364019870758057),
    "film-ivadomed": ("b463832b74f4e651", 2346.1835986149376, -0.9098168015480042, 0.5850239992141724),
    "film-ivadomed-tied": ("94c69d631a12a651", 1871.575637623609, -0.8928499817848206, 0.592854917049408),
    "cunet-simple": ("08118289e90be4aa", 2600.102617164674, -0.580270528793335, 0.862838625907898),
    "cunet-complex": ("a5d99746bdb1aeac", 10009.836699896987, 0.3416837155818939, 0.04265940934419632),
    "cbn": ("eb6e0ac229bf5850", 1514.2493315422455, -0.07169095426797867, 0.47730499505996704),
    "cbam": ("c91897e7a111e4ca", 1498.6667905095796, -0.3578861355781555, -0.36602815985679626),
    "cbam-metadata": ("48b125dacb1847c8", 1501.4838021890514, -0.2187243402004242, -0.19642436504364014),
    "fuse": ("d62b3c9b5c6b7257", 1469.7980545439218, 0.15263113379478455, -0.08070838451385498),
    "concat": ("e2f308ca99830cea", 1521.9473409274974, -0.4593473970890045, 0.9492436051368713),
}
"""Layout and sum of magnitudes of the default network's initial state, and both logits of one pixel. Other numbers mean
that results of earlier versions are another network's: `TRAINING_VERSION`."""


@pytest.mark.parametrize("block", FROZEN)
def test_the_default_network_is_the_one_that_it_was(block):
    model = network(block, out_channels=2, width=8)
    state = model.state_dict()
    layout = "\n".join(f"{name} {tuple(tensor.shape)}" for name, tensor in state.items())
    image, metadata = torch.linspace(-2, 2, 11 * 14).reshape(1, 1, 11, 14), torch.tensor([[0.5, -1.0, 2.0]])
    layout_hash, magnitudes, *logits = FROZEN[block]
    assert hashlib.sha256(layout.encode()).hexdigest()[:16] == layout_hash
    assert sum(float(tensor.double().abs().sum()) for tensor in state.values()) == pytest.approx(magnitudes, rel=1e-9)
    assert model(image, metadata)[0, :, 5, 7].tolist() == pytest.approx(logits, rel=1e-4)


@pytest.mark.parametrize("block", BLOCKS)
@settings(max_examples=6, deadline=None)
@given(height=st.integers(1, 41), width=st.integers(1, 41))
def test_logits_have_the_images_size_whatever_it_is(block, height, width):
    logits = network(block, in_channels=3, out_channels=4)(torch.randn(2, 3, height, width), torch.randn(2, 3))
    assert logits.shape == (2, 4, height, width)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("modulate", get_args(Modulate))
@pytest.mark.parametrize("block", BLOCKS)
def test_a_samples_logits_dont_depend_on_its_batch(block, modulate):
    model = network(block, modulate=modulate, embedding=2, hidden_layers=2, activation="silu")
    model.train(not BLOCKS[block].couples_samples)
    image, metadata = torch.randn(3, 1, 16, 16), torch.randn(3, 3)
    alone = torch.cat([model(image[i : i + 1], metadata[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(model(image, metadata), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("embedding", [0, 5])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("block", WITH_METADATA)
def test_metadata_reaches_the_logits_from_every_position(block, position, embedding):
    model = network(block, positions=[position], embedding=embedding, reduction=1)  # a lone ReLU may be dead
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


def group_norm(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, groups: int) -> torch.Tensor:
    grouped = features.reshape(len(features), groups, -1)
    mean, variance = grouped.mean(dim=2, keepdim=True), grouped.var(dim=2, keepdim=True, unbiased=False)
    normalised = ((grouped - mean) / torch.sqrt(variance + 1e-5)).reshape(features.shape)
    return normalised * weight[:, None, None] + bias[:, None, None]


@pytest.mark.parametrize(
    ("modulate", "expected"),
    [
        ("convolved", lambda convolved, norm, film: torch.relu(norm(film(convolved)))),
        ("normalised", lambda convolved, norm, film: torch.relu(film(norm(convolved)))),
        ("output", lambda convolved, norm, film: film(torch.relu(norm(convolved)))),
    ],
)
def test_a_fixed_modulation_comes_where_modulate_says(modulate, expected):
    torch.manual_seed(0)
    level = Level(2, 16, "film", 3, MLPConfig(), modulate)
    _, _, _, convolution, norm, _ = level.convolutions
    gamma, beta = 1.5 * torch.randn(16), torch.randn(16)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
        level.block.generator[2].weight.zero_()
        level.block.generator[2].bias.copy_(torch.cat([gamma - 1, beta]))
    image = torch.randn(2, 2, 9, 11)
    convolved = convolution(level.convolutions[:3](image))
    by_hand = expected(
        convolved,
        lambda features: group_norm(features, norm.weight, norm.bias, groups=8),
        lambda features: gamma[:, None, None] * features + beta[:, None, None],
    )
    torch.testing.assert_close(level(image, torch.randn(2, 3)), by_hand, rtol=1e-4, atol=1e-5)


def test_gates_of_metadata_alone_commute_with_the_activation_but_not_with_the_normalisation():
    image, metadata = torch.randn(2, 1, 16, 16), torch.randn(2, 3)
    convolved, normalised, output = (
        network("me", width=16, modulate=modulate)(image, metadata) for modulate in get_args(Modulate)
    )
    torch.testing.assert_close(normalised, output)
    assert not torch.allclose(convolved, output, atol=1e-3)


def test_a_normalisation_of_single_channels_undoes_the_block_before_it():
    torch.manual_seed(0)
    image, metadata = torch.randn(2, 2, 9, 11), torch.randn(2, 2, 3)
    for channels, undone in ((8, True), (16, False)):
        level = Level(2, channels, "me", 3, MLPConfig(reduction=1), "convolved")
        first, second = (level(image, told) for told in metadata)
        assert torch.allclose(first, second, atol=1e-2) == undone


@pytest.mark.parametrize("block", WITH_METADATA)
def test_blocks_see_the_embedding_in_place_of_metadata(block):
    embedded = network(block, embedding=5)
    plain = network(block, metadata_size=5)
    state = embedded.state_dict()
    weight, bias = state.pop("embedding.weight"), state.pop("embedding.bias")
    plain.load_state_dict(state)
    image, metadata = torch.randn(2, 1, 16, 16), torch.randn(2, 3)
    torch.testing.assert_close(embedded(image, metadata), plain(image, metadata @ weight.T + bias))


@pytest.mark.parametrize(
    ("block", "settings"),
    [
        *((block, {}) for block in BLOCKS if block not in WITH_METADATA),
        ("sme", {"positions": ()}),
        ("se", {"heads": True}),
        ("se", {"metadata_size": 0}),
    ],
)
def test_a_network_has_no_embedding_that_nothing_would_train(block, settings):
    model = network(block, embedding=5, **settings)
    assert not any(name.startswith("embedding") for name, _ in model.named_parameters())
    images = torch.randn(2, 1, 8, 8)
    model(images, torch.eye(3)[:2, : model.metadata_size]).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters()), "else workers wait for each other"


@settings(max_examples=25, deadline=None)
@given(
    metadata_size=st.integers(1, 12),
    depth=st.integers(1, 3),
    reduction=st.integers(1, 8),
    hidden_layers=st.integers(1, 3),
    embedding=st.integers(0, 12),
    positions=st.sets(st.sampled_from(POSITIONS)),
)
def test_the_matched_network_has_at_least_smes_parameters_with_any_embedding(metadata_size, positions, **settings):
    sizes = [
        sum(parameter.numel() for parameter in model.parameters())
        for block in ("sme", "se-matched")
        for model in [network(block, metadata_size=metadata_size, positions=tuple(positions), **settings)]
    ]
    assert sizes[0] <= sizes[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_layers": 0}, "hidden_layers is 0; expected at least 1"),
        ({"activation": "elu"}, "activation is 'elu'; expected one of relu, silu, gelu, tanh"),
        ({"embedding": -1}, "embedding is -1; expected at least 0"),
        ({"modulate": "input"}, "modulate is 'input'; expected one of convolved, normalised, output"),
    ],
)
def test_a_setting_that_cant_be_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        NetworkConfig(**settings)


def test_hidden_layers_and_activation_reach_the_blocks():
    for activation in get_args(Activation):
        excitation = network("sme", hidden_layers=3, activation=activation).bottleneck.block.excitation
        assert [type(layer).__name__.lower() for layer in excitation] == ["linear", activation] * 3 + [
            "linear",
            "sigmoid",
        ]


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


@pytest.mark.parametrize("settings", [{}, {"embedding": 2, "hidden_layers": 2, "modulate": "normalised"}])
@pytest.mark.parametrize("block", BLOCKS)
def test_the_network_exports(block, settings):
    model = network(block, **settings).eval()
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
