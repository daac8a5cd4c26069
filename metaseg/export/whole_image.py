"""A trained network with what precedes and follows it: pixels as a file has them in, probabilities out."""

import torch
from torch import Tensor, nn

from metaseg.study.predict import Predictor

TOLD_NOTHING = ("absent", "zeros")
"""Metadata modes of networks that have no metadata input when they are exported."""


class WholeImage(nn.Module):
    """Standardises images, runs the network and turns its logits into probabilities, in single precision.

    Each image is standardised by its own mean and standard deviation over pixels and channels, which are computed in
    double precision, as `metaseg.data.decode.pixel_statistics` does it.

    Args:
        predictor: the network, and what it is told.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.network = predictor.model
        self.zeros = predictor.encoder.size if predictor.metadata_mode == "zeros" else 0
        self.several = len(predictor.classes) > 1

    def forward(
        self, image: Tensor, metadata: Tensor | None = None, standardise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Segment images.

        Args:
            image: `(N, C, H, W)` float32, pixels as the network's images were read.
            metadata: `(N, M)` float32; None where the network isn't told any.
            standardise: `()` bool; False for images that are standardised already, such as tiles of a larger one.

        Returns:
            `(N, K, H, W)` probability of each class; `(N, 1 or 1 + K, H, W)` logits.
        """
        precise = image.double()
        mean = precise.mean(dim=(1, 2, 3), keepdim=True)
        std = (precise - mean).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        std = torch.where(std > 0, std, 1.0)
        standard = (image - mean.float()) / std.float()
        if standardise is not None:
            standard = torch.where(standardise, standard, image)
        if metadata is None:
            metadata = image.new_zeros(image.shape[0], self.zeros)
        logits: Tensor = self.network(standard, metadata)
        probabilities = torch.softmax(logits, dim=1)[:, 1:] if self.several else torch.sigmoid(logits)
        return probabilities, logits


class Probabilities(nn.Module):
    """`WholeImage` without its second result and its third argument."""

    def __init__(self, whole: WholeImage) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, image: Tensor, metadata: Tensor | None = None) -> Tensor:
        """`(N, C, H, W)` images and `(N, M)` metadata to `(N, K, H, W)` probabilities."""
        probabilities: Tensor = self.whole(image, metadata)[0]
        return probabilities
