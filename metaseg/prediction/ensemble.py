"""Several trained networks as one: the mean of their probabilities, and how far they disagree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from metaseg.config import ConfigError, Subset
from metaseg.data.metadata import UnknownMetadataError
from metaseg.data.reading import ImagePixels, Reading
from metaseg.networks.block_source import Code
from metaseg.store.runs import DamagedRunError, FinishedRun
from metaseg.study.predict import Predictor

Told = Mapping[str, str | float | None]
"""An image's metadata: column name to value."""


@dataclass(frozen=True)
class Prediction:
    """An image's segmentation."""

    mask: npt.NDArray[np.uint8]
    """`(H, W)`: 0 background, k the k-th class."""
    probabilities: npt.NDArray[np.float32]
    """`(K, H, W)`: probability of each class, the mean over the networks."""
    spread: npt.NDArray[np.float32] | None
    """`(H, W)`: standard deviation of the probability over the networks, of the class where it is largest, in 0..0.5.
    None of a single network."""
    disagreement: tuple[float, ...] | None
    """For each class, 1 minus the Dice of two networks' masks, averaged over all pairs of networks: 0 where all agree,
    1 where no two masks overlap. Dice agreement predicts segmentation quality (Roy et al. 2019, NeuroImage 195:11-22).
    None of a single network."""


@dataclass(frozen=True)
class Member:
    """One network of an ensemble."""

    predictor: Predictor
    name: str
    """Its run id."""
    subset: Subset | None = None
    """The part of the data that it was trained for, where that isn't all."""

    @classmethod
    def open(cls, run: FinishedRun, blocks: Sequence[Code] = ()) -> "Member":
        """Open a finished run; raises as `Predictor.open`."""
        predictor, description = Predictor.open(run, blocks), run.description()
        subset: dict[str, Any] | None = description.get("subset")
        try:
            part = Subset(**subset | {"splits": tuple(subset["splits"])}) if subset else None
        except (KeyError, TypeError) as error:
            raise DamagedRunError(f"{run.locate('config.json')}: not a run's subset: {error}") from error
        return cls(predictor, run.folder.rpartition("/")[2], part)

    @property
    def columns(self) -> list[str]:
        """Metadata columns that it has to be told: those of its subset choose the network, and it sees the others."""
        seen = [] if self.predictor.metadata_mode == "absent" else [c.column for c in self.predictor.encoder.codes]
        return list(dict.fromkeys([*seen, *([self._part.column] if self._part else [])]))

    def is_for(self, told: Told) -> bool:
        """Return True if an image belongs to the part of the data that it was trained for."""
        return self._part is None or str(told.get(self._part.column)) == self._part.value

    @property
    def _part(self) -> Subset | None:
        """The part of the data that it is for; None where it was tested on all, whatever it was trained on."""
        return self.subset if self.subset and "test" in self.subset.splits else None

    def encode(self, told: Told) -> npt.NDArray[np.float32]:
        """`(1, M)` the vector that it sees; raises as `Predictor.encode`."""
        return self.predictor.encode({name: told[name] for name in self.columns if name in told})


