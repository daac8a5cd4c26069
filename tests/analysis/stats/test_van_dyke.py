"""The crossed design against a published multi-reader analysis: Van Dyke's data.

Five radiologists rated 114 patients for aortic dissection on two kinds of MRI (Van Dyke, White, Obuchowski et al. 1993,
79th RSNA Scientific Assembly). The figures are those that the documentation of RJafroc (Chakraborty, dataset 02) prints
of the jackknife pseudovalues of the area under the curve: their mean squares, and the test of both kinds for new
readers and new patients. All that the test looks at are these mean squares, so that any scores that have them will do.
"""

import numpy as np
import numpy.typing as npt
import pytest

from analysis.scores.score_matrix import ScoreMatrix
from analysis.stats.mrmc import difference

ARMS, READERS, CASES = 2, 5, 114
MEAN_SQUARES = {
    "T": 0.5467634, "R": 0.4373268, "C": 0.3968699, "TR": 0.06281749, "TC": 0.09984808, "RC": 0.06450106,
    "TRC": 0.0399716,
}  # fmt: skip
"""T: arms, R: readers, C: cases."""


def pseudovalues() -> npt.NDArray[np.float64]:
    """`(arms, readers, cases)` with exactly these mean squares: each effect is drawn, centred and scaled by itself."""
    rng, total = np.random.default_rng(0), np.zeros((ARMS, READERS, CASES))
    for name, wanted in MEAN_SQUARES.items():
        effect = rng.standard_normal(total.shape)
        freedom = 1
        for axis, (letter, size) in enumerate(zip("TRC", total.shape, strict=True)):
            mean = effect.mean(axis=axis, keepdims=True)
            effect = effect - mean if letter in name else np.broadcast_to(mean, total.shape)
            freedom *= size - 1 if letter in name else 1
        total += effect * np.sqrt(wanted * freedom / (effect**2).sum())
    return total if total[0].mean() < total[1].mean() else total[::-1]


@pytest.fixture(scope="module")
def matrix() -> ScoreMatrix:
    arm, reader = np.repeat([0, 1], READERS), np.tile(np.arange(READERS), 2)
    values = pseudovalues().reshape(-1, CASES)
    return ScoreMatrix(("cine", "spin-echo"), arm, reader, values, tuple(map(str, range(CASES))), CASES)


def test_crossed_seeds_are_tested_as_published(matrix: ScoreMatrix) -> None:
    found = difference(matrix, "cine", "spin-echo", seeds="crossed")
    assert found.estimate == pytest.approx(-0.0438, abs=5e-5)
    assert found.se == pytest.approx(0.02075, abs=5e-6)
    assert found.t**2 == pytest.approx(4.46, abs=5e-3)


def test_degrees_of_freedom_are_fewer_by_the_term_of_cases(matrix: ScoreMatrix) -> None:
    """Hillis' take the part of cases for known: 15.3, with p = 0.052. Here it has 113 of its own: 14.8."""
    of = MEAN_SQUARES
    excess = of["TC"] - of["TRC"]
    hillis = (of["TR"] + excess) ** 2 / (of["TR"] ** 2 / (READERS - 1))
    assert hillis == pytest.approx(15.3, abs=0.05)
    found = difference(matrix, "cine", "spin-echo", seeds="crossed", freedom="hillis")
    terms = of["TR"] ** 2 / (READERS - 1) + excess**2 / (CASES - 1)
    assert found.df == pytest.approx((of["TR"] + excess) ** 2 / terms, rel=1e-6)
    assert found.df == pytest.approx(14.8, abs=0.05)
    assert found.p == pytest.approx(0.052, abs=5e-4)
    ours = difference(matrix, "cine", "spin-echo", seeds="crossed")
    assert ours.df == pytest.approx(10.8, abs=0.05), "of five readers, cautiously"
    assert (ours.estimate, ours.se) == (found.estimate, found.se)


def test_components_are_those_of_the_mean_squares(matrix: ScoreMatrix) -> None:
    parts, of = difference(matrix, "cine", "spin-echo", seeds="crossed").components, MEAN_SQUARES
    assert parts is not None
    assert parts.seed == pytest.approx((of["TR"] - of["TRC"]) / CASES, rel=1e-6)
    assert parts.arm_unit == pytest.approx((of["TC"] - of["TRC"]) / READERS, rel=1e-6)
    assert parts.error == pytest.approx(of["TRC"], rel=1e-6)


def test_the_nested_test_of_the_same_data_has_the_readers_own_variance_in_it(matrix: ScoreMatrix) -> None:
    nested, crossed = (difference(matrix, "cine", "spin-echo", design) for design in ("nested", "crossed"))
    assert nested.estimate == crossed.estimate
    assert nested.se > crossed.se
