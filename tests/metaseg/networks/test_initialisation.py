"""Shared initial weights: the same outside blocks, whatever the block, and of no other seed."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from metaseg.config import NetworkConfig, RunConfig, ScheduleConfig
from metaseg.networks.initialisation import initialise_by_name
from metaseg.training.fit import build_network

RUN = RunConfig("se", "absent", 0, "ab", NetworkConfig(width=4, depth=2), ScheduleConfig(), init="shared")


def outside_blocks(config: RunConfig) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = build_network(config, 1, 1, 3).state_dict()
    return {name: value for name, value in weights.items() if ".block." not in name}


def shared(first: RunConfig, second: RunConfig) -> int:
    """Number of drawn weights outside blocks that two runs start from alike."""
    ours, theirs = outside_blocks(first), outside_blocks(second)
    assert ours.keys() == theirs.keys()
    return sum(torch.equal(ours[name], theirs[name]) for name in ours if ours[name].unique().numel() > 1)


@pytest.mark.parametrize("block", ["none", "sme", "film"])
def test_arms_of_a_seed_start_alike_outside_blocks(block: str) -> None:
    drawn = shared(RUN, RUN)
    assert drawn == 15, "ten convolutions, two transposed ones and the head, those three with a bias"
    assert shared(RUN, replace(RUN, block=block)) == drawn
    own = replace(RUN, init="own")
    assert 0 < shared(own, replace(own, block=block)) < drawn, "those before the first block only"


def test_other_seeds_start_from_other_weights() -> None:
    assert shared(RUN, replace(RUN, seed=1)) == 0


def test_blocks_keep_what_they_have_and_layers_their_distribution() -> None:
    own, alike = (build_network(replace(RUN, init=init), 1, 1, 0).state_dict() for init in ("own", "shared"))
    for name, value in alike.items():
        if ".block." in name:
            assert torch.equal(value, own[name])
        elif value.numel() > 500:
            assert value.std() == pytest.approx(float(own[name].std()), rel=0.1)
            assert not torch.equal(value, own[name])


def test_the_global_generator_stays_where_it_was() -> None:
    network = nn.Sequential(nn.Linear(2, 3))
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    initialise_by_name(network, 0)
    assert torch.equal(torch.rand(3), wanted)


def test_each_fold_has_weights_of_its_own_that_its_arms_share() -> None:
    first, other = (replace(RUN, fold=fold) for fold in ("0", "1"))
    assert shared(first, replace(first, block="film")) == shared(first, first)
    assert shared(first, other) == 0
