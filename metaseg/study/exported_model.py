"""Exported models that `Predictor` opens: ONNX by onnxruntime, and weights in safetensors, each with its passport."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from metaseg.config import ConfigError
from metaseg.packages import install
from metaseg.store.runs import from_json

PASSPORT = "passport"
"""Key of a file's metadata that holds the passport, as JSON."""

PASSPORT_VERSION = 1
"""Raised whenever a reader of earlier passports would misread one."""

CODE = ("column", "vocabulary", "untold", "unknown", "mean", "std", "missing")
"""Fields of a passport's column that are the code's own."""


class OnnxNetwork(nn.Module):
    """An exported ONNX file as a network: standardised images and metadata in, logits out.

    Args:
        session: onnxruntime's.
    """

    def __init__(self, session: Any) -> None:
        super().__init__()
        self.session = session
        self.takes_metadata = any(each.name == "metadata" for each in session.get_inputs())

    def forward(self, image: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Logits `(N, 1 or 1 + K, H, W)` of `(N, C, H, W)` images and `(N, M)` metadata, on the images' device."""
        given = {"image": image.float().numpy(force=True), "standardise": np.array(False)}
        if self.takes_metadata and metadata is not None:
            given["metadata"] = metadata.float().numpy(force=True)
        return torch.from_numpy(self.session.run(["logits"], given)[0]).to(image.device)


def open_onnx(path: Path) -> tuple[dict[str, Any], nn.Module]:
    """The configuration and the network of an exported ONNX file.

    Raises:
        ConfigError: onnxruntime isn't installed, or the file isn't an exported model.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(f"{path.name} needs onnxruntime: {install('onnx')}") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # not that `standardise` has a default
    try:
        # From memory, so that it can't name other files as its weights.
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except OSError:
        raise
    except Exception as error:  # whatever onnxruntime makes of what isn't a model
        raise ConfigError(f"{path}: not an ONNX model: {str(error).splitlines()[0]:.200}") from error
    config = _config(path, session.get_modelmeta().custom_metadata_map.get(PASSPORT))
    names = {each.name for each in (*session.get_inputs(), *session.get_overridable_initializers())}
    if not {"image", "standardise"} <= names or "logits" not in {each.name for each in session.get_outputs()}:
        raise ConfigError(f"{path}: has inputs {', '.join(sorted(names))}; expected a file of `metaseg export`")
    return config, OnnxNetwork(session)


def open_weights(path: Path) -> tuple[dict[str, Any], bytes]:
    """The configuration and the bytes of an exported safetensors file; raises `ConfigError` for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
    except SafetensorError as error:
        raise ConfigError(f"{path}: not a safetensors file: {error}") from error
    return _config(path, notes.get(PASSPORT)), path.read_bytes()


def _config(path: Path, text: str | None) -> dict[str, Any]:
    """Description of the network, as `config.json` of the passport's run has it."""
    passport = from_json((text or "").encode())
    if passport is None or passport.get("passport") != PASSPORT_VERSION:
        raise ConfigError(
            f"{path}: holds no passport of version {PASSPORT_VERSION}; expected a file of `metaseg export`"
        )
    try:
        return run_description(passport)
    except (AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: its passport is incomplete: {error!r:.200}") from error


def run_description(passport: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a run's `config.json` that a network is built by, from its passport."""
    columns = passport["metadata"]["columns"]
    return {
        "arm": passport["arm"],
        "network": passport["network"],
        "architecture": passport["architecture"],
        "dataset": {
            "classes": passport["classes"],
            "channels": passport["image"]["channels"],
            "reading": passport["image"]["reading"],
            "metadata": [{key: column[key] for key in CODE if key in column} for column in columns],
        },
    }


def to_text(passport: Mapping[str, Any]) -> str:
    """The passport as readable JSON."""
    return json.dumps(passport, indent=2, ensure_ascii=False) + "\n"
