"""Agreement with R: lmer's REML fit, lmerTest's summary and emmeans' contrast of the same small data sets.

`lme4/fit.json` holds R's numbers, written by `lme4/fit.R` from the scores that are made here. To make it anew:
`python tests/analysis/stats/test_lme4.py` (needs Rscript with lme4, lmerTest, emmeans and jsonlite).
"""

import hashlib
import json
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from analysis.scores.score_matrix import ScoreMatrix
from analysis.stats.mixed import mixed_difference
from analysis.stats.mrmc import Difference, difference

FOLDER = Path(__file__).parent / "lme4"
TOLERANCE = 1e-4

SETS: dict[str, dict[str, Any]] = {
    "balanced": {"seeds": {"sme": 3, "baseline": 3}, "units": 12},
    "three_arms": {"seeds": {"sme": 3, "film": 3, "baseline": 3}, "units": 12},
    "five_seeds": {"seeds": {"sme": 5, "baseline": 5}, "units": 12},
    "missing": {"seeds": {"sme": 4, "baseline": 4}, "units": 14, "missing": 0.15},
    "sparse": {"seeds": {"sme": 3, "baseline": 4}, "units": 15, "missing": 0.3},
    "unequal": {"seeds": {"sme": 3, "baseline": 5}, "units": 12},
    "boundary": {"seeds": {"sme": 3, "baseline": 3}, "units": 12, "arm_unit": 0.0},
    "folds": {"seeds": {"sme": 3, "baseline": 3}, "units": 20, "folds": 4},
    "two_seeds_a_fold": {"seeds": {"sme": 2, "film": 2, "baseline": 2}, "units": 30, "folds": 5},
    "two_folds": {"seeds": {"sme": 3, "baseline": 3}, "units": 12, "folds": 2},
}
"""Components are positive, but for the seed's in `missing` and the arm x unit's in `boundary`: REML finds 0."""
FOLDS = [name for name, spec in SETS.items() if "folds" in spec]
COMPLETE = ["balanced", "three_arms", "five_seeds", *FOLDS]


def drawn(name: str, count: int) -> npt.NDArray[np.float64]:
    """Uniform numbers that are the same on all machines and with all versions."""
    digest = hashlib.shake_256(name.encode()).digest(8 * count)
    return (np.frombuffer(digest, "<u8").astype(np.float64) + 0.5) / 2.0**64


def make(name: str) -> ScoreMatrix:
    """A data set: scores of units, arms, arms x units and seeds, with what is missing NaN."""
    spec = SETS[name]
    counts, units, folds = spec["seeds"], spec["units"], spec.get("folds", 1)
    fold = np.arange(units) % folds

    def normal(part: str, *shape: int) -> npt.NDArray[np.float64]:
        return np.asarray(stats.norm.ppf(drawn(f"{name} {part}", int(np.prod(shape)))).reshape(shape))

    unit = 0.75 + 0.06 * normal("unit", units)
    values = np.concatenate(
        [
            unit + 0.01 * (arm != "baseline") + spec.get("arm_unit", 0.02) * normal(f"{arm} unit", units)
            + 0.02 * normal(f"{arm} seed", count, folds)[:, fold] + 0.02 * normal(f"{arm} error", count, units)
            for arm, count in counts.items()
        ]
    ).round(6)  # fmt: skip
    values[drawn(f"{name} missing", values.size).reshape(values.shape) < spec.get("missing", 0.0)] = np.nan
    arm = np.repeat(np.arange(len(counts)), list(counts.values()))
    seed = np.concatenate([np.arange(count) for count in counts.values()])
    return ScoreMatrix(tuple(counts), arm, seed, values, tuple(f"u{k:02d}" for k in range(units)), units, fold=fold)


def fit_in_r(out: Path) -> dict[str, Any]:
    """R's numbers of all data sets."""
    with tempfile.TemporaryDirectory() as folder:
        for name in SETS:
            data = make(name)
            run, unit = np.nonzero(~np.isnan(data.values))
            rows = {
                "arm": np.array(data.arms)[data.arm[run]],
                "seed": data.seed[run],
                "unit": np.array(data.units)[unit],
                "fold": data.fold[unit],
                "score": data.values[run, unit],
            }
            pd.DataFrame(rows).to_csv(Path(folder) / f"{name}.csv", index=False)
        subprocess.run(["Rscript", str(FOLDER / "fit.R"), folder, str(out)], check=True, capture_output=True)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@cache
def committed() -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads((FOLDER / "fit.json").read_text())
    return numbers


