"""Metadata as vectors: a table's columns become one float vector per sample, by codes fitted to training samples."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from metaseg.config import ConfigError
from metaseg.schema import UNKNOWN
from metaseg.text import clean_text

Kind = Literal["categorical", "continuous"]
Missing = Literal["error", "mean", "unknown"]


@dataclass(frozen=True)
class MetadataColumn:
    """A metadata column: the network may see its values."""

    name: str
    kind: Kind
    missing: Missing = "error"
    """Treatment of a sample without a value: an error; in a continuous column, the training samples' mean, which the
    network sees as 0; in a categorical one, the value `UNKNOWN`, which has an element of its own."""

    def __post_init__(self) -> None:
        for missing, kind in (("mean", "continuous"), ("unknown", "categorical")):
            if self.missing == missing and self.kind != kind:
                raise ConfigError(
                    f"metadata column {self.name!r} is {self.kind}; expected a {kind} one for missing={missing!r}"
                )

    def cast(self, values: pd.Series) -> pd.Series:
        """Convert values to the type of the column's kind: str, or float64 with NaN for what isn't a number."""
        if self.kind == "continuous":
            return pd.to_numeric(values, errors="coerce").astype(np.float64)
        text = values.astype(str)
        return text.where(values.notna(), UNKNOWN) if self.missing == "unknown" else text


def is_known(values: pd.Series) -> pd.Series:
    """`(N,)` False where there is no value: it is absent, empty or `UNKNOWN`."""
    if pd.api.types.is_numeric_dtype(values):
        return values.notna()
    return values.notna() & ~values.astype(str).map(clean_text, na_action="ignore").isin(["", UNKNOWN])


class UnknownMetadataError(ValueError):
    """Raised for a metadata value that doesn't occur in the training samples."""


@dataclass(frozen=True)
class CategoricalCode:
    """One-hot code of a column; `vocabulary` is every value seen in training, sorted."""

    column: str
    vocabulary: tuple[str, ...]
    untold: tuple[str, ...] = ()
    """Values that training lacks by design, because a fold leaves them out: they are encoded as `unknown_part`."""
    unknown: bool = False
    """True if one more element, the last, says that the value isn't known."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return len(self.vocabulary) + self.unknown

    @property
    def knows_unknown(self) -> bool:
        """True if training had samples without a value: the code isn't zeros for them."""
        return self.unknown or UNKNOWN in self.vocabulary

    @property
    def unknown_part(self) -> npt.NDArray[np.float32]:
        """`(size,)` code of a value that isn't known; zeros if the code can't say so."""
        names = [*self.vocabulary, UNKNOWN][: self.size]
        return np.array([name == UNKNOWN for name in names], dtype=np.float32)

    def encode(self, values: pd.Series) -> npt.NDArray[np.float32]:
        """Encode `(N,)` values as `(N, size)` rows; `UnknownMetadataError` lists the known values.

        Rows are one-hot; those of `untold` are `unknown_part`, and so are those without a value if `knows_unknown`.
        """
        text, vocabulary = values.astype(str).where(is_known(values), UNKNOWN), pd.Index(self.vocabulary)
        text = text.where(text.isin(vocabulary), text.map(clean_text))
        codes = vocabulary.get_indexer(pd.Index(text))
        unknown = [*self.untold, UNKNOWN] if self.unknown else list(self.untold)
        codes = np.where(text.isin(unknown), len(vocabulary), codes)
        if (codes < 0).any():
            found = sorted(set(text[codes < 0]))
            raise UnknownMetadataError(
                f"metadata column {self.column!r} has value(s) {', '.join(map(repr, found))} not seen in training; "
                f"known: {', '.join(map(repr, self.vocabulary))}{_HINT if UNKNOWN in found else ''}"
            )
        return np.eye(len(vocabulary) + 1, self.size, dtype=np.float32)[codes]


@dataclass(frozen=True)
class ContinuousCode:
    """A number standardised by the training samples' mean and standard deviation (1 where they don't vary)."""

    column: str
    mean: float
    std: float
    missing: Missing = "error"
    unknown: bool = False
    """True if a second element is 1 where the value isn't known, else 0."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return 1 + self.unknown

    @property
    def knows_unknown(self) -> bool:
        """True if a value may be absent."""
        return self.unknown or self.missing == "mean"

    @property
    def unknown_part(self) -> npt.NDArray[np.float32]:
        """`(size,)` code of a value that isn't known: the mean, which is 0, and 1 in the second element."""
        return np.array([0, 1], dtype=np.float32)[: self.size]

    def encode(self, values: pd.Series) -> npt.NDArray[np.float32]:
        """Standardise `(N,)` values to `(N, size)`; raises `UnknownMetadataError` for a value that isn't finite.

        An absent value becomes `unknown_part` if `knows_unknown`.
        """
        numbers, known = pd.to_numeric(values, errors="coerce").to_numpy(np.float64), is_known(values).to_numpy()
        if self.knows_unknown:
            numbers = np.where(known, numbers, self.mean)
        if not (finite := np.isfinite(numbers)).all():
            raise UnknownMetadataError(
                f"metadata column {self.column!r} has value {values[~finite].iloc[0]!r}; expected a finite number"
                f"{'' if known[~finite].all() else _HINT}"
            )
        parts = np.stack([(numbers - self.mean) / self.std, ~known], axis=1)
        return parts.astype(np.float32)[:, : self.size]


