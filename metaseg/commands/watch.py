"""`metaseg watch`: a store's studies as a page that refreshes itself."""

import secrets
import time
from pathlib import Path

from metaseg.commands.arguments import StoreArgument
from metaseg.config import ConfigError
from metaseg.terminal import Terminal, visible

PORT = 8642


def watch(
    store: StoreArgument,
    study: str | None = None,
    port: int = PORT,
    token: str | None = None,
    out: Path | None = None,
) -> None:
    """Show a store's studies on a page in the browser: progress, curves, comparisons so far, failed runs.

    The page is for this machine alone. On a server, forward its port: ssh -L 8642:127.0.0.1:8642 SERVER.

    Args:
        store: Folder or bucket (s3://..., gs://...) of the runs.
        study: Show this study. By default, those that aren't finished.
        port: Port to serve the page on; 0 takes a free one.
        token: Secret in the page's address, which others on this machine don't know. By default a random one.
        out: Write the page to this file instead of serving it: anew every few seconds while the study is trained.
    """
    from metaseg.store.runs import Store
    from metaseg.watching.page import REFRESH_SECONDS
    from metaseg.watching.pages import Pages, write_page

    console = Terminal()
    if token is not None and (out is not None or not token.isascii() or not token.isalnum()):
        wrong = "given with --out, which serves nothing" if out is not None else f"{token!r}"
        raise ConfigError(f"token is {wrong}; expected letters and digits, for the page that is served")
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise ConfigError(
            f"out is {out}, {'a folder' if out.is_dir() else 'whose folder is not there'}; expected a file"
        )
    pages = Pages(Store.at(store), study)
    try:
        if out is None:
            from metaseg.watching.server import Server

            with Server(pages, port, token or secrets.token_hex(16)) as server:
                console.print(f"Open {server.address}\nCtrl-C ends this.", soft_wrap=True)
                server.serve_forever()
        else:
            write_page(out, pages.file())
            console.print(visible(f"Open {out.resolve().as_uri()}"), soft_wrap=True)
            while pages.moving:
                time.sleep(REFRESH_SECONDS)
                write_page(out, pages.file())
    except KeyboardInterrupt:
        console.print()
