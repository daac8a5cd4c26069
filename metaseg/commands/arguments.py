"""Arguments that several commands take."""

from collections.abc import Sequence
from typing import Annotated

import tyro
from rich.text import Text

from metaseg.config import ConfigError
from metaseg.terminal import Terminal

StoreArgument = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="STORE")]


def warn(text: str) -> None:
    """Print a warning to the terminal's error output."""
    Terminal(stderr=True).print(Text.assemble(("warning: ", "bold yellow"), text), soft_wrap=True)


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
