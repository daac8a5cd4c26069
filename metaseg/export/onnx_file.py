"""ONNX: one file that onnxruntime runs, and a script that needs numpy beside it."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metaseg.config import ConfigError
from metaseg.export.model import Checked, Floats, Model, Run
from metaseg.packages import install
from metaseg.study.exported_model import PASSPORT, to_text

AXES = {"image": ("batch", None, "height", "width"), "metadata": ("batch",)}
"""Names of inputs' dynamic axes; outputs have those of the image."""


USAGE = """\
`predict.py` needs numpy and onnxruntime, and Pillow to read images:

```bash
python predict.py image.png mask.png --metadata COLUMN=VALUE
```

Or from Python, with pixels that you have read yourself:

```python
from pathlib import Path
from predict import Network, read_image

network = Network(Path("model.onnx"))
mask = network.predict(read_image(Path("image.png"), network.passport), {"COLUMN": "VALUE"})  # (H, W): 0, or k
```

With onnxruntime alone, `session.run(["probabilities"], {"image": pixels, "metadata": vector})`: see *Inputs and
outputs*. The graph also has the output `logits`, and an input `standardise` that is true unless it is given: false for
tiles of an image that has been standardised as a whole."""


def write(model: Model, folder: Path) -> Checked:
    """Write model.onnx and predict.py."""
    content = encode(model, tiles=True)
    checked = model.check(opened(content))
    (folder / "model.onnx").write_bytes(content)
    (folder / "predict.py").write_text(Path(__file__).with_name("predict.py").read_text())
    return checked


def encode(model: Model, tiles: bool) -> bytes:
    """The bytes of an ONNX file, with the passport in its `metadata_props`.

    Args:
        model: the network.
        tiles: True for the output `logits` beside `probabilities`, and for an input `standardise` whose default is
            True: what tiling needs.

    Raises:
        ConfigError: a package is missing, or the network can't be exported.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401 (what was written is checked by it)
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"ONNX needs the package {error.name}: {install('onnx')}") from None
    program = model.trace(tiles)
    inputs = ["image", *["metadata"] * model.takes_metadata, *["standardise"] * tiles]
    outputs = ["probabilities", "logits"] if tiles else ["probabilities"]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # that torchvision isn't installed, for example
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = torch.onnx.export(
                program, input_names=inputs, output_names=outputs, dynamo=True, verbose=False, optimize=True
            )
    except Exception as error:  # whatever the converter lacks
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"the network can't be written as ONNX: {reason:.200}") from error
    assert made is not None
    graph = made.model_proto
    if tiles:
        graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "standardise"))
    for value in (*graph.graph.input, *graph.graph.output):
        for axis, name in zip(value.type.tensor_type.shape.dim, AXES.get(value.name, AXES["image"]), strict=False):
            if name and value.name != "standardise":
                axis.dim_param = name
    del graph.graph.value_info[:]  # whose axes have the old names; they are inferred again
    onnx.helper.set_model_props(graph, {PASSPORT: to_text(model.passport)})
    onnx.checker.check_model(graph)
    content: bytes = graph.SerializeToString()
    return content


def opened(content: bytes) -> Run:
    """An ONNX file as a program, run by onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    takes = {each.name for each in session.get_inputs()}

    def run(images: Floats, rows: Floats) -> Floats:
        given: dict[str, Any] = {"image": images} | ({"metadata": rows} if "metadata" in takes else {})
        found: Floats = session.run(["probabilities"], given)[0]
        return found

    return run


def opset(path: Path) -> int:
    """Version of the operators of an ONNX file."""
    import onnx

    versions = {each.domain: each.version for each in onnx.load(path).opset_import}
    return int(versions[""])
