"""`metaseg status`: the state of a store's studies."""

from metaseg.commands.arguments import StoreArgument
from metaseg.terminal import Terminal


def status(store: StoreArgument) -> None:
    """Show the state of a store's studies: runs that are done, running, waiting or failed. Works without Ray.

    Args:
        store: Folder or bucket (s3://..., gs://...) of the runs.
    """
    from metaseg.cli.status import print_status
    from metaseg.store.runs import Store

    print_status(Store.at(store), Terminal())
