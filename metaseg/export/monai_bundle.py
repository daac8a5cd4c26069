"""MONAI bundle: a folder that MONAI runs, with the network as a program of torch.export."""

import io
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metaseg.export import torch_program
from metaseg.export.model import Checked, Model
from metaseg.store.runs import to_json
from metaseg.study.exported_model import to_text

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"

USAGE = """\
This folder is a MONAI bundle. With MONAI (and fire, pytorch-ignite, Pillow), it segments the images of a CSV table,
which has a column `image` with paths relative to the table, and one for each of the metadata:

```bash
cd THIS_FOLDER
python -m monai.bundle run --config_file configs/inference.json --meta_file configs/metadata.json \\
    --bundle_root . --table /path/to/images.csv --output_dir masks
```

In Python, `scripts.network.Network("models/model.pt2")` is the network: a module that takes `image` and `metadata`
(*Inputs and outputs*) and needs PyTorch and numpy. `models/model.pt` holds the same weights as its state dict."""

INFERENCE: dict[str, Any] = {
    "imports": ["$import torch"],
    "bundle_root": ".",
    "table": "$@bundle_root + '/images.csv'",
    "output_dir": "$@bundle_root + '/masks'",
    "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
    "passport": {
        "_target_": "scripts.network.read_passport", "path": "$@bundle_root + '/configs/passport.json'"
    },
    "network_def": {"_target_": "scripts.network.Network", "program": "$@bundle_root + '/models/model.pt2'"},
    "network": "$@network_def.to(@device)",
    "rows": {"_target_": "scripts.network.read_rows", "table": "@table", "passport": "@passport"},
    "dataset": {
        "_target_": "Dataset",
        "data": "@rows",
        "transform": {"_target_": "scripts.network.ReadImage", "passport": "@passport"},
    },
    "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
    "inferer": {"_target_": "SimpleInferer"},
    "postprocessing": {
        "_target_": "scripts.network.SaveMask", "folder": "@output_dir", "passport": "@passport"
    },
    "evaluator": {
        "_target_": "SupervisedEvaluator",
        "device": "@device",
        "val_data_loader": "@dataloader",
        "network": "@network",
        "inferer": "@inferer",
        "postprocessing": "@postprocessing",
    },
    "run": ["$@evaluator.run()"],
}  # fmt: skip
"""configs/inference.json, but for how metadata reach the network."""


def write(model: Model, folder: Path) -> Checked:
    """Write the bundle but its documentation."""
    content = torch_program.encode(model)
    program = torch.export.load(io.BytesIO(content))
    checked = model.check(torch_program.opened(program, model.takes_metadata))
    for name in ("configs", "models", "scripts", "docs"):
        (folder / name).mkdir()
    (folder / "models" / "model.pt2").write_bytes(content)
    state = {f"program.{name}": tensor for name, tensor in program.module().state_dict().items()}
    torch.save(state, folder / "models" / "model.pt")
    inference = dict(INFERENCE)
    if model.takes_metadata:
        told = {"_target_": "PrepareBatchExtraInput", "extra_keys": {"metadata": "metadata"}}
        inference["evaluator"] = {**inference["evaluator"], "prepare_batch": told}
    (folder / "configs" / "inference.json").write_bytes(to_json(inference))
    (folder / "configs" / "metadata.json").write_bytes(to_json(_describe(model)))
    (folder / "configs" / "passport.json").write_text(to_text(model.passport))
    here = Path(__file__).parent
    (folder / "scripts" / "__init__.py").write_text('"""Parts of the bundle."""\n')
    (folder / "scripts" / "network.py").write_text((here / "bundle_network.py").read_text())
    (folder / "scripts" / "predict.py").write_text((here / "predict.py").read_text())
    return checked


def finish(model: Model, folder: Path) -> None:
    """Add the card as the bundle's documentation, and its licence."""
    (folder / "docs" / "README.md").write_text((folder / "README.md").read_text())
    (folder / "LICENSE").write_text(f"SPDX-License-Identifier: {model.licence}\n")


def _describe(model: Model) -> dict[str, Any]:
    """The content of metadata.json, as the bundle's specification has it."""
    passport = model.passport
    image, metadata, classes = passport["image"], passport["metadata"], passport["classes"]
    inputs = {
        "image": {
            "type": "image",
            "format": "magnitude",
            "modality": "n/a",
            "num_channels": image["channels"],
            "spatial_shape": ["*", "*"],
            "dtype": "float32",
            "value_range": [] if image["reading"]["kept"] else [0, 255],
            "is_patch_data": False,
            "channel_def": {str(k): f"channel {k}" for k in range(image["channels"])},
        }
    }
    if metadata["is_input"]:
        inputs["metadata"] = {
            "type": "tuples",
            "format": "metadata",
            "modality": "n/a",
            "num_channels": metadata["size"],
            "spatial_shape": [],
            "dtype": "float32",
            "value_range": [],
            "is_patch_data": False,
            "channel_def": {str(k): name for k, name in enumerate(metadata["elements"])},
        }
    output = {
        "type": "image",
        "format": "classes",
        "num_channels": len(classes),
        "spatial_shape": ["*", "*"],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {str(k): name for k, name in enumerate(classes)},
    }
    authors = ", ".join(model.authors)
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "exported by metaseg"},
        "monai_version": _version("monai", "1.5.0"),
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {
            "pytorch-ignite": _version("pytorch-ignite", "0.5.1"),
            "pillow": version("pillow"),
        },
        "supported_apps": {},
        "name": passport["name"],
        "task": f"Segmentation of {', '.join(classes)}",
        "description": f"{passport['name']}: a network that is "
        + ("told metadata of each image" if metadata["is_input"] else "told no metadata"),
        "authors": authors,
        "copyright": f"Copyright (c) {authors}",
        "license": model.licence,
        "data_source": passport["training"]["dataset"],
        "intended_use": "research; not to be used for diagnosis",
        "network_data_format": {"inputs": inputs, "outputs": {"pred": output}},
    }


def _version(package: str, otherwise: str) -> str:
    """Version of a package that the bundle needs, if it is here; else one that is known to work."""
    try:
        return version(package)
    except PackageNotFoundError:
        return otherwise
