"""The name of a block in a run's configuration: text that is hashed, which brings the class and its settings along."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from metaseg.config import ConfigError
from metaseg.networks.block_source import Code, Source, is_ours, source_of

if TYPE_CHECKING:
    from metaseg.networks.blocks import ChannelModulation

NAMED = re.compile(r"(?P<name>[^{@]+)(?P<settings>\{.*\})?(@(?P<digest>[0-9a-f]{12}))?", re.DOTALL)


class MissingBlockError(ConfigError):
    """A run's block is from outside metaseg, and its class wasn't given."""


class BlockName(str):
    """A block's name in a run's configuration. It carries the class: whoever has the name can build the block.

    - `sme`: a block of `metaseg.networks.blocks.BLOCKS`.
    - `se-matched{"block": "film"}`: a block with settings of its own, all of them.
    - `Mine@1f2e3d4c5b6a`: a class from outside metaseg, with a hash of its source: an edited block makes other runs.
    """

    block: "type[ChannelModulation]"
    settings: Any
    """An instance of `block.settings`, or None where the block has none."""
    source: Source | None
    """None for metaseg's own. Read by the driver, since workers may not have the file."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """Sources of the classes from outside metaseg that the block consists of."""
        own = () if self.source is None else (self.source,)
        values = (getattr(self.settings, field.name) for field in fields(self.settings)) if self.settings else ()
        return (*own, *own_sources(values))


def name_block(
    block: "str | type[ChannelModulation]",
    settings: Any,
    known: "Mapping[str, type[ChannelModulation]]",
    own: Sequence[Code] = (),
) -> BlockName:
    """The name of a block given as a class, as a key of `known`, or as the text of a `BlockName`.

    Args:
        block: what is named.
        settings: an instance of the block's `settings`; None for its defaults.
        known: metaseg's blocks by name.
        own: code from outside that texts with a hash may mean, besides the classes of `known`.

    Raises:
        ConfigError: an unknown name, settings of another class or with values that JSON doesn't know.
        MissingBlockError: a text with a hash that no class in `own` has.
    """
    if isinstance(block, BlockName):
        return block
    if isinstance(block, type):
        ours = {found: name for name, found in known.items()}
        return _assemble(ours.get(block, block.__qualname__), block, settings)
    parts = NAMED.fullmatch(block)
    name, digest = (parts["name"], parts["digest"]) if parts else (block, None)
    if digest is not None:
        found = _with_digest(name, digest, (*own, *(each for each in known.values() if not is_ours(each))))
    elif name in known:
        found = known[name]
    else:
        raise ConfigError(f"unknown block {block!r}; known: {', '.join(known)}")
    if parts and parts["settings"]:
        settings = _read_settings(found, parts["settings"], known, own)
    elif settings is None and found.implied_settings is not None:
        settings = found.implied_settings
    return _assemble(name, found, settings)


def _assemble(name: str, block: "type[ChannelModulation]", settings: Any) -> BlockName:
    if settings is None and block.settings is not None:
        settings = block.settings()
    if settings is not None and (block.settings is None or type(settings) is not block.settings):
        expected = "none: the block has no settings" if block.settings is None else f"a {block.settings.__qualname__}"
        raise ConfigError(f"settings of block {name!r} are {settings!r}; expected {expected}")
    text = _written(name, settings)
    implied = settings is not None and block.implied_settings is not None
    if settings is None or (implied and text == _written(name, block.implied_settings)):
        text = name
    source = None if is_ours(block) else source_of(block)
    named = BlockName(text if source is None else f"{text}@{source.digest}")
    named.block, named.settings, named.source = block, settings, source
    return named


def _written(name: str, settings: Any) -> str:
    if not is_dataclass(settings):
        return name
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    try:
        return name + json.dumps(values, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"settings of block {name!r} are {values}; expected numbers and text: {error}") from None


def _with_digest(name: str, digest: str, candidates: Sequence[Code]) -> "type[ChannelModulation]":
    for block in candidates:
        if source_of(block).digest == digest:
            return cast("type[ChannelModulation]", block)
    others = [block for block in candidates if block.__qualname__ == name]
    if others:
        source = source_of(others[0])
        raise MissingBlockError(
            f"block {name!r} of {source.file} has changed (source {source.digest}); expected the source {digest} that "
            "the run was trained with"
        )
    raise MissingBlockError(f"block {name!r} (source {digest}) isn't metaseg's; expected its class to be given")


def _read_settings(
    block: "type[ChannelModulation]",
    text: str,
    known: "Mapping[str, type[ChannelModulation]]",
    own: Sequence[Code],
) -> Any:
    """Settings from a name's JSON; a block in them, which has a hash, becomes a `BlockName`."""
    if block.settings is None:
        raise ConfigError(f"block {block.__qualname__!r} has no settings; its name says {text}")

    def value(read: Any) -> Any:
        if isinstance(read, list):
            return tuple(map(value, read))
        parts = NAMED.fullmatch(read) if isinstance(read, str) else None
        return name_block(read, None, known, own) if parts and parts["digest"] else read

    try:
        return block.settings(**{name: value(read) for name, read in json.loads(text).items()})
    except (TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ConfigError(f"settings of block {block.__qualname__!r} are {text}: {error}") from None


@runtime_checkable
class Named(Protocol):
    """A name that carries code: of a block or of a network."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """Sources of the code from outside metaseg that it carries."""


def own_sources(names: Iterable[object]) -> tuple[Source, ...]:
    """Sources of the code from outside metaseg that names of blocks and networks stand for, each once."""
    found = (source for name in names if isinstance(name, Named) for source in name.sources)
    return tuple(dict.fromkeys(found))
