"""The source of code from outside metaseg, a block or network: its hash, which ids contain, and the modules to ship.

What counts is read from files, not from objects: the class or function, and every statement of its module that makes or
changes a name which it or such a statement uses, and so on through modules of the user's own. Comments, docstrings and
layout don't count, nor do other statements of the file, such as the list of arms.
"""

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Literal

from metaseg.config import ConfigError

INSTALLED = {"site-packages", "dist-packages"}
"""Folders of packages that every worker is expected to have."""

OURS = Path(__file__).parents[2]
"""Folder of metaseg, analysis and studies."""

EVERYTHING = "*"
"""Stands for all names of a module."""


Code = type | FunctionType
"""A class or function."""


@dataclass(frozen=True)
class Source:
    """The parts of a block or network from outside metaseg."""

    block: Code
    """The block's class; of a network the class or function that makes it."""
    digest: str
    """12 hex digits: a hash of the class or function and of all that it uses from files that aren't installed."""
    modules: tuple[str, ...]
    """Modules that aren't installed, which workers can't import by themselves."""
    file: str
    """The file that defines it."""
    kind: Literal["block", "network"] = "block"
    """Name of it in errors."""


def is_ours(block: Code) -> bool:
    """True if metaseg itself defines the class or function."""
    return block.__module__.partition(".")[0] == "metaseg"


def source_of(block: Code, kind: Literal["block", "network"] = "block") -> Source:
    """The source of a class or function from outside metaseg; `kind` is what errors call it.

    Raises:
        ConfigError: it isn't in a file, or a file that it uses can't be parsed or has changed since it was
            imported.
    """
    file = _file(block.__module__)
    if file is None or file.suffix != ".py":
        raise ConfigError(
            f"{kind} {block.__qualname__!r} isn't defined in a file (its module is {block.__module__}); expected a .py "
            "file, whose hash becomes part of its runs' ids: in a notebook, write the cell to a file (%%writefile) and "
            "import it"
        )
    reader = _Reader(f"{kind} {block.__qualname__!r}")
    reader.read(block.__module__, block.__qualname__.partition(".")[0])
    reader.require_imported()
    # The class's own module goes without a name: it is `__main__` if the file is run.
    text = "\n".join(sorted(f"{'' if module == block.__module__ else module}:{part}" for module, part in reader.parts))
    modules = tuple(sorted(reader.modules - {"__main__"}))
    return Source(block, hashlib.sha256(text.encode()).hexdigest()[:12], modules, str(file), kind)


def _file(module: str) -> Path | None:
    """File of a module; None if it has none."""
    loaded = sys.modules.get(module)
    name = getattr(loaded, "__file__", None)
    if loaded is None:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            return None
        name = spec.origin if spec is not None and spec.has_location else None
    path = None if name is None else Path(name)
    return path if path is not None and path.is_file() else None


def _is_own(module: str) -> bool:
    """True for the user's files: neither installed, nor Python's, nor metaseg's."""
    file = _file(module)
    if file is None or file.suffix != ".py" or not INSTALLED.isdisjoint(file.parts):
        return False
    above = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    above += [OURS / name for name in ("metaseg", "analysis", "studies")]
    return not any(file.resolve().is_relative_to(folder.resolve()) for folder in above)