def pairs() -> list[tuple[str, str]]:
    return [(name, arm) for name in SETS for arm in SETS[name]["seeds"] if arm != "baseline"]


def of_r(name: str, arm: str) -> tuple[dict[str, Any], dict[str, float]]:
    """The difference and the components of the fit of an arm and the reference."""
    pair = committed()["sets"][name]["pairs"][arm]
    return pair["differences"][arm], pair["components"]


def assert_agrees(found: Difference, wanted: dict[str, Any]) -> None:
    for other in (wanted, wanted["emmeans"]):
        assert found.estimate == pytest.approx(other["estimate"], abs=1e-8)
        assert (found.se, found.df, found.p) == pytest.approx((other["se"], other["df"], other["p"]), rel=TOLERANCE)


def assert_same_components(found: Difference, wanted: dict[str, float]) -> None:
    assert found.components is not None
    assert vars(found.components) == pytest.approx(wanted, rel=TOLERANCE, abs=1e-10)


@pytest.mark.parametrize(("name", "arm"), pairs())
def test_the_mixed_model_is_lmers(name: str, arm: str) -> None:
    wanted, components = of_r(name, arm)
    zero = {"missing": ["seed"], "boundary": ["arm_unit"]}.get(name, [])
    assert [part for part, variance in components.items() if variance < 1e-12] == zero
    found = mixed_difference(make(name), arm, "baseline")
    assert_agrees(found, wanted)
    assert_same_components(found, components)


@pytest.mark.parametrize(("name", "arm"), [pair for pair in pairs() if pair[0] in COMPLETE])
def test_the_closed_form_is_lmers_on_balanced_data(name: str, arm: str) -> None:
    wanted, components = of_r(name, arm)
    assert min(components.values()) > 0
    found = difference(make(name), arm, "baseline", freedom="satterthwaite", variances="pooled", overlap="ignored")
    assert_agrees(found, wanted)
    assert_same_components(found, components)


def test_at_the_boundary_the_closed_form_has_lmers_test_and_another_error() -> None:
    """REML pools arm x unit with the error; the seeds' mean square, which is all that is left of V, is the same."""
    wanted, components = of_r("boundary", "sme")
    assert components["arm_unit"] == pytest.approx(0, abs=1e-10)
    found = difference(make("boundary"), "sme", "baseline", freedom="satterthwaite", variances="pooled")
    assert_agrees(found, wanted)
    assert found.components is not None
    assert found.components.arm_unit < 0
    assert found.components.error > components["error"] * 1.001


def test_unequal_numbers_of_seeds_are_weighed_otherwise_by_reml() -> None:
    """Not balanced: the closed form has the same estimate, and a standard error within 2 %."""
    wanted, _ = of_r("unequal", "sme")
    found = difference(make("unequal"), "sme", "baseline", freedom="satterthwaite", variances="pooled")
    assert found.estimate == pytest.approx(wanted["estimate"])
    assert found.se == pytest.approx(wanted["se"], rel=0.02)
    assert found.se != pytest.approx(wanted["se"], rel=TOLERANCE)


def test_lmer_of_all_arms_has_the_same_estimates_and_pools_variances() -> None:
    """A difference's error is that of the two arms here, in R's model of all arms that of all."""
    fit = committed()["sets"]["three_arms"]["all"]
    for arm, wanted in fit["differences"].items():
        found = difference(make("three_arms"), arm, "baseline", freedom="satterthwaite", variances="pooled")
        assert found.estimate == pytest.approx(wanted["estimate"])
    assert len({round(each["se"], 9) for each in fit["differences"].values()}) == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("Rscript") is None, reason="needs R")
def test_r_finds_the_committed_numbers(tmp_path: Path) -> None:
    packages = "stopifnot(all(sapply(c('lme4', 'lmerTest', 'emmeans', 'jsonlite'), requireNamespace, quietly = TRUE)))"
    if subprocess.run(["Rscript", "-e", packages], capture_output=True).returncode:
        pytest.skip("needs R's lme4, lmerTest, emmeans and jsonlite")
    found = pd.json_normalize(fit_in_r(tmp_path / "fit.json")["sets"]).iloc[0]
    wanted = pd.json_normalize(committed()["sets"]).iloc[0]
    assert list(found.index) == list(wanted.index)
    assert found.to_numpy(float) == pytest.approx(wanted.to_numpy(float), rel=TOLERANCE, abs=1e-10)


if __name__ == "__main__":
    fit_in_r(FOLDER / "fit.json")
