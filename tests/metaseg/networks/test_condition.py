"""Conditioned networks: what a module that is wrapped in blocks must still do, ours or anyone's."""

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.networks.nets import BasicUNet
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from metaseg.config import ConfigError
from metaseg.networks.blocks import BLOCKS, Matched, block_class, block_name
from metaseg.networks.condition import Conditioned, condition
from metaseg.networks.mlp import MLPConfig


class Net(nn.Module):
    """Two levels and a head."""

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        self.stem = nn.Sequential(conv(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU())
        self.deep = nn.Sequential(conv(4, 8, 3, stride=2, padding=1), nn.GroupNorm(2, 8), nn.ReLU())
        self.up = nn.Sequential(nn.Upsample(scale_factor=2), conv(8, 4, 3, padding=1), nn.ReLU())
        self.head = conv(4, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        first = self.stem(image)
        logits: Tensor = self.head(first + self.up(self.deep(first)))
        return logits


def basic_unet() -> nn.Module:
    return BasicUNet(2, 1, 2, features=(4, 4, 8, 8, 16, 4), norm=("group", {"num_groups": 2}))


def seeded(make: Callable[[], nn.Module], block: str = "sme", **settings: object) -> Conditioned:
    torch.manual_seed(0)
    return condition(make(), 3, block, **settings).eval()  # type: ignore[arg-type]


IMAGE, METADATA = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1)), torch.eye(3)


@pytest.mark.parametrize("make", [Net, basic_unet])
@pytest.mark.parametrize("block", sorted(BLOCKS))
def test_each_sample_is_conditioned_by_its_own_metadata(block: str, make: Callable[[], nn.Module]) -> None:
    network = seeded(make, block)
    for parameter in network.blocks.parameters():  # some blocks start without effect
        nn.init.normal_(parameter, std=0.5 / parameter[0].numel() ** 0.5)
    whole = network(IMAGE, METADATA)
    alone = torch.cat([network(IMAGE[n : n + 1], METADATA[n : n + 1]) for n in range(3)])
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)
    other = network(IMAGE, METADATA.roll(1, 0))
    changed = (whole - other).abs().amax((1, 2, 3)) > 1e-6
    assert changed.tolist() == [block_class(block).needs_metadata] * 3


@pytest.mark.parametrize("make", [Net, basic_unet])
def test_a_block_that_starts_as_identity_leaves_a_trained_network_as_it_is(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network = make().eval()
    before, keys = network(IMAGE), list(network.state_dict())
    conditioned = condition(network, 3, "film", start="identity")
    assert torch.equal(conditioned(IMAGE, METADATA), before)
    assert list(conditioned.network.state_dict()) == keys
    loss = conditioned(IMAGE, METADATA).square().mean()
    loss.backward()
    strengths = [block.strength for block in conditioned.blocks.values()]
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in strengths)
    torch.optim.SGD(strengths, 0.1).step()
    assert not torch.equal(conditioned(IMAGE, METADATA), before)


def test_weights_load_with_the_networks_own_keys_before_or_after(tmp_path: Path) -> None:
    trained = Net()
    save_file(trained.state_dict(), tmp_path / "net.safetensors")
    weights = load_file(tmp_path / "net.safetensors")
    before, after = Net(), seeded(Net)
    before.load_state_dict(weights)
    torch.manual_seed(0)
    Net()  # draws as many numbers as the other did
    first = condition(before, 3)
    after.network.load_state_dict(weights)
    after.blocks.load_state_dict(first.blocks.state_dict())
    assert torch.equal(first.eval()(IMAGE, METADATA), after(IMAGE, METADATA))


@pytest.mark.parametrize("block", ["sme", "cbam-metadata", "film-ivadomed-tied"])
def test_three_dimensional_networks_are_conditioned_alike(block: str) -> None:
    torch.manual_seed(0)
    network = condition(Net(3), 2, block).eval()
    assert [(each.name, each.channels, each.stride) for each in network.maps] == [
        ("stem", 4, 1),
        ("deep", 8, 2),
        ("up", 4, 1),
    ]
    volume, metadata = torch.rand(2, 1, 8, 16, 16), torch.eye(2)
    logits = network(volume, metadata)
    assert logits.shape == (2, 2, 8, 16, 16)
    torch.testing.assert_close(network(volume[:1], metadata[:1]), logits[:1])
    assert not torch.allclose(network(volume, metadata.roll(1, 0)), logits)


