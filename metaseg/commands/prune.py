"""`metaseg prune`: runs that no study names, and leftovers of killed runs."""

from metaseg.commands.arguments import StoreArgument
from metaseg.config import ConfigError
from metaseg.terminal import Terminal, visible


def prune(store: StoreArgument, delete: bool = False, older_than: float = 1.0) -> None:
    """Show which runs and trials no study and no sweep of the store names, and leftovers of killed runs.

    With --delete, they are removed, and can only be had again by training. Runs that a driver has claimed are kept, and
    so is everything if a record can't be read. Don't start a study on the store meanwhile.

    Args:
        store: Folder or bucket (s3://..., gs://...) of the runs.
        delete: Remove them; without it, nothing is changed.
        older_than: Age in hours from which something may be removed.
    """
    from metaseg.keeping import pruning
    from metaseg.store.runs import Store

    if not 0 <= older_than < float("inf"):
        raise ConfigError(f"older_than is {older_than}; expected hours, 0 or more")
    opened, console = Store.at(store), Terminal()
    plan = pruning.plan_pruning(opened, older_than)
    for found in plan.removable:
        console.print(visible(f"{found.kind:<8}  {found.folder:<34}  {megabytes(found.size):>10}"), soft_wrap=True)
    for folder, why in plan.kept.items():
        console.print(visible(f"kept ({why})  {folder}"), soft_wrap=True)
    total = sum(found.size for found in plan.removable)
    counted = ", ".join(
        f"{count} {kind}{'' if count == 1 else 's'}"
        for kind in ("run", "trial", "leftover")
        if (count := sum(found.kind == kind for found in plan.removable))
    )
    if not plan.removable:
        console.print("Nothing to remove.")
    elif not delete:
        console.print(f"{counted}: {megabytes(total)} could be removed. Nothing was; --delete removes them.")
    else:
        gone = list(pruning.prune(opened, plan, older_than))
        size = megabytes(sum(found.size for found in gone))
        console.print(f"Removed {len(gone)} of {len(plan.removable)} ({counted}): {size}.")


def megabytes(size: int) -> str:
    """A size in bytes, for people."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
