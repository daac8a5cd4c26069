"""The source of a block from outside metaseg: its hash, which run ids contain, and the modules that workers need."""

import ast
import hashlib
import inspect
import sys
import textwrap
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import PurePath
from types import CodeType, FunctionType, ModuleType
from typing import Any

from metaseg.config import ConfigError

INSTALLED = {"site-packages", "dist-packages"}
"""Folders of packages that every worker is expected to have."""


@dataclass(frozen=True)
class Source:
    """The parts of a block from outside metaseg."""

    block: type
    """The class."""
    digest: str
    """12 hex digits: a hash of the class and of all that it uses from files that aren't installed. Comments, docstrings
    and layout don't count."""
    modules: tuple[str, ...]
    """Modules that aren't installed, which workers can't import by themselves."""
    file: str
    """The file that defines the class."""


def is_ours(block: type) -> bool:
    """True if metaseg itself defines the class."""
    return _root(block.__module__) == "metaseg"


@cache
def source_of(block: type) -> Source:
    """The source of a class from outside metaseg.

    Raises:
        ConfigError: a part of it has no source that can be read, or is an object whose content can't be hashed.
    """
    reader = _Reader(block)
    reader.read_class(block)
    text = "\n".join(f"{name}\n{content}" for name, content in sorted(reader.parts))
    modules = {module for module in reader.modules if module != "__main__" and not _is_installed(module)}
    file = getattr(sys.modules.get(block.__module__), "__file__", None) or "a notebook or an interactive session"
    return Source(block, hashlib.sha256(text.encode()).hexdigest()[:12], tuple(sorted(modules)), file)


def _root(module: str) -> str:
    return module.partition(".")[0]


def _is_installed(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return module != "__main__" and (file is None or not INSTALLED.isdisjoint(PurePath(file).parts))


class _Reader:
    """Collects the parts of a block's source: its class, and the classes, functions and values that it uses."""

    def __init__(self, block: type) -> None:
        self.block = block
        self.parts: set[tuple[str, str]] = set()
        """Qualified names and contents. Modules' names are left out: a script is `__main__` when it runs."""
        self.modules: set[str] = set()
        self._seen: set[int] = set()

    def read_class(self, cls: type) -> None:
        for base in cls.__mro__:
            if self._is_new(base, base.__module__):
                names = ", ".join(f"{name}: {kind}" for name, kind in vars(base).get("__annotations__", {}).items())
                self.parts.add((base.__qualname__, names))
                for name, member in vars(base).items():
                    member = _underlying(member)
                    if isinstance(member, FunctionType) or not (name.startswith("__") or name == "_abc_impl"):
                        self._read(f"{base.__qualname__}.{name}", member)

    def _read(self, name: str, thing: Any) -> None:
        if isinstance(thing, type):
            self.read_class(thing)
        elif isinstance(thing, FunctionType):
            if self._is_new(thing, thing.__module__):
                self._read_function(name, thing)
        elif isinstance(thing, ModuleType):
            if self._is_new(thing, thing.__name__):
                self.parts.add((thing.__name__, _plain(inspect.getsource(thing))))
                for used in vars(thing).values():
                    if isinstance(used, type | FunctionType | ModuleType):
                        self._read(getattr(used, "__qualname__", used.__name__), used)
        elif not callable(thing) or self._is_own(type(thing).__module__):
            self._read_value(name, thing)

    def _read_function(self, name: str, function: FunctionType) -> None:
        try:
            self.parts.add((function.__qualname__, _plain(inspect.getsource(function.__code__))))
        except (OSError, TypeError):
            # `dataclass` makes such methods of fields, which are read.
            if function.__code__.co_filename == "<string>" and function.__name__.startswith("__"):
                return
            raise ConfigError(
                f"block {self.block.__qualname__!r} uses {name}, whose source can't be read; expected code in a file "
                "or in a notebook's cell: its hash is part of a run's id"
            ) from None
        for used in _names(function.__code__):
            if used in function.__globals__:
                self._read(used, function.__globals__[used])
        for used, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._read(used, cell.cell_contents)

    def _read_value(self, name: str, value: Any) -> None:
        text = repr(sorted(value, key=repr)) if isinstance(value, set | frozenset) else repr(value)
        if " at 0x" in text:
            raise ConfigError(
                f"block {self.block.__qualname__!r} uses {name}, a {type(value).__name__}, whose content can't be "
                "hashed; expected functions, classes and plain values: their hash is part of a run's id"
            )
        self.parts.add((name, text))

    def _is_own(self, module: str) -> bool:
        """True if a module's source counts: it is part of the block's package, or isn't installed."""
        root = _root(module)
        if root == "metaseg" or root in sys.stdlib_module_names:
            return module == "__main__"
        return root == _root(self.block.__module__) or not _is_installed(module)

    def _is_new(self, thing: Any, module: str) -> bool:
        if id(thing) in self._seen or not self._is_own(module):
            return False
        self._seen.add(id(thing))
        self.modules.add(module)
        return True


def _underlying(member: Any) -> Any:
    """The function of a method, property or cached property; anything else as it is."""
    if isinstance(member, staticmethod | classmethod):
        return member.__func__
    if isinstance(member, property):
        return member.fget
    return member.func if isinstance(member, cached_property) else member


def _names(code: CodeType) -> set[str]:
    """Global names and attributes that code and the functions inside it use."""
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*inner)


def _plain(source: str) -> str:
    """Source without comments, docstrings and its own layout."""
    try:
        tree = ast.parse(textwrap.dedent(source))
    except SyntaxError:  # a lambda amid a longer expression
        return source
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
