"""`metaseg`: what is done with a store besides running studies on it."""

import sys
from pathlib import Path
from typing import Any

import tyro
from PIL import Image
from rich.console import Console

from metaseg.config import ConfigError
from metaseg.data.decode import decode_image
from metaseg.data.manifest import ManifestError
from metaseg.metadata import UnknownMetadataError
from metaseg.predict import Predictor
from metaseg.status import print_status
from metaseg.store import Store


def predict(run: Path, image: Path, out: Path, metadata: tuple[str, ...] = ()) -> None:
    """Segment an image with a trained run.

    Args:
        run: A finished run's folder, STORE/runs/RUN_ID.
        image: PNG, TIFF or JPEG file.
        out: Where to write the mask: 8-bit PNG, 0 background, k the run's k-th class (255 where there is one class).
        metadata: The image's metadata, each COLUMN=VALUE, for the columns that the run was trained with.
    """
    predictor = Predictor.load(run)
    pairs = [item.partition("=") for item in metadata]
    malformed = [name for name, equals, _ in pairs if not equals]
    if malformed:
        raise ConfigError(f"metadata is {malformed[0]!r}; expected COLUMN=VALUE")
    mask = predictor.predict(decode_image(image), {name: value for name, _, value in pairs})
    Image.fromarray(mask * 255 if len(predictor.classes) == 1 else mask).save(out, format="PNG")
    share = ", ".join(f"{name} {(mask == k).mean():.1%}" for k, name in enumerate(predictor.classes, start=1))
    print(f"{out}: {share} of {mask.shape[1]}x{mask.shape[0]} pixels")


def status(store: tyro.conf.Positional[str]) -> None:
    """Show how a store's studies stand: done, running, waiting and failed runs. Needs no Ray, and no driver running.

    Args:
        store: Folder or bucket (s3://..., gs://...) of the runs.
    """
    print_status(Store.at(store), Console(highlight=False))


def main() -> None:
    """Entry point of the `metaseg` command."""
    try:
        commands: dict[str, Any] = {"predict": predict, "status": status}
        tyro.extras.subcommand_cli_from_dict(commands, description=__doc__, prog="metaseg")
    except (ConfigError, ManifestError, UnknownMetadataError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
