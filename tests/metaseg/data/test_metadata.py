"""Metadata vectors: fixed on training, strict about the unknown, and what each mode keeps."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaseg.data.metadata import MetadataColumn, MetadataEncoder, UnknownMetadataError
from metaseg.data.metadata_modes import apply_mode

COLUMNS = (MetadataColumn("line", "categorical"), MetadataColumn("size", "continuous"))
TRAINING = pd.DataFrame({"line": ["b", "a", "b", "c"], "size": [1.0, 2.0, 3.0, 6.0]})


def test_columns_are_one_hot_and_standardised_side_by_side():
    encoder = MetadataEncoder.fit(COLUMNS, TRAINING)
    vectors = encoder.encode(TRAINING)
    assert encoder.size == 4
    assert vectors[:, :3].tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(vectors[:, 3], (TRAINING["size"] - 3.0) / TRAINING["size"].std(ddof=0), rtol=1e-6)


def test_statistics_are_trainings_wherever_they_are_used():
    encoder = MetadataEncoder.fit(COLUMNS, TRAINING)
    one = encoder.encode(pd.DataFrame({"line": ["c"], "size": [3.0]}))
    assert one.tolist() == [[0, 0, 1, 0]]


def test_an_unseen_value_is_an_error_that_lists_the_known_ones():
    encoder = MetadataEncoder.fit(COLUMNS, TRAINING)
    with pytest.raises(UnknownMetadataError, match=r"'line' has value.* 'HeLa' .*known: 'a', 'b', 'c'"):
        encoder.encode(pd.DataFrame({"line": ["a", "HeLa"], "size": [1.0, 1.0]}))
    with pytest.raises(UnknownMetadataError, match="'size' has value 'big'; expected a finite number"):
        encoder.encode(pd.DataFrame({"line": ["a"], "size": ["big"]}))


def test_a_constant_column_is_zero_and_not_a_division_by_zero():
    encoder = MetadataEncoder.fit(COLUMNS[1:], pd.DataFrame({"size": [4.0, 4.0]}))
    assert encoder.encode(pd.DataFrame({"size": [4.0, 5.0]})).tolist() == [[0.0], [1.0]]
    noisy = MetadataEncoder.fit(COLUMNS[1:], pd.DataFrame({"size": [0.1] * 7}))
    assert abs(noisy.encode(pd.DataFrame({"size": [0.2]}))).max() < 1, "float noise is no variation"


def test_an_encoder_survives_json():
    encoder = MetadataEncoder.fit(COLUMNS, TRAINING)
    assert MetadataEncoder.from_json(encoder.to_json()) == encoder


@given(st.lists(st.sampled_from(["train", "val", "test"]), min_size=1, max_size=30), st.integers(0, 5))
def test_shuffling_permutes_inside_each_split_and_is_a_function_of_the_seed(splits, seed):
    partition = np.array(splits, dtype=object)
    vectors = np.arange(len(splits), dtype=np.float32)[:, None]
    shuffled = apply_mode(vectors, "shuffled", partition, seed)
    for split in set(splits):
        assert sorted(shuffled[partition == split, 0]) == sorted(vectors[partition == split, 0])
    np.testing.assert_array_equal(shuffled, apply_mode(vectors, "shuffled", partition, seed))


def test_modes_keep_what_they_say():
    vectors = np.arange(200, dtype=np.float32).reshape(100, 2)
    partition = np.array(["train"] * 100, dtype=object)
    assert apply_mode(vectors, "true", partition, 0) is vectors
    assert not apply_mode(vectors, "zeros", partition, 0).any()
    assert apply_mode(vectors, "absent", partition, 0).shape == (100, 0)
    kept = (apply_mode(vectors, "shuffled", partition, 0) == vectors).all(axis=1).mean()
    assert kept < 0.1, "hardly a sample keeps its own metadata"
