"""Parts of a MONAI bundle: the network as a module, and images with their metadata in and out.

It needs torch, numpy and Pillow, and `predict.py` beside it.
"""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from .predict import encode, read_image, shrink, to_channels


class Network(nn.Module):
    """The exported network.

    Args:
        program: the file models/model.pt2.
    """

    def __init__(self, program: str) -> None:
        super().__init__()
        self.exported = torch.export.load(program)
        self.program = self.exported.module()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Network":
        """Move the program as `to`, `cuda` and `cpu` ask: its steps name a device, not only its weights have one."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        state = self.program.state_dict()
        self.program = move_to_device_pass(self.exported, fn(torch.empty(0)).device).module()
        self.program.load_state_dict(state, assign=True)
        return self

    def train(self, mode: bool = True) -> "Network":
        """Stay as it is: an exported program has no training mode."""
        return self

    def forward(self, image: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Pixels `(N, C, H, W)` and metadata `(N, M)` to the probability of each class, `(N, K, H, W)`."""
        told = {} if metadata is None else {"metadata": torch.as_tensor(metadata)}
        result: Tensor = self.program(image=torch.as_tensor(image), **told)
        return result


def read_passport(path: str) -> dict[str, Any]:
    """Read the file configs/passport.json."""
    passport: dict[str, Any] = json.loads(Path(path).read_text())
    return passport


def read_rows(table: str, passport: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of a CSV file: a column `image` with paths beside it, and one for each of the metadata.

    Each row has the image's `path`, what is `told`, and the name of its `mask`: the path relative to the table, so that
    equal names in different folders stay apart; the name alone if the image isn't below the table's folder.
    """
    columns = [column["column"] for column in passport["metadata"]["columns"]] * passport["metadata"]["is_input"]
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if missing := [name for name in ("image", *columns) if row.get(name) is None]:
            raise ValueError(f"{table} has no column {missing[0]!r}")
    folder = Path(os.path.abspath(Path(table).parent))
    sources: dict[str, str] = {}
    found = []
    for row in rows:
        path = Path(os.path.abspath(folder / row["image"]))  # without "..", for the name alone
        inside = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
        mask = inside.with_suffix(".png").as_posix()
        if mask in sources:
            raise ValueError(f"{table}: images {sources[mask]!r} and {row['image']!r} would have the same mask, {mask}")
        sources[mask] = row["image"]
        told = {name: row[name] for name in columns}
        found.append({"path": str(Path(table).parent / row["image"]), "mask": mask, "told": told})
    return found


class ReadImage:
    """Reads a row's image and encodes its metadata.

    Args:
        passport: what `read_passport` returns.
    """

    def __init__(self, passport: dict[str, Any]) -> None:
        self.passport = passport

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Give a row's `image` `(C, H, W)`, `metadata` `(M,)` and name of its `mask`, with the file's `size`."""
        image = self.passport["image"]
        pixels = read_image(Path(row["path"]), self.passport)
        small = shrink(
            to_channels(pixels, image["channels"], image["reading"]["every_channel"]), image["reading"]["shrink"]
        )
        tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(small, 2, 0), np.float32))
        vector = torch.from_numpy(encode(row["told"], self.passport)[0])
        return {"image": tensor, "metadata": vector, "mask": row["mask"], "size": list(pixels.shape[:2])}


class SaveMask:
    """Writes the mask of a prediction as an 8-bit PNG: 0 for background, k for the k-th class (255 if there is one).

    Args:
        folder: where masks are written, under the names that `read_rows` gives them.
        passport: what `read_passport` returns.
    """

    def __init__(self, folder: str, passport: dict[str, Any]) -> None:
        self.folder, self.passport = Path(folder), passport

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Write the mask of `pred` `(K, H, W)`, at the size of the file."""
        from PIL import Image

        probabilities = torch.as_tensor(row["pred"]).numpy(force=True)
        if len(probabilities) == 1:
            mask = (probabilities[0] > 0.5).astype(np.uint8) * 255
        else:
            background = 1 - probabilities.sum(axis=0, keepdims=True)
            mask = np.concatenate([background, probabilities]).argmax(axis=0).astype(np.uint8)
        factor = self.passport["image"]["reading"]["shrink"]
        height, width = (int(side) for side in row["size"])
        mask = mask.repeat(factor, axis=0).repeat(factor, axis=1)[:height, :width]
        file = self.folder / row["mask"]
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(file)
        return row
