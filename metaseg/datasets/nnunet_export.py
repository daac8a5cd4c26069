"""Export of a prepared dataset to nnU-Net's raw format, version 2."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from metaseg.config import IGNORED, ConfigError
from metaseg.data.dataset import Dataset
from metaseg.datasets.derived import derive
from metaseg.datasets.nnunet_description import METADATA

VERSION = 1
"""Raised whenever other files are written of the same dataset."""


def export_nnunet(dataset: Dataset, folder: Path, dataset_id: int) -> Path:
    """Write a prepared dataset for nnU-Net version 2, to be read by `nnUNetv2_plan_and_preprocess` or `read_nnunet`.

    Images and masks are PNG files of the pixels that our networks see, before standardisation. Cases for training and
    validation are in imagesTr and labelsTr, those for test in imagesTs and labelsTs. `splits_final.json` has our
    training and validation cases as its only fold: nnU-Net reads it in its folder of preprocessed data. Ignored pixels
    have nnU-Net's label `ignore`, which `read_nnunet` refuses. `metadata.csv` has each case's split, group and
    metadata, which nnU-Net doesn't see.

    Args:
        dataset: the prepared dataset.
        folder: nnU-Net's folder of raw data.
        dataset_id: nnU-Net's number of the dataset, 1 to 999.

    Returns:
        `folder/DatasetID_NAME`, which appears complete or not at all, and is left as it is if it exists already.

    Raises:
        ConfigError: the dataset has folds, and isn't that of one; its images aren't grey or RGB of 8 bits; the number
            is out of range, or another dataset's; `folder/DatasetID_NAME` holds something else; a class or metadata
            column has a name that the format reserves.
    """
    if dataset.folds and dataset.fold is None:
        raise ConfigError(f"dataset {dataset.name!r} has folds; expected it as one of them sees it (of_fold)")
    if not 1 <= dataset_id <= 999:
        raise ConfigError(f"dataset_id is {dataset_id}; expected 1 to 999")
    if taken := sorted({"background", "ignore"} & set(dataset.classes)):
        raise ConfigError(f"a class is called {taken[0]!r}, which nnU-Net reserves; expected another name")
    if "case" in [column.name for column in dataset.metadata]:
        raise ConfigError("a metadata column is called 'case', which is the column of cases; expected another name")
    if dataset.channels not in (1, 3) or dataset.pixel_type != "uint8":
        raise ConfigError(
            f"dataset {dataset.name!r} has {dataset.channels} channels, {dataset.pixel_type}; expected grey or RGB of "
            "8 bits, which PNG files hold"
        )
    name = re.sub(r"[^A-Za-z0-9]+", "_", dataset.name).strip("_")[:80] or "metaseg"
    target = folder / f"Dataset{dataset_id:03d}_{name}"
    if others := sorted(path.name for path in folder.glob(f"Dataset{dataset_id:03d}_*") if path != target):
        raise ConfigError(f"dataset_id is {dataset_id}, which {others[0]} in {folder} has; expected an unused one")
    made = {"nnunet": VERSION, "dataset": dataset.fingerprint, "name": dataset.name, "about": dataset.about}
    if dataset.fold is not None:
        made["fold"] = dataset.fold
    return derive(target, made, lambda complete: _write(dataset, complete))


def _write(dataset: Dataset, folder: Path) -> None:
    for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        (folder / name).mkdir()
    table, ignored = dataset.table, 1 + len(dataset.classes)
    # The number makes names unique, even on file systems that ignore case, and keeps them off device names.
    stems = [re.sub(r"[^A-Za-z0-9]+", "-", Path(image).stem)[:80].strip("-") for image in table["image"]]
    cases = pd.Series([f"{number:05d}-{stem}" for number, stem in enumerate(stems)])
    for i, (case, split) in enumerate(zip(cases, table["split"], strict=True)):
        part = "Ts" if split == "test" else "Tr"
        pixels = np.ascontiguousarray(dataset.image(i))
        image = Image.fromarray(pixels[..., 0] if dataset.channels == 1 else pixels)
        image.save(folder / f"images{part}" / f"{case}_0000.png")
        mask = np.where(dataset.mask(i) == IGNORED, np.uint8(ignored), dataset.mask(i))
        Image.fromarray(mask).save(folder / f"labels{part}" / f"{case}.png")
    columns = table[["split", "group"]].join(dataset.values[[column.name for column in dataset.metadata]])
    columns.insert(0, "case", cases)
    columns.to_csv(folder / "metadata.csv", index=False)
    fold = {split: cases[dataset.indices(split)].tolist() for split in ("train", "val")}
    (folder / "splits_final.json").write_text(json.dumps([fold], indent=2) + "\n")
    names = ("grey",) if dataset.channels == 1 else ("R", "G", "B")
    ignore = ("ignore",) if dataset.has_ignored else ()
    content = {
        "channel_names": {str(number): name for number, name in enumerate(names)},
        "labels": {name: value for value, name in enumerate(("background", *dataset.classes, *ignore))},
        "numTraining": sum(map(len, fold.values())),
        "file_ending": ".png",
        "name": dataset.name,
        "description": dataset.about,
        METADATA: [asdict(column) for column in dataset.metadata],
    }
    (folder / "dataset.json").write_text(json.dumps(content, indent=2) + "\n")
