"""Text that two runs have in common is decoded once, and only where it is the same."""

from io import BytesIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.results.text_columns import read_images, run_text

IMAGES = pa.table({
    "image": [f"{k:03}.png" for k in range(300)], "class": ["cell"] * 300, "evaluation": ["as-trained"] * 300,
    "group": [f"well {k // 4}" for k in range(300)], "subgroup": ["HeLa", "MCF7"] * 150, "tp": list(range(300)),
    "meta_line": ["HeLa", "MCF7"] * 150,
})  # fmt: skip


def content(table: pa.Table, **settings: object) -> bytes:
    written = BytesIO()
    pq.write_table(table, written, **settings)
    return written.getvalue()


def changed(column: str, row: int, value: str) -> pa.Table:
    table = IMAGES.to_pandas()
    table.loc[row, column] = value
    return pa.Table.from_pandas(table, IMAGES.schema, preserve_index=False).replace_schema_metadata(None)


FIRST = run_text(*read_images(content(IMAGES), "images.parquet", None), None)


def test_text_that_is_stored_equally_isnt_decoded_again() -> None:
    counts = IMAGES.set_column(5, "tp", pa.array(range(300, 600)))
    images, stored = read_images(content(counts), "images.parquet", FIRST)
    assert images.equals(counts)
    assert images["image"].chunk(0).buffers()[2].address == FIRST.plain["image"].chunk(0).buffers()[2].address
    assert run_text(images, stored, FIRST) is FIRST


@pytest.mark.parametrize(
    "settings", [{"compression": "zstd"}, {"use_dictionary": False}, {"row_group_size": 100}], ids=str
)
def test_equal_text_that_is_stored_otherwise_is_found_equal(settings: dict[str, object]) -> None:
    images, stored = read_images(content(IMAGES, **settings), "images.parquet", FIRST)
    assert images.equals(IMAGES)
    assert stored != FIRST.stored
    assert run_text(images, stored, FIRST) is FIRST


@pytest.mark.parametrize(
    ("column", "row", "value"), [("image", 7, "999.png"), ("subgroup", 299, "HeLa"), ("meta_line", 0, "MCF7")]
)
def test_a_single_other_name_is_seen(column: str, row: int, value: str) -> None:
    expected = changed(column, row, value)
    images, stored = read_images(content(expected), "images.parquet", FIRST)
    assert images.equals(expected)
    text = run_text(images, stored, FIRST)
    assert text.encoded[column].cast(pa.string()).to_pylist()[row] == value
    assert (text.images_sha256 == FIRST.images_sha256) == (column == "meta_line")


def test_images_in_another_order_have_the_same_checksum() -> None:
    backwards = IMAGES.take(list(range(299, -1, -1)))
    assert (
        run_text(*read_images(content(backwards), "images.parquet", FIRST), FIRST).images_sha256 == FIRST.images_sha256
    )


def test_a_column_of_text_more_is_no_ones_text() -> None:
    more = IMAGES.append_column("meta_mask", pa.array(["drawn"] * 300))
    images, stored = read_images(content(more), "images.parquet", FIRST)
    pd.testing.assert_frame_equal(images.to_pandas(), more.to_pandas())
    assert run_text(images, stored, FIRST).encoded.column_names[-1] == "meta_mask"
