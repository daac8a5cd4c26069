"""Layers that all blocks of a network share: registered once, used by all, also by copies and by parallel workers."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from metaseg.config import NetworkConfig
from metaseg.networks.blocks import BLOCKS, Matched, TiedModulation, block_name, build_block
from metaseg.networks.unet import UNet

TIED = [name for name, block in BLOCKS.items() if issubclass(block, TiedModulation)]

every_tied_block = pytest.mark.parametrize("block", TIED)


def network(block: str, seed: int = 0) -> UNet:
    torch.manual_seed(seed)
    return UNet(1, 1, block, metadata_size=3, network=NetworkConfig(width=4, depth=2))


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 1, 16, 16, generator=generator), torch.randn(2, 3, generator=generator)


def blocks(model: nn.Module) -> list[TiedModulation]:
    return [module for module in model.modules() if isinstance(module, TiedModulation)]


@every_tied_block
def test_shared_layers_are_registered_once_and_every_block_uses_them(block):
    model = network(block)
    first, *others = blocks(model)
    assert len(others) == 4
    assert {key.partition(".shared.")[0] for key in model.state_dict() if ".shared." in key} == {"encoder.0.block"}
    before = [each(torch.ones(1, each.channels, 2, 2), torch.ones(1, 3)) for each in others]
    with torch.no_grad():
        for parameter in first.tied():
            parameter.add_(1)
    after = [each(torch.ones(1, each.channels, 2, 2), torch.ones(1, 3)) for each in others]
    assert not any(torch.equal(*outputs) for outputs in zip(before, after, strict=True))


@every_tied_block
def test_a_network_equals_one_whose_blocks_have_equal_layers_of_their_own(block):
    model = network(block)
    untied = copy.deepcopy(model)
    for own in blocks(untied)[1:]:
        own.shared = copy.deepcopy(own.common)
        own._first = ()
    own_parameters, tied_parameters = (sum(p.numel() for p in each.parameters()) for each in (untied, model))
    assert own_parameters - tied_parameters == 4 * sum(p.numel() for p in blocks(model)[0].tied())
    torch.testing.assert_close(untied(*inputs()), model(*inputs()), rtol=0, atol=0)


def test_tied_ivadomed_blocks_have_ivadomeds_parts_in_common_and_its_formula():
    model = network("film-ivadomed-tied")
    first, second = blocks(model)[:2]
    w1, w2 = first.tied()
    assert (w1.shape, w2.shape) == ((64, 3), (16, 64)), "weights alone: biases are each block's own"
    untied = build_block("film-ivadomed", second.channels, 3)
    b1, b2 = second.biases
    for layer, weights in zip((untied.generator[0], untied.generator[2]), ((w1, b1), (w2, b2)), strict=True):
        layer.load_state_dict(dict(zip(("weight", "bias"), weights, strict=True)))
    untied.generator[4].load_state_dict(second.output.state_dict())
    features, metadata = torch.randn(2, second.channels, 5, 7), torch.randn(2, 3)
    torch.testing.assert_close(second(features, metadata), untied(features, metadata))


@every_tied_block
def test_weights_survive_a_file_and_a_copy_stays_tied_to_itself(block, tmp_path: Path):
    model, other = network(block), network(block, seed=1)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    torch.testing.assert_close(other(*inputs()), model(*inputs()), rtol=0, atol=0)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    torch.testing.assert_close(copied(*inputs()), other(*inputs()), rtol=0, atol=0)


@every_tied_block
def test_data_parallel_training_gives_shared_layers_their_gradient(block):
    model, alone = network(block), network(block)
    alone(*inputs()).square().sum().backward()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        DistributedDataParallel(model)(*inputs()).square().sum().backward()
    finally:
        dist.destroy_process_group()
    for parameter, expected in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad)


@every_tied_block
def test_a_network_is_matched_in_size_although_its_blocks_share_layers(block):
    wanted, control = (
        sum(parameter.numel() for parameter in network(name).parameters())
        for name in (block, block_name("se-matched", Matched(block)))
    )
    units = sum(2 * each.channels + 2 for each in blocks(network(block)))
    assert wanted <= control < wanted + units
