"""The part of a dataset that an arm sees, and whether the dataset is fit for the arm."""

from collections.abc import Mapping, Sequence

from metaseg.config import SPLITS, ConfigError, Subset
from metaseg.data.dataset import Dataset
from metaseg.study.arms import Arm


def parts_of(arm: Arm, dataset: Dataset) -> list[tuple[str, Subset | None]]:
    """The networks that an arm is: a name and what it sees of the data for each."""
    if not arm.stratified:
        return [("", arm.subset)]
    column = _first_categorical(arm, dataset)
    values = sorted(dataset.values[column].iloc[dataset.indices("train")].unique())
    parts = [(value, Subset(column, value)) for value in values]
    # A value without validation or test samples has no network; preparing the dataset has warned of it.
    return [(value, part) for value, part in parts if all(len(dataset.indices(split, part)) for split in SPLITS)]


def training_lengths(
    dataset: Dataset, parts: Mapping[tuple[str | None, str], Sequence[tuple[str, Subset | None]]]
) -> dict[tuple[str | None, Subset | None], float]:
    """Factor by which a run passes more often over its training samples than the run on the most of its fold, so that
    both see about as many crops; by fold and subset.

    Args:
        dataset: of the study, whole.
        parts: what `parts_of` gives, by fold and arm.
    """
    sizes = {
        (fold, subset): len(dataset.of_fold(fold).indices("train", subset))
        for (fold, _), networks in parts.items()
        for _, subset in networks
    }
    most = {fold: max(size for (of, _), size in sizes.items() if of == fold) for fold, _ in sizes}
    return {(fold, subset): most[fold] / size for (fold, subset), size in sizes.items()}


def _first_categorical(arm: Arm, dataset: Dataset) -> str:
    names = [column.name for column in dataset.metadata if column.kind == "categorical"]
    if not names:
        raise ConfigError(f"arm {arm.name!r} needs a categorical metadata column; dataset {dataset.name!r} has none")
    return names[0]


def check_arm(arm: Arm, dataset: Dataset) -> None:
    """Raise a `ConfigError` where the dataset isn't fit for the arm: the view of each fold is checked by itself."""
    try:
        _check_arm(arm, dataset)
    except ConfigError as error:
        raise error if dataset.fold is None else ConfigError(f"fold {dataset.fold!r}: {error}") from None


def _check_arm(arm: Arm, dataset: Dataset) -> None:
    block = arm.block_name.block
    if (block.needs_metadata or block.sized_by_metadata) and not dataset.metadata:
        raise ConfigError(f"arm {arm.name!r} needs metadata, but dataset {dataset.name!r} has no metadata column")
    if arm.metadata_mode == "heads" and [column.kind for column in dataset.metadata] != ["categorical"]:
        found = ", ".join(f"{column.name} ({column.kind})" for column in dataset.metadata) or "none"
        raise ConfigError(f"arm {arm.name!r} has a head for each value of one categorical column; metadata is {found}")
    if arm.metadata_mode == "heads":
        column = dataset.metadata[0].name
        known = set(dataset.values[column].iloc[dataset.indices("train")])
        unseen = sorted(set(dataset.values[column].iloc[dataset.indices("test")]) - known)
        if unseen:
            raise ConfigError(
                f"arm {arm.name!r} has a head for each value of {column!r} in training, and none for {unseen[0]!r}, "
                "which is tested"
            )
    if arm.stratified and not parts_of(arm, dataset):
        column = _first_categorical(arm, dataset)
        raise ConfigError(f"arm {arm.name!r}: no value of {column!r} has samples for training, validation and test")
    if arm.subset is None:
        return
    column, value = arm.subset.column, arm.subset.value
    if column not in dataset.values:
        columns = ", ".join(dataset.values.columns)
        raise ConfigError(f"arm {arm.name!r} sees a part by column {column!r}; the dataset has {columns}")
    for split in arm.subset.splits:
        if not len(dataset.indices(split, arm.subset)):
            found = ", ".join(sorted(dataset.values[column].iloc[dataset.indices(split)].astype(str).unique()))
            raise ConfigError(
                f"arm {arm.name!r} sees samples whose {column!r} is {value!r}, of which split {split!r} has none: "
                f"it has {found}"
            )
