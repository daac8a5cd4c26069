"""Counter-based randomness: numbers that are a function of (seed, epoch, sample, stream) and of nothing else.

There is no generator state to carry, so neither the number of workers, nor the order in which samples arrive, nor an
interruption can change the random numbers of a sample in an epoch.
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Stream(IntEnum):
    """Purpose of a random number; streams are independent of each other."""

    ORDER = 0
    CROP_TOP = 1
    CROP_LEFT = 2
    SYMMETRY = 3
    CONTRAST = 4
    BRIGHTNESS = 5
    METADATA = 6
    LAYERS = 7


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The output function of SplitMix64 (Steele, Lea and Flood 2014): a bijection that scatters neighbouring states."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def uniform(seed: int, epoch: int, samples: npt.NDArray[np.int64], stream: Stream) -> npt.NDArray[np.float64]:
    """Draw one number in [0, 1), of 53 random bits, for each of `samples` `(N,)`."""
    state = np.zeros(len(samples), dtype=np.uint64)
    for counter in (np.int64(seed), np.int64(epoch), np.int64(stream), samples):
        state = _mix(state + _GOLDEN + np.asarray(counter).astype(np.uint64))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def generator_seeds(seed: int, epoch: int, steps: int, rank: int) -> npt.NDArray[np.int64]:
    """Seeds of PyTorch's generators for an epoch's training steps on one worker, `(steps,)`.

    They are for layers that draw, such as dropout.
    """
    places = np.arange(1, steps + 1, dtype=np.int64) * 4096 + rank
    return (uniform(seed, epoch, places, Stream.LAYERS) * 2.0**53).astype(np.int64)


def permutation(seed: int, epoch: int, samples: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """`samples` `(N,)` in the order in which epoch `epoch` visits them."""
    return samples[np.argsort(uniform(seed, epoch, samples, Stream.ORDER), kind="stable")]
