"""nnU-Net's raw format, versions 1 and 2, for images in PNG or TIFF, read into a manifest.

Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation", Nature
Methods 18 (2021).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from metaseg.config import ConfigError
from metaseg.data.manifest import Manifest, ManifestError
from metaseg.data.split import assign_splits
from metaseg.datasets.nnunet_description import Description, describe
from metaseg.datasets.source import Source
from metaseg.datasets.table import read_frame, to_manifest

_VAL_FRACTION = 0.2
"""Share of the training cases for validation, if the layout separates only test cases."""


@dataclass(frozen=True)
class NnunetConfig:
    """Choices for reading a case."""

    channel: int | None = None
    """Channel to read if each has a file of its own: 0 is NAME_0000. By default a case has one file, which is grey or
    RGB."""


def read_nnunet(source: Source, config: NnunetConfig = NnunetConfig()) -> Manifest:
    """Read `imagesTr/NAME_0000.EXT` with `labelsTr/NAME.EXT`, and `imagesTs` with `labelsTs` where there are labels.

    A file `metadata.csv` beside `dataset.json`, with a row for each NAME in its column `case`, may hold metadata,
    `group` and `split`. The labels of dataset.json name the classes.

    Args:
        source: the folder that holds `dataset.json`. Its metadata are columns of metadata.csv; if it names none, those
            that `export_nnunet` noted in dataset.json.
        config: choice of a channel.

    Returns:
        One row per labelled case. Splits are those of metadata.csv. If it has none, cases of imagesTs are for test, and
        a fifth of the others, by whole groups, is for validation; without labelled test cases, there is no split.

    Raises:
        ManifestError: dataset.json can't be read, or has what isn't supported (labels other than 0, 1, 2 ..., regions,
            an ignore label, volumes); or, listed together, files or rows of metadata.csv are missing.
        ConfigError: `config.channel` doesn't exist.
    """
    root = source.path
    description = describe(root)
    tested = (root / "labelsTs").is_dir()
    table = _cases(root, description, ("Tr", "Ts") if tested else ("Tr",), config)
    in_test = table["image"].str.startswith("imagesTs/")
    columns = source.metadata or tuple(f"{column.name}:{column.kind}" for column in description.metadata)
    if (root / "metadata.csv").is_file():
        table = _joined(table, root / "metadata.csv", columns, source.group_by)
    elif columns or source.group_by:
        wanted = ", ".join([*columns, *([source.group_by] if source.group_by else [])])
        raise ManifestError(f"{root} has no metadata.csv; expected it, with columns case, {wanted}")
    manifest = to_manifest(
        table,
        root,
        source.metadata,
        source.group_by,
        str(root),
        about=description.about,
        classes=description.classes,
    )
    if not source.metadata:
        manifest = replace(manifest, metadata=description.metadata)
    if not tested:
        return manifest
    if "split" in manifest.table:
        ManifestError.check(str(root / "metadata.csv"), _split_problems(manifest.table, in_test))
        return manifest
    return replace(manifest, table=manifest.table.assign(split=_splits(manifest, in_test)))


def _cases(root: Path, description: Description, parts: Sequence[str], config: NnunetConfig) -> pd.DataFrame:
    """Find the labelled cases: `case`, `image` and `mask`."""
    ending = description.ending
    folders = [f"{kind}{part}" for part in parts for kind in ("images", "labels")]
    missing = [f"has no folder {name}; expected files in it" for name in folders if not (root / name).is_dir()]
    ManifestError.check(str(root), missing)
    problems: list[str] = []
    images = {part: _channel_files(root / f"images{part}", ending, problems) for part in parts}
    numbers = _numbers(description.channels, [found for cases in images.values() for found in cases.values()])
    if config.channel is not None and config.channel not in numbers:
        raise ConfigError(f"channel is {config.channel}; expected one of {', '.join(map(str, numbers))}, as in {root}")
    rows = []
    for part, cases in images.items():
        labels = {path.name.removesuffix(ending) for path in (root / f"labels{part}").glob(f"[!.]*{ending}")}
        problems += [
            f"images{part}: case {case} has channels {', '.join(map(str, found))}; expected "
            f"{', '.join(map(str, numbers))}"
            for case, found in cases.items()
            if found != numbers
        ]
        problems += [
            f"images{part}: case {case} has no label; expected labels{part}/{case}{ending}"
            for case in sorted(cases.keys() - labels)
        ]
        problems += [
            f"labels{part}/{case}{ending} has no image; expected images{part}/{case}_0000{ending}"
            for case in sorted(labels - cases.keys())
        ]
        for case in cases:
            image = f"images{part}/{case}_{config.channel or 0:04d}{ending}"
            rows.append({"case": case, "image": image, "mask": f"labels{part}/{case}{ending}"})
    for case in sorted(images["Tr"].keys() & images.get("Ts", {}).keys()):
        problems.append(f"case {case} is in imagesTr and in imagesTs; expected it in one")
    if description.cases not in (None, len(images["Tr"])):
        problems.append(f"dataset.json has numTraining {description.cases}; expected {len(images['Tr'])}, as imagesTr")
    ManifestError.check(str(root), problems)
    if not images["Tr"]:
        raise ManifestError(f"{root / 'imagesTr'} holds no image; expected NAME_0000{ending}")
    if len(numbers) > 1 and config.channel is None:
        raise ManifestError(
            f"{root}: each case has {len(numbers)} files, one per channel; expected one grey channel or an RGB file, "
            "or a choice (channel=0)"
        )
    return pd.DataFrame(rows)


def _channel_files(folder: Path, ending: str, problems: list[str]) -> dict[str, list[int]]:
    """List the channels for which each case has a file, sorted."""
    cases: dict[str, list[int]] = {}
    for path in sorted(folder.glob(f"[!.]*{ending}")):
        if match := re.fullmatch(r"(.+)_(\d{4})", path.name.removesuffix(ending)):
            cases.setdefault(match[1], []).append(int(match[2]))
        else:
            problems.append(f"{folder.name}/{path.name} has no channel; expected a name such as NAME_0000{ending}")
    return cases


def _numbers(channels: int, found: Sequence[Sequence[int]]) -> list[int]:
    """Determine the channels that each case must have as files: all, or only 0 if the three are in one RGB file."""
    return [0] if channels == 3 and all(numbers == [0] for numbers in found) else list(range(channels))


def _joined(table: pd.DataFrame, path: Path, columns: Sequence[str], group_by: str | None) -> pd.DataFrame:
    """Join the columns of metadata.csv to the cases."""
    rows = read_frame(path, [*columns, "case:categorical"], group_by)
    if "case" not in rows:
        raise ManifestError(f"{path}: has no column 'case'; it has {', '.join(map(str, rows.columns))}")
    missing = sorted(set(table["case"]) - set(rows["case"]))
    twice = sorted(set(rows["case"][rows["case"].duplicated()].dropna()))
    problems = [f"has no row for case {case!r}; expected one for each that has a label" for case in missing]
    problems += [f"has case {case!r} in several rows; expected one" for case in twice]
    ManifestError.check(str(path), problems)
    rows = rows.drop(columns=["image", "mask"], errors="ignore")
    return table.merge(rows, on="case", how="left", validate="one_to_one")


def _split_problems(table: pd.DataFrame, in_test: pd.Series) -> list[str]:
    """List the cases for which metadata.csv and the folders disagree on whether they are for test."""
    return [
        f"case {case!r} has split {split!r}, but is in {'imagesTs' if test else 'imagesTr'}; expected test in "
        "imagesTs, and only there"
        for case, split, test in zip(table["case"], table["split"], in_test, strict=True)
        if (split == "test") != test
    ]


def _splits(manifest: Manifest, in_test: pd.Series) -> list[str]:
    """Assign cases of imagesTs to test, and divide the others into training and validation by whole groups."""
    table = manifest.table
    others = table[~in_test]
    subgroup = others[manifest.subgroup_column] if manifest.subgroup_column else others["case"].map(lambda _: "all")
    group = others["group" if "group" in table else "case"]
    # The test share can't be 0: the few cases that it gets go to training.
    assigned = assign_splits(group, subgroup, _VAL_FRACTION, test_fraction=1e-6, seed=0)
    divided = pd.Series(assigned, index=others.index, dtype=str).replace("test", "train")
    return divided.reindex(table.index, fill_value="test").tolist()
