"""Options in a file: what `--config` reads (TOML or YAML), and what reports keep so that a study can be repeated.

Names are those of the command line without the dashes: `epochs = 30`, and `size = 64` under `[synthetic]` for
`--synthetic.size`. A group whose options have no prefix may be a table too: `epochs` under `[schedule]`.
"""

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import reduce
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from metaseg import __version__
from metaseg.config import ConfigError

Options = TypeVar("Options")

NOT_KEPT = ("config", "storage", "dry_run", "track")
"""Options that a study isn't repeated by: they say where it is kept and what is done with it, not what it is."""

_KINDS: dict[Any, tuple[type, str]] = {
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    str: (str, "text"),
    Path: (str, "a path"),
}
"""Type in which a file holds a field of this type, and its name in errors."""


@dataclass(frozen=True)
class _Option:
    """An option of a page, and where it is in the dataclass of its options."""

    name: str
    """As on the command line, without the dashes: `epochs`, `synthetic.size`."""
    path: tuple[str, ...]
    """Names of attributes, the group's first."""
    kind: Any
    """Its type."""


def read_file(path: Path) -> dict[str, Any]:
    """The content of a file of options, unchecked.

    Raises:
        ConfigError: the file can't be read, or is neither TOML nor YAML.
    """
    try:
        if path.suffix == ".toml":
            return tomllib.loads(path.read_text("utf-8"))
        if path.suffix not in (".yaml", ".yml"):
            raise ConfigError(f"config is {str(path)!r}; expected a file called .toml, .yaml or .yml")
        import yaml

        try:
            content = yaml.safe_load(path.read_text("utf-8"))
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        what = error.strerror if isinstance(error, OSError) else f"not {path.suffix[1:].upper()}: {error}"
        raise ConfigError(f"{path}: {what}") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path}: is a {type(content).__name__}; expected options by name, such as epochs: 30")
    return content


def with_file(options: Options, content: Mapping[str, Any], path: Path) -> Options:
    """The options with those of a file in their place.

    Args:
        options: a frozen dataclass: those of a preset.
        content: of `read_file`.
        path: the file, for errors.

    Raises:
        ConfigError: an option that there isn't, is there twice, or has a value that it can't have; the message names
            the file and the option.
    """
    known = _known(type(options))
    chosen: dict[tuple[str, ...], Any] = {}
    for name, value in _named(content, known):
        option = known.get(name)
        if option is None:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            listed = ", ".join(dict.fromkeys(each.name for each in known.values()))
            raise ConfigError(f"{path}: unknown option {name!r}{hint}; known: {listed}")
        if option.path in chosen:
            raise ConfigError(f"{path}: {option.name} is given twice; expected once")
        chosen[option.path] = _converted(value, option.kind, f"{path}: {option.name}")
    try:
        return _replaced(options, chosen)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def to_toml(options: object) -> str:
    """A file from which `--config` reads the same options, except those in `NOT_KEPT`; paths are absolute in it."""
    groups: dict[str, list[str]] = {}
    for option in dict.fromkeys(_known(type(options)).values()):
        if option.path[0] not in NOT_KEPT:
            group, _, key = option.name.rpartition(".")
            value = reduce(getattr, option.path, options)
            groups.setdefault(group, []).append(f"{key} = {_toml(value)}\n")
    tables = [f"\n[{group}]\n{''.join(lines)}" for group, lines in groups.items() if group]
    about = f"# Options of a study, metaseg {__version__}. To repeat it: python studies/PAGE.py --config THIS_FILE\n\n"
    return about + "".join(groups.get("", [])) + "".join(tables)


def several_values(kind: type) -> list[str]:
    """Options of a dataclass that take several values, as on the command line: `--arms`, `--positions`."""
    options = dict.fromkeys(_known(kind).values())
    return [f"--{option.name}" for option in options if get_origin(option.kind) is tuple]


def _known(kind: Any) -> dict[str, _Option]:
    """Options of a dataclass by name; those of a group without prefix also as `GROUP.NAME`, its table in a file."""
    known: dict[str, _Option] = {}
    types, hints = get_type_hints(kind), get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        name, inner = field.name.replace("_", "-"), types[field.name]
        if not is_dataclass(inner):
            known[name] = _Option(name, (field.name,), inner)
            continue
        bare = any(getattr(extra, "name", None) == "" for extra in get_args(hints[field.name])[1:])
        for option in _known(inner).values():
            path = (field.name, *option.path)
            placed = _Option(option.name if bare else f"{name}.{option.name}", path, option.kind)
            known |= {placed.name: placed, f"{name}.{option.name}": placed}
    return known


def _named(content: Mapping[str, Any], known: Mapping[str, _Option]) -> Iterator[tuple[str, Any]]:
    """A file's values by option: `epochs`, `synthetic.size`."""
    groups = {name.rpartition(".")[0] for name in known}
    for key, value in content.items():
        name = key.replace("_", "-")
        if name in groups and isinstance(value, dict):
            yield from ((f"{name}.{str(below).replace('_', '-')}", inner) for below, inner in value.items())
        else:
            yield name, value


def _replaced(options: Options, chosen: Mapping[tuple[str, ...], Any]) -> Options:
    """The dataclass with other values, each at its path."""
    values: dict[str, Any] = {}
    for name in dict.fromkeys(path[0] for path in chosen):
        below = {path[1:]: value for path, value in chosen.items() if path[0] == name}
        values[name] = below[()] if () in below else _replaced(getattr(options, name), below)
    changed: Any = options
    replaced: Options = replace(changed, **values)
    return replaced


def _converted(value: Any, kind: Any, what: str) -> Any:
    """A file's value as one of an option's type; `what` is the file and the option, for errors."""
    origin, choices = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):  # some with None, which TOML hasn't: the command line calls it None too
        if NoneType in choices and value in (None, "None"):
            return None
        reasons = []
        for inner in (each for each in choices if each is not NoneType):
            try:
                return _converted(value, inner, what)
            except ConfigError as error:
                reasons.append(str(error))
        expected = " or ".join(reason.partition("; expected ")[2] for reason in reasons)
        raise ConfigError(reasons[0] if len(reasons) == 1 else f"{what} is {value!r}; expected {expected}")
    if origin is Literal:
        if value not in choices:
            raise ConfigError(f"{what} is {value!r}; expected one of {', '.join(map(str, choices))}")
        return value
    if origin is tuple:
        several = choices[-1] is Ellipsis
        if not isinstance(value, list) or (not several and len(value) != len(choices)):
            raise ConfigError(f"{what} is {value!r}; expected a list" + ("" if several else f" of {len(choices)}"))
        kinds = [choices[0]] * len(value) if several else choices
        return tuple(_converted(each, of, what) for each, of in zip(value, kinds, strict=True))
    if kind not in _KINDS:
        raise ConfigError(f"{what} is {value!r}; expected it on the command line, since a file can't hold a {kind}")
    if kind is float and isinstance(value, str | int) and not isinstance(value, bool):
        try:  # YAML reads 1e-3, without a point, as text
            return float(value)
        except ValueError:
            pass
    accepted, expected = _KINDS[kind]
    if type(value) is not accepted:
        raise ConfigError(f"{what} is {value!r}; expected {expected}")
    return Path(str(value)).expanduser() if kind is Path else value


def _toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value.expanduser().absolute() if isinstance(value, Path) else value)
    text = text.encode("utf-8", "replace").decode()  # a name of bytes that aren't text can't be in TOML
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # None too, as the command line has it
