"""The looks of a study that adds seeds until its comparisons are decided: its rule, and what each look saw.

A study's record has the rule, before anything is trained; `looks/STUDY.json` has the looks (docs/reference/store.md).
"""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from analysis.results.declaration import ResultsError, read_json
from metaseg.schema import looks_file
from metaseg.store.storage import Storage

Spending = Literal["obrien-fleming"]
"""Function by which looks spend the level (`analysis.stats.group_sequential.spent`)."""


@dataclass(frozen=True)
class Rule:
    """Stopping rule of a study: its looks, and when a comparison gets no more seeds; declared before the first run."""

    looks: tuple[int, ...]
    """Seeds per arm at each look, ascending; the last are the most."""
    spending: Spending = "obrien-fleming"
    alpha: float = 0.05
    """Two-sided level of all looks at all declared comparisons together, and of each side of equivalence."""
    futility: float = 0.1
    """A comparison stops where the chance that the last look decides it is below this."""
    image_share: float = 0.7
    """The share of images in the estimate's variance at the last look, by which the level is shared out to looks.

    It is fixed beforehand: shares by estimated variances would be larger just where a variance is estimated too low."""

    @property
    def fractions(self) -> tuple[float, ...]:
        """Information at each look as a share of that at the last one, if images have `image_share`."""
        return tuple(1 / (self.image_share + (1 - self.image_share) * self.looks[-1] / seeds) for seeds in self.looks)

    def to_record(self) -> dict[str, Any]:
        """Value of `sequential` in the study's record."""
        return asdict(self) | {"looks": list(self.looks)}

    @classmethod
    def from_record(cls, value: object, path: str) -> "Rule":
        """Read `to_record`'s; raises `ResultsError` for anything that can't be meant."""
        known = {each.name for each in fields(cls)}
        if not isinstance(value, dict) or not value.keys() <= known or "looks" not in value:
            raise ResultsError(
                f"{path}: sequential is {value!r:.80}; expected an object with {', '.join(sorted(known))}"
            )
        looks, about = value["looks"], {key: each for key, each in value.items() if key != "looks"}
        whole = isinstance(looks, list) and bool(looks) and all(type(each) is int and each >= 2 for each in looks)
        if not whole or any(later <= before for before, later in itertools.pairwise(looks)):
            raise ResultsError(f"{path}: looks are {looks!r:.60}; expected ascending numbers of seeds, 2 or more")
        if about.get("spending", cls.spending) not in get_args(Spending):
            raise ResultsError(
                f"{path}: spending is {about['spending']!r:.60}; expected {', '.join(get_args(Spending))}"
            )
        for key, (least, most) in {"alpha": (1e-6, 0.3), "futility": (0, 0.5), "image_share": (0, 1)}.items():
            number = about.get(key, getattr(cls, key))
            if type(number) not in (int, float) or not least <= number <= most:
                raise ResultsError(f"{path}: {key} is {number!r:.60}; expected a number from {least:g} to {most:g}")
        return cls(tuple(looks), **about)


@dataclass(frozen=True)
class Seen:
    """Results of one comparison at a look. Numbers are None where there are too few images for a test."""

    arm: str
    reference: str
    estimate: float | None
    """Difference of mean scores, arm - reference."""
    se: float | None
    df: float | None
    p: float | None
    """Two-sided, as if this were the only look."""
    p_equivalence: float | None
    """The larger of the two one-sided p-values of equivalence, likewise."""
    seed_variance: float | None
    """Contribution of seeds to se²."""
    case_variance: float | None
    """Contribution of images to se²."""
    fraction: float | None
    """Information as a share of that at the last look, by the variances of this look; never less than before."""
    chance: float | None
    """Chance that the last look decides the comparison, if it goes on."""
    chance_many: float | None
    """The same of a look at any number of seeds."""
    images_needed: int | None = None
    """Images with which the most seeds find a difference of the margin four times in five; None if not computed, or too
    many."""


@dataclass(frozen=True)
class Look:
    """A look at the comparisons that were open."""

    seeds: int
    """Runs of each of their arms."""
    tests: tuple[Seen, ...]

    def of(self, arm: str, reference: str) -> Seen | None:
        """Results of a comparison at this look; None if it wasn't open."""
        return next((each for each in self.tests if (each.arm, each.reference) == (arm, reference)), None)


def write_looks(storage: Storage, study: str, rule: Rule, looks: Sequence[Look], decisions: Mapping[str, str]) -> None:
    """Write a study's looks so far, atomically.

    Args:
        storage: the store's.
        study: its name.
        rule: as declared.
        looks: in their order.
        decisions: by comparison ("sme against baseline"), for readers of the file.
    """
    content = {"rule": rule.to_record(), "decisions": dict(decisions), "looks": [asdict(look) for look in looks]}
    storage.write(looks_file(study), (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def read_rule(storage: Storage, study: str) -> object:
    """The rule by which a study's looks were taken, as the file has it; None where it has taken none."""
    content, path = storage.read_or_none(looks_file(study)), storage.locate(looks_file(study))
    return None if content is None else read_json(content, path).get("rule")


def read_looks(storage: Storage, study: str) -> tuple[Look, ...]:
    """Read a study's looks; none where it has taken none; raises `ResultsError` for a file that isn't one of looks."""
    content, path = storage.read_or_none(looks_file(study)), storage.locate(looks_file(study))
    if content is None:
        return ()
    record = read_json(content, path)
    try:
        looks = tuple(Look(look["seeds"], tuple(Seen(**test) for test in look["tests"])) for look in record["looks"])
        numbers = [value for look in looks for test in look.tests for value in list(asdict(test).values())[2:]]
    except (KeyError, TypeError) as error:
        raise ResultsError(f"{path}: not a study's looks: {error!r}") from error
    if not all(type(look.seeds) is int for look in looks) or not all(
        value is None or (type(value) in (int, float) and math.isfinite(value)) for value in numbers
    ):
        raise ResultsError(f"{path}: not a study's looks: a value isn't a number")
    return looks
