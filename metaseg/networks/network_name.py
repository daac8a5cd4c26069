"""The name of a network in a run's configuration: text that is hashed, which brings what makes the network along."""

import ast
import importlib
import inspect
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

from torch import nn

from metaseg.config import Architecture, ArchitectureConfig, ConfigError
from metaseg.networks.block_file import import_file
from metaseg.networks.block_name import NAMED, MissingBlockError
from metaseg.networks.block_source import Code, Source, source_of
from metaseg.networks.families import FAMILIES, FETCHES, REMOTE, Factory, FamilyFactory
from metaseg.networks.native import NATIVE
from metaseg.networks.weights import checksum, encode_weights, read_weights

OURS = "unet"
"""Name of metaseg's own U-Net, of which run ids say nothing."""

WRITTEN = re.compile(r"(?P<name>[^()]+)(\((?P<settings>.*)\))?", re.DOTALL)
"""A network as a user writes it."""


class NetworkName(str):
    """A network's name in a run's configuration. It carries the factory: whoever has the name can build the network.

    - `resdunet`: a network of metaseg (`metaseg.networks.native.NATIVE`).
    - `smp.Unet:resnet34{"decoder_channels": [64, 32, 16]}`: one of a family, with the settings given.
    - `make_network{}@1f2e3d4c5b6a`: a class or function from outside, with a hash of its source.
    """

    factory: Factory
    """Makes the network; of metaseg's own, the class."""
    settings: dict[str, Any]
    source: Source | None
    """None but for the user's own. Read by the driver, since workers may not have the file."""
    weights: Path | None = None
    """File of weights that training starts from. The driver copies them to the store, for workers to read."""

    @property
    def written(self) -> str:
        """The network as a user writes it, without the hash of its source: for reports."""
        name = str(self).partition("{")[0].partition("@")[0]
        settings = ", ".join(f"{key}={value!r}" for key, value in self.settings.items())
        return f"{name}({settings})" if settings else name

    @property
    def sources(self) -> tuple[Source, ...]:
        """Sources of the code from outside metaseg that makes the network."""
        return () if self.source is None else (self.source,)

    @property
    def native(self) -> bool:
        """True for networks of metaseg other than its U-Net; blocks are built into them."""
        return self in NATIVE

    @property
    def is_ours(self) -> bool:
        """True for all networks of metaseg."""
        return self == OURS or self.native


def architecture(chosen: ArchitectureConfig) -> Architecture | None:
    """The network of a run, as its id has it; None for metaseg's own U-Net.

    Args:
        chosen: the network's name and settings.

    Raises:
        ConfigError: the network is unknown, its package isn't installed, it has no such setting, its weights can't be
            read, or settings are given that metaseg's own networks don't have.
    """
    name = name_network(chosen.network)
    plain = ArchitectureConfig(network=chosen.network)
    if name.is_ours and chosen != plain:
        wrong = next(
            each for each in ("weights", "condition_at", "start", "train", "batch_norm")
            if getattr(chosen, each) != getattr(plain, each)
        )  # fmt: skip
        raise ConfigError(
            f"{wrong} is {getattr(chosen, wrong)!r}, and network {chosen.network!r} is metaseg's own; expected it for "
            "networks from elsewhere"
        )
    if name == OURS:
        return None
    weights = None if chosen.weights is None else checksum(encode_weights(read_weights(chosen.weights)))
    name.weights = chosen.weights
    defaults = name.factory.digest if isinstance(name.factory, FamilyFactory) else ""
    places = tuple(sorted(set(chosen.condition_at)))
    return Architecture(name, weights, places, chosen.start, chosen.train, chosen.batch_norm, defaults)


def read_network_name(text: str, own: Sequence[Code] = ()) -> NetworkName:
    """The name of a network from a run's `config.json`. Nothing is imported but packages of `FAMILIES`.

    Raises:
        ConfigError: no such network, or no such setting.
        MissingBlockError: its code is from outside metaseg, and none in `own` has its hash.
    """
    stored = NAMED.fullmatch(text)
    if stored is None:
        raise ConfigError(f"network is {text!r}; expected a name")
    name = stored["name"]
    settings = {key: _tuples(value) for key, value in json.loads(stored["settings"] or "{}").items()}
    if stored["digest"]:
        return _assemble(name, _with_digest(name, stored["digest"], own), settings, True)
    if name in NATIVE:
        return _assemble(name, NATIVE[name], settings, False)
    family, _, rest = name.partition(".")
    if family not in FAMILIES:
        raise ConfigError(f"unknown network {name!r}; known: {', '.join((*NATIVE, *FAMILIES))}")
    part, _, variant = rest.partition(":")
    return _assemble(name, FAMILIES[family](part, variant), settings, False)


