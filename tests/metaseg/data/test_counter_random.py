"""Counter-based randomness: reproducible, independent of company, and uniform."""

import numpy as np
from scipy import stats

from metaseg.data.counter_random import Stream, permutation, uniform

SAMPLES = np.arange(20_000)


def test_a_number_depends_on_its_own_counters_only():
    everyone = uniform(seed=3, epoch=5, samples=SAMPLES, stream=Stream.CROP_TOP)
    some = np.array([17, 3, 19_999])
    np.testing.assert_array_equal(uniform(3, 5, some, Stream.CROP_TOP), everyone[some])


def test_numbers_are_uniform_and_neighbouring_counters_uncorrelated():
    reference = uniform(0, 0, SAMPLES, Stream.CROP_TOP)
    assert stats.kstest(reference, "uniform").pvalue > 0.001
    neighbours = [
        uniform(1, 0, SAMPLES, Stream.CROP_TOP),
        uniform(0, 1, SAMPLES, Stream.CROP_TOP),
        uniform(0, 0, SAMPLES, Stream.CROP_LEFT),
        uniform(0, 0, SAMPLES + 1, Stream.CROP_TOP),
    ]
    for other in neighbours:
        assert stats.kstest(other, "uniform").pvalue > 0.001
    for other in neighbours[:3]:
        assert abs(np.corrcoef(reference, other)[0, 1]) < 4 / np.sqrt(len(SAMPLES))


def test_an_epoch_visits_every_sample_once_in_an_order_of_its_own():
    samples = np.array([4, 8, 15, 16, 23, 42])
    orders = {tuple(permutation(0, epoch, samples)) for epoch in range(20)}
    assert len(orders) > 15
    assert all(sorted(order) == samples.tolist() for order in orders)
