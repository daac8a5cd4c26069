"""Summary of a study before it trains: its data and runs, as they are printed, and the table of its samples."""

from typing import TYPE_CHECKING

from rich.text import Text

from metaseg.config import SPLITS

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from metaseg.data.dataset import Dataset
    from metaseg.data.metadata import MetadataColumn
    from metaseg.store.runs import Store
    from metaseg.study.plan import Study

MOST_SIZES = 10
"""Most folds whose sizes are printed one by one."""


def print_plan(study: "Study", store: "Store", console: "Console") -> None:
    """Print what a study is trained on, and how many of its runs are done."""
    print_data(study.name, study.dataset, console)
    done = len(study.runs) - len(study.missing(store))
    if study.sequential:
        looks = ", ".join(map(str, study.sequential["looks"]))
        about = f"Until decided: looks at {looks} seeds; seeds are added only to comparisons that are still open."
        console.print(Text(about), soft_wrap=True)
    most = "At most " if study.sequential else ""
    console.print(Text(f"{most}{len(study.runs)} runs, {done} already done; store: {store.where}"), soft_wrap=True)


def print_data(name: str, dataset: "Dataset", console: "Console") -> None:
    """Print which data a study or sweep called `name` uses."""
    if dataset.about:
        console.print(Text(f"Data: {dataset.about}", "bold"), soft_wrap=True)
    count = len(dataset.tested) if dataset.folds else int(dataset.table["split"].isin(SPLITS).sum())
    sizes, total = _sizes(dataset), round(count / dataset.share)
    metadata = ", ".join(f"{column.name} ({column.kind}{_unknown(dataset, column)})" for column in dataset.metadata)
    samples = f"{'about ' if dataset.share < 1 else ''}{total} samples ({sizes})"
    title = Text(f"{name} on {dataset.name}: {samples}; metadata: {metadata}", "bold")
    console.print(title, soft_wrap=not console.is_terminal)  # a job's log says it is 80 columns wide


def _unknown(dataset: "Dataset", column: "MetadataColumn") -> str:
    """Number of samples without a value of a column, in words; empty where all have one."""
    from metaseg.data.metadata import is_known

    count = 0 if column.missing == "error" else int((~is_known(dataset.values[column.name])).sum())
    return f", {round(count / dataset.share)} unknown" if count else ""


def _sizes(dataset: "Dataset") -> str:
    """Number of samples in each split, or fold."""
    if dataset.folds is None:
        return ", ".join(f"{round(len(dataset.indices(split)) / dataset.share)} {split}" for split in SPLITS)
    counts = {view.fold: round(len(view.indices("test")) / dataset.share) for view in dataset.views}
    told = ", ".join(
        str(count) if dataset.folds.kind == "drawn" else f"{name} {count}" for name, count in counts.items()
    )
    about = f"at most {max(counts.values())} samples each" if len(counts) > MOST_SIZES else told
    return f"{len(counts)} folds: every sample is tested once; {about}"


def distribution(dataset: "Dataset") -> "pd.DataFrame":
    """Number of samples in each split, or fold, in all and by subgroup (paper, Table S1): a row a split or fold."""
    import pandas as pd

    part = "fold" if dataset.folds else "split"
    table = dataset.table.iloc[dataset.tested] if dataset.folds else dataset.table
    parts = [dataset.fold_of(row) for row in dataset.tested] if dataset.folds else table["split"]
    counts = pd.crosstab(pd.Series(list(parts), name=part), table["subgroup"].reset_index(drop=True))
    counts = counts.reindex(dataset.folds.names if dataset.folds else SPLITS)
    if list(counts) != ["all"]:
        counts.insert(0, "all", counts.sum(axis=1))
    return counts.rename_axis(index=part, columns=None).reset_index()
