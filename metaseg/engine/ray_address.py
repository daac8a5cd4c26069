"""Where Ray's cluster is: the one that is named, the one that this machine has a note of, or none."""

import os
import re

import grpc
from ray._private.services import find_bootstrap_address

from metaseg.config import ConfigError

ANSWER_SECONDS = 5.0
"""A head answers in milliseconds."""
ATTEMPTS = 2
"""For a head that is busy."""


def address() -> str | None:
    """What to tell `ray.init`: nothing, so that it looks for a cluster, or "local" where what it would find is dead.

    `ray start` notes its address on the machine, and a head that is killed leaves the note: `ray.init` would then wait
    for minutes and fail, also where another service has the port by now.

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
    """Whether a Ray cluster's head answers at HOST:PORT; one that asks for a token does."""
    if os.environ.get("RAY_USE_TLS", "0") not in ("0", "false", ""):
        return True  # it would have to be asked with Ray's certificates
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
