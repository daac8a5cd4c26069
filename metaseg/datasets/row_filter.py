"""Conditions that choose rows of a user's table: `source=STARE`, `duplicate_of=`, `dice>=0.6`."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from metaseg.config import ConfigError
from metaseg.data.manifest import Manifest, ManifestError
from metaseg.text import clean_text


def keep_rows(manifest: Manifest, conditions: Sequence[str]) -> Manifest:
    """Keep the rows of a manifest that meet all conditions.

    Args:
        manifest: its table's columns, metadata or not, are what conditions name.
        conditions: each `COLUMN=VALUE`, equal as text; `COLUMN=`, without a value; or `COLUMN>=NUMBER` or
            `COLUMN<=NUMBER`, which rows without a number don't meet.

    Raises:
        ConfigError: a condition is none of these.
        ManifestError: it names an unknown column, or no row meets all of them.
    """
    kept = np.ones(len(manifest.table), np.bool_)
    for condition in conditions:
        kept &= _meets(manifest, condition)
    if not kept.any():
        raise ManifestError(f"{manifest.source}: no row meets {', '.join(conditions)}; expected some")
    lines = tuple(line for line, wanted in zip(manifest.lines, kept, strict=True) if wanted) if manifest.lines else ()
    return replace(manifest, table=manifest.table[kept].reset_index(drop=True), lines=lines)


def _meets(manifest: Manifest, condition: str) -> npt.NDArray[np.bool_]:
    found = re.fullmatch(r"([^=<>]+)(=|>=|<=)(.*)", condition)
    if not found:
        raise ConfigError(f"only is {condition!r}; expected COLUMN=VALUE, COLUMN>=NUMBER or COLUMN<=NUMBER")
    name, sign, value = clean_text(found[1]), found[2], clean_text(found[3])
    if name not in manifest.table:
        columns = ", ".join(map(str, manifest.table.columns))
        raise ManifestError(f"{manifest.source}: has no column {name!r}; it has {columns}")
    values = manifest.table[name]
    if sign == "=":
        return (values.astype(str).where(values.notna(), "") == value).to_numpy(np.bool_)
    try:
        limit = float(value)
    except ValueError:
        raise ConfigError(f"only is {condition!r}; expected a number behind {sign}") from None
    numbers = pd.to_numeric(values, errors="coerce")
    return (numbers >= limit if sign == ">=" else numbers <= limit).to_numpy(np.bool_)
