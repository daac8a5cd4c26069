"""Scores from counts, against scikit-image's and numpy's own definitions, by property, and pooled."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.results.declaration import ResultsError
from analysis.scores.image_scores import image_scores
from analysis.scores.metrics import METRICS, f1, iou, pooled
from analysis.scores.score_matrix import score_matrices

MASKS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def counted(reference: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(
        np.array([np.sum(each)]) for each in (reference & predicted, ~reference & predicted, reference & ~predicted)
    )  # type: ignore[return-value]


@given(MASKS)
def test_scores_are_those_of_sets_of_pixels(pairs):
    reference, predicted = np.array(pairs).T
    ours = {name: score(*counted(reference, predicted))[0] for name, score in METRICS.items()}
    sets = [set(np.flatnonzero(mask)) for mask in (reference, predicted)]
    both, either = sets[0] & sets[1], sets[0] | sets[1]
    if not either:
        assert set(ours.values()) == {1.0}
        return
    assert ours["iou"] == pytest.approx(len(both) / len(either))
    assert ours["f1"] == pytest.approx(2 * len(both) / (len(sets[0]) + len(sets[1])))
    assert ours["precision"] == pytest.approx(len(both) / len(sets[1]) if sets[1] else 0)
    assert ours["recall"] == pytest.approx(len(both) / len(sets[0]) if sets[0] else 0)


@given(*[st.integers(0, 10**9)] * 3)
def test_dice_and_jaccard_tell_the_same(tp, fp, fn):
    j = iou(*np.array([[tp], [fp], [fn]]))
    assert f1(*np.array([[tp], [fp], [fn]])) == pytest.approx(2 * j / (1 + j))


def table() -> pd.DataFrame:
    counts = [(90, 10, 10), (1, 9, 0), (0, 0, 0), (0, 5, 5)]
    rows = [
        {"image": f"i{k}", "class": "c", "evaluation": evaluation, "group": "g", "subgroup": "ab"[k // 2], "tp": tp,
         "fp": fp, "fn": fn, "arm": arm, "seed": 0}
        for k, (tp, fp, fn) in enumerate(counts) for arm in ("sme", "base") for evaluation in ("as-trained", "zeros")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_pooled_scores_take_all_pixels_as_one_image():
    found = pooled(table(), ["sme", "base"])
    assert found[["arm", "subgroup"]].astype(str).to_numpy().tolist() == [
        ["sme", "a"], ["sme", "b"], ["base", "a"], ["base", "b"],
    ]  # fmt: skip
    first, second = found.iloc[0], found.iloc[1]
    assert (first["f1"], first["precision"], first["recall"]) == pytest.approx((182 / 211, 91 / 110, 91 / 101))
    assert first["iou"] == pytest.approx(91 / 120)
    assert (first["n_images"], first["n_empty"], second["n_empty"]) == (2, 0, 1)
    assert second[["f1", "iou", "precision", "recall"]].tolist() == [0, 0, 0, 0]
    categorical = table().astype(dict.fromkeys(("image", "class", "evaluation", "subgroup", "arm"), "category"))
    again = pooled(categorical, ["sme", "base"]).astype({"class": "str", "subgroup": "str"})
    pd.testing.assert_frame_equal(again, found, check_dtype=False)


def test_images_are_scored_by_each_metric():
    for name, expected in (("precision", [0.9, 0.1, 1, 0]), ("recall", [0.9, 1, 1, 0])):
        scores = image_scores(table(), ["sme", "base"], name)
        assert scores.loc[scores["arm"] == "sme", "score"].tolist() == expected
        assert scores.loc[scores["arm"] == "sme", "empty"].tolist() == [False, False, True, False]
    with pytest.raises(ResultsError, match="unknown metric 'hd95'; counts give f1, iou, precision, recall"):
        image_scores(table(), ["sme", "base"], "hd95")


def test_scores_cant_be_pooled():
    with pytest.raises(ResultsError, match="expected counts"):
        pooled(table().assign(score=0.5), ["sme", "base"])


@pytest.mark.parametrize("average", ["images", "subgroups"])
def test_categories_are_scored_and_laid_out_as_text_is(average):
    """Also with several classes, and a run that lacks images."""
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([range(2), ["sme", "base"], ["c", "a"], range(12)])
    rows = index.to_frame(index=False, name=["seed", "arm", "class", "k"])
    rows = rows[(rows["k"] > 3) | (rows["seed"] == 0) | (rows["arm"] == "sme")]
    names = {"image": "i" + rows["k"].astype(str), "group": "g" + (rows["k"] // 2).astype(str)}
    rows = rows.assign(**names, subgroup="s" + (rows["k"] % 3).astype(str), evaluation="as-trained")
    rows[["tp", "fp", "fn"]] = rng.integers(0, 9, (len(rows), 3))
    text = image_scores(rows, ["sme", "base"])
    categories = rows.astype(dict.fromkeys(rows.select_dtypes(["object", "string"]), "category"))
    macro = text[text["class"] == "macro"].set_index(["arm", "seed", "image"])["score"]
    expected = text[text["class"] != "macro"].groupby(["arm", "seed", "image"], observed=True)["score"].mean()
    assert (macro - expected).abs().max() < 1e-12
    pairs = zip(
        score_matrices(text, average), score_matrices(image_scores(categories, ["sme", "base"]), average), strict=True
    )
    for (name, subgroup, one), (other_name, other_subgroup, other) in pairs:
        assert (name, subgroup, one.arms, one.units, one.images) == (
            other_name, other_subgroup, other.arms, other.units, other.images,
        )  # fmt: skip
        np.testing.assert_allclose(one.values, other.values, rtol=1e-12)  # runs are filled in in another order
