"""A store's address: a folder or a URL, refused early if it is a slip or holds credentials."""

import re
from pathlib import Path

from metaseg.config import ConfigError

BUCKETS = ("s3", "s3a", "gs", "gcs")
"""Kinds of URL whose first part is a bucket."""

EXPECTED = "a folder, s3://BUCKET/... or gs://BUCKET/..."

SLIP = re.compile(r"([^/\\:]+):[/\\]+|(s3a?|gc?s|file)(?::|//)", re.IGNORECASE)
"""Beginnings of addresses that are nearly URLs (a slash or a colon is missing), another machine's folders or drives of
Windows."""

NO_STORES = ("", "http", "https", "local")
"""Protocols of fsspec that can't be written to, or not as safely as with `FolderStorage`."""

UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and lone surrogates."""


def archive_file(where: str) -> Path | None:
    """The absolute path of an address that is a file called .zip; None if it is anything else."""
    if "://" in where or not where.lower().endswith(".zip"):
        return None
    try:
        path = Path(where).expanduser().resolve()
        return path if path.is_file() else None
    except (RuntimeError, ValueError, OSError):  # no such user; no path at all
        return None


def local_folder(where: str) -> Path | None:
    """The absolute path of an address, `~` and relative paths resolved; None if it is the URL of another storage.

    Raises:
        ConfigError: the address is empty, nearly a URL, or holds credentials; or its path is of something else than a
            folder, or of an unknown user.
    """
    if not where or where != where.strip() or UNFIT.search(where):
        raise ConfigError(
            f"storage is {shown(where)!r}; expected {EXPECTED}, without control characters or spaces around it"
        )
    protocol, separator, path = where.partition("://")
    if not separator:
        return _folder(where)
    if protocol == "file":
        if not path.startswith("/"):
            raise ConfigError(f"storage is {where!r}; expected file:///FOLDER, with three slashes, or the folder alone")
        return _folder(path)
    host = path.partition("/")[0]
    # Passwords may hold slashes, as Amazon's do; names of Amazon's access points hold slashes and colons.
    if "@" in host or "?" in path or (":" in host and "@" in path and not host.startswith("arn:")):
        raise ConfigError(
            f"storage is {shown(where)!r} with credentials or a query in its address, which commands and records would "
            "keep; expected them where the bucket's own tools have them (AWS_ACCESS_KEY_ID or ~/.aws/credentials, "
            "GOOGLE_APPLICATION_CREDENTIALS)"
        )
    if protocol in NO_STORES:
        raise ConfigError(f"storage is {where!r}; expected {EXPECTED}")
    if protocol in BUCKETS and not host:
        raise ConfigError(f"storage is {where!r}, which names no bucket; expected {EXPECTED}")
    return None


def shown(address: str) -> str:
    """The address for an error message, without the parts before an @ and in a query, which may be secret."""
    scheme = address[: match.end()] if (match := SLIP.match(address)) else ""
    rest = address.removeprefix(scheme)
    if "@" in rest:
        rest = f"...{rest.rpartition('@')[2]}"
    return scheme + (f"{rest.partition('?')[0]}?..." if "?" in rest else rest)


def _folder(where: str) -> Path:
    """The absolute path of a folder, whether it exists or not."""
    if slip := SLIP.match(where):
        scheme, rest = (slip[1] or slip[2]).lower(), shown(where)[slip.end() :]
        url = f"{scheme}:///{rest}" if scheme == "file" else f"{scheme}://{rest}"
        hint = f"did you mean {url}? Expected" if scheme.isalnum() and len(scheme) > 1 else "expected"
        raise ConfigError(f"storage is {shown(where)!r}; {hint} {EXPECTED}; a folder of that name is ./{shown(where)}")
    try:
        user = where.partition("/")[0]
        if user.startswith("~") and not (home := Path(user).expanduser()).is_dir():
            raise ConfigError(
                f"storage is {where!r}; expected a folder's path ({home}, the home of {user}, isn't there)"
            )
        folder = Path(where).expanduser().resolve()
        there = next(part for part in (folder, *folder.parents) if part.exists())
    except ConfigError:
        raise
    except (RuntimeError, ValueError, OSError) as error:  # no such user; no path at all; too long
        raise ConfigError(f"storage is {where[:200]!r}; expected a folder's path ({str(error)[:200]})") from None
    if not there.is_dir():
        raise ConfigError(f"storage is {where!r}, but {there} is a file; expected a folder")
    return folder
