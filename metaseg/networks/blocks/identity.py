"""No modulation: the plain network."""

from torch import Tensor

from metaseg.networks.blocks.base import MLP_FIELDS, ChannelModulation


class Identity(ChannelModulation):
    """`none`: a plain U-Net; features pass unchanged and metadata is ignored."""

    unused = MLP_FIELDS | {"positions", "modulate", "embedding"}

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Return `features` as they are."""
        return features
