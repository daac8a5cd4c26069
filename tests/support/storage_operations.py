"""Operations of a storage, and their results."""

from collections.abc import Callable

from metaseg.store.storage import Storage

OPERATIONS: dict[str, tuple[Callable[[Storage], object], object]] = {
    "read": (lambda storage: storage.read("runs/a/DONE"), b"done"),
    "exists": (lambda storage: storage.exists("runs/a/DONE"), True),
    "names": (lambda storage: storage.names("runs"), ["a"]),
    "subfolders_with": (lambda storage: storage.subfolders_with("runs", "DONE"), {"a"}),
    "write": (lambda storage: storage.write("runs/a/DONE", b"new"), None),
    "create": (lambda storage: storage.create("claims/a", b"mine"), True),
    "publish": (lambda storage: storage.publish("runs/b", {"DONE": b""}, last="DONE"), None),
}
"""Every question and every writing, with its answer where runs/a/DONE holds "done"."""


ALL_OPERATIONS = OPERATIONS | {
    "delete": (lambda storage: storage.delete("runs/a/DONE"), None),
    "delete_folder": (lambda storage: storage.delete_folder("runs"), None),
}
