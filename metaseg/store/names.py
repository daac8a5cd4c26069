"""Names of studies and sweeps, which are names of files and folders in the store, on whatever disk it lies."""

import re
import unicodedata

from metaseg.config import ConfigError

MOST_BYTES = 120
"""Of a name in UTF-8: disks allow 255 for a file's name, which has more than this name in it."""

FORBIDDEN = frozenset('/\\:*?"<>|')
"""What separates folders, and what some disks don't take."""

RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
"""Names that Windows keeps for devices."""


def check_name(kind: str, name: str) -> None:
    """Refuse a name that can't be a file's name everywhere, or would lead out of its folder.

    Args:
        kind: what is called so, for the message: `study`, `sweep`.
        name: letters of any language, digits, spaces and most signs are right.

    Raises:
        ConfigError: names what is wrong.
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
        reason = "Windows keeps it for a device"
    elif (size := len(name.encode())) > MOST_BYTES:
        reason = f"it has {size} bytes, more than {MOST_BYTES}"
    if reason:
        raise ConfigError(
            f"name of the {kind} is {name!r}: {reason}; expected a file's name, such as lines-v2 (no folders, none of "
            f"{' '.join(sorted(FORBIDDEN))})"
        )


def as_name(text: str) -> str:
    """A name made of whatever a file or folder is called: what a name can't hold becomes a dash."""
    kept = "".join(sign if _fits(sign) else "-" for sign in text).encode()[:MOST_BYTES].decode(errors="ignore")
    name = kept.lstrip(". -").rstrip(". ")
    return f"{name}-" if RESERVED.fullmatch(name) else name or "unnamed"


def _fits(sign: str) -> bool:
    """Control and format characters, among them line breaks and marks that turn text around, don't."""
    return sign not in FORBIDDEN and (sign == " " or unicodedata.category(sign)[0] not in "CZ")
