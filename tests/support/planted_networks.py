"""Networks whose answers are known: what a pixel becomes is a formula of its value and of what the network is told."""

import torch
from torch import Tensor, nn

from metaseg.config import Subset
from metaseg.data.metadata import CategoricalCode, ContinuousCode, MetadataEncoder
from metaseg.prediction.ensemble import Ensemble, Member
from metaseg.study.predict import Predictor

LINES = ("a", "b", "c")


class Threshold(nn.Module):
    """Foreground where the standardised pixel is above `cut`, lowered by `weights` times the metadata."""

    def __init__(self, cut: float = 0.0, weights: tuple[float, ...] = (0.0, 0.0, 0.0)) -> None:
        super().__init__()
        self.cut = nn.Parameter(torch.tensor(cut))
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, image: Tensor, metadata: Tensor) -> Tensor:
        told = metadata @ self.weights if metadata.shape[1] else torch.zeros(len(image))
        return image[:, :1] - self.cut + told[:, None, None, None]


def member(
    cut: float = 0.0,
    weights: tuple[float, ...] = (0.0, 0.0, 0.0),
    name: str = "planted",
    subset: Subset | None = None,
    unknown: bool = False,
) -> Member:
    """A network that sees the categorical column `line`; one for a part of the data if there is a subset."""
    encoder = MetadataEncoder((CategoricalCode("line", LINES, unknown=unknown),))
    model = Threshold(cut, (*weights, 0.0) if unknown else weights)
    mode = "absent" if subset else "true"
    return Member(Predictor(model.eval(), encoder, mode, ("cell",), 1), name, subset)


def planted(*members: Member) -> Ensemble:
    """An ensemble of such networks."""
    return Ensemble(members or (member(),))


def dosed(weight: float = 1.0) -> Ensemble:
    """A network that sees the continuous column `dose`, standardised by mean 5 and standard deviation 2."""
    encoder = MetadataEncoder((ContinuousCode("dose", 5.0, 2.0),))
    return Ensemble((Member(Predictor(Threshold(0.0, (weight,)).eval(), encoder, "true", ("cell",), 1), "dosed"),))
