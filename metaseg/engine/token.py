"""The token that every process of a cluster has to show: whoever can read it may run programs here."""

import os
import stat
from pathlib import Path

from ray._private.authentication.authentication_token_setup import generate_and_save_token


def keep_token_private(create: bool) -> None:
    """Let nobody else read the token's file and `~/.ray`; make the file, where Ray is about to make it for all to read.

    Args:
        create: Ray is about to be started here, and not only connected to.
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
    """Take group's and others' rights away, where the path is there and is ours."""
    try:
        state = path.stat()
        if state.st_uid == os.getuid() and state.st_mode & 0o077:
            path.chmod(stat.S_IMODE(state.st_mode) & 0o700)
    except OSError:
        return  # it isn't there, or lies where rights can't be set
