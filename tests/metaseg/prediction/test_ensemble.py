"""Several networks as one."""

import numpy as np
import pytest
import torch

from metaseg.config import ConfigError, Subset
from metaseg.data.metadata import UnknownMetadataError
from metaseg.data.reading import ImagePixels
from metaseg.prediction.ensemble import Ensemble
from planted_networks import member, planted


def image(seed: int = 0, size: tuple[int, int] = (12, 15)) -> ImagePixels:
    return np.random.default_rng(seed).integers(0, 256, (*size, 1), dtype=np.uint8)


def test_one_network_gives_the_mask_and_probabilities_that_it_gives_alone() -> None:
    alone = member(0.3, (0.5, 0.0, -0.5))
    for line in "abc":
        found = planted(alone).predict([image()], [{"line": line}])[0]
        np.testing.assert_array_equal(found.mask, alone.predictor.predict(image(), {"line": line}))
        expected = alone.predictor.probabilities(image(), {"line": line})
        np.testing.assert_allclose(found.probabilities, expected, rtol=1e-5)
        assert found.spread is None
        assert found.disagreement is None


def test_several_networks_give_the_mean_of_their_probabilities_and_its_standard_deviation() -> None:
    members = [member(cut, name=str(cut)) for cut in (-1.0, 0.0, 0.8)]
    single = np.stack([each.predictor.probabilities(image(), {"line": "a"}) for each in members])
    found = planted(*members).predict([image()], [{"line": "a"}])[0]
    np.testing.assert_allclose(found.probabilities, single.mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(found.mask, single.mean(axis=0)[0] > 0.5)
    assert found.spread is not None
    np.testing.assert_allclose(found.spread, single.std(axis=0)[0], atol=1e-6)


def test_disagreement_is_1_minus_the_mean_dice_of_pairs() -> None:
    members = [member(cut, name=str(cut)) for cut in (-1.0, 0.0, 0.8)]
    masks = [each.predictor.predict(image(), {"line": "a"}) for each in members]
    dice = [
        2 * (one & other).sum() / (one.sum() + other.sum()) for k, one in enumerate(masks) for other in masks[k + 1 :]
    ]
    found = planted(*members).predict([image()], [{"line": "a"}])[0]
    assert found.disagreement == pytest.approx([1 - np.mean(dice)])


def test_equal_networks_agree_and_so_do_two_empty_masks() -> None:
    for cut in (0.0, 99.0):
        found = planted(member(cut), member(cut, name="other")).predict([image()], [{"line": "a"}])[0]
        assert found.disagreement == pytest.approx([0.0])


def test_images_of_a_batch_are_segmented_as_alone_each_with_its_own_metadata() -> None:
    ensemble = planted(member(0.2, (1.0, 0.0, -1.0)), member(-0.2, (0.0, 1.0, 0.0), name="other"))
    told = [{"line": line} for line in "abcb"]
    together = ensemble.predict([image(k) for k in range(4)], told)
    for k, found in enumerate(together):
        np.testing.assert_array_equal(found.mask, ensemble.predict([image(k)], [told[k]])[0].mask)


def test_a_stratified_arm_segments_each_image_by_the_networks_for_its_value() -> None:
    parts = [member(cut, name=line, subset=Subset("line", line)) for line, cut in (("a", -5.0), ("b", 5.0))]
    ensemble = planted(*parts)
    assert ensemble.columns == ["line"]
    full, empty = ensemble.predict([image(), image()], [{"line": "a"}, {"line": "b"}])
    assert full.mask.all()
    assert not empty.mask.any()
    with pytest.raises(UnknownMetadataError, match=r"'line' is 'c'; there is a network for each of 'a', 'b'"):
        ensemble.predict([image()], [{"line": "c"}])
    with pytest.raises(ConfigError, match="'line' is missing"):
        ensemble.choose({})


def test_a_network_trained_on_a_part_but_tested_on_all_is_for_every_image() -> None:
    part = member(subset=Subset("line", "a", splits=("train", "val")))
    assert planted(part).columns == []
    assert planted(part).choose({}) == [part]


def test_networks_of_different_tasks_are_no_ensemble() -> None:
    one, other = member(name="one"), member(name="other")
    object.__setattr__(other.predictor, "classes", ("nucleus",))
    with pytest.raises(ConfigError, match=r"runs one and other have different classes"):
        Ensemble((one, other))


def test_metadata_that_no_network_sees_is_refused() -> None:
    with pytest.raises(ConfigError, match="'stain' isn't one of these runs; they expect line"):
        planted().choose({"line": "a", "stain": "x"})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_masks_of_the_cpu() -> None:
    on_gpu = member(0.2, (1.0, 0.0, -1.0))
    expected = planted(on_gpu).predict([image()], [{"line": "a"}])[0].mask
    moved = type(on_gpu)(on_gpu.predictor.to(torch.device("cuda")), "moved")
    assert (planted(moved).predict([image()], [{"line": "a"}])[0].mask != expected).mean() < 0.02
