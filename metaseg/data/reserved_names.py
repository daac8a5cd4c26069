"""Names that could clash: the user's columns with ours, samples of one image with each other, values with reports'."""

from collections.abc import Iterator, Sequence

import pandas as pd

from metaseg.data.manifest import PAIR, ROW, Manifest
from metaseg.schema import ALL, MACRO, OVERALL

OWN = ("image", "mask", "split", "group", "subgroup", "height", "width", "mean", "std")
"""Columns that preparing adds to a dataset's table."""

FOLD = PAIR + "fold"
"""Column of a dataset's table: the fold that tests each sample, where there are folds."""

RESERVED_SUBGROUPS = frozenset({OVERALL, ALL})
"""Names of all subgroups together in reports."""

RESERVED_CLASSES = frozenset({MACRO})
"""Name of all classes together in reports."""


def stored_name(name: str) -> str:
    """Name of a user's column in a prepared dataset's table: its own, marked if it is one of `OWN`."""
    return name + PAIR if name in OWN else name


def split_of(fold: str) -> str:
    """Column of a dataset's table: the split of each sample in a fold."""
    return f"split{PAIR}{fold}"


def fold_columns(table: pd.DataFrame) -> list[str]:
    """Columns of a prepared dataset's table that `split_of` names; no user's column is called `split`."""
    return [name for name in map(str, table) if name.startswith(split_of(""))]


def users_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Select the user's columns of a prepared dataset's table, under the user's names."""
    ours = [name for name in (*OWN, FOLD) if name in table] + fold_columns(table)
    return table.drop(columns=ours).rename(columns=lambda name: name.removesuffix(PAIR))


def sample_names(image: pd.Series, subgroup: pd.Series, per: pd.DataFrame) -> pd.Series:
    """Name `N` samples for results, uniquely within each subgroup.

    Args:
        image: `(N,)` their images, which are the names of most.
        subgroup: `(N,)` values that results are broken down by.
        per: `(N, columns)` values that distinguish the rows of one image; added where a subgroup has several of them.
    """
    repeated = pd.DataFrame({"image": image, "of": subgroup}).duplicated(keep=False)
    if per.empty or not repeated.any():
        return image
    told = per[sorted(map(str, per))].astype(str).agg(", ".join, axis=1)
    return image.where(~repeated, image + " (" + told + ")")


def reserved_problems(manifest: Manifest, classes: Sequence[str], table: pd.DataFrame) -> Iterator[str]:
    """Yield problems: subgroups and classes of the kept samples with names that reports use for something else."""
    subgroups = set(table["subgroup"].astype(str))
    for name in sorted(subgroups & RESERVED_SUBGROUPS if subgroups != {ALL} else ()):
        row = table[ROW][table["subgroup"] == name].iloc[0]
        yield (
            f"{manifest.where(row)}: {manifest.subgroup_column!r} is {name!r}, which is reserved for all subgroups "
            "together; expected another name for that value"
        )
    for name in sorted(set(classes) & RESERVED_CLASSES):
        yield f"a class is called {name!r}, which is reserved for all classes together; expected another (--classes)"