@dataclass(frozen=True)
class Ensemble:
    """Networks of one task: an arm's runs over seeds and folds, or a single run.

    A stratified arm has a network for each value of a metadata column: an image is segmented by those for its value.

    `Ensemble.open` takes finished runs: `[store.open_run(run_id), ...]`.

    Example:
        >>> from pathlib import Path
        >>> import torch
        >>> from metaseg import Ensemble, NetworkConfig, Predictor, RunConfig, ScheduleConfig, fit
        >>> from metaseg import DataConfig, SyntheticConfig, make_seven_cells, prepare
        >>> from metaseg.prediction.ensemble import Member
        >>> cells = make_seven_cells(Path("cells"), SyntheticConfig(size=64, images_per_line=3, wells_per_line=3))
        >>> dataset = prepare(cells, DataConfig(), Path("cache"))
        >>> network, schedule = NetworkConfig(width=2, depth=1), ScheduleConfig(epochs=1, crop=32)
        >>> members = []
        >>> for seed in (0, 1):
        ...     run = RunConfig("sme", "true", seed, dataset.fingerprint, network, schedule)
        ...     fitted = fit(run, dataset, torch.device("cpu"))
        ...     predictor = Predictor(fitted.model.eval(), fitted.encoder, "true", dataset.classes, dataset.channels)
        ...     members.append(Member(predictor, f"seed {seed}"))
        >>> ensemble = Ensemble(tuple(members))
        >>> found = ensemble.predict([dataset.image(0)], [{"cell_line": "HeLa"}])[0]
        >>> found.mask.shape, len(ensemble.members)
        ((64, 64), 2)
    """

    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise ConfigError("an ensemble needs at least one network")
        first = self.members[0]
        for member in self.members[1:]:
            for what in ("classes", "channels", "reading"):
                one, other = getattr(first.predictor, what), getattr(member.predictor, what)
                if one != other:
                    raise ConfigError(
                        f"runs {first.name} and {member.name} have different {what} ({one} and {other}); expected runs "
                        "of one dataset"
                    )

    @classmethod
    def open(cls, runs: Sequence[FinishedRun], blocks: Sequence[Code] = (), device: str = "cpu") -> "Ensemble":
        """Open finished runs.

        Raises:
            ConfigError: there is none, they don't belong together, or as `Predictor.open`.
            DamagedRunError: as `Predictor.open`.
        """
        members = [Member.open(run, blocks) for run in runs]
        where = torch.device(device)
        return cls(tuple(Member(each.predictor.to(where), each.name, each.subset) for each in members))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.members[0].predictor.classes

    @property
    def channels(self) -> int:
        """Number of channels of the images that the networks were trained on."""
        return self.members[0].predictor.channels

    @property
    def reading(self) -> Reading:
        """The way in which image files are to be read."""
        return self.members[0].predictor.reading

    @property
    def columns(self) -> list[str]:
        """Metadata columns that an image needs, in the order of the first network that names them."""
        return list(dict.fromkeys(name for member in self.members for name in member.columns))

    def choose(self, told: Told) -> list[Member]:
        """The networks that segment an image.

        Raises:
            ConfigError: a column is missing or isn't one of the runs', or there is no network for the image's value.
            UnknownMetadataError: a value that didn't occur in training, or one that isn't known.
        """
        members = self._fitting(told)
        for member in members:
            member.encode(told)
        return members

    def _fitting(self, told: Told) -> list[Member]:
        """The networks for an image; raises as `choose`, but for values, which they refuse when they encode them."""
        if extra := sorted(set(told) - set(self.columns)):
            expected = ", ".join(self.columns) or "none: these networks don't see metadata"
            raise ConfigError(f"metadata column {extra[0]!r} isn't one of these runs; they expect {expected}")
        members = [member for member in self.members if member.is_for(told)]
        if not members:
            subsets = [member.subset for member in self.members if member.subset]  # or each would be for the image
            column = subsets[0].column
            known = ", ".join(sorted({repr(subset.value) for subset in subsets}))
            if column not in told:
                raise ConfigError(f"metadata column {column!r} is missing; there is a network for each of {known}")
            raise UnknownMetadataError(
                f"metadata column {column!r} is {told[column]!r}; there is a network for each of {known}"
            )
        return members

    def predict(self, pixels: Sequence[ImagePixels], told: Sequence[Told]) -> list[Prediction]:
        """Segment images of one size, at once.

        Args:
            pixels: N images `(H, W, C)`, as `metaseg.decode_image(path, ensemble.reading)` returns them.
            told: their metadata.

        Raises:
            ConfigError: an image has another number of channels, or as `choose`.
            UnknownMetadataError: as `choose`.
        """
        chosen = [self._fitting(each) for each in told]
        sums = [_Sums(len(self.classes)) for _ in pixels]
        for member in self.members:
            own = [k for k, members in enumerate(chosen) if member in members]
            if own:
                vectors = np.concatenate([member.encode(told[k]) for k in own])
                for k, logits in zip(own, member.predictor.logits([pixels[k] for k in own], vectors), strict=True):
                    sums[k].add(logits)
        return [each.prediction() for each in sums]


class _Sums:
    """Sums over the networks of one image's probabilities, and their masks."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._total: torch.Tensor | float = 0.0
        self._squares: torch.Tensor | float = 0.0
        self._masks: list[torch.Tensor] = []

    def add(self, logits: torch.Tensor) -> None:
        """Add a network's logits `(1 or 1 + K, H, W)`."""
        wide = logits.double()  # so that the mask of one network is exactly where its logits are above 0
        probability = torch.sigmoid(wide) if self._classes == 1 else torch.softmax(wide, dim=0)
        self._total = self._total + probability
        self._squares = self._squares + probability**2
        self._masks.append(_label(probability))

    def prediction(self) -> Prediction:
        count = len(self._masks)
        mean = torch.as_tensor(self._total) / count
        shown = mean if self._classes == 1 else mean[1:]
        mask = _label(mean).numpy()
        if count == 1:
            return Prediction(mask, shown.float().numpy(), None, None)
        spread = (torch.as_tensor(self._squares) / count - mean**2).clamp_min(0).sqrt().amax(dim=0)
        return Prediction(mask, shown.float().numpy(), spread.float().numpy(), self._disagreement())

    def _disagreement(self) -> tuple[float, ...]:
        masks = torch.stack(self._masks).flatten(1)
        pairs = torch.triu_indices(len(masks), len(masks), offset=1)
        values = []
        for k in range(1, self._classes + 1):
            one = (masks == k).float()
            shared = (one @ one.T)[pairs[0], pairs[1]]
            areas = one.sum(dim=1)
            both = areas[pairs[0]] + areas[pairs[1]]
            dice = torch.where(both > 0, 2 * shared / both.clamp_min(1), 1.0)  # two empty masks agree
            values.append(float(1 - dice.mean()))
        return tuple(values)


def _label(probability: torch.Tensor) -> torch.Tensor:
    """`(H, W)` uint8: the class of each pixel, from `(1 or 1 + K, H, W)`."""
    label = probability[0] > 0.5 if len(probability) == 1 else probability.argmax(dim=0)
    return label.to(torch.uint8)