class _Reader:
    """Collects the statements that a block depends on."""

    def __init__(self, about: str) -> None:
        self.about = about
        self.parts: set[tuple[str, str]] = set()
        """Modules and canonical statements."""
        self.modules: set[str] = set()
        self._done: set[tuple[str, str]] = set()
        self._trees: dict[str, list[ast.stmt]] = {}

    def read(self, module: str, name: str) -> None:
        """Read the statements that make or change a name of a module."""
        if (module, name) in self._done:
            return
        self._done.add((module, name))
        self.modules.add(module)
        for statement in self._statements(module):
            if name == EVERYTHING or _makes(statement, name):
                self.parts.add((module, _canonical(statement)))
                if isinstance(statement, ast.Import | ast.ImportFrom):
                    self._follow(module, statement, name)
                else:
                    self._read_used(module, statement)

    def _read_used(self, module: str, statement: ast.stmt) -> None:
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):  # inside a function
                self._follow(module, node, EVERYTHING)
            elif isinstance(node, ast.Name):
                self.read(module, node.id)

    def _follow(self, module: str, statement: ast.Import | ast.ImportFrom, name: str) -> None:
        """Go on in the user's own modules that an import statement brings `name` from."""
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                bound = alias.asname or alias.name.partition(".")[0]
                if name in (bound, EVERYTHING) and _is_own(alias.name):
                    self.read(alias.name, EVERYTHING)
            return
        package = getattr(sys.modules.get(module), "__package__", None) or ""
        origin = "." * statement.level + (statement.module or "")
        origin = importlib.util.resolve_name(origin, package) if statement.level else origin
        for alias in statement.names:
            if name not in (alias.asname or alias.name, EVERYTHING) and alias.name != EVERYTHING:
                continue
            inner = f"{origin}.{alias.name}"
            if _is_own(inner):  # a module of a package
                self.read(inner, EVERYTHING)
            elif _is_own(origin):
                self.read(origin, alias.name)

    def require_imported(self) -> None:
        """Refuse a file that says something else by now: what runs is what was imported from it."""
        for module in self.modules:
            file = _file(module)
            if file is None or module not in sys.modules:
                continue
            names = {name for of, name in self._done if of == module}
            if outdated := _outdated(module, names, compile(file.read_bytes(), str(file), "exec")):
                raise ConfigError(
                    f"{self.about} uses {outdated} of {file}, which has changed since it was imported; start "
                    "again, or reload the module"
                )

    def _statements(self, module: str) -> list[ast.stmt]:
        if module not in self._trees:
            file = _file(module)
            try:
                tree = ast.parse(b"" if file is None else file.read_bytes())
            except SyntaxError as error:
                raise ConfigError(f"{self.about} uses {file}, which isn't Python: {error}") from None
            self._trees[module] = [statement for statement in tree.body if not _is_main_guard(statement)]
        return self._trees[module]


def _makes(statement: ast.stmt, name: str) -> bool:
    """True if a statement of a module makes the name, or may change what it stands for."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return statement.name == name
    if isinstance(statement, ast.Import | ast.ImportFrom):
        bound = {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
        return name in bound or EVERYTHING in bound
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return any(isinstance(node, ast.Name) and node.id == name for target in targets for node in ast.walk(target))
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return False
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(statement))


def _outdated(module: str, names: set[str], content: CodeType) -> str | None:
    """A function or method among a module's `names` that isn't as the file says now; None if all are."""
    now: dict[str, list[tuple[object, ...]]] = {}

    def collect(code: CodeType) -> None:
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                now.setdefault(constant.co_qualname, []).append(_behaviour(constant))
                collect(constant)

    collect(content)
    used = [value for name, value in vars(sys.modules[module]).items() if name in names or EVERYTHING in names]
    for function in (function for value in used if _is_of(value, module) for function in _functions(value)):
        if _behaviour(function.__code__) not in now.get(function.__qualname__, []):
            return function.__qualname__
    return None


def _is_of(value: object, module: str) -> bool:
    return isinstance(value, type | FunctionType) and value.__module__ == module


def _functions(value: object) -> list[FunctionType]:
    """A function, or the methods of a class, as far as a file has them: not those that `dataclass` makes."""
    members = [value] if isinstance(value, FunctionType) else list(vars(value).values())
    return [
        each
        for each in members
        if isinstance(each, FunctionType)
        and not each.__code__.co_filename.startswith("<")
        and not hasattr(each, "__wrapped__")
    ]


def _behaviour(code: CodeType) -> tuple[object, ...]:
    """Parts of compiled code that decide what it does; not its place in the file."""
    constants = [
        _behaviour(each)
        if isinstance(each, CodeType)
        else sorted(map(repr, each))
        if isinstance(each, frozenset)
        else repr(each)
        for each in code.co_consts
    ]
    return code.co_code, constants, code.co_names, code.co_varnames


def _is_main_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__name__" in {
        node.id for node in ast.walk(statement.test) if isinstance(node, ast.Name)
    }


def _canonical(node: ast.AST) -> str:
    """A statement as text that is the same for all layouts and versions of Python."""
    return "".join(_tokens(node))


def _tokens(value: object) -> Iterator[str]:
    if isinstance(value, list):
        yield "["
        for item in value:
            yield from _tokens(item)
        yield "]"
    elif isinstance(value, ast.AST):
        yield f"({type(value).__name__}"
        for name, field in ast.iter_fields(value):
            if name == "body" and _has_docstring(value):
                field = field[1:]
            if field is not None and field != [] and name not in ("ctx", "kind", "type_comment", "type_params"):
                yield f" {name}="
                yield from _tokens(field)
        yield ")"
    else:
        yield repr(value)


def _has_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None
    )
