"""Conditional batch normalisation."""

import torch
from torch import Tensor, nn

from metaseg.networks.blocks.base import ChannelModulation, channelwise
from metaseg.networks.mlp import MLPConfig, hidden_and_linear


class ConditionalBatchNorm(ChannelModulation):
    """`cbn`: batch normalisation whose scale and shift metadata change (De Vries et al. 2017, section 3).

    `(gamma + dgamma) * (x - mean) / sqrt(variance + eps) + beta + dbeta`, where gamma and beta are learned for each
    channel, and an MLP of metadata predicts dgamma and dbeta for each sample and channel. Its last layer starts with
    weights of standard deviation 0.01 and biases of 0, so that these are near 0: the paper asks for outputs of "zero
    mean and small variance". Otherwise than there, one MLP predicts both, and gamma and beta aren't a pretrained
    network's that stay as they are.

    In training, mean and variance are those of the batch (of a worker's part of it, if several share a batch): samples
    then depend on each other. In evaluation, they are the running averages of training, and samples are independent.
    """

    needs_metadata = True
    couples_samples = True

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig) -> None:
        super().__init__(channels, metadata_size, mlp)
        self.normalisation = nn.BatchNorm1d(channels, affine=False)  # pixels in one dimension, however many they are in
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.generator = hidden_and_linear(metadata_size, self.hidden, 2 * channels, mlp)
        last = self.generator[-1]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Normalise each channel over batch and pixels; scale and shift it by amounts that depend on metadata."""
        normalised = self.normalisation(features.flatten(2)).reshape(features.shape)
        dgamma, dbeta = self.generator(metadata).chunk(2, dim=1)
        dims = features.ndim - 2
        modulated: Tensor = channelwise(self.gamma + dgamma, dims) * normalised + channelwise(self.beta + dbeta, dims)
        return modulated
