"""Feature maps of networks: which modules make them, which are stages, and what is said of names that don't fit."""

import pytest
import torch
from torch import Tensor, nn

from metaseg.config import ConfigError
from metaseg.networks.feature_maps import conditionable, find_feature_maps
from metaseg.networks.unet import UNet


def level(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


class Net(nn.Module):
    """A U-Net of one's own, with what others have: a stem of loose layers, a squeeze, a shared activation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.act = nn.ReLU()
        self.down = nn.Sequential(nn.MaxPool2d(2), *[level(6, 10), level(10, 10)])
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(10, 10, 1))
        self.up = nn.ConvTranspose2d(10, 6, 2, stride=2)
        self.merge = level(12, 6)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        first = self.act(self.stem(image))
        below = self.down(first)
        below = self.act(below * torch.sigmoid(self.squeeze(below)))
        logits: Tensor = self.head(self.merge(torch.cat([first, self.up(below)], 1)))
        return logits


def stages(network: nn.Module) -> dict[str, tuple[int, int]]:
    return {each.name: (each.channels, each.stride) for each in conditionable(network) if each.stage}


def test_stages_are_the_outermost_modules_at_one_resolution() -> None:
    # At full size there is a whole module, so that loose layers there are none. Neither the squeeze, which has no
    # resolution, nor the head, which makes logits, is a stage.
    assert stages(Net()) == {"stem": (6, 1), "down": (10, 2), "merge": (6, 1)}


def test_our_own_u_nets_levels_are_its_stages() -> None:
    network = Told(UNet(1, 2, "none"))
    found = stages(network)
    assert [(name.removeprefix("network."), *found[name]) for name in found] == [
        *((f"encoder.{n}", 16 * 2**n, 2**n) for n in range(4)),
        ("bottleneck", 256, 16),
        *((f"decoder.{3 - n}", 16 * 2**n, 2**n) for n in (3, 2, 1, 0)),
    ]


class Told(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network(image)
        return logits


def test_a_network_stays_as_it_was() -> None:
    network = Net().train()
    network.down.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    conditionable(network)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert network.training
    assert not network.down.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.equal(state, torch.get_rng_state())


def test_features_for_a_decoder_that_isnt_there_are_stages() -> None:
    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = level(1, 4), nn.Sequential(nn.MaxPool2d(2), level(4, 8))

        def forward(self, image: Tensor) -> list[Tensor]:
            return [first := self.a(image), self.b(first)]

    assert stages(Features()) == {"a": (4, 1), "b": (8, 2)}


def test_channels_that_come_last_are_seen_and_tokens_are_none() -> None:
    class Transformer(nn.Module):
        def __init__(self, last: bool) -> None:
            super().__init__()
            self.patch = nn.Conv2d(1, 12, 4, stride=4)
            self.mix = nn.Sequential(nn.LayerNorm(12), nn.Linear(12, 12))
            self.head, self.last = nn.Conv2d(12, 1, 1), last

        def forward(self, image: Tensor) -> Tensor:
            features = self.patch(image).movedim(1, -1)
            mixed = self.mix(features if self.last else features.flatten(1, 2))
            logits: Tensor = self.head(mixed.reshape(features.shape).movedim(-1, 1))
            return logits

    (mix,) = (each for each in conditionable(Transformer(last=True)) if each.name == "mix")
    assert (mix.channels, mix.stride, mix.channels_last) == (12, 4, True)
    assert "mix" not in stages(Transformer(last=False))
    with pytest.raises(
        ConfigError, match=r"module 'mix' has an output of shape \(2, 1024, 12\); expected feature maps"
    ):
        find_feature_maps(Transformer(last=False), ["mix"])


def test_patterns_name_modules_by_parts() -> None:
    assert [each.name for each in find_feature_maps(Net(), ["down.*", "stem"])] == [
        "stem",
        "down.0",
        "down.1",
        "down.2",
    ]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("dwon", r"at is 'dwon': a Net has no such module; expected names that `conditionable` lists, such as 'down"),
        ("*.stem", "no such module"),
        ("act", "module 'act' has an output"),  # at two resolutions, with other channels
    ],
)
def test_names_that_fit_nothing_are_refused_with_close_ones(pattern: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        find_feature_maps(Net(), [pattern])


def test_what_cant_be_run_or_has_no_feature_maps_is_refused() -> None:
    with pytest.raises(ConfigError, match="a Sequential without a convolution"):
        conditionable(nn.Sequential(nn.Flatten(), nn.Linear(4, 4)))
    with pytest.raises(ConfigError, match=r"can't be run on an image of shape \(2, 1, 128, 128\): .*; give an example"):
        conditionable(nn.Sequential(level(1, 4), nn.Conv2d(5, 1, 1)))
    with pytest.raises(ConfigError, match=r"example has shape \(1, 1, 8, 8\); expected two images, \(2, C, H, W\)"):
        conditionable(Net(), torch.zeros(1, 1, 8, 8))
    with pytest.raises(ConfigError, match="no stages were found in a Conv2d"):
        find_feature_maps(nn.Conv2d(1, 1, 1))
