"""The authentication token of a Ray cluster: anyone who can read it can run programs here."""

import os
import stat
from pathlib import Path

from ray._private.authentication.authentication_token_setup import generate_and_save_token


def keep_token_private(create: bool) -> None:
    """Make the token's file and `~/.ray` unreadable for others.

    Args:
        create: Ray is about to be started here: create the file first, since Ray would make it readable for all.
    """
    default = Path.home() / ".ray" / "auth_token"
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    wanted = os.environ.get("RAY_AUTH_MODE", "token").lower() == "token"
    if create and wanted and not named and not os.environ.get("RAY_AUTH_TOKEN") and not default.exists():
        before = os.umask(0o077)
        try:
            generate_and_save_token()
        finally:
            os.umask(before)
    _tighten(default.parent)
    _tighten(default)
    if named:
        _tighten(Path(named).expanduser())


def _tighten(path: Path) -> None:
    """Remove the permissions of group and others, if the path exists and is ours."""
    try:
        state = path.stat()
        if state.st_uid == os.getuid() and state.st_mode & 0o077:
            path.chmod(stat.S_IMODE(state.st_mode) & 0o700)
    except OSError:
        return  # it isn't there, or its disk has no permissions