def test_blocks_that_share_layers_share_them_in_any_network() -> None:
    network = seeded(Net, "film-ivadomed-tied")
    shared = [key for key in network.state_dict() if ".shared." in key]
    assert shared == ["blocks.at/stem.shared.0.weight", "blocks.at/stem.shared.1.weight"]
    sizes = [sum(each.numel() for each in seeded(Net, name).blocks.parameters())
             for name in ("film-ivadomed-tied", block_name("se-matched", Matched("film-ivadomed-tied")))]  # fmt: skip
    assert sizes[0] <= sizes[1] < sizes[0] + sum(2 * each.channels + 2 for each in network.maps)


def test_a_hook_does_what_a_block_by_hand_would() -> None:
    network = seeded(Net)
    by_hand, told = network.network, METADATA
    first = network.blocks["at/stem"](nn.Sequential(*by_hand.stem)(IMAGE), told)
    deep = network.blocks["at/deep"](nn.Sequential(*by_hand.deep)(first), told)
    up = network.blocks["at/up"](nn.Sequential(*by_hand.up)(deep), told)
    torch.testing.assert_close(network(IMAGE, METADATA), by_hand.head(first + up))


def test_copies_pickles_and_state_dicts_are_networks_of_their_own() -> None:
    network = seeded(Net)
    before = network(IMAGE, METADATA)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(other(IMAGE, METADATA), before)
        for parameter in other.parameters():
            nn.init.zeros_(parameter)
        assert not torch.equal(other(IMAGE, METADATA), before)
    assert torch.equal(network(IMAGE, METADATA), before)
    torch.manual_seed(1)
    fresh = condition(Net(), 3).eval()
    assert not torch.equal(fresh(IMAGE, METADATA), before)
    fresh.load_state_dict(network.state_dict())
    assert torch.equal(fresh(IMAGE, METADATA), before)


