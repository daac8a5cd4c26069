"""Arguments that several commands take."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.text import Text

from metaseg.config import ConfigError
from metaseg.terminal import Terminal

if TYPE_CHECKING:
    from metaseg.store.storage import Storage

StoreArgument = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="STORE")]


def warn(text: str) -> None:
    """Print a warning to the terminal's error output."""
    Terminal(stderr=True).print(Text.assemble(("warning: ", "bold yellow"), text), soft_wrap=True)


def open_results(out: str) -> "Storage":
    """Open the folder or bucket that `--out` names; raises `ConfigError` if nothing can be written there."""
    from metaseg.store.storage import open_storage

    try:
        storage = open_storage(out)
        storage.require_writable()
    except ConfigError as error:
        raise ConfigError(str(error).replace("storage is", "out is", 1)) from error
    return storage


def parse_metadata(pairs: Sequence[str]) -> dict[str, str]:
    """Parse COLUMN=VALUE of each; raises `ConfigError` for anything else, or a column that is there twice."""
    from metaseg.text import clean_text  # imports pandas, which help doesn't wait for

    told: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = clean_text(name)
        if not equals or not name:
            raise ConfigError(f"metadata is {pair!r}; expected COLUMN=VALUE")
        if name in told:
            raise ConfigError(f"metadata has {name!r} twice; expected each column once")
        told[name] = value
    return told
