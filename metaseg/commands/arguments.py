"""Arguments that several commands take."""

from typing import Annotated

import tyro

StoreArgument = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="STORE")]
