"""Pages of a store: for the server, by request, and as a file."""

import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from metaseg.cli.status import QUIET_SECONDS, StudyStatus
from metaseg.config import ConfigError
from metaseg.store.folder import FolderStorage
from metaseg.store.runs import Store
from metaseg.watching.page import Link, to_html
from metaseg.watching.state import Watched

FEW = 3
"""Number of studies up to which all are shown in full."""


class Pages:
    """Pages of one store.

    Args:
        store: the store.
        study: the one that is shown in full where no other is asked for; None for those that aren't finished.
    """

    def __init__(self, store: Store, study: str | None = None) -> None:
        self._watched, self._study = Watched(store), study
        self.moving = False
        """True if a driver trained one of the studies on the page when it was made."""
        names = [status.name for status in self._watched.statuses()]
        if study is not None and study not in names:
            raise ConfigError(f"study is {study!r}; {store.where} has {', '.join(names) or 'none'}")

    def overview(self, study: str = "") -> bytes:
        """The page with one study in full, or those that aren't finished; raises `LookupError` for an unknown one."""
        return self._page(
            study,
            lambda name: f"?study={quote(name, safe='')}",
            lambda report: f"report?study={quote(report.split('/')[1], safe='')}",
        )

    def report(self, folder: str) -> bytes:
        """The page of a report, by its folder in `reports`; raises `LookupError` if there is none."""
        storage = self._watched.store.storage
        content = storage.read_foreign(f"reports/{folder}/report.html") if folder in storage.names("reports") else None
        if content is None:
            raise LookupError(folder)
        return content

    def file(self) -> bytes:
        """The page as a file; reports are linked where the store is a folder."""
        storage = self._watched.store.storage

        def report(name: str) -> str:
            return (storage.root / name).as_uri() if isinstance(storage, FolderStorage) else ""

        return self._page("", lambda name: "", report, served=False)

    def _page(self, study: str, study_link: Link, report_link: Link, served: bool = True) -> bytes:
        watched = self._watched
        statuses = watched.statuses()
        shown = self._shown(statuses, study)
        views = [watched.view(status) for status in shown]
        self.moving = any(is_moving(status) for status in shown)
        unreadable = list(dict.fromkeys(watched.unreadable))
        return to_html(
            watched.store.where, statuses, views, unreadable, study_link, report_link, served or self.moving
        ).encode()

    def _shown(self, statuses: Sequence[StudyStatus], study: str) -> list[StudyStatus]:
        if asked := study or self._study:
            found = [status for status in statuses if status.name == asked]
            if not found:
                raise LookupError(asked)
            return found
        if len(statuses) <= FEW:
            return list(statuses)
        return [status for status in statuses if status.drivers or status.open or status.done < status.runs]


def is_moving(status: StudyStatus) -> bool:
    """Return True if a driver that has shown itself lately trains the study."""
    return any(time.time() - driver["time"] < QUIET_SECONDS for driver in status.drivers)


def write_page(path: Path, content: bytes) -> None:
    """Write a page in place of the one before, which a browser may be loading."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    temporary.replace(path)
