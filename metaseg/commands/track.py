"""`metaseg track`: a study's runs in TensorBoard, MLflow, Weights & Biases or trackio, afterwards."""

from metaseg.commands.arguments import StoreArgument
from metaseg.terminal import Terminal, visible
from metaseg.tracking.names import TrackerName


def track(store: StoreArgument, study: str, to: tuple[TrackerName, ...], blocks: tuple[str, ...] = ()) -> int:
    """Send the finished runs of a study or sweep to trackers: curves, samples of validation images, the report.

    What a tracker has already isn't sent again. A study's own --track does the same while it trains.

    Args:
        store: Folder or bucket (s3://..., gs://...) of the runs.
        study: Name of the study or sweep.
        to: tensorboard, mlflow, wandb, trackio, as their own environment variables say (MLFLOW_TRACKING_URI,
            WANDB_MODE ...), by default in the store's folder tracking/.
        blocks: Blocks from outside metaseg that the runs were trained with, each FILE.py:CLASS.
    """
    from metaseg.config import ConfigError
    from metaseg.networks.block_file import read_blocks
    from metaseg.store.runs import Store
    from metaseg.tracking.credentials import without_credentials
    from metaseg.tracking.existing import send

    console = Terminal()

    def warn(line: str) -> None:
        console.print(visible(f"warning: {line}"), style="yellow", soft_wrap=True)

    try:
        for sent in send(Store.at(store), study, to, read_blocks(blocks), warn):
            had = f", {sent.known} were there already" if sent.known else ""
            console.print(visible(f"{sent.tracker}: {sent.runs} runs sent{had}; {sent.where}"), soft_wrap=True)
    except Exception as error:  # of a tracker's package: anything
        told = without_credentials(str(error))
        if isinstance(error, ConfigError | OSError) and told == str(error):
            raise
        reason = (told.strip().splitlines() or [""])[0]
        console.print(visible(f"error: {type(error).__name__}: {reason:.500}"), style="bold red", soft_wrap=True)
        return 1
    return 0
