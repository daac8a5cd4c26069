"""A report's sentences follow from the rows of its table, and from nothing else."""

import numpy as np
import pandas as pd
import pytest

from analysis.report.conclusion import conclude
from analysis.results.declaration import Comparison, Study
from analysis.stats.comparisons import COLUMNS, FEWEST_UNITS, compare
from analysis.stats.interaction import Interaction
from fake_store import make_scores, simulate
from metaseg.schema import OVERALL

STUDY = Study("s", "d", "baseline", ("baseline", "me", "sme", "sme-dummy"), (), "")


def row(arm: str, verdict: str, difference: float = 0.0, subgroup: str = OVERALL, **other: object) -> dict[str, object]:
    """A row of the table; `other` overrides what a test with three seeds and 60 images has."""
    tested = verdict not in ("one seed", "too few")
    known: dict[str, object] = {
        "class": "nucleus", "subgroup": subgroup, "arm": arm, "reference": "baseline",
        "claim": "equal" if arm.endswith("dummy") else "differs", "n_images": 60, "n_units": 60, "n_folds": 1,
        "n_seeds": 3, "n_seeds_reference": 3, "difference": difference, "ci_low": difference - 0.01,
        "ci_high": difference + 0.01, "p_adjusted": 0.0004 if tested else np.nan, "detectable": 0.012,
        "verdict": verdict,
    }  # fmt: skip
    return known | other


def said(*rows: dict[str, object], interactions: tuple[Interaction, ...] = (), study: Study = STUDY) -> str:
    tests = pd.DataFrame(rows, columns=COLUMNS)
    return " ".join(conclude(tests, interactions, study, "cell_line"))


def interaction(p: float, arm: str = "sme", reference: str = "baseline") -> Interaction:
    return Interaction(arm, reference, (3, 3), 4.0, 1, 20.0, p, 0.03, 0.01, 0.0, 0.0, ())


def test_an_arm_that_helps_is_named_with_its_difference_interval_and_corrected_p() -> None:
    assert said(row("sme", "helps", 0.041), row("me", "no evidence", 0.002)) == (
        "Compared with baseline, on new images with new seeds (3 seeds an arm, 60 images): sme +0.041 (95 % interval "
        "+0.031 to +0.051, corrected p<0.001). There is no such evidence for me."
    )


def test_arms_are_named_by_how_much_they_differ_and_one_that_hurts_is_among_them() -> None:
    text = said(row("sme", "helps", 0.02), row("me", "hurts", -0.05))
    assert text.index("me -0.050") < text.index("; sme +0.020")
    assert "no such evidence" not in text


def test_an_arm_that_is_equivalent_isnt_called_without_evidence() -> None:
    text = said(row("sme", "helps", 0.02), row("me", "equal", 0.001))
    assert "me is equivalent to baseline, within ±0.01." in text
    assert "no such evidence" not in text
    text = said(row("sme", "equal", 0.002), row("me", "equal", 0.001))
    assert text.startswith("No arm was shown to differ from baseline")
    assert text.endswith("sme and me are equivalent to baseline, within ±0.01.")


def test_where_nothing_is_shown_the_largest_difference_and_what_would_be_found_are_told() -> None:
    text = said(row("me", "no evidence", 0.002), row("sme", "no evidence", -0.008, p_adjusted=0.3))
    assert text == (
        "No arm was shown to differ from baseline on new images with new seeds (3 seeds an arm, 60 images). The "
        "largest difference is that of sme, -0.008 (95 % interval -0.018 to +0.002, corrected p=0.30); a difference of "
        "0.012 would be detected with 80 % power, before correction."
    )


@pytest.mark.parametrize(
    ("seeds", "units", "data"),
    [((3, 3), 60, "(3 seeds an arm, 60 images)"), ((3, 5), 20, "(3 to 5 seeds an arm, 60 images in 20 groups)")],
)
def test_seeds_images_and_groups_are_told(seeds: tuple[int, int], units: int, data: str) -> None:
    numbers = {"n_seeds": seeds[0], "n_seeds_reference": seeds[1], "n_units": units}
    assert data in said(row("sme", "helps", 0.04, **numbers))


def test_one_seed_concludes_nothing() -> None:
    text = said(row("sme", "one seed", 0.2), row("me", "one seed", 0.1), row("sme", "one seed", 0.3, "HeLa"))
    assert text == "No conclusion: with one seed in an arm, any difference may be due to that seed alone."


def test_too_few_units_conclude_nothing() -> None:
    assert said(row("sme", "too few", 0.2, n_units=3, n_images=3)) == (
        f"No conclusion: 3 images are too few for a test, which needs {FEWEST_UNITS}."
    )
    assert "3 groups of images are too few" in said(row("sme", "too few", 0.2, n_units=3))


def test_without_a_comparison_with_the_baseline_nothing_is_concluded() -> None:
    expected = "No conclusion: finished runs of baseline and of another arm are needed."
    assert said() == expected
    assert said(row("sme", "helps", 0.1, reference="sme-dummy")) == expected


