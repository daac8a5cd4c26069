"""`metaseg`: what is done with a store or a cluster besides running studies."""

import sys
from pathlib import Path
from typing import Any

import tyro

from metaseg.config import EXTRA_SCORES, ConfigError, ExtraScore
from metaseg.terminal import Terminal, revealed, visible

MISUSED = 2
"""Exit code where a setting was wrong, as of studies."""

# A command imports what it needs when it is called: `metaseg status` waits for neither torch nor Ray.


def predict(run: Path, image: Path, out: Path, metadata: tuple[str, ...] = ()) -> None:
    """Segment an image with a trained run.

    Args:
        run: A finished run's folder, STORE/runs/RUN_ID.
        image: PNG, TIFF or JPEG file.
        out: Where to write the mask: 8-bit PNG, 0 background, k the run's k-th class (255 where there is one class).
        metadata: The image's metadata, each COLUMN=VALUE, for the columns that the run was trained with.
    """
    from PIL import Image

    from metaseg.data.decode import decode_image
    from metaseg.data.manifest import ManifestError
    from metaseg.data.metadata import UnknownMetadataError
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
    predictor = Predictor.load(run)
    try:
        mask = predictor.predict(decode_image(image), {clean_text(name): value for name, _, value in pairs})
    except (ManifestError, UnknownMetadataError) as error:
        raise ConfigError(str(error)) from error
    Image.fromarray(mask * 255 if len(predictor.classes) == 1 else mask).save(out, format="PNG")
    share = ", ".join(f"{name} {(mask == k).mean():.1%}" for k, name in enumerate(predictor.classes, start=1))
    print(visible(f"{out}: {share} of {mask.shape[1]}x{mask.shape[0]} pixels"))


def score(
    store: tyro.conf.Positional[str],
    study: str,
    scores: tuple[ExtraScore, ...] = EXTRA_SCORES,
    tolerance: float = 2.0,
    jobs: int | None = None,
) -> int:
    """Score the test images of a study's finished runs by boundaries and objects, from their stored weights.

    What is there already isn't computed again. `analysis report STORE --metric` reports on it.

    Args:
        store: Folder or bucket (s3://..., gs://...) of the runs.
        study: Its name.
        scores: surface-dice, hd95 (95 % Hausdorff distance) and objects (found at IoU 0.5, invented and missed).
        tolerance: Pixels that boundaries may be apart for surface Dice.
        jobs: Processes at once. By default one a CPU core, 8 at most; one where there is a GPU.
    """
    from metaseg.scoring.study import score_study
    from metaseg.store.runs import Store

    return 0 if score_study(Store.at(store), study, scores, tolerance, jobs, Terminal()) else 1


def status(store: tyro.conf.Positional[str]) -> None:
    """Show how a store's studies stand: done, running, waiting and failed runs. Needs no Ray, and no driver running.

    Args:
        store: Folder or bucket (s3://..., gs://...) of the runs.
    """
    from metaseg.cli.status import print_status
    from metaseg.store.runs import Store

    print_status(Store.at(store), Terminal())


def submit(
    command: tyro.conf.Positional[tuple[str, ...]],
    address: str | None = None,
    working_dir: Path = Path("."),
    wait: bool = True,
) -> int:
    """Run a study as a job of a Ray cluster, show its log, and end with its exit code.

    metaseg submit -- python studies/seven_cells.py --storage /shared/metaseg-store

    Ctrl-C ends the watching; the job goes on. `ray job stop` stops it, and the same command again goes on with it.

    Args:
        command: After `--`: the study as it would be typed in the working folder.
        address: The cluster's dashboard, http://HEAD:8265. By default RAY_API_SERVER_ADDRESS, RAY_ADDRESS or the
            cluster that runs on this machine.
        working_dir: Folder that the job gets a copy of, without what .gitignore and .rayignore name.
        wait: Show the log until the job ends.
    """
    from metaseg.engine import jobs

    return jobs.submit(command, address, working_dir, wait)


def main() -> None:
    """Entry point of the `metaseg` command."""
    try:
        commands: dict[str, Any] = {"predict": predict, "score": score, "status": status, "submit": submit}
        sys.exit(tyro.extras.subcommand_cli_from_dict(commands, description=__doc__, prog="metaseg"))
    except ConfigError as error:
        print(revealed(f"error: {error}"), file=sys.stderr)
        sys.exit(MISUSED)
    except OSError as error:
        sys.exit(revealed(f"error: {error}"))


if __name__ == "__main__":
    main()
