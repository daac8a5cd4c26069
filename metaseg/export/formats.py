"""The formats that networks are exported to, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from metaseg.export import bioimageio_package, monai_bundle, onnx_file, torch_program, weights_file
from metaseg.export.model import Checked, Model


@dataclass(frozen=True)
class Format:
    """A format of exported networks."""

    write: Callable[[Model, Path], Checked]
    """Writes its files into a folder, checks them and returns how they agree with PyTorch."""
    library: str
    """Library that opens it, as the Hugging Face Hub calls it."""
    usage: str
    """Instructions for using the files, as Markdown."""
    finish: Callable[[Model, Path], None] = lambda model, folder: None
    """Completes the folder once the card and the passport are in it."""
    needs_licence: bool = False
    """True if the format's specification wants a licence and authors."""


FORMATS: dict[str, Format] = {
    "onnx": Format(onnx_file.write, "onnx", onnx_file.USAGE),
    "torch.export": Format(torch_program.write, "pytorch", torch_program.USAGE),
    "safetensors": Format(weights_file.write, "metaseg", weights_file.USAGE),
    "bioimageio": Format(
        bioimageio_package.write, "bioimageio", bioimageio_package.USAGE, bioimageio_package.finish, True
    ),
    "monai-bundle": Format(monai_bundle.write, "monai", monai_bundle.USAGE, monai_bundle.finish, True),
}
"""Formats by the name that `--format` takes."""
