"""Settings that can be searched: their types, their valid values, and ranges given on a command line."""

import difflib
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from metaseg.config import ConfigError, NetworkConfig, ScheduleConfig
from metaseg.sweeps.dimensions import Choice, Dimension, Float, Integer, Stored, Value

NETWORK_SETTINGS: dict[str, Any] = get_type_hints(NetworkConfig)
SCHEDULE_SETTINGS: dict[str, Any] = get_type_hints(ScheduleConfig)
"""Types of the settings by name."""

_SETTINGS = {**NETWORK_SETTINGS, **SCHEDULE_SETTINGS}


def setting_type(name: str) -> Any:
    """The type of a setting; raises `ConfigError` with the closest known name if there is none of this name."""
    if name not in _SETTINGS:
        close = difflib.get_close_matches(name, _SETTINGS, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigError(f"dimension {name!r} is no setting{hint}; known: {', '.join(_SETTINGS)}")
    return _SETTINGS[name]


def check_dimension(dimension: Dimension) -> None:
    """Raise a `ConfigError` if a dimension isn't a setting, or has values that the setting can't have."""
    kind = setting_type(dimension.name)
    if isinstance(dimension, Float) and kind is not float:
        raise ConfigError(f"dimension {dimension.name!r} is a range of any numbers; expected {_expected(kind)}")
    if isinstance(dimension, Integer) and kind is not int:
        raise ConfigError(f"dimension {dimension.name!r} is a range of whole numbers; expected {_expected(kind)}")
    for value in dimension.ends:
        check_value(dimension.name, value, f"dimension {dimension.name!r}")


def check_value(name: str, value: Value, whose: str) -> None:
    """Raise a `ConfigError` that begins with `whose` if a setting can't have a value."""
    kind = setting_type(name)
    if not _is(value, kind):
        raise ConfigError(f"{whose} has {value!r}; expected {_expected(kind)}")
    if name == "lr_max" and value <= 0:  # type: ignore[operator]
        raise ConfigError(f"{whose} has {value!r}; expected above 0")
    # The space checks how the two rates relate to each other.
    fitting = {"lr_min": {"lr_max": value}, "lr_max": {"lr_min": value}}.get(name, {})
    base: Any = NetworkConfig() if name in NETWORK_SETTINGS else ScheduleConfig()
    try:
        replace(base, **{name: value, **fitting})
    except ConfigError as error:
        raise ConfigError(f"{whose}: {error}") from None


def read_value(name: str, value: Stored) -> Any:
    """Convert a value that Optuna or a table stores to the setting's own type."""
    kind = setting_type(name)
    if kind in (int, float):
        return kind(value)
    if get_origin(kind) is tuple:
        return tuple(filter(None, str(value).split("+")))
    return str(value)


def parse_dimension(name: str, text: str, before: Dimension | None) -> Dimension:
    """Parse a dimension: `LOW..HIGH`, with `:log`, `:linear` or `:step=N` after it, or `VALUE,VALUE`.

    Args:
        name: name of the setting.
        text: the text after `NAME=` on the command line.
        before: the dimension that it replaces; its condition stays, and its scale if neither log nor linear is given.

    Raises:
        ConfigError: the text can't be read.
    """
    kind, when = setting_type(name), before.when if before else None
    values, *options = text.split(":")
    low, dots, high = values.partition("..")
    if not dots:
        if options:
            raise ConfigError(f"dimension {name!r} is {text!r}; expected {':'.join(options)} after a range only")
        return Choice(name, tuple(_parse(name, item, kind) for item in values.split(",")), when)
    if kind not in (int, float):
        raise ConfigError(f"dimension {name!r} is the range {text!r}; expected {_expected(kind)}")
    log, step = isinstance(before, Float | Integer) and before.log, None
    for option in options:
        key, _, number = option.partition("=")
        if option in ("log", "linear"):
            log = option == "log"
        elif key == "step" and kind is int:
            step = _parse(name, number, int)
        else:
            expected = "log, linear or step=N" if kind is int else "log or linear"
            raise ConfigError(f"dimension {name!r} is {text!r}; expected {expected} after the colon")
    if kind is float:
        return Float(name, _parse(name, low, float), _parse(name, high, float), log, when)
    log = log and (step is None or "log" in options)
    return Integer(name, _parse(name, low, int), _parse(name, high, int), log, step or 1, when)


def _parse(name: str, text: str, kind: Any) -> Any:
    """Parse a value of a type; several strings are joined by +."""
    if kind not in (int, float):
        return read_value(name, text)
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(f"dimension {name!r} has {text!r}; expected {_expected(kind)}") from None


def _is(value: Value, kind: Any) -> bool:
    if kind is float:
        return type(value) in (int, float)
    if kind is int:
        return type(value) is int
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_is(item, get_args(kind)[0]) for item in value)
    return value in get_args(kind)


def _expected(kind: Any) -> str:
    if kind in (int, float):
        return "whole numbers" if kind is int else "numbers"
    if get_origin(kind) is tuple:
        return f"some of {', '.join(get_args(get_args(kind)[0]))}, joined by +"
    assert get_origin(kind) is Literal
    return f"some of {', '.join(get_args(kind))}"
