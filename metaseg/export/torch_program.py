"""torch.export: a program for PyTorch that needs no class of metaseg."""

import io
from pathlib import Path

import torch
from torch.export import ExportedProgram

from metaseg.export.model import Checked, Floats, Model, Run
from metaseg.study.exported_model import to_text

USAGE = """\
`model.pt2` needs PyTorch alone:

```python
import torch

program = torch.export.load("model.pt2").module()
probabilities = program(image=pixels, metadata=vector)  # (N, K, H, W)
```

That is on the CPU. For a GPU, move the program before its module is made:
`torch.export.passes.move_to_device_pass(torch.export.load("model.pt2"), "cuda:0").module()`.

`pixels` and `vector` are described under *Inputs and outputs*; a network that is told nothing takes `image` alone. The
passport is in the file too: `files = {"passport.json": ""}; torch.export.load("model.pt2", extra_files=files)`."""


def write(model: Model, folder: Path) -> Checked:
    """Write model.pt2."""
    content = encode(model)
    checked = model.check(opened(torch.export.load(io.BytesIO(content)), model.takes_metadata))
    (folder / "model.pt2").write_bytes(content)
    return checked


def encode(model: Model) -> bytes:
    """The bytes of a .pt2 file, with the passport among its extra files."""
    content = io.BytesIO()
    torch.export.save(model.trace(), content, extra_files={"passport.json": to_text(model.passport)})
    return content.getvalue()


def opened(program: ExportedProgram, takes_metadata: bool) -> Run:
    """A program as numpy calls it."""
    module = program.module()

    def run(images: Floats, rows: Floats) -> Floats:
        told = {"metadata": torch.from_numpy(rows)} if takes_metadata else {}
        with torch.no_grad():
            found: Floats = module(image=torch.from_numpy(images), **told).numpy()
        return found

    return run