def name_network(text: str) -> NetworkName:
    """The name of a network given as a user writes it. A file or module of the user's own is imported.

    Raises:
        ConfigError: no such network, or no such setting.
    """
    if isinstance(text, NetworkName):
        return text
    written = WRITTEN.fullmatch(text.strip())
    if written is None:
        raise ConfigError(f"network is {text!r}; expected NAME or NAME(SETTING=VALUE, ...)")
    return _find(written["name"].strip(), _read_settings(text, written["settings"] or ""))


def _find(name: str, settings: dict[str, Any]) -> NetworkName:
    if name == OURS or name in NATIVE:
        if settings:
            raise ConfigError(f"network {name!r} has settings {settings}; expected options such as --width for it")
        return _assemble(name, NATIVE[name], {}, False) if name in NATIVE else _assemble(name, nn.Identity, {}, False)
    family, dot, rest = name.partition(".")
    if dot and family in FAMILIES and not name.endswith(".py") and ".py:" not in name:
        part, _, variant = rest.partition(":")
        return _assemble(name, FAMILIES[family](part, variant), settings, False)
    place, colon, attribute = name.rpartition(":")
    if not colon:
        known = [OURS, *NATIVE, *(f"{family}.NAME" for family in FAMILIES)]
        raise ConfigError(
            f"unknown network {name!r}; known: {', '.join(known)}, or your own as FILE.py:NAME or module:NAME"
        )
    made = _own(place, attribute)
    return _assemble(made.__qualname__, made, settings, True)


def _own(place: str, attribute: str) -> Code:
    """A class or function of the user's, from a file or an importable module."""
    if place.endswith(".py"):
        module = import_file(place, f"network {place}:{attribute}")
    else:
        try:
            module = importlib.import_module(place)
        except ImportError as error:
            raise ConfigError(f"network is '{place}:{attribute}', and {place} can't be imported: {error}") from error
    found = getattr(module, attribute, None)
    if not isinstance(found, type | FunctionType):
        own = [
            name for name, value in vars(module).items()
            if isinstance(value, type | FunctionType) and value.__module__ == module.__name__
        ]  # fmt: skip
        raise ConfigError(
            f"network is '{place}:{attribute}', and there is no class or function {attribute!r}; it has: "
            f"{', '.join(own) or 'none'}"
        )
    return found


def _assemble(name: str, factory: Callable[..., Any], settings: dict[str, Any], own: bool) -> NetworkName:
    if fetching := [each for each in FETCHES if settings.get(each)]:
        raise ConfigError(
            f"network {name!r} has {fetching[0]}={settings[fetching[0]]!r}, which downloads weights; expected them in "
            "a file, given by --weights"
        )
    if remote := [
        value for value in settings.values() if isinstance(value, str) and any(each in value for each in REMOTE)
    ]:
        raise ConfigError(f"network {name!r} has {remote[0]!r}, which is fetched; expected what its package has")
    source = None
    if own:
        assert isinstance(factory, type | FunctionType)
        _check_call(name, factory, settings)
        source = source_of(factory, "network")
    try:
        text = name + (json.dumps(settings, sort_keys=True, allow_nan=False) if settings else "")
    except (TypeError, ValueError) as error:
        raise ConfigError(f"network {name!r} has settings {settings}; expected numbers and text: {error}") from None
    named = NetworkName(text if source is None else f"{text}@{source.digest}")
    named.factory, named.settings, named.source = factory, settings, source
    return named


def _check_call(name: str, factory: Code, settings: dict[str, Any]) -> None:
    signature = inspect.signature(factory)
    try:
        signature.bind(in_channels=1, out_channels=1, **settings)
    except TypeError as error:
        given = ", ".join(("in_channels", "out_channels", *settings))
        raise ConfigError(f"network {name!r} is called with {given}, and takes {signature}: {error}") from None


def _read_settings(network: str, text: str) -> dict[str, Any]:
    """Settings from `name=value, ...`; values as Python writes numbers, text, lists and tuples of them."""
    try:
        call = ast.parse(f"call({text})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(each.arg is None for each in call.keywords):
            raise ValueError
        return {str(each.arg): _tuples(ast.literal_eval(each.value)) for each in call.keywords}
    except (SyntaxError, ValueError):
        raise ConfigError(
            f"network is {network!r}; expected settings as NAME(SETTING=VALUE, ...), with numbers, text or tuples of "
            "them"
        ) from None


def _tuples(value: Any) -> Any:
    """Lists as tuples: settings read back from JSON are those that were given."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _with_digest(name: str, digest: str, candidates: Sequence[Code]) -> Code:
    for made in candidates:
        if source_of(made, "network").digest == digest:
            return made
    for made in candidates:
        if made.__qualname__ == name:
            source = source_of(made, "network")
            raise MissingBlockError(
                f"network {name!r} of {source.file} has changed (source {source.digest}); expected the source {digest} "
                "that the run was trained with"
            )
    raise MissingBlockError(
        f"network {name!r} (source {digest}) isn't metaseg's; expected its class or function to be given"
    )
