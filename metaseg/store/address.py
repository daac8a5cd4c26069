"""A store's address: what it names, refused before anything is made where it can't be meant or holds secrets."""

import re
from pathlib import Path

from metaseg.config import ConfigError

BUCKETS = ("s3", "s3a", "gs", "gcs")
"""Kinds of URL whose first part is a bucket."""

EXPECTED = "a folder, s3://BUCKET/... or gs://BUCKET/..."

SLIP = re.compile(r"([^/\\:]+):[/\\]+|(s3a?|gc?s|file)(?::|//)", re.IGNORECASE)
"""How an address begins that is nearly a URL, another machine's folder or a drive of Windows: a slash or a colon is
missing."""

NO_STORES = ("", "http", "https", "local")
"""What fsspec reaches and can't write to, or not as `FolderStorage` does."""

UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and what isn't text."""


def local_folder(where: str) -> Path | None:
    """The absolute path that an address names, `~` and relative ones resolved; None where it is a URL of another kind.

    Raises:
        ConfigError: no address, one that is nearly a URL, or one that holds credentials; a path to something else than
            a folder, or of an unknown user.
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
    # A password may hold slashes, as Amazon's do; so do names of Amazon's access points, which hold colons too.
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
    """The address in an error: without what is before an @ or in a query, which may be secret."""
    scheme = address[: match.end()] if (match := SLIP.match(address)) else ""
    rest = address.removeprefix(scheme)
    if "@" in rest:
        rest = f"...{rest.rpartition('@')[2]}"
    return scheme + (f"{rest.partition('?')[0]}?..." if "?" in rest else rest)


def _folder(where: str) -> Path:
    """The absolute path of a folder, be it there or not."""
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
