"""Names that meet ours: the user's columns in our tables, samples of one image, and words that reports need."""

from collections.abc import Iterator, Sequence

import pandas as pd

from metaseg.data.manifest import PAIR, ROW, Manifest
from metaseg.schema import ALL, MACRO, OVERALL

OWN = ("image", "mask", "split", "group", "subgroup", "height", "width", "mean", "std")
"""Columns of a prepared dataset's table that are ours."""

RESERVED_SUBGROUPS = frozenset({OVERALL, ALL})
"""What reports call all subgroups together."""

RESERVED_CLASSES = frozenset({MACRO})
"""What reports call all classes together."""


def stored_name(name: str) -> str:
    """What a prepared dataset's table calls a column of the user's: its name, marked where that is one of ours."""
    return name + PAIR if name in OWN else name


def users_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The user's columns of a prepared dataset's table, by the user's names."""
    ours = [name for name in OWN if name in table]
    return table.drop(columns=ours).rename(columns=lambda name: name.removesuffix(PAIR))


def sample_names(image: pd.Series, subgroup: pd.Series, per: pd.DataFrame) -> pd.Series:
    """What results call each of `N` samples, unique within a subgroup.

    Args:
        image: `(N,)` their images: what most are called by.
        subgroup: `(N,)` what results are broken down by.
        per: `(N, columns)` what tells rows of one image apart: added where several are of one subgroup.
    """
    repeated = pd.DataFrame({"image": image, "of": subgroup}).duplicated(keep=False)
    if per.empty or not repeated.any():
        return image
    told = per[sorted(map(str, per))].astype(str).agg(", ".join, axis=1)
    return image.where(~repeated, image + " (" + told + ")")


def reserved_problems(manifest: Manifest, classes: Sequence[str], table: pd.DataFrame) -> Iterator[str]:
    """Subgroups and classes of the kept samples whose names reports have for something else."""
    subgroups = set(table["subgroup"].astype(str))
    for name in sorted(subgroups & RESERVED_SUBGROUPS if subgroups != {ALL} else ()):
        row = table[ROW][table["subgroup"] == name].iloc[0]
        yield (
            f"{manifest.where(row)}: {manifest.subgroup_column!r} is {name!r}, which reports call all subgroups "
            "together; expected another name for that value"
        )
    for name in sorted(set(classes) & RESERVED_CLASSES):
        yield f"a class is called {name!r}, as reports call all classes together; expected another name (--classes)"