def test_an_arm_that_lacks_most_images_is_named_where_nothing_is_concluded() -> None:
    tests = pd.DataFrame([], columns=COLUMNS)
    assert conclude(tests, (), STUDY, "cell_line", uncounted=["sme"]) == [
        "No conclusion: sme lacks more than half of the images, or all of a subgroup; runs of baseline and of another "
        "arm that have the others are needed."
    ]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["equal"], "sme-dummy is equivalent to baseline, within ±0.01."),
        (["equal", "equal"], "sme-dummy and me-dummy are equivalent to baseline, within ±0.01."),
        (["hurts"], "sme-dummy is worse than baseline."),
        (["helps"], "sme-dummy is better than baseline."),
        (["no evidence"], "for sme-dummy neither a difference nor equivalence is shown."),
        (
            ["equal", "no evidence"],
            "sme-dummy is equivalent to baseline, within ±0.01; for me-dummy neither a difference nor "
            "equivalence is shown.",
        ),
    ],
)
def test_arms_that_receive_no_metadata_are_equal_worse_or_undecided(verdicts: list[str], expected: str) -> None:
    rows = [row(arm, verdict) for arm, verdict in zip(["sme-dummy", "me-dummy"], verdicts, strict=False)]
    assert said(row("sme", "helps", 0.04), *rows).endswith(f"Among the arms that receive no metadata: {expected}")
    assert said(*rows) == f"Among the arms that receive no metadata: {expected}"


def test_subgroups_of_the_arm_that_helps_most_are_told_by_verdict() -> None:
    lines = [("a", "helps", 0.08), ("b", "helps", 0.06), ("c", "hurts", -0.02), ("d", "equal", 0.001)]
    rows = [row("sme", verdict, difference, line) for line, verdict, difference in lines]
    rows += [row("sme", "no evidence", 0.02, "e"), row("sme", "too few", 0.03, "f")]
    text = said(row("me", "helps", 0.03), row("sme", "helps", 0.04), *rows, interactions=(interaction(0.002),))
    assert text.endswith(
        "By cell_line (exploratory): sme helps on a (+0.080) and b (+0.060); it hurts on c (-0.020); it "
        "changes little on d (+0.001); it is undecided on e (+0.020) and f (+0.030). The gain differs "
        "among them (corrected p=0.002)."
    )


def test_an_interaction_that_isnt_shown_is_said_so_and_anothers_isnt_taken() -> None:
    rows = [row("sme", "helps", 0.04), row("sme", "helps", 0.04, "a"), row("sme", "helps", 0.04, "b")]
    assert said(*rows, interactions=(interaction(0.4),)).endswith(
        "The gain isn't shown to differ among them (corrected p=0.40)."
    )
    others = (interaction(0.001, "me"), interaction(0.001, "sme", "sme-dummy"), interaction(np.nan))
    for other in others:
        assert "The gain" not in said(*rows, interactions=(other,))


def test_a_gain_on_a_subgroup_alone_isnt_kept_back() -> None:
    text = said(
        row("sme", "no evidence", 0.01), row("sme", "helps", 0.07, "a"), row("sme", "no evidence", 0.0, "b"),
        row("me", "no evidence", 0.02), row("me", "no evidence", 0.01, "a"),
    )  # fmt: skip
    assert text.startswith("No arm was shown to differ from baseline")
    assert "By cell_line (exploratory): sme helps on a (+0.070); it is undecided on b" in text


def test_it_is_about_the_endpoint_or_else_the_macro_average() -> None:
    rows = [row("sme", "helps", 0.1, **{"class": name}) for name in ("kidney", "tumour", "macro")]
    rows[1] |= {"verdict": "hurts", "difference": -0.1}
    rows[2] |= {"difference": 0.05, "ci_low": 0.04, "ci_high": 0.06}
    assert "sme +0.050" in said(*rows)
    endpoint = Study("s", "d", "baseline", STUDY.arms, (), "", endpoint="tumour")
    assert "sme -0.100" in said(*rows, study=endpoint)


def test_sentences_follow_from_what_was_planted() -> None:
    f1 = simulate(np.random.default_rng(0), 60, seeds=5, arm_image=0.002, baseline=0.0, sme=0.05, sme_dummy=0.0)
    comparisons = [Comparison("sme", "baseline"), Comparison("sme-dummy", "baseline", "equal")]
    tests = compare(make_scores(f1, ["a", "b"] * 30), comparisons, 0.01)
    first, second, third = conclude(tests, [], STUDY, "line")
    assert first.startswith(
        "Compared with baseline, on new images with new seeds (5 seeds an arm, 60 images): sme +0.05"
    )
    assert second.startswith("Among the arms that receive no metadata: sme-dummy is equivalent to baseline")
    assert third.startswith("By line (exploratory): sme helps on a (+0.0")


def test_an_arm_of_one_seed_is_left_out_of_the_conclusion_and_named() -> None:
    """It differs most; seeds, images and the largest difference are those of the arms that are tested."""
    text = said(row("sme", "helps", 0.04), row("me", "one seed", 0.2, n_seeds=1))
    assert text.startswith(
        "Compared with baseline, on new images with new seeds (3 seeds an arm, 60 images): sme +0.040"
    )
    assert "me +0.2" not in text
    assert text.endswith("Not tested, for lack of seeds or images: me.")
