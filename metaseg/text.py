"""Text that people typed into tables and commands, as the same text for what looks the same."""

import re
import unicodedata

import pandas as pd

_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad"))  # joiners stay: they change how some scripts are read


_AROUND = re.compile(r"^[\s\u200c\u200d]+|[\s\u200c\u200d]+$")


def clean_text(text: str) -> str:
    """Composed (NFC), without zero-width characters, any kind of space a plain one, and none around it."""
    composed = unicodedata.normalize("NFC", text.translate(_INVISIBLE))
    plain = "".join(" " if unicodedata.category(character) == "Zs" else character for character in composed)
    return _AROUND.sub("", plain)


def clean_column(values: pd.Series) -> pd.Series:
    """Values with `clean_text` of those that are text; what is empty then is missing."""
    if not (pd.api.types.is_object_dtype(values) or isinstance(values.dtype, pd.StringDtype)):
        return values
    cleaned = {value: clean_text(value) or None for value in values if isinstance(value, str)}
    changed = {value: text for value, text in cleaned.items() if value != text}
    if not changed:
        return values
    return values.map(lambda value: changed.get(value, value) if isinstance(value, str) else value)
