"""Work with a store of runs, or with a cluster; studies themselves are started as `python studies/NAME.py`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from metaseg.command_line import call, misused
from metaseg.config import ConfigError
from metaseg.schema import EXTRA_SCORES, ExtraScore
from metaseg.terminal import Terminal, revealed, visible

StoreArgument = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="STORE")]

# A command imports what it needs when it is called: help and `metaseg status` wait for neither torch nor Ray.


def predict(run: Path, image: Path, out: Path, metadata: tuple[str, ...] = (), blocks: tuple[str, ...] = ()) -> None:
    """Segment an image with a trained run.

    Args:
        run: A finished run's folder, STORE/runs/RUN_ID.
        image: PNG, TIFF or JPEG file.
        out: Mask to write: 8-bit PNG, 0 for background, k for the run's k-th class (255 if there is only one class).
        metadata: The image's metadata as COLUMN=VALUE, for each column that the run was trained with. COLUMN=unknown
            where training had unknown values or withheld known ones.
        blocks: Blocks from outside metaseg that the run was trained with, each FILE.py:CLASS.
    """
    from PIL import Image

    from metaseg.data.manifest import ManifestError
    from metaseg.data.metadata import UnknownMetadataError
    from metaseg.networks.block_file import read_blocks
    from metaseg.study.predict import Predictor
    from metaseg.text import clean_text

    pairs = [item.partition("=") for item in metadata]
    malformed = [name for name, equals, _ in pairs if not equals]
    if malformed:
        raise ConfigError(f"metadata is {malformed[0]!r}; expected COLUMN=VALUE")
    columns = [name for name, _, _ in pairs]
    if repeated := [name for name in columns if columns.count(name) > 1]:
        raise ConfigError(f"metadata has {repeated[0]!r} twice; expected each column once")
    if not image.is_file():
        raise ConfigError(
            f"image is {image}, which is {'a folder' if image.is_dir() else 'not there'}; expected a file"
        )
    if out.is_dir() or not out.parent.is_dir():
        wrong = "which is a folder" if out.is_dir() else "whose folder isn't there"
        raise ConfigError(f"out is {out}, {wrong}; expected a file to write")
    predictor = Predictor.load(run, read_blocks(blocks))
    told = {clean_text(name): value for name, _, value in pairs}
    try:
        mask = predictor.predict_file(image, told)
    except (ManifestError, UnknownMetadataError) as error:
        raise ConfigError(str(error)) from error
    Image.fromarray(mask * 255 if len(predictor.classes) == 1 else mask).save(out, format="PNG")
    share = ", ".join(f"{name} {(mask == k).mean():.1%}" for k, name in enumerate(predictor.classes, start=1))
    print(visible(f"{out}: {share} of {mask.shape[1]}x{mask.shape[0]} pixels"))


def score(
    store: StoreArgument,
    study: str,
    scores: tuple[ExtraScore, ...] = EXTRA_SCORES,
    tolerance: float = 2.0,
    jobs: int | None = None,
    blocks: tuple[str, ...] = (),
) -> int:
    """Score the test images of a study's finished runs by boundaries and objects, from their stored weights.

    Existing scores aren't computed again. `analysis report STORE --metric` reports on them.

    Args:
        store: Folder or bucket (s3://..., gs://...) of the runs.
        study: Name of the study.
        scores: surface-dice, hd95 (95 % Hausdorff distance) and objects (found at IoU 0.5, false and missed).
        tolerance: Distance in pixels within which boundaries agree for surface Dice.
        jobs: Number of parallel processes. By default one per CPU core, at most 8; one if there is a GPU.
        blocks: Blocks from outside metaseg that the runs were trained with, each FILE.py:CLASS. They are scored by one
            process.
    """
    from metaseg.networks.block_file import read_blocks
    from metaseg.scoring.study import score_study
    from metaseg.store.runs import Store

    own = read_blocks(blocks)
    scored = score_study(Store.at(store), study, scores, tolerance, jobs, Terminal(), own)
    return 0 if scored else 1


def status(store: StoreArgument) -> None:
    """Show the state of a store's studies: runs that are done, running, waiting or failed. Works without Ray.

    Args:
        store: Folder or bucket (s3://..., gs://...) of the runs.
    """
    from metaseg.cli.status import print_status
    from metaseg.store.runs import Store

    print_status(Store.at(store), Terminal())


def networks(
    network: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NETWORK")],
    channels: int = 1,
    everything: bool = False,
) -> None:
    """Show where in a network blocks can be put: its stages, by the names that --condition-at takes.

    Args:
        network: As for --network of a study: smp.Unet:resnet34, monai.BasicUNet, or FILE.py:NAME of your own.
        channels: Channels of the images.
        everything: List all modules with feature maps, not the stages alone.
    """
    from metaseg.cli.networks import print_networks

    print_networks(network, channels, everything, Terminal())


def submit(
    command: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="-- COMMAND")],
    address: str | None = None,
    working_dir: Path = Path("."),
    wait: bool = True,
) -> int:
    """Run a study as a job on a Ray cluster, show its log, and exit with its exit code.

    metaseg submit -- python studies/seven_cells.py --storage /shared/metaseg-store

    Ctrl-C stops showing the log, but not the job. `ray job stop` stops the job; the same command resumes it.

    Args:
        command: After `--`: the study's command as it would be typed in the working folder.
        address: The cluster's dashboard, http://HEAD:8265. By default RAY_API_SERVER_ADDRESS, RAY_ADDRESS or the
            cluster that runs on this machine.
        working_dir: Folder that is copied to the job, without files that .gitignore and .rayignore name.
        wait: Show the log until the job ends.
    """
    from metaseg.engine import jobs

    return jobs.submit(command, address, working_dir, wait)


def main() -> None:
    """Entry point of the `metaseg` command."""
    commands: dict[str, Callable[..., int | None]] = {
        "networks": networks,
        "predict": predict,
        "score": score,
        "status": status,
        "submit": submit,
    }
    try:
        sys.exit(call("metaseg", __doc__, commands, sys.argv[1:]))
    except ConfigError as error:
        misused(str(error))
    except OSError as error:
        sys.exit(revealed(f"error: {error}"))


if __name__ == "__main__":
    main()
