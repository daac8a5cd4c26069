"""Values that aren't known: declared, encoded as what they are, and withheld by chance in training."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metaseg.config import ConfigError, DataConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.counter_random import Stream, uniform
from metaseg.data.manifest import ManifestError
from metaseg.data.metadata import MetadataColumn, MetadataEncoder, UnknownMetadataError
from metaseg.data.metadata_modes import dropped
from metaseg.data.preparation import prepare
from metaseg.datasets.table import read_table
from metaseg.schema import UNKNOWN
from metaseg.study.plan import plan
from metaseg.training.fit import encode_metadata
from table_files import write_dataset

LINES = ["a", "b", None, "a", "b", "a", "b", None, "a", "b", "a", None]
DOSES = [1.0, 2.0, 3.0, None, 5.0, 6.0, 7.0, 8.0, 1.0, None, 3.0, 4.0]
SPLITS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3

values = st.lists(
    st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=4).filter(
        lambda text: text != UNKNOWN
    ),
    min_size=1,
    max_size=6,
    unique=True,
)
numbers = st.lists(st.integers(-(10**6), 10**6).map(float), min_size=2, max_size=20)


@pytest.fixture
def table(tmp_path):
    return write_dataset(tmp_path / "data", line=LINES, dose=DOSES, split=SPLITS)


def prepared(path, metadata, **options):
    return prepare(read_table(path, metadata), DataConfig(**options), path.parent / "cache")


def run_of(dataset, **settings):
    return RunConfig("sme", "true", 0, dataset.fingerprint, NetworkConfig(), ScheduleConfig(), **settings)


def test_an_empty_cell_is_an_error_that_says_how_to_allow_it(table):
    with pytest.raises(ManifestError, match=r"row 3 \(line 4\): no value in column 'line'.*line:unknown in --metadata"):
        read_table(table, ["line"])
    with pytest.raises(ManifestError, match=r"row 4 \(line 5\): no value in column 'dose'.*dose:unknown in --metadata"):
        read_table(table, ["line:unknown", "dose"])


@pytest.mark.parametrize(
    "declared",
    [("line:unknown", "dose:unknown"), ("line:categorical:unknown", "dose:continuous:unknown")],
)
def test_a_declared_column_may_lack_values(table, declared):
    manifest = read_table(table, declared)
    assert manifest.metadata == (
        MetadataColumn("line", "categorical", "unknown"),
        MetadataColumn("dose", "continuous", "mean"),
    )
    dataset = prepared(table, declared)
    told = dataset.values.set_index(dataset.table["image"])
    assert told.loc[["i0.png", "i2.png", "i7.png"], "line"].tolist() == ["a", UNKNOWN, UNKNOWN]
    assert dataset.table.set_index("image").loc["i2.png", "subgroup"] == UNKNOWN
    encoder, vectors = encode_metadata(run_of(dataset), dataset)
    rows = dict(zip(dataset.table["image"], vectors.tolist(), strict=True))
    assert [code.size for code in encoder.codes] == [3, 1]
    assert rows["i0.png"][:3] == [1, 0, 0]
    assert rows["i11.png"][:3] == [0, 0, 1]
    assert rows["i3.png"] == [1, 0, 0, 0], "an absent number is the mean"


def test_the_word_is_the_same_as_an_empty_cell(table):
    written = pd.read_csv(table).assign(line=[line or "unknown" for line in LINES])
    other = write_dataset(table.parent.parent / "other", **{name: list(written[name]) for name in ("line", "split")})
    one, two = (prepared(path, ["line:unknown"]) for path in (table, other))
    assert one.values["line"].tolist() == two.values["line"].tolist()
    assert encode_metadata(run_of(two), two)[0].codes[0].unknown
    # Without the declaration it is a value like any other, as it always was.
    plain = prepared(other, ["line"])
    assert encode_metadata(run_of(plain), plain)[0].codes[0].vocabulary == ("a", "b", UNKNOWN)


def test_where_training_has_no_unknown_value_networks_get_zeros_and_robust_ones_are_told(tmp_path):
    table = write_dataset(tmp_path / "late", line=["a", "b"] * 3 + ["a", "b", None] * 2, split=SPLITS)
    with pytest.warns(UserWarning, match="'line' is unknown in 2 samples and in none for training; .*sme-robust"):
        dataset = prepared(table, ["line:unknown"])
    unknown = np.flatnonzero(dataset.values["line"] == UNKNOWN)
    plain, robust = (encode_metadata(run_of(dataset, metadata_dropout=share), dataset) for share in (0.0, 0.2))
    assert plain[1][unknown].tolist() == [[0, 0]] * 2
    assert not plain[0].knows_unknown
    assert robust[1][unknown].tolist() == [[0, 0, 1]] * 2
    assert robust[0].knows_unknown


def test_a_number_that_no_training_sample_has_is_an_error(tmp_path):
    table = write_dataset(tmp_path / "empty", dose=[None] * 6 + [1.0] * 6, split=SPLITS)
    with pytest.raises(ManifestError, match="'dose' has no value in any training sample"):
        prepared(table, ["dose:unknown"])


def test_folds_may_lack_unknown_values_in_training(tmp_path):
    lines = ["a", "b"] * 11 + [None, None]
    table = write_dataset(tmp_path / "folded", 24, line=lines, well=[f"w{n // 2}" for n in range(24)])
    with pytest.warns(UserWarning, match="in none for training in 1 of 3 folds"):
        dataset = prepare(read_table(table, ["line:unknown"], "well"), DataConfig(folds=3), tmp_path / "cache")
    (fold,) = dataset.untold["line"]
    view = dataset.of_fold(fold)
    config = run_of(view, fold=fold)
    tested = np.flatnonzero(view.values["line"] == UNKNOWN)
    assert encode_metadata(config, view)[1][tested].sum() == 0
    assert plan("lines", dataset, ["baseline", "sme", "sme-robust"], 1).runs


def test_a_hospital_that_is_new_is_unknown_to_networks_that_can_be_told_so(tmp_path):
    lines = [line for line in "abcd" for _ in range(6)]
    table = write_dataset(tmp_path / "left_out", 24, line=lines)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = prepare(read_table(table, ["line"], "line"), DataConfig(folds="groups"), tmp_path / "cache")
    view = dataset.of_fold("a")
    new = np.flatnonzero(view.values["line"] == "a")
    plain, robust = (encode_metadata(run_of(view, fold="a", metadata_dropout=share), view)[1] for share in (0.0, 0.2))
    assert plain[new].sum() == 0
    assert torch.equal(robust[new], torch.tensor([[0.0] * (robust.shape[1] - 1) + [1.0]]).expand(6, -1))


def test_codes_of_earlier_runs_are_read_and_written_as_they_were():
    described = [
        {"column": "line", "vocabulary": ["a", "b"]},
        {"column": "ward", "vocabulary": ["x"], "untold": ["y"]},
        {"column": "size", "mean": 3.0, "std": 2.0, "missing": "mean"},
        {"column": "dose", "mean": 3.0, "std": 2.0, "missing": "error"},
    ]
    encoder = MetadataEncoder.from_json(described)
    assert encoder.size == 5
    assert json.loads(json.dumps(encoder.to_json())) == described
    for broken in ({"unknown": 1}, {"unknown": True, "vocabulary": ["a", UNKNOWN]}, {"unheard": True}):
        with pytest.raises((TypeError, ValueError)):
            MetadataEncoder.from_json([described[0] | broken])


def test_a_column_can_only_lack_values_in_a_way_of_its_kind():
    with pytest.raises(ConfigError, match="'dose' is continuous; expected a categorical one for missing='unknown'"):
        MetadataColumn("dose", "continuous", "unknown")
    with pytest.raises(ConfigError, match="'line' is categorical; expected a continuous one for missing='mean'"):
        MetadataColumn("line", "categorical", "mean")


@given(values, numbers, st.booleans(), st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_encoded_can_be_read_off_and_survives_json(vocabulary, sizes, robust, data):
    """Values, unknown ones among them, are the index of their part's 1; numbers are undone by mean and std."""
    count = len(sizes)
    lines = data.draw(st.lists(st.sampled_from([*vocabulary, UNKNOWN]), min_size=count, max_size=count))
    absent = data.draw(st.lists(st.booleans(), min_size=count, max_size=count).filter(lambda all_: not all(all_)))
    table = pd.DataFrame({"line": lines, "size": np.where(absent, np.nan, sizes)})
    columns = (MetadataColumn("line", "categorical", "unknown"), MetadataColumn("size", "continuous", "mean"))
    encoder = MetadataEncoder.fit(columns, table, robust=robust)
    assert MetadataEncoder.from_json(json.loads(json.dumps(encoder.to_json()))) == encoder
    vectors = encoder.encode(table)
    assert vectors.shape == (count, encoder.size)
    line, size = encoder.codes
    named = [*line.vocabulary, UNKNOWN]
    part = vectors[:, : line.size]
    assert (part.sum(axis=1) == 1).all()
    assert [named[place] for place in part.argmax(axis=1)] == lines
    rest = vectors[:, line.size :]
    known = ~np.array(absent)
    np.testing.assert_allclose(
        rest[known, 0] * size.std + size.mean, np.array(sizes)[known], rtol=1e-3, atol=size.std * 1e-3
    )
    assert (rest[~known, 0] == 0).all()
    if robust:
        assert rest[:, 1].tolist() == [float(each) for each in absent]
    withheld = encoder.withhold(vectors)
    assert (withheld == withheld[0]).all(), "nothing of a sample is left"
    if robust or (line.unknown and any(absent)):
        unknown = pd.DataFrame({"line": [None], "size": [None]})
        assert (encoder.encode(unknown) == withheld[0]).all()
    one = encoder.withhold(vectors, "size")
    assert (one[:, : line.size] == part).all()
    assert (one[:, line.size :] == withheld[0, line.size :]).all()


