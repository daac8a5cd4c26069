"""bioimage.io: a package with the network as ONNX and metadata as its second input, tested by bioimageio.core."""

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from metaseg.config import ConfigError
from metaseg.export import onnx_file
from metaseg.export.model import Checked, CheckError, Floats, Model, shapes_image, to_mask
from metaseg.packages import install
from metaseg.study.exported_model import to_text
from metaseg.terminal import visible

PACKAGE = "model.bioimageio.zip"

TEST_SIZE = (96, 128)
"""Height and width of the simulated test image, in pixels."""

USAGE = f"""\
`{PACKAGE}` is a bioimage.io package (model description 0.5) for programs that open these, such as bioimageio.core:

```python
import bioimageio.core, numpy as np

model = bioimageio.core.load_model("{PACKAGE}")
sample = bioimageio.core.predict(model=model, inputs={{"image": image, "metadata": vector}})
probabilities = sample.members["probabilities"].data  # (1, K, H, W)
```

`image` is float32 `(1, C, H, W)` and `metadata` float32 `(1, M)`: see *Inputs and outputs*. A network that is told
nothing has `image` alone. Blockwise prediction standardises each block by itself; use whole images."""


def write(model: Model, folder: Path) -> Checked:
    """Write the package's files but its documentation into `package/`.

    Raises:
        ConfigError: bioimageio.core isn't installed.
    """
    if find_spec("bioimageio") is None or find_spec("bioimageio.core") is None:
        raise ConfigError(f"a bioimage.io package is tested by bioimageio.core: {install('bioimageio')}")
    content = onnx_file.encode(model, tiles=False)
    checked = model.check(onnx_file.opened(content))
    package = folder / "package"
    package.mkdir()
    image = shapes_image(*TEST_SIZE, model.predictor.channels, seed=3)[None]
    row = model.rows[:1]
    result = model.probabilities(image, row)
    tensors = {"image": image, **({"metadata": row} if model.takes_metadata else {}), "probabilities": result}
    for name, tensor in tensors.items():
        np.save(package / f"test_{name}.npy", tensor)
    (package / "model.onnx").write_bytes(content)
    (package / "passport.json").write_text(to_text(model.passport))
    (package / "cover.png").write_bytes(_cover(image[0], to_mask(result)[0], len(model.predictor.classes)))
    return checked


def finish(model: Model, folder: Path) -> None:
    """Describe and zip the package, whose documentation is the card, and let bioimageio.core test it.

    Raises:
        CheckError: it says that the package isn't valid.
    """
    package = folder / "package"
    (package / "README.md").write_text((folder / "README.md").read_text())
    description = yaml.safe_dump(_describe(model, package), sort_keys=False, allow_unicode=True)
    with zipfile.ZipFile(folder / PACKAGE, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rdf.yaml", description)
        for path in sorted(package.iterdir()):
            archive.write(path, path.name)
    for path in package.iterdir():
        path.unlink()
    package.rmdir()
    _test(folder / PACKAGE)


def _test(package: Path) -> None:
    from bioimageio.core import test_description
    from loguru import logger

    for name in ("bioimageio.core", "bioimageio.spec"):
        logger.disable(name)
    summary = test_description(package, weight_format="onnx", devices=["CPUExecutionProvider"], expected_type="model")
    if summary.status != "passed":
        errors = [error.msg for detail in summary.details for error in detail.errors]
        raise CheckError(f"bioimageio.core doesn't accept the package: {'; '.join(errors) or summary.status}")


def _describe(model: Model, package: Path) -> dict[str, Any]:
    """The content of rdf.yaml."""
    from bioimageio.spec.model.v0_5 import ModelDescr

    passport = model.passport
    channels = model.predictor.channels
    names = {1: ["intensity"], 3: ["red", "green", "blue"]}.get(channels, [f"channel{k}" for k in range(channels)])
    kept = passport["image"]["reading"]["kept"]
    space = [{"type": "space", "id": axis, "size": {"min": max(16, model.smallest), "step": 1}} for axis in "yx"]
    image = _tensor(
        package, "image", "Pixels as read from a file; each image is standardised inside.", names, space,
        None if kept else [0, 255],
    )  # fmt: skip
    told = passport["metadata"]
    inputs = [image]
    if model.takes_metadata:
        inputs.append(_tensor(package, "metadata", "Metadata of the image; passport.json says how.", told["elements"]))
    size = [
        {"type": "space", "id": axis, "size": {"tensor_id": "image", "axis_id": axis, "offset": 0}} for axis in "yx"
    ]
    output = _tensor(package, "probabilities", "Probability of each class.", passport["classes"], size, [0, 1])
    dataset = passport["training"]["dataset"]
    return {
        "type": "model",
        "format_version": ModelDescr.implemented_format_version,
        "version": "0.1.0",
        "name": _name(passport["name"]),
        "description": visible(
            f"Segmentation of {', '.join(passport['classes'])}, trained on {dataset} and "
            + ("told metadata as a second input" if model.takes_metadata else "told no metadata")
        )[:1000],
        "authors": [{"name": visible(name).replace("/", "-")} for name in model.authors],
        "license": model.licence,
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "tags": ["segmentation", "2d", "metadata", "metaseg"],
        "documentation": _file(package, "README.md"),
        "covers": [_file(package, "cover.png")],
        "attachments": [_file(package, "passport.json")],
        "inputs": inputs,
        "outputs": [output],
        "weights": {"onnx": {**_file(package, "model.onnx"), "opset_version": onnx_file.opset(package / "model.onnx")}},
    }


def _tensor(
    package: Path,
    name: str,
    description: str,
    channels: list[str],
    space: list[dict[str, Any]] | None = None,
    values: list[int] | None = None,
) -> dict[str, Any]:
    channel = {"type": "channel", "channel_names": [visible(each) for each in channels]}
    return {
        "id": name,
        "description": description,
        "axes": [{"type": "batch"}, channel, *(space or [])],
        "data": {"type": "float32", **({"range": values} if values else {})},
        "test_tensor": _file(package, f"test_{name}.npy"),
    }


def _file(package: Path, name: str) -> Mapping[str, str]:
    return {"source": name, "sha256": hashlib.sha256((package / name).read_bytes()).hexdigest()}


def _name(name: str) -> str:
    """The model's name in characters that the specification has, 5 to 128 of them."""
    return re.sub(r"[^\w +()-]+", "-", visible(name))[:128].strip()


def _cover(image: Floats, mask: Any, classes: int) -> bytes:
    """The simulated test image beside the mask that the network gives, as PNG."""
    height, width = mask.shape
    grey = np.repeat(image.mean(axis=0)[..., None], 3, axis=2)
    low, high = grey.min(), grey.max()
    left = (255 * (grey - low) / max(high - low, 1)).astype(np.uint8)
    palette = np.array([(0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)], np.uint8)
    right = palette[np.where(mask == 0, 0, 1 + (mask.astype(int) - 1) % (len(palette) - 1))]
    both = Image.fromarray(np.concatenate([left, right], axis=1)).resize(
        (4 * width, 2 * height), Image.Resampling.NEAREST
    )
    content = io.BytesIO()
    both.save(content, format="PNG")
    return content.getvalue()
