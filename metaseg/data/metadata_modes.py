"""Metadata that an arm's networks are told instead of each sample's own: by its mode, and by dropout in training."""

import numpy as np
import numpy.typing as npt

from metaseg.config import MetadataMode
from metaseg.data.counter_random import Stream, uniform


def apply_mode(
    vectors: npt.NDArray[np.float32], mode: MetadataMode, partition: npt.NDArray[np.object_], seed: int
) -> npt.NDArray[np.float32]:
    """Turn the samples' true metadata vectors into those that an arm sees.

    Args:
        vectors: `(N, M)` true vectors.
        mode: `true` keeps them; `zeros` sets them to 0, so that the network keeps its inputs and learns nothing from
            them; `shuffled` permutes them within each split, so that their distribution stays the same; `absent` gives
            `(N, 0)`; `heads` keeps them, for the network to choose its output head by.
        partition: `(N,)` split of each sample.
        seed: seed of the permutation, which stays the same for the whole run.

    Returns:
        `(N, M)`, or `(N, 0)` if absent.
    """
    if mode in ("true", "heads"):
        return vectors
    if mode == "zeros":
        return np.zeros_like(vectors)
    if mode == "absent":
        return vectors[:, :0]
    shuffled = vectors.copy()
    generator = np.random.default_rng([seed, 0x5EED])
    for part in sorted(set(partition)):
        members = np.flatnonzero(partition == part)
        shuffled[members] = vectors[generator.permutation(members)]
    return shuffled


def dropped(samples: int, share: float, seed: int, epoch: int) -> npt.NDArray[np.bool_]:
    """`(samples,)` True where metadata dropout withholds a sample's metadata in a training epoch.

    Args:
        samples: number of the dataset's samples.
        share: probability of each.
        seed: seed of the run.
        epoch: counted from 1.
    """
    return uniform(seed, epoch, np.arange(samples), Stream.METADATA) < share
