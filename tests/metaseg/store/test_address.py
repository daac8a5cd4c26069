"""Addresses of stores: slips and credentials are refused before anything is made."""

import os
from pathlib import Path

import pytest

from metaseg.config import ConfigError
from metaseg.store.storage import open_storage


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("s3:/bucket/x", r"did you mean s3://bucket/x\? Expected a folder"),
        ("s3//bucket/x", r"did you mean s3://bucket/x\?"),
        ("gs:bucket", r"did you mean gs://bucket\?"),
        ("~nobody-here/x", "expected a folder's path"),
        ("s3a:\\\\bucket", r"did you mean s3a://bucket\?"),
        ("S3:/bucket", r"did you mean s3://bucket\?"),
        ("file:/x", r"did you mean file:///x\?"),
        ("file://x/y", "expected file:///FOLDER, with three slashes"),
        ("foo:/x", r"did you mean foo://x\?"),
        ("C:\\data", "expected a folder, s3"),
        ("me@host:/data", "expected a folder, s3"),
        ("s3:///x", "names no bucket"),
        ("http://host/x", "expected a folder, s3"),
        ("github://x", "expected a folder, s3"),
        ("://x", "expected a folder, s3"),
        ("", "without control characters or spaces"),
        (" /x", "without control characters or spaces"),
        ("a\0b", "without control characters or spaces"),
        ("a\nb", "without control characters or spaces"),
        ("\udcff", "without control characters or spaces"),
        ("x" * 5000, "expected a folder's path"),
        ("foo://bucket/x", "expected a folder, s3://BUCKET"),
        (__file__, "is a file; expected a folder"),
        (f"{__file__}/below", "is a file; expected a folder"),
    ],
)
def test_an_address_that_cant_be_meant_is_refused_before_anything_is_made(tmp_path, monkeypatch, where, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        open_storage(where)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "where",
    [
        "s3://AKIAKEY:hunter2@bucket/x",
        "s3://bucket/x?X-Amz-Signature=hunter2",
        "s3://AKIAKEY:hun/ter2+hunter2@bucket/x",
        "s3://AKIAKEY:hun?hunter2@bucket/x",
        "ftp://AKIAKEY:hunter2@host:21/x?sig=hunter2",
        "foo://me:hunter2@host",
        "gs://hunter2@b",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(where):
    with pytest.raises(ConfigError, match="credentials or a query in its address") as caught:
        open_storage(where)
    assert "hunter2" not in str(caught.value)
    assert "AKIAKEY" not in str(caught.value)


@pytest.mark.parametrize(
    "where", ["s3:/AKIAKEY:hunter2@bucket/x", "AKIAKEY:/hunter2@bucket", " s3://AKIAKEY:hunter2@b"]
)
def test_an_address_that_is_mistyped_too_doesnt_repeat_credentials(where):
    with pytest.raises(ConfigError, match="storage is") as caught:
        open_storage(where)
    assert "hunter2" not in str(caught.value)


def test_a_users_home_that_isnt_there_is_no_place_for_a_store(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "expanduser", lambda path: tmp_path / "gone")
    with pytest.raises(ConfigError, match="the home of ~nobody, isn't there"):
        open_storage("~nobody/x")
    assert os.listdir(tmp_path) == []
