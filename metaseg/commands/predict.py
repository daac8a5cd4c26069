"""`metaseg predict`: masks of images by a trained run, or by all runs of an arm together."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from metaseg.commands.arguments import open_results, parse_metadata, warn
from metaseg.config import ConfigError
from metaseg.terminal import Terminal, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metaseg.data.mask_values import MaskValues
    from metaseg.prediction.ensemble import Ensemble
    from metaseg.prediction.requests import Request
    from metaseg.prediction.results import Results
    from metaseg.store.runs import FinishedRun

MOST_SHOWN = 5
"""Images that are named of those on which networks disagree most, or that failed."""


def predict(
    images: Annotated[Path, tyro.conf.arg(aliases=["--image"])],
    out: str,
    run: tuple[str, ...] = (),
    store: str | None = None,
    study: str | None = None,
    arm: str | None = None,
    metadata: tuple[str, ...] = (),
    metadata_table: Path | None = None,
    masks: Path | None = None,
    write: tuple[Literal["masks", "probabilities", "overlays", "disagreement"], ...] = ("masks", "overlays"),
    foreground: tuple[str, ...] = (),
    ignore: int | None = None,
    blocks: tuple[str, ...] = (),
) -> int:
    """Segment images with a trained run, or with all runs of an arm together.

    metaseg predict --images cells --metadata-table cells.csv --store STORE --study STUDY --arm sme --out predicted

    The same command goes on where it was interrupted: images that are done aren't segmented again.

    Args:
        images: An image (PNG, TIFF or JPEG); a folder of images; a folder of nnU-Net's CASE_0000 files; or a table (CSV
            or Parquet) with a column image and, where there are references, mask.
        out: Folder or bucket for masks, overlays and the table predictions.csv. For one image also NAME.png: its mask
            alone. Masks are 8-bit PNG, 0 for background, k for the k-th class (255 if there is only one class).
        run: A finished run's folder or URL, STORE/runs/RUN_ID. Several are averaged.
        store: Folder or bucket of the study.
        study: Name of a study, all of whose finished runs of an arm are averaged.
        arm: Name of its arm.
        metadata: Metadata of all images as COLUMN=VALUE, for each column that the networks see and no table has.
            COLUMN=unknown where training had unknown values or withheld known ones.
        metadata_table: CSV or Parquet file with the column image (the file's name, with or without its ending) and
            metadata.
        masks: Folder of reference masks, called as the images: scores are then in the table.
        write: Files to write of each image. Disagreement is the standard deviation of the networks' probabilities.
        foreground: Values of the references that are foreground, such as 255 or 128..255.
        ignore: Value of the references' pixels that don't count.
        blocks: Blocks from outside metaseg that the run was trained with, each FILE.py:CLASS.
    """
    import torch

    from metaseg.config import DataConfig
    from metaseg.data.manifest import ManifestError
    from metaseg.data.mask_values import MaskValues
    from metaseg.networks.block_file import read_blocks
    from metaseg.prediction.ensemble import Ensemble
    from metaseg.prediction.requests import find_requests
    from metaseg.prediction.selection import select_runs

    told = parse_metadata(metadata)
    one = _is_one_mask(images, out)
    if one and masks:
        raise ConfigError(f"out is {out}, one mask, and masks is {masks}; expected a folder for a table with scores")
    runs = select_runs(run, store, study, arm, warn)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ensemble = Ensemble.open(runs, read_blocks(blocks), device)
    meaning = MaskValues.of(DataConfig(classes=ensemble.classes, foreground=foreground, ignore=ignore))
    try:
        requests = find_requests(images, ensemble, told, metadata_table, masks)
    except ManifestError as error:
        raise ConfigError(str(error)) from error
    if one:
        _write_one(requests[0], ensemble, Path(out))
        return 0
    return _write_all(requests, ensemble, runs, out, write, meaning)


def _is_one_mask(images: Path, out: str) -> bool:
    """Return True if the mask of one image is to be written, instead of a folder of results."""
    ending = Path(out).suffix.lower()
    if ending not in (".png", ".jpg", ".jpeg", ".tif", ".tiff"):
        return False
    if ending != ".png":
        raise ConfigError(f"out is {out}; expected a mask NAME.png, or a folder")
    if not images.is_file() or images.suffix.lower() in (".csv", ".parquet"):
        if images.exists():
            raise ConfigError(f"out is {out}, a file, and images is {images}; expected a folder for several images")
        raise ConfigError(f"images is {images}, which is not there; expected an image, a folder or a table")
    path = Path(out)
    if path.exists() and path.samefile(images):
        raise ConfigError(f"out is {out}, which is the image itself; expected another file")
    if path.is_dir() or not path.parent.is_dir():
        wrong = "which is a folder" if path.is_dir() else "whose folder isn't there"
        raise ConfigError(f"out is {out}, {wrong}; expected a file to write")
    return True


def _write_one(request: "Request", ensemble: "Ensemble", out: Path) -> None:
    from metaseg.data.manifest import ManifestError
    from metaseg.prediction.results import mask_png

    try:
        mask = ensemble.predict([request.decode(ensemble)], [request.told])[0].mask
    except ManifestError as error:
        raise ConfigError(str(error)) from error
    out.write_bytes(mask_png(mask, len(ensemble.classes)))
    share = ", ".join(f"{name} {(mask == k).mean():.1%}" for k, name in enumerate(ensemble.classes, start=1))
    print(visible(f"{out}: {share} of {mask.shape[1]}x{mask.shape[0]} pixels"))


def _write_all(
    requests: "Sequence[Request]",
    ensemble: "Ensemble",
    runs: "Sequence[FinishedRun]",
    out: str,
    write: "Sequence[Literal['masks', 'probabilities', 'overlays', 'disagreement']]",
    meaning: "MaskValues",
) -> int:
    from metaseg.prediction.job import segment
    from metaseg.prediction.results import KINDS, Results
    from metaseg.schema import WEIGHTS
    from metaseg.store.folder import FolderStorage

    storage = open_results(out)
    folders = {request.files[0].resolve().parent for request in requests}
    if isinstance(storage, FolderStorage) and storage.root in folders:
        raise ConfigError(f"out is {out}, the folder of the images; expected another one")
    settings = {
        "networks": {run.folder.rpartition("/")[2]: run.checksums.get(WEIGHTS) for run in runs},
        "references": meaning.describe(),
    }
    results = Results.open(storage, settings, [kind for kind in KINDS if kind in write])
    console = Terminal()
    count = len(ensemble.members)
    what = f"{len(requests)} image{'s' * (len(requests) > 1)}"
    console.print(f"{what}, {count} network{'s' * (count > 1)}", soft_wrap=True)
    outcome = segment(requests, ensemble, results, meaning, console)
    before = f", {outcome.before} were segmented before" if outcome.before else ""
    console.print(f"{outcome.done} images segmented{before}; {storage.locate('predictions.csv')}", soft_wrap=True)
    _summarise(requests, results, runs, console)
    for name, reason in list(outcome.failed.items())[:MOST_SHOWN]:
        console.print(f"failed: {name}: {reason}", soft_wrap=True)
    if len(outcome.failed) > MOST_SHOWN:
        console.print(f"... and {len(outcome.failed) - MOST_SHOWN} more failed", soft_wrap=True)
    return 1 if outcome.failed else 0


def _summarise(
    requests: "Sequence[Request]", results: "Results", runs: "Sequence[FinishedRun]", console: Terminal
) -> None:
    """Print means over images by class; where references were given, whether the networks may have seen the images."""
    from metaseg.schema import IMAGES

    table = results.table(requests)
    if table.empty:
        return
    for name, rows in table.groupby("class", sort=False):
        shown = [f"{rows['share'].mean():.1%} of the pixels"]
        if "f1" in rows and rows["f1"].notna().any():
            shown.append(f"F1 {rows['f1'].mean():.3f} (mean of {rows['f1'].notna().sum()} images)")
        console.print(f"{name}: {', '.join(shown)}", soft_wrap=True)
    if "disagreement" in table:
        worst = table.loc[table.groupby("image")["disagreement"].idxmax()].nlargest(MOST_SHOWN, "disagreement")
        named = ", ".join(f"{row.image} ({row.disagreement:.2f})" for row in worst.itertuples())
        console.print(f"The networks disagree most on {named}; look at these first.", soft_wrap=True)
    if "f1" in table:
        known = {name for run in runs for name in run.table(IMAGES, ["image"], [])["image"]}
        known |= {Path(name).name for name in known}
        if seen := sum(request.name in known or Path(request.name).name in known for request in requests):
            console.print(
                f"note: {seen} of the images have names of the study's own images, on which networks may have been "
                "trained: F1 here isn't a test score. The study's report has those.",
                soft_wrap=True,
            )