@pytest.mark.parametrize("absent", [None, float("nan"), "", "unknown", " unknown "])
def test_any_way_to_say_unknown_is_one_and_an_error_where_it_wasnt_trained_for(absent):
    columns = (MetadataColumn("line", "categorical"), MetadataColumn("size", "continuous"))
    training = pd.DataFrame({"line": ["a", "b"], "size": [1.0, 3.0]})
    told = pd.DataFrame([{"line": absent, "size": absent}])
    robust = MetadataEncoder.fit(columns, training, robust=True)
    assert robust.encode(told).tolist() == [[0, 0, 1, 0, 1]]
    plain = MetadataEncoder.fit(columns, training)
    with pytest.raises(UnknownMetadataError, match=r"'line' has value.* 'unknown' not seen .*known: 'a', 'b'.*dropout"):
        plain.encode(told)
    with pytest.raises(UnknownMetadataError, match=r"'size' has value .*expected a finite number.*metadata dropout"):
        plain.encode(told.assign(line="a"))


@given(st.integers(0, 2**40), st.integers(1, 500), st.sampled_from([0.05, 0.2, 0.5, 0.9]))
@settings(max_examples=30, deadline=None)
def test_samples_are_withheld_as_often_as_said(seed, epoch, share):
    count = 4000
    rate = dropped(count, share, seed, epoch).mean()
    assert abs(rate - share) < 5.5 * np.sqrt(share * (1 - share) / count)


@given(st.integers(0, 2**40), st.integers(1, 500), st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=30, deadline=None)
def test_whether_a_sample_is_withheld_is_a_matter_of_seed_epoch_and_sample_alone(seed, epoch, few, more):
    few, more = sorted((few, more))
    whole = dropped(more, 0.3, seed, epoch)
    np.testing.assert_array_equal(whole[:few], dropped(few, 0.3, seed, epoch))
    np.testing.assert_array_equal(whole <= dropped(more, 0.6, seed, epoch), True)  # who is withheld stays withheld


def test_withholding_is_unrelated_to_epochs_and_to_all_other_draws():
    samples = np.arange(20_000)
    drawn = [dropped(len(samples), 0.5, 3, epoch) for epoch in (1, 2)]
    drawn += [dropped(len(samples), 0.5, 4, 1)]
    drawn += [uniform(3, 1, samples, stream) < 0.5 for stream in Stream if stream is not Stream.METADATA]
    related = np.corrcoef(np.array(drawn, float))[~np.eye(len(drawn), dtype=bool)]
    assert np.abs(related).max() < 5 / np.sqrt(len(samples))
