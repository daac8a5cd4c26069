"""Varying one metadata value."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaseg.config import ConfigError
from metaseg.data.manifest import ManifestError
from metaseg.data.mask_values import MaskValues
from metaseg.pictures.response import ResponseRow, draw_response
from metaseg.prediction.requests import Request
from metaseg.prediction.response import _steps, choose_values, measure_response
from metaseg.terminal import Terminal
from planted_networks import dosed, member, planted


@pytest.fixture
def request_of_ramp(tmp_path: Path) -> Request:
    """An image whose pixels are evenly spread over all values; its reference is the upper half."""
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(pixels).save(tmp_path / "ramp.png")
    Image.fromarray((pixels > 127).astype(np.uint8) * np.uint8(255)).save(tmp_path / "mask.png")
    return Request("ramp.png", (tmp_path / "ramp.png",), {"dose": 5.0}, tmp_path / "mask.png", "ramp")


def test_a_network_that_obeys_segments_more_as_it_is_told_more(request_of_ramp: Request) -> None:
    """A standardised uniform pixel is above -w (dose - 5) / 2: the share is linear in the dose."""
    doses, spread = [3.0, 4.0, 5.0, 6.0, 7.0], np.arange(256).std()
    found = measure_response([request_of_ramp], dosed(0.8), "dose", doses, MaskValues(("cell",)), Terminal(quiet=True))
    expected = [0.5 + 0.8 * (dose - 5) / 2 * spread / 256 for dose in doses]
    np.testing.assert_allclose(found.table["share"], expected, atol=1 / 256)
    assert found.table["f1"].idxmax() == 2
    assert found.table["f1"].max() == 1.0
    np.testing.assert_allclose(found.table["changed"], found.table["share"] - found.table["share"][0], atol=1e-9)


def test_a_network_that_ignores_metadata_gives_one_answer(request_of_ramp: Request) -> None:
    told = [3.0, 5.0, 7.0]
    found = measure_response([request_of_ramp], dosed(0.0), "dose", told, MaskValues(("cell",)), Terminal(quiet=True))
    assert found.table["changed"].eq(0).all()
    assert found.table["share"].nunique() == 1


def test_every_category_is_told_and_unknown_where_networks_know_it() -> None:
    assert choose_values(planted(), [], "line", []) == ["a", "b", "c"]
    assert choose_values(planted(member(unknown=True)), [], "line", []) == ["a", "b", "c", None]
    assert choose_values(planted(member(unknown=True)), [], "line", ["b", "unknown"]) == ["b", None]
    assert choose_values(dosed(), [], "dose", ["1", "2.5"]) == [1.0, 2.5]


def test_what_cannot_be_varied_is_one_error() -> None:
    with pytest.raises(ConfigError, match="vary is 'stain', which these networks don't see; expected line"):
        choose_values(planted(), [], "stain", [])
    with pytest.raises(ConfigError, match="values has 'large'; expected numbers, since 'dose' is continuous"):
        choose_values(dosed(), [], "dose", ["large"])


def test_the_figure_is_drawn_with_and_without_references_and_empty_masks(request_of_ramp: Request) -> None:
    values = [-9.0, 5.0, 9.0]
    found = measure_response([request_of_ramp], dosed(3.0), "dose", values, MaskValues(("cell",)), Terminal(quiet=True))
    each = found.drawn[0]
    assert not each.masks[0].any()
    assert each.masks[2].all()
    for reference, own in ((each.reference, "5"), (None, "")):
        row = ResponseRow(each.name, np.asarray(each.pixels, np.uint8), each.masks, reference, own)
        assert draw_response(found.table, "dose", ["-9", "5", "9"], ("cell",), [row]).startswith(b"\x89PNG")


def test_steps_of_a_range_are_distinct_and_within_it() -> None:
    assert _steps(1.66, 16.2)[0] == 1.66
    for low, high in ((1.66, 16.2), (20230, 20238), (0.0, 1.0), (-3.3, 7.125), (5.0, 5.0)):
        steps = _steps(low, high)
        assert len(steps) == (9 if low < high else 1)
        assert low <= min(steps) <= max(steps) <= high


def test_a_reference_of_another_size_is_one_error(request_of_ramp: Request) -> None:
    Image.fromarray(np.zeros((1, 16), np.uint8)).save(str(request_of_ramp.reference))
    with pytest.raises(ManifestError, match="is 16x1"):
        measure_response([request_of_ramp], dosed(), "dose", [1.0], MaskValues(("cell",)), Terminal(quiet=True))