_HINT = (
    ". A value that isn't known can be told to networks that were trained for it: with the column declared as "
    "COLUMN:unknown, or with metadata dropout"
)


Code = CategoricalCode | ContinuousCode


@dataclass(frozen=True)
class MetadataEncoder:
    """Concatenated codes of several columns, in order."""

    codes: tuple[Code, ...]

    @classmethod
    def fit(
        cls,
        columns: Sequence[MetadataColumn],
        training: pd.DataFrame,
        left_out: pd.DataFrame | None = None,
        robust: bool = False,
    ) -> "MetadataEncoder":
        """Fit vocabularies and statistics to the training samples' table.

        A categorical column has an element for `UNKNOWN` if it is declared so and training has samples without a value,
        or if the network is `robust`, for which all columns have one.

        Args:
            columns: the columns, in order.
            training: `N` training samples.
            left_out: samples whose values training may lack; of a column that isn't here, it may lack none.
            robust: whether the network is trained with metadata dropout.
        """
        codes: list[Code] = []
        for column in columns:
            values = training[column.name]
            if column.kind == "categorical":
                known = set(values.astype(str))
                others = set() if left_out is None else set(left_out.get(column.name, values).dropna().astype(str))
                unknown = robust or (column.missing == "unknown" and UNKNOWN in known)
                known -= {UNKNOWN} if unknown else set()
                untold = others - known - ({UNKNOWN} if unknown else set())
                codes.append(CategoricalCode(column.name, tuple(sorted(known)), tuple(sorted(untold)), unknown))
            else:
                numbers = values.dropna().to_numpy(np.float64)
                spread = float(numbers.std()) if np.ptp(numbers) > 0 else 1.0
                codes.append(ContinuousCode(column.name, float(numbers.mean()), spread, column.missing, robust))
        return cls(tuple(codes))

    @property
    def size(self) -> int:
        """M, the length of a sample's vector."""
        return sum(code.size for code in self.codes)

    def encode(self, table: pd.DataFrame) -> npt.NDArray[np.float32]:
        """Encode each row as a vector: `(N, M)`; raises `UnknownMetadataError` for a value not seen in training."""
        empty = np.zeros((len(table), 0), dtype=np.float32)
        return np.concatenate([empty, *(code.encode(table[code.column]) for code in self.codes)], axis=1)

    @property
    def knows_unknown(self) -> bool:
        """True if every column, and there is one, may be without a value."""
        return bool(self.codes) and all(code.knows_unknown for code in self.codes)

    def withhold(self, vectors: npt.NDArray[np.float32], column: str | None = None) -> npt.NDArray[np.float32]:
        """Copy `(N, M)` vectors with what they say of a column, or of all, replaced by what says that it isn't known.

        That is zeros in columns of which the network can't be told so.
        """
        withheld, start = vectors.copy(), 0
        for code in self.codes:
            if column in (None, code.column):
                withheld[:, start : start + code.size] = code.unknown_part
            start += code.size
        return withheld

    def to_json(self) -> list[dict[str, Any]]:
        """Describe the codes by plain values, from which `from_json` makes an equal encoder."""
        described = [asdict(code) for code in self.codes]
        # Most codes leave no value out and have no unknown one, and are described as before any did.
        return [
            {name: value for name, value in code.items() if name not in ("untold", "unknown") or value}
            for code in described
        ]

    @classmethod
    def from_json(cls, codes: Sequence[dict[str, Any]]) -> "MetadataEncoder":
        """Make the encoder that `to_json` described; raises `TypeError` or `ValueError` for any other values."""
        encoder = cls(
            tuple(
                CategoricalCode(**code | {name: tuple(code.get(name, ())) for name in ("vocabulary", "untold")})
                if "vocabulary" in code
                else ContinuousCode(**code)
                for code in codes
            )
        )
        for code in encoder.codes:
            texts = (code.column, *((*code.vocabulary, *code.untold) if isinstance(code, CategoricalCode) else ()))
            "".join(texts).encode()  # each is text, and can be written
            if isinstance(code, CategoricalCode):
                names = [*code.vocabulary, *([UNKNOWN] if code.unknown else [])]
                right = 0 < code.size == len(set(names))
            else:
                right = math.isfinite(code.mean) and 0 < code.std < math.inf and code.missing in get_args(Missing)
            if not right or not isinstance(code.unknown, bool):
                raise ValueError(f"metadata column {code.column!r} has an invalid code")
        return encoder
