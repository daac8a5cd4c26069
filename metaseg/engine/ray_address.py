"""The address of Ray's cluster: the one in RAY_ADDRESS, the one that `ray start` noted on this machine, or none."""

import os
import re

import grpc
from ray._private.services import find_bootstrap_address

from metaseg.config import ConfigError

ANSWER_SECONDS = 5.0
"""Timeout of a request. A head usually answers in milliseconds."""
ATTEMPTS = 2
"""Number of requests, since a busy head may miss one."""


def address() -> str | None:
    """The address for `ray.init`: None, so that it looks for a cluster, or "local" if the one it would find is dead.

    `ray start` notes its address on the machine, and a head that is killed leaves the note: `ray.init` would then wait
    for minutes and fail, even if another service has taken the port.

    Raises:
        ConfigError: no cluster answers at RAY_ADDRESS.
    """
    named = os.environ.get("RAY_ADDRESS", "")
    if named == "local":
        return "local"
    if named and named != "auto":
        if re.fullmatch(r"[^/]+:\d+", named) and not answers(named):
            raise ConfigError(
                f"no Ray cluster answers at {named}, which RAY_ADDRESS names; expected HOST:PORT of a head that runs: "
                "start one, or `unset RAY_ADDRESS` to let this command start Ray for itself"
            )
        return None
    try:
        noted = find_bootstrap_address(None)
    except (OSError, ValueError):  # it can't be read, or isn't text
        return "local"
    if not noted:
        return None
    return None if re.fullmatch(r"\S+:\d+", noted) and answers(noted) else "local"


def answers(head: str) -> bool:
    """Return True if a Ray cluster's head answers at HOST:PORT, if only by asking for a token."""
    if os.environ.get("RAY_USE_TLS", "0") not in ("0", "false", ""):
        return True  # a request would need Ray's certificates
    for _ in range(ATTEMPTS):
        with grpc.insecure_channel(head, options=[("grpc.enable_http_proxy", 0)]) as channel:
            ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
            try:
                ask(b"", timeout=ANSWER_SECONDS, wait_for_ready=False)
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                    return True
            else:
                return True
    return False
