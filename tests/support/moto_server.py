"""An S3 of moto's on loopback, with the troubles of a real one on demand."""

import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock
from urllib.request import Request, urlopen

import pytest

s3fs = pytest.importorskip("s3fs", reason="no s3fs: S3 isn't tested")
moto = pytest.importorskip("moto.moto_server.werkzeug_app", reason="no moto[server]: S3 isn't tested")
serving = pytest.importorskip("werkzeug.serving")

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


STATUS: dict[int | str, tuple[str, str]] = {
    412: ("412 Precondition Failed", "PreconditionFailed"),
    500: ("500 Internal Server Error", "InternalError"),
    503: ("503 Slow Down", "SlowDown"),
}


class Handler(moto.MotoRequestHandler):
    """Keeps no log, and says "100 Continue" once: after a second one, clients forget their timeout."""

    def handle_expect_100(self) -> bool:
        return True  # werkzeug says it later

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class S3Server:
    """moto behind a middleware that answers as it is told to; `requests` counts what came in.

    Attributes:
        failures: answers to the next requests. None is moto's own; instead of it there can be 500 or 503; 412 without
            the condition that wasn't met; "lost", which carries the request out and then answers 500; "drop", which
            hangs up; or "hang", which does so after 3 seconds.
        delay: seconds before each answer.
    """

    def __init__(self) -> None:
        self.failures: list[int | str | None] = []
        self.delay = 0.0
        self.requests = 0
        self._moto = moto.DomainDispatcherApplication(moto.create_backend_app)
        self._one_at_a_time = threading.Lock()  # moto looks and then writes, where S3 does both at once
        self._port = 0
        self._start()

    @property
    def bucket(self) -> str:
        """The bucket's URL."""
        return "s3://a-bucket"

    @property
    def url(self) -> str:
        """Value for AWS_ENDPOINT_URL."""
        return f"http://127.0.0.1:{self._port}"

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Nobody listens meanwhile."""
        self.stop()
        try:
            yield
        finally:
            self._start()

    def stop(self) -> None:
        """Stop listening; what is in the buckets stays."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _start(self) -> None:
        self._server = serving.make_server(
            "127.0.0.1", self._port, self._answer, threaded=True, request_handler=Handler
        )
        self._port = self._server.port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.requests += 1
        time.sleep(self.delay)
        failure = self.failures.pop(0) if self.failures else None
        if failure not in (None, "lost"):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if failure == "hang":
            time.sleep(3)
        if failure in ("drop", "hang"):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError  # werkzeug says nothing to that
        if failure is None or failure == "lost":
            with self._one_at_a_time:
                answer = self._moto(environ, mock.Mock() if failure else start_response)
            if failure is None:
                return answer
        status, code = STATUS.get(failure, STATUS[500])
        start_response(status, [("Content-Type", "application/xml")])
        if environ["REQUEST_METHOD"] == "HEAD":
            return []
        return [f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()]


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server with an empty bucket, to which this process and those that it starts are pointed."""
    server = S3Server()
    with mock.patch.dict(os.environ, ENVIRONMENT | {"AWS_ENDPOINT_URL": server.url}):
        s3fs.S3FileSystem.clear_instance_cache()  # clients that know another address
        urlopen(Request(f"{server.url}/moto-api/reset", method="POST"))  # moto's buckets outlive its servers
        s3fs.S3FileSystem().mkdir("a-bucket")
        try:
            yield server
        finally:
            server.stop()
