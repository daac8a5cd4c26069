"""Names of studies and sweeps, which are used as names of files and folders in the store, on any kind of disk."""

import re
import unicodedata

from metaseg.config import ConfigError

MOST_BYTES = 120
"""Length limit of a name in UTF-8. Disks allow 255 bytes for a file's name, of which the name is only a part."""

FORBIDDEN = frozenset('/\\:*?"<>|')
"""Characters that separate folders, or that some disks don't allow in names."""

RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
"""Names that Windows reserves for devices."""


def check_name(kind: str, name: str) -> None:
    """Refuse a name that isn't a valid file name everywhere, or would lead out of its folder.

    Args:
        kind: the kind of thing named, for the message: `study`, `sweep`.
        name: may have letters of any language, digits, spaces and most other characters.

    Raises:
        ConfigError: the name is invalid; the message says why.
    """
    wrong = [sign for sign in name if not _fits(sign)]
    reason = None
    if not name:
        reason = "it is empty"
    elif wrong:
        reason = f"it holds {wrong[0]!r}"
    elif name[0] in ". -" or name[-1] in ". ":
        reason = "it begins with a dot, a space or a dash, or ends in a dot or a space"
    elif RESERVED.fullmatch(name):
        reason = "Windows reserves it for a device"
    elif (size := len(name.encode())) > MOST_BYTES:
        reason = f"it has {size} bytes, more than {MOST_BYTES}"
    if reason:
        raise ConfigError(
            f"name of the {kind} is {name!r}: {reason}; expected a valid file name, such as lines-v2 (no folders, "
            f"none of {' '.join(sorted(FORBIDDEN))})"
        )


def as_name(text: str) -> str:
    """Make a valid name from a file's or folder's name: forbidden characters become dashes."""
    kept = "".join(sign if _fits(sign) else "-" for sign in text).encode()[:MOST_BYTES].decode(errors="ignore")
    name = kept.lstrip(". -").rstrip(". ")
    return f"{name}-" if RESERVED.fullmatch(name) else name or "unnamed"


def _fits(sign: str) -> bool:
    """Return True for a character that a name may have: no control or format character, such as a line break."""
    return sign not in FORBIDDEN and (sign == " " or unicodedata.category(sign)[0] not in "CZ")
