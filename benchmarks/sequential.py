"""Studies until decided: false positives under all looks, and runs to a verdict beside fixed numbers of seeds.

    python -m benchmarks.sequential      # about five minutes of one core

It writes `docs/results/calibration/{sequential.csv,sequential_runs.csv,sequential.md,sequential.png}`. Scores are
drawn; what is made of them is `analysis.stats.mrmc`, `analysis.stats.group_sequential` and `analysis.stats.sequential`,
written for many draws at once (`tests/benchmarks/test_sequential.py` holds them together).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special, stats

from analysis.results.looks import Rule
from analysis.stats.degrees_of_freedom import cautious
from analysis.stats.group_sequential import nominal_levels
from analysis.stats.mrmc import widening
from benchmarks.null_draws import Bools, Floats
from benchmarks.sequential_page import page, picture

OUT = Path(__file__).parents[1] / "docs" / "results" / "calibration"
NULL_DRAWS, RUNS_DRAWS, CHUNK = 16_000, 8_000, 500
MARGIN = 0.01
EFFECTS = (0.0, 0.005, 0.01, 0.02, 0.05)
FIXED = (3, 5, 10, 20)
"""Seeds of fixed designs."""
ONE_SPLIT, FIVE_FOLDS = Rule((3, 5, 8, 12, 20)), Rule((2, 3, 5, 8))


ENDS = ("differs", "equal", "futile", "undecided")
Squares = dict[int, list[tuple[Floats, Floats, list[float]]]]
"""`mean_squares` of batches of draws, by the number of seeds."""


@dataclass(frozen=True)
class Regime:
    """Distribution of scores, and the design that they are drawn in."""

    name: str
    rule: Rule
    sds: tuple[float, float]
    """Among seeds of both arms."""
    arm_image_sd: float
    residual_sd: float = 0.02
    images: int = 75
    """That are tested, of all folds together."""
    folds: int = 1
    ahead: int = 0
    """Seeds that the second arm has more at every look."""

    @property
    def most(self) -> int:
        """Seeds at the last look."""
        return self.rule.looks[-1]


MIXED, SEEDS, IMAGES = (0.006, 0.006), (0.006, 0.006), (0.001, 0.001)
UNLIKE = (0.003, 0.012)
NULL = (
    Regime("images and seeds", ONE_SPLIT, MIXED, 0.03),
    Regime("seeds vary, arms don't on images", ONE_SPLIT, SEEDS, 0.0),
    Regime("images vary, seeds hardly", ONE_SPLIT, IMAGES, 0.03),
    Regime("seed SDs 1:4, images", ONE_SPLIT, UNLIKE, 0.03),
    Regime("seed SDs 1:4, images less", ONE_SPLIT, UNLIKE, 0.01),
    Regime("seed SDs 1:4, seeds alone", ONE_SPLIT, UNLIKE, 0.0),
    Regime("seed SDs 1:4, 5 seeds more of the steady arm", ONE_SPLIT, (0.012, 0.003), 0.01, ahead=5),
    Regime("5 folds: images and seeds", FIVE_FOLDS, MIXED, 0.03, images=100, folds=5),
    Regime("5 folds: seeds alone", FIVE_FOLDS, SEEDS, 0.0, images=100, folds=5),
    Regime("5 folds: seed SDs 1:4", FIVE_FOLDS, UNLIKE, 0.03, images=100, folds=5),
)
RUNS = (
    Regime("one split, images and seeds", ONE_SPLIT, MIXED, 0.03),
    Regime("one split, seeds alone", ONE_SPLIT, SEEDS, 0.0),
    Regime("5 folds, images and seeds", FIVE_FOLDS, MIXED, 0.03, images=100, folds=5),
)


def _generator(regime: Regime) -> np.random.Generator:
    """The same draws for a regime, whichever others are simulated."""
    return np.random.default_rng([2026, *regime.name.encode()])


def draws(rng: np.random.Generator, regime: Regime, count: int) -> tuple[Floats, Floats]:
    """Scores `(count, seeds, folds, images of a fold)` of two arms whose expected scores are equal."""
    images = regime.images // regime.folds
    found = []
    for sd, more in zip(regime.sds, (0, regime.ahead), strict=True):
        shape = (count, regime.most + more, regime.folds)
        scores = regime.residual_sd * rng.standard_normal((*shape, images))
        scores += sd * rng.standard_normal((*shape, 1))
        scores += regime.arm_image_sd * rng.standard_normal((count, 1, regime.folds, images))
        found.append(scores)
    return found[0], found[1]


def mean_squares(arms: tuple[Floats, Floats], seeds: tuple[int, int]) -> tuple[Floats, Floats, list[float]]:
    """Estimate `(draws,)`, the variance's parts `(draws, 3)` and degrees of freedom, as `analysis.stats.mrmc`'s."""
    folds, images = arms[0].shape[2:]
    used = [arm[:, :count] for arm, count in zip(arms, seeds, strict=True)]
    by_unit = [arm.mean(axis=1) for arm in used]
    changes = by_unit[0] - by_unit[1]
    by_units = changes.var(axis=2, ddof=1).sum(axis=1) / images / folds**2
    parts, error = [], 0.0
    for arm, units, count in zip(used, by_unit, seeds, strict=True):
        parts.append(arm.mean(axis=3).var(axis=1, ddof=1).sum(axis=1) / count / folds**2)
        squares = (arm - units[:, None]).var(axis=3, ddof=1).sum(axis=(1, 2)) / images
        error = error + squares / (count - 1) / count / folds**2
    freedoms = [*(float(folds * (count - 1)) for count in seeds), float(folds * (images - 1))]
    variance = widening(folds, folds) * np.stack([*parts, np.maximum(by_units - error, 0)], axis=-1)
    return changes.mean(axis=(1, 2)), variance, freedoms


@dataclass(frozen=True)
class Course:
    """All looks of many studies; arrays are `(studies, looks)`."""

    estimate: Floats
    se: Floats
    df: Floats
    variance_then: Floats
    """At the last look, by the variances of this one."""
    differs_level: Floats
    equal_level: Floats

    def p(self, effect: float) -> Floats:
        """p-values of the t test of a difference, where the true one is `effect`."""
        return np.asarray(2 * stats.t.sf(np.abs(self.estimate + effect) / self.se, self.df))

    def found(self, effect: float) -> tuple[Bools, Bools, Bools]:
        """Findings at each look: a difference, none beyond the margin, or futility."""
        estimate = self.estimate + effect
        equal = 2 * stats.t.sf((MARGIN - np.abs(estimate)) / self.se, self.df) <= self.equal_level
        return self.p(effect) <= self.differs_level, equal, self.chance(estimate) < ONE_SPLIT.futility

    def chance(self, estimate: Floats) -> Floats:
        """Chance that the last look decides: `analysis.stats.sequential`."""
        spread, se = np.sqrt(np.maximum(self.se**2 - self.variance_then, 0)) + 1e-12, np.sqrt(self.variance_then)
        differs, equal = special.ndtri(0.975) * se, MARGIN - special.ndtri(0.95) * se
        outside = special.ndtr((-differs - estimate) / spread) + special.ndtr((estimate - differs) / spread)
        inside = np.minimum(equal, differs)
        within = special.ndtr((inside - estimate) / spread) - special.ndtr((-inside - estimate) / spread)
        return np.asarray(outside + np.where(equal > 0, within, 0))


def course(arms: tuple[Floats, Floats], regime: Regime) -> Course:
    """Every look of each draw, whatever it decides."""
    rule, estimates, ses, dfs, thens, information = regime.rule, [], [], [], [], []
    for seeds in rule.looks:
        estimate, parts, freedoms = mean_squares(arms, (seeds, seeds + regime.ahead))
        then = (parts[:, :2].sum(axis=1)) * seeds / regime.most + parts[:, 2]
        variance = parts.sum(axis=1)
        before = information[-1] if information else np.zeros(len(estimate))
        information.append(np.maximum(then / variance, before) if seeds < regime.most else np.ones(len(estimate)))
        estimates.append(estimate)
        ses.append(np.sqrt(variance))
        dfs.append(cautious(parts, freedoms))
        thens.append(then)
    known = np.stack(information, axis=-1)
    shares = np.broadcast_to(np.array(rule.fractions), known.shape)
    levels = [nominal_levels(shares, level, known) for level in (rule.alpha, 2 * rule.alpha)]
    columns = (np.stack(each, axis=-1) for each in (estimates, ses, dfs, thens))
    return Course(*columns, *levels)


def false_positives(regimes: Sequence[Regime] = NULL) -> pd.DataFrame:
    """A row a regime: share in % of studies of equal arms in which some look finds a difference."""
    rows = []
    for regime in regimes:
        rng, found = _generator(regime), []
        for _ in range(NULL_DRAWS // CHUNK):
            looks = course(draws(rng, regime, CHUNK), regime)
            p = looks.p(0.0)
            every = (p <= looks.differs_level, p < 0.05, p[:, -1:] < 0.05)
            found.append(np.stack([each.any(axis=1) for each in every], axis=-1))
        share = 100 * np.concatenate(found).mean(axis=0)
        about = {"regime": regime.name, "looks": " ".join(map(str, regime.rule.looks)), "folds": regime.folds}
        about["ahead"] = regime.ahead
        rows.append(about | dict(zip(("until_decided", "peeking", "last_look"), share, strict=True)))
    return pd.DataFrame(rows)


def verdicts(regime: Regime, courses: Sequence[Course], effect: float) -> dict[str, float]:
    """Shares of studies by how they end, in %, and their runs of an arm."""
    runs, ends = [], []
    for each in courses:
        differs, equal, futile = each.found(effect)
        futile[:, -1] = False
        stops = np.stack([differs, equal, futile], axis=-1)
        stopped = stops.any(axis=-1)
        place = np.where(stopped.any(axis=-1), stopped.argmax(axis=-1), len(regime.rule.looks) - 1)
        at = stops[np.arange(len(stops)), place]
        ends.append(np.select([at[:, 0], at[:, 1], at[:, 2]], [0, 1, 2], 3))
        runs.append(np.array(regime.rule.looks)[place] * regime.folds)
    end, used = np.concatenate(ends), np.concatenate(runs)
    shares = {name: 100 * float((end == number).mean()) for number, name in enumerate(ENDS)}
    return shares | {"runs_median": float(np.median(used)), "runs_mean": float(used.mean())}


def fixed(regime: Regime, squares: Squares, effect: float, seeds: int) -> dict[str, float]:
    """Shares of studies of a fixed number of seeds by how they end, in %, by one test of each kind."""
    ends = []
    for estimate, parts, freedoms in squares[seeds]:
        se, df = np.sqrt(parts.sum(axis=1)), cautious(parts, freedoms)
        moved = np.abs(estimate + effect)
        differs, equal = 2 * stats.t.sf(moved / se, df) < 0.05, stats.t.sf((MARGIN - moved) / se, df) < 0.05
        ends.append(np.select([differs, equal], [0, 1], 3))
    end = np.concatenate(ends)
    runs = float(seeds * regime.folds)
    return {name: 100 * float((end == number).mean()) for number, name in enumerate(ENDS)} | {
        "runs_median": runs, "runs_mean": runs,
    }  # fmt: skip


def runs_to_verdict(regimes: Sequence[Regime] = RUNS) -> pd.DataFrame:
    """A row for each regime, true difference and design."""
    rows = []
    for regime in regimes:
        rng = _generator(regime)
        courses: list[Course] = []
        counts = sorted({*regime.rule.looks, *(FIXED if regime.folds == 1 else ())})
        squares: Squares = {seeds: [] for seeds in counts}
        for _ in range(RUNS_DRAWS // CHUNK):
            arms = draws(rng, regime, CHUNK)
            courses.append(course(arms, regime))
            for seeds in counts:
                squares[seeds].append(mean_squares(arms, (seeds, seeds)))
        for effect in EFFECTS:
            about = {"regime": regime.name, "effect": effect}
            rows.append(about | {"design": "until decided", "seeds": np.nan} | verdicts(regime, courses, effect))
            for seeds in counts:
                design = f"{seeds} seeds" + (f" x {regime.folds} folds" if regime.folds > 1 else "")
                rows.append(about | {"design": design, "seeds": float(seeds)} | fixed(regime, squares, effect, seeds))
    return pd.DataFrame(rows)


def main() -> None:
    """Simulate, and write all files."""
    errors, runs = false_positives(), runs_to_verdict()
    OUT.mkdir(parents=True, exist_ok=True)
    errors.round(4).to_csv(OUT / "sequential.csv", index=False)
    runs.round(4).to_csv(OUT / "sequential_runs.csv", index=False)
    (OUT / "sequential.md").write_text(page(errors, runs, NULL_DRAWS, RUNS_DRAWS))
    (OUT / "sequential.png").write_bytes(picture(runs))


if __name__ == "__main__":
    main()
