"""Options of a study or sweep, kept beside its report so that it can be repeated: `--config config.toml`."""

from analysis.results.declaration import read_json
from metaseg.store.storage import Storage

FILE = "config.toml"


def study_options(storage: Storage, study: str) -> str:
    """Options that a study was started with, as the store keeps them; empty for studies from before it did."""
    file = f"studies/{study}.json"
    kept = read_json(storage.read(file), storage.locate(file)).get("config")
    return kept if isinstance(kept, str) else ""


def sweep_options(storage: Storage, sweep: str) -> str:
    """The same of a sweep."""
    kept = storage.read_foreign(f"sweeps/{sweep}/{FILE}")
    return "" if kept is None else kept.decode("utf-8", "replace")


def keep_options(kept: str, target: Storage, folder: str) -> tuple[str, ...]:
    """Write options beside a report, if there are any; returns where they are.

    Args:
        kept: the file's text.
        target: the report's storage.
        folder: the report's in it, with a slash at the end.
    """
    if not kept:
        return ()
    target.write(folder + FILE, kept.encode())
    return (target.locate(folder + FILE),)
