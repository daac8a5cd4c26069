"""The page over HTTP, on this machine alone, for those who know the token in its address."""

import errno
import hmac
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

from metaseg.config import ConfigError
from metaseg.watching.pages import Pages

LOOPBACK = "127.0.0.1"

FRESH_SECONDS = 3.0
"""Age up to which a page is sent again as it is: several open tabs don't read the store more often."""

SILENCE_SECONDS = 30.0
"""Time after which a connection that asks nothing is closed."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; base-uri 'none'"
"""Content security policy: a browser may show the page. Neither scripts nor requests to anywhere."""


class Server(ThreadingHTTPServer):
    """Serves pages on 127.0.0.1; `serve_forever` runs it. Use as a context manager."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, pages: Pages, port: int, token: str) -> None:
        """Open the port; 0 takes a free one.

        Raises:
            ConfigError: the port is in use or may not be opened.
        """
        self.pages, self.token = pages, token
        self.lock = threading.Lock()
        self.cache: dict[str, tuple[float, bytes]] = {}
        try:
            super().__init__((LOOPBACK, port), Handler)
        except (OSError, OverflowError) as error:
            number = error.errno if isinstance(error, OSError) else None
            reason = {errno.EADDRINUSE: "is in use", errno.EACCES: "needs an administrator's rights"}.get(number or 0)
            raise ConfigError(
                f"port {port} {reason or f'cannot be opened: {error}'}; expected a free one: --port N, or 0 for any"
            ) from None

    @property
    def address(self) -> str:
        """The page's address, token included."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/{quote(self.token)}/"

    def page(self, name: str, make: Callable[[], bytes]) -> bytes:
        """A page by name, made anew unless it is fresh."""
        with self.lock:
            made, content = self.cache.get(name, (float("-inf"), b""))
            if time.monotonic() - made > FRESH_SECONDS:
                content = make()
                self.cache[name] = time.monotonic(), content
            return content


class Handler(BaseHTTPRequestHandler):
    """Answers GET requests."""

    server: Server
    server_version, sys_version = "metaseg", ""
    timeout = SILENCE_SECONDS

    def do_GET(self) -> None:
        """Send a page, or an error that says nothing about the store to those without the token."""
        address = urlsplit(self.path)
        token, _, rest = unquote(address.path).removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            self._answer(HTTPStatus.FORBIDDEN, b"The address lacks the token that `metaseg watch` has printed.\n")
            return
        asked, pages = parse_qs(address.query), self.server.pages
        study = asked.get("study", [""])[0]
        try:
            if rest == "":
                content = self.server.page(f"study {study}", lambda: pages.overview(study))
            elif rest == "report":
                content = pages.report(study)
            else:
                raise LookupError(rest)
        except LookupError:
            self._answer(HTTPStatus.NOT_FOUND, b"There is no such page.\n")
        except OSError as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"The store can't be read: {error}\n".encode())
        else:
            self._answer(HTTPStatus.OK, content, "text/html; charset=utf-8")

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the terminal shows the address, and addresses in logs hold the token."""

    def _answer(self, status: HTTPStatus, content: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
