"""`metaseg response`: what changes in images' masks as one metadata value is varied."""

from pathlib import Path
from typing import Annotated

import tyro

from metaseg.commands.arguments import open_results, parse_metadata, warn
from metaseg.config import ConfigError
from metaseg.terminal import Terminal


def response(
    images: Annotated[Path, tyro.conf.arg(aliases=["--image"])],
    vary: str,
    out: str,
    run: tuple[str, ...] = (),
    store: str | None = None,
    study: str | None = None,
    arm: str | None = None,
    values: tuple[str, ...] = (),
    metadata: tuple[str, ...] = (),
    metadata_table: Path | None = None,
    masks: Path | None = None,
    foreground: tuple[str, ...] = (),
    ignore: int | None = None,
    blocks: tuple[str, ...] = (),
) -> None:
    """Show what networks answer as one metadata value is varied and all else is kept: a table and a figure.

    metaseg response --images cells --vary cell_line --run STORE/runs/RUN_ID --out response

    Args:
        images: An image, a folder or a table, as for `metaseg predict`.
        vary: The metadata column to vary.
        out: Folder or bucket for response.csv and response.png.
        run: A finished run's folder or URL, STORE/runs/RUN_ID. Several are averaged.
        store: Folder or bucket of the study.
        study: Name of a study, all of whose finished runs of an arm are averaged.
        arm: Name of its arm.
        values: Values to tell. By default every category, or 9 from the smallest to the largest of the runs' own
            images; and unknown, where the networks can be told so.
        metadata: Other metadata of all images, as COLUMN=VALUE.
        metadata_table: CSV or Parquet file with the column image and metadata. If it has the column that is varied,
            the figure marks each image's own value.
        masks: Folder of reference masks, called as the images: F1 is then in the table.
        foreground: Values of the references that are foreground, such as 255 or 128..255.
        ignore: Value of the references' pixels that don't count.
        blocks: Blocks from outside metaseg that the run was trained with, each FILE.py:CLASS.
    """
    import torch

    from metaseg.config import DataConfig
    from metaseg.data.display import to_display
    from metaseg.data.manifest import ManifestError
    from metaseg.data.mask_values import MaskValues
    from metaseg.data.metadata import UnknownMetadataError
    from metaseg.networks.block_file import read_blocks
    from metaseg.pictures.response import ResponseRow, draw_response
    from metaseg.prediction.ensemble import Ensemble
    from metaseg.prediction.requests import find_requests
    from metaseg.prediction.response import choose_values, measure_response, told_text
    from metaseg.prediction.selection import select_runs
    from metaseg.text import clean_text

    told, column = parse_metadata(metadata), clean_text(vary)
    runs = select_runs(run, store, study, arm, warn)
    ensemble = Ensemble.open(runs, read_blocks(blocks), "cuda" if torch.cuda.is_available() else "cpu")
    meaning = MaskValues.of(DataConfig(classes=ensemble.classes, foreground=foreground, ignore=ignore))
    wanted = choose_values(ensemble, runs, column, values)
    storage, console = open_results(out), Terminal()
    try:
        requests = find_requests(images, ensemble, told, metadata_table, masks, {column: wanted[0]})
        found = measure_response(requests, ensemble, column, wanted, meaning, console)
    except (ManifestError, UnknownMetadataError) as error:
        raise ConfigError(str(error)) from error
    texts = [told_text(value) for value in found.values]
    rows = [
        ResponseRow(
            each.name, to_display(each.pixels), each.masks, each.reference, told_text(each.own) if each.known else ""
        )
        for each in found.drawn
    ]
    storage.write("response.csv", found.table.to_csv(index=False).encode())
    storage.write("response.png", draw_response(found.table, column, texts, found.classes, rows))
    for text in texts:
        means = found.table[found.table["told"] == text].groupby("class", sort=False)
        shown = []
        for name, each in means:
            score = f", F1 {each['f1'].mean():.3f}" if "f1" in each else ""
            shown.append(f"{name} {each['share'].mean():.1%}{score}")
        console.print(f"told {text}: {'; '.join(shown)}", soft_wrap=True)
    console.print(f"{storage.locate('response.png')}, {storage.locate('response.csv')}", soft_wrap=True)
