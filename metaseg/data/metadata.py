"""Metadata as vectors: a table's columns become one float vector per sample, by codes fitted to training samples."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from metaseg.config import ConfigError, MetadataMode
from metaseg.text import clean_text

Kind = Literal["categorical", "continuous"]
Missing = Literal["error", "mean"]


@dataclass(frozen=True)
class MetadataColumn:
    """A metadata column: the network may see its values."""

    name: str
    kind: Kind
    missing: Missing = "error"
    """Treatment of a sample without a value: an error, or, in a continuous column, the training samples' mean, which
    the network sees as 0."""

    def __post_init__(self) -> None:
        if self.missing == "mean" and self.kind != "continuous":
            raise ConfigError(f"metadata column {self.name!r} is {self.kind}; expected a continuous one for its mean")

    def cast(self, values: pd.Series) -> pd.Series:
        """Convert values to the type of the column's kind: str, or float64 with NaN for what isn't a number."""
        if self.kind == "categorical":
            return values.astype(str)
        return pd.to_numeric(values, errors="coerce").astype(np.float64)


class UnknownMetadataError(ValueError):
    """Raised for a metadata value that doesn't occur in the training samples."""


@dataclass(frozen=True)
class CategoricalCode:
    """One-hot code of a column; `vocabulary` is every value seen in training, sorted."""

    column: str
    vocabulary: tuple[str, ...]
    untold: tuple[str, ...] = ()
    """Values that training lacks by design, because a fold leaves them out: they are encoded as zeros."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return len(self.vocabulary)

    def encode(self, values: pd.Series) -> npt.NDArray[np.float32]:
        """Encode `(N,)` values as `(N, size)` one-hot rows, `untold` as zeros; `UnknownMetadataError` lists the
        known values."""
        text, vocabulary = values.astype(str), pd.Index(self.vocabulary)
        text = text.where(text.isin(vocabulary), text.map(clean_text))
        codes = vocabulary.get_indexer(pd.Index(text))
        codes = np.where(text.isin(self.untold), self.size, codes)
        if (codes < 0).any():
            unknown = sorted(set(values.astype(str)[codes < 0]))
            raise UnknownMetadataError(
                f"metadata column {self.column!r} has value(s) {', '.join(map(repr, unknown))} not seen in training; "
                f"known: {', '.join(map(repr, self.vocabulary))}"
            )
        return np.eye(self.size + 1, self.size, dtype=np.float32)[codes]


@dataclass(frozen=True)
class ContinuousCode:
    """A number standardised by the training samples' mean and standard deviation (1 where they don't vary)."""

    column: str
    mean: float
    std: float
    missing: Missing = "error"

    @property
    def size(self) -> int:
        """Number of elements."""
        return 1

    def encode(self, values: pd.Series) -> npt.NDArray[np.float32]:
        """Standardise `(N,)` values to `(N, 1)`; raises `UnknownMetadataError` for a value that isn't finite.

        If `missing` is `mean`, an absent value becomes 0.
        """
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
        if self.missing == "mean":
            numbers = np.where(values.isna(), self.mean, numbers)
        if not np.isfinite(numbers).all():
            bad = values[~np.isfinite(numbers)].iloc[0]
            raise UnknownMetadataError(f"metadata column {self.column!r} has value {bad!r}; expected a finite number")
        return ((numbers - self.mean) / self.std).astype(np.float32)[:, None]


Code = CategoricalCode | ContinuousCode


@dataclass(frozen=True)
class MetadataEncoder:
    """Concatenated codes of several columns, in order."""

    codes: tuple[Code, ...]

    @classmethod
    def fit(
        cls, columns: Sequence[MetadataColumn], training: pd.DataFrame, left_out: pd.DataFrame | None = None
    ) -> "MetadataEncoder":
        """Fit vocabularies and statistics to the training samples' table.

        Categorical values that only the table `left_out` has are encoded as zeros, if it is given.
        """
        codes: list[Code] = []
        for column in columns:
            values = training[column.name]
            if column.kind == "categorical":
                known = set(values.astype(str))
                untold = set() if left_out is None else set(left_out[column.name].astype(str)) - known
                codes.append(CategoricalCode(column.name, tuple(sorted(known)), tuple(sorted(untold))))
            else:
                numbers = values.dropna().to_numpy(np.float64)
                spread = float(numbers.std()) if np.ptp(numbers) > 0 else 1.0
                codes.append(ContinuousCode(column.name, float(numbers.mean()), spread, column.missing))
        return cls(tuple(codes))

    @property
    def size(self) -> int:
        """M, the length of a sample's vector."""
        return sum(code.size for code in self.codes)

    def encode(self, table: pd.DataFrame) -> npt.NDArray[np.float32]:
        """Encode each row as a vector: `(N, M)`; raises `UnknownMetadataError` for a value not seen in training."""
        empty = np.zeros((len(table), 0), dtype=np.float32)
        return np.concatenate([empty, *(code.encode(table[code.column]) for code in self.codes)], axis=1)

    def to_json(self) -> list[dict[str, Any]]:
        """Describe the codes by plain values, from which `from_json` makes an equal encoder."""
        described = [asdict(code) for code in self.codes]
        # Most codes leave no value out, and are described as before any did.
        return [{name: value for name, value in code.items() if name != "untold" or value} for code in described]

    @classmethod
    def from_json(cls, codes: Sequence[dict[str, Any]]) -> "MetadataEncoder":
        """Make the encoder that `to_json` described; raises `TypeError` or `ValueError` for any other values."""
        encoder = cls(
            tuple(
                CategoricalCode(code["column"], tuple(code["vocabulary"]), tuple(code.get("untold", ())))
                if "vocabulary" in code
                else ContinuousCode(**code)
                for code in codes
            )
        )
        for code in encoder.codes:
            texts = (code.column, *((*code.vocabulary, *code.untold) if isinstance(code, CategoricalCode) else ()))
            "".join(texts).encode()  # each is text, and can be written
            if isinstance(code, CategoricalCode):
                right = 0 < code.size == len(set(code.vocabulary))
            else:
                right = math.isfinite(code.mean) and 0 < code.std < math.inf and code.missing in get_args(Missing)
            if not right:
                raise ValueError(f"metadata column {code.column!r} has an invalid code")
        return encoder


def apply_mode(
    vectors: npt.NDArray[np.float32], mode: MetadataMode, partition: npt.NDArray[np.object_], seed: int
) -> npt.NDArray[np.float32]:
    """Turn the samples' true metadata vectors into those that an arm sees.

    Args:
        vectors: `(N, M)` true vectors.
        mode: `true` keeps them; `zeros` sets them to 0, so that the network keeps its inputs and learns nothing from
            them; `shuffled` permutes them within each split, so that their distribution stays the same; `absent` gives
            `(N, 0)`; `heads` keeps them, for the network to choose its output head by.
        partition: `(N,)` split of each sample.
        seed: seed of the permutation, which stays the same for the whole run.

    Returns:
        `(N, M)`, or `(N, 0)` if absent.
    """
    if mode in ("true", "heads"):
        return vectors
    if mode == "zeros":
        return np.zeros_like(vectors)
    if mode == "absent":
        return vectors[:, :0]
    shuffled = vectors.copy()
    generator = np.random.default_rng([seed, 0x5EED])
    for part in sorted(set(partition)):
        members = np.flatnonzero(partition == part)
        shuffled[members] = vectors[generator.permutation(members)]
    return shuffled
