"""Studies as jobs of a Ray cluster: the code is shipped, the log is shown, and the exit code is returned."""

import asyncio
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metaseg.config import ConfigError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

FAILED, INTERRUPTED, STOPPED = 1, 130, 143
"""Exit codes if the study has none of its own: it couldn't be started or watched, Ctrl-C, `ray job stop`."""

FAREWELL_SECONDS = 30
"""Time between the signal of `ray job stop` and the kill. Ray's 3 s are too few for a study to release its runs."""


def submit(command: Sequence[str], address: str | None, working_dir: Path, wait: bool) -> int:
    """Run a command as a job of a cluster; returns the command's exit code, or one that says what happened to it.

    Args:
        command: as it would be typed in the working folder.
        address: of the cluster's dashboard; None for the cluster at hand.
        working_dir: folder that the job gets a copy of.
        wait: show the log until the job ends; Ctrl-C ends that, and the job goes on.

    Raises:
        ConfigError: there is no such cluster, or it refuses the job.
    """
    if not command:
        raise ConfigError("the command is missing; expected `metaseg submit -- python studies/seven_cells.py`")
    if not working_dir.is_dir():
        raise ConfigError(f"working_dir is {str(working_dir)!r}; expected a folder")
    logging.disable(logging.WARNING)  # Ray reports each ignore file, and that it uses the token
    client = _connect(address)
    job = _send(client, command, working_dir)
    # Unlike this command, Ray's own want to be told that there is a token.
    ray = "RAY_AUTH_MODE=token ray" if os.environ.get("RAY_AUTH_MODE") == "token" else "ray"
    where = f"--address {client.get_address()} {job}"
    follow = f"`{ray} job logs --follow {where}` shows its log, `{ray} job stop {where}` stops it"
    print(f"{job} submitted to {client.get_address()}", flush=True)
    if not wait:
        print(follow)
        return 0
    try:
        asyncio.run(_show_log(client, job))
        return _exit_code(client, job)
    except KeyboardInterrupt:
        print(f"\n{job} goes on; {follow}", flush=True)
        return INTERRUPTED
    except (OSError, RuntimeError) as error:
        print(f"error: lost sight of {job}, which may go on: {error}\n{follow}", file=sys.stderr)
        return FAILED


def _connect(address: str | None) -> "JobSubmissionClient":
    """A client for the cluster at the address.

    Raises:
        ConfigError: no cluster answers there, or it refuses the token.
    """
    # Only now: other commands needn't wait for Ray's import.
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
    from ray.exceptions import AuthenticationError, RayError
    from ray.job_submission import JobSubmissionClient

    from metaseg.engine.ray_address import address as noted_address

    if address:
        # Ray prefers the variable to an argument, and takes a HOST:PORT without a scheme for another service's.
        os.environ["RAY_API_SERVER_ADDRESS"] = address if "://" in address else f"http://{address}"
    named = os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS")
    absent = f"no Ray cluster answers at {named}" if named else "no Ray cluster runs on this machine"
    start = "start one with `ray start --head`, or give --address http://HEAD:8265"
    if not named and noted_address() == "local":  # where Ray would wait for minutes
        raise ConfigError(f"{absent}; {start}")
    # As `ray.init` does; Ray's job client would send the token only where RAY_AUTH_MODE says so.
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    try:
        return JobSubmissionClient()
    except AuthenticationError as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        cluster = f"the cluster at {named}" if named else "this machine's cluster"
        raise ConfigError(
            f"{cluster} wants its token ({reason}); copy ~/.ray/auth_token from its head to this machine, or name "
            "a copy in RAY_AUTH_TOKEN_PATH"
        ) from None
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise ConfigError(f"{absent} ({error}); {start}") from None


def _send(client: "JobSubmissionClient", command: Sequence[str], working_dir: Path) -> str:
    """Ship the folder and submit the job; returns its id.

    Raises:
        ConfigError: the cluster refuses it.
    """
    environment = {
        "RAY_JOB_STOP_WAIT_TIME_S": str(FAREWELL_SECONDS),
        "COLUMNS": str(shutil.get_terminal_size(fallback=(120, 24)).columns),  # for the report's tables
    }
    try:
        return str(
            client.submit_job(
                entrypoint=shlex.join(command),
                runtime_env={"working_dir": str(working_dir), "env_vars": environment},
            )
        )
    except RuntimeError as error:
        if "No available agent" in str(error):
            raise ConfigError(
                f"the cluster at {client.get_address()} has no agent to run jobs: port 52365 of its head may be taken; "
                "start it with `ray start --head --dashboard-agent-listen-port=PORT`, PORT being a free one"
            ) from None
        raise ConfigError(f"the cluster at {client.get_address()} refuses the job: {error}") from None


async def _show_log(client: "JobSubmissionClient", job: str) -> None:
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)


def _exit_code(client: "JobSubmissionClient", job: str) -> int:
    """Exit code of a job that has ended: the study's own, or one that says what happened to it."""
    info = client.get_job_info(job)
    if info.driver_exit_code is not None:
        code = int(info.driver_exit_code)
        return code if code >= 0 else 128 - code  # as shells report a signal
    print(f"{job} {info.status.value.lower()}: {info.message}", file=sys.stderr)
    return STOPPED if info.status.value == "STOPPED" else FAILED