def test_threads_dont_see_each_others_metadata() -> None:
    network, other = seeded(Net), seeded(basic_unet)
    expected = {n: network(IMAGE[:1], METADATA[n : n + 1]) for n in range(3)}
    wrong: list[int] = []

    def call(n: int) -> None:
        for _ in range(30):
            with torch.no_grad():
                other(IMAGE[:1], METADATA[n : n + 1])
                if not torch.allclose(network(IMAGE[:1], METADATA[n : n + 1]), expected[n], atol=1e-5):
                    wrong.append(n)

    threads = [threading.Thread(target=call, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


class Checkpointed(nn.Module):
    def __init__(self, inner: nn.Module, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, features: Tensor) -> Tensor:
        again: Tensor = checkpoint(self.inner, features, use_reentrant=self.reentrant)
        return again


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_network_that_checkpoints_its_stages_recomputes_them_with_the_same_metadata(reentrant: bool) -> None:
    plain, saved = seeded(Net), Net()
    saved.deep, saved.up = Checkpointed(saved.deep, reentrant), Checkpointed(saved.up, reentrant)
    network = condition(saved, 3, at=["stem", "deep.inner", "up.inner"])
    for mine, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        mine.data.copy_(theirs.data)
    for each in (plain, network):  # two forward passes with other metadata before one backward pass
        (each(IMAGE, METADATA).square().sum() + 3 * each(IMAGE, METADATA.roll(1, 0)).sum()).backward()
    for mine, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_a_conditioned_network_is_checkpointed_as_a_whole() -> None:
    network = seeded(Net)
    network(IMAGE, METADATA).sum().backward()
    expected = [parameter.grad for parameter in network.parameters()]
    network.zero_grad()
    checkpoint(network, IMAGE, METADATA, use_reentrant=False).sum().backward()
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_it_compiles_in_one_graph_and_exports_with_any_size() -> None:
    network = seeded(Net)
    expected = network(IMAGE, METADATA)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(IMAGE, METADATA), expected)
    torch.testing.assert_close(compiled(IMAGE, METADATA.roll(1, 0)), network(IMAGE, METADATA.roll(1, 0)))
    auto = torch.export.Dim.AUTO
    exported = torch.export.export(network, (IMAGE, METADATA), dynamic_shapes=({0: auto, 2: auto, 3: auto}, {0: auto}))
    image, metadata = torch.rand(2, 1, 40, 24), METADATA[1:]
    torch.testing.assert_close(exported.module()(image, metadata), network(image, metadata))


def test_an_onnx_file_gives_the_same_logits(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = seeded(Net)
    torch.onnx.export(
        network, (IMAGE, METADATA), tmp_path / "net.onnx", input_names=["image", "metadata"], dynamo=True, verbose=False
    )
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    told = METADATA.roll(1, 0)
    (logits,) = session.run(None, {"image": IMAGE.numpy(), "metadata": told.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), network(IMAGE, told).detach(), rtol=1e-3, atol=1e-4)


def test_it_runs_under_autocast() -> None:
    network = seeded(Net)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(IMAGE, METADATA)
    torch.testing.assert_close(logits.float(), network(IMAGE, METADATA), rtol=0.1, atol=0.05)


def test_blocks_alone_are_trained_in_a_network_that_stays_as_it_is() -> None:
    network = nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)), nn.Conv2d(4, 1, 1))
    conditioned = condition(network, 3, "film", train="blocks").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([each for each in conditioned.parameters() if each.requires_grad], 0.1)
    conditioned(IMAGE, METADATA).sum().backward()
    optimizer.step()
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())  # statistics too
    assert all(each.grad is not None for each in conditioned.blocks.parameters())
    assert conditioned.training
    assert not network.training


def test_what_cant_be_conditioned_is_refused() -> None:
    network = condition(Net(), 3)
    with pytest.raises(ConfigError, match="the Net is conditioned already"):
        condition(network.network, 3)
    with pytest.raises(RuntimeError, match="module 'stem' is conditioned, and was called without metadata"):
        network.network(IMAGE)
    with pytest.raises(ValueError, match=r"metadata has shape \(3, 2\); expected \(3, 3\)"):
        network(IMAGE, METADATA[:, :2])
    with pytest.raises(ConfigError, match="block 'none' has no parameters"):
        condition(Net(), 3, "none", train="blocks")
    with pytest.raises(ConfigError, match="needs metadata"):
        condition(Net(), 0, "sme")
    with pytest.raises(ConfigError, match="unknown block"):
        condition(Net(), 3, "smee")
    assert condition(Net(), 0, "se")(IMAGE).shape == (3, 2, 32, 32)


def test_settings_of_mlps_reach_the_blocks() -> None:
    few, many = (
        sum(each.numel() for each in condition(Net(), 3, mlp=MLPConfig(reduction=ratio)).blocks.parameters())
        for ratio in (4, 1)
    )
    assert few < many


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("reentrant", [False, True])
def test_on_a_gpu_checkpoints_are_recomputed_with_their_metadata(reentrant: bool) -> None:
    """A GPU's backward pass runs in a thread of its own."""
    plain, saved = seeded(Net).cuda(), Net()
    saved.deep, saved.up = Checkpointed(saved.deep, reentrant), Checkpointed(saved.up, reentrant)
    network = condition(saved.cuda(), 3, at=["stem", "deep.inner", "up.inner"])
    for mine, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        mine.data.copy_(theirs.data)
    image, metadata = IMAGE.cuda().to(memory_format=torch.channels_last), METADATA.cuda()
    for each in (plain, network):
        with torch.autocast("cuda", torch.bfloat16):
            first, second = each(image, metadata), each(image, metadata.roll(1, 0))
        (first.float().square().sum() + 3 * second.float().sum()).backward()
    for mine, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-2, atol=1e-2)
