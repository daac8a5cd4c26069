"""`metaseg export`: a trained network for programs that don't have metaseg."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from metaseg.terminal import visible

FormatName = Literal["onnx", "torch.export", "safetensors", "bioimageio", "monai-bundle"]


def export(
    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")],
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")],
    format: FormatName = "onnx",
    license: str | None = None,
    author: tuple[str, ...] = (),
    blocks: tuple[str, ...] = (),
) -> int:
    """Export a trained network to a folder, with a passport and a model card, for programs that don't have metaseg.

    The result is checked against PyTorch before anything is written.

    Args:
        run: A finished run's folder, STORE/runs/RUN_ID, which may be in a bucket.
        out: Folder to make.
        format: onnx (onnxruntime and numpy), torch.export (PyTorch), safetensors (weights), bioimageio (a package of
            bioimage.io) or monai-bundle.
        license: SPDX identifier of the model's licence, such as CC-BY-4.0; bioimageio and monai-bundle need one.
        author: Names of the model's authors; bioimageio and monai-bundle need one.
        blocks: Blocks from outside metaseg that the run was trained with, each FILE.py:CLASS.
    """
    import sys

    from metaseg.export.export import export_run
    from metaseg.export.model import CheckError
    from metaseg.networks.block_file import read_blocks

    try:
        exported = export_run(run, out, format, author, license, read_blocks(blocks))
    except CheckError as error:
        print(visible(f"error: {error}"), file=sys.stderr)
        return 1
    print(visible(f"{exported.folder}: {', '.join(exported.files)}"))
    print(visible(f"Checked against PyTorch on {exported.checked}."))
    return 0
