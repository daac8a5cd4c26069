"""The multilayer perceptrons (MLPs) by which blocks compute their modulation."""

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from metaseg.config import Activation

ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU, "tanh": nn.Tanh}


@dataclass(frozen=True)
class MLPConfig:
    """Settings of the multilayer perceptron (MLP) by which a block computes its modulation."""

    reduction: int = 4
    """Reduction ratio: channels of the feature maps over units of a hidden layer (Hu et al. 2020)."""

    layers: int = 1
    """Number of hidden layers."""

    activation: Activation = "relu"
    """Activation function after each hidden layer."""

    shared: int = 0
    """This block's share of the parameters outside the blocks that serve them (the metadata embedding). `se-matched`
    adds as many to itself."""

    blocks: int = 1
    """Number of blocks in the network. `se-matched` counts parameters that they share in as many equal parts."""


def hidden_and_linear(inputs: int, hidden: int, outputs: int, mlp: MLPConfig) -> nn.Sequential:
    """An MLP, hidden layers of `hidden` units and a linear output: `(N, inputs)` to `(N, outputs)`, unbounded."""
    layers: list[nn.Module] = []
    for before, units in pairwise([inputs] + [hidden] * mlp.layers):
        layers += [nn.Linear(before, units), ACTIVATIONS[mlp.activation]()]
    return nn.Sequential(*layers, nn.Linear(hidden, outputs))


def excitation(inputs: int, hidden: int, channels: int, mlp: MLPConfig) -> nn.Sequential:
    """An MLP that ends in a sigmoid, gates in (0, 1): `(N, inputs)` to `(N, channels)` (Hu et al. 2020, eq. 3)."""
    return nn.Sequential(*hidden_and_linear(inputs, hidden, channels, mlp), nn.Sigmoid())


def excitation_parameters(inputs: int, hidden: int, channels: int, mlp: MLPConfig) -> int:
    """Number of weights and biases of an `excitation`."""
    return (inputs + 1) * hidden + (mlp.layers - 1) * (hidden + 1) * hidden + (hidden + 1) * channels
