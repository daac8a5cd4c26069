"""Text on servers without the credentials in their addresses, for terminals and logs."""

import os
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote, urlsplit

ADDRESSES = ("MLFLOW_TRACKING_URI", "TRACKIO_SERVER_URL")
"""Environment variables with addresses that may hold credentials."""

USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#'\"]*@")
QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s?#'\"]*)[?#][^\s'\")\]]*?(?=[:.,;]?(?:[\s'\")\]]|$))")

SHORTEST = 4
"""Fewest characters of a password or token that is searched for by itself."""


def without_credentials(text: str) -> str:
    """Text whose URLs have neither users nor queries, and which holds none of those of the environment's addresses.

    >>> without_credentials("https://jane:secret@lab:5000/x?token=abc doesn't answer")
    "https://lab:5000/x doesn't answer"
    """
    for secret in sorted(set(_secrets()), key=len, reverse=True):
        text = text.replace(secret, "...")
    return QUERY.sub(r"\1", USER.sub(r"\1", text))


def _secrets() -> Iterator[str]:
    """Passwords and values of queries, as they are typed and as they are sent."""
    for address in (os.environ.get(name, "") for name in ADDRESSES):
        try:
            parts = urlsplit(address)
        except ValueError:  # not an address: nothing is sent to it
            continue
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        values = [value for _, value in parse_qsl(parts.query)] + re.findall(r"=([^&]+)", parts.query)
        for value in (password or user, *values):
            yield from (form for form in (value, unquote(value)) if len(form) >= SHORTEST)
