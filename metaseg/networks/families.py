"""Networks from elsewhere by family: a name and settings in, an unconditioned network out. Nothing is downloaded."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from metaseg.config import ConfigError
from metaseg.packages import Extra, install

Factory = Callable[..., nn.Module]
"""Makes a network when called with `in_channels`, `out_channels` and settings."""

Settings = Mapping[str, Any]

FETCHES = ("encoder_weights", "pretrained", "weights", "weights_backbone")
"""Arguments by which packages download weights."""


def segmentation_models(name: str, variant: str) -> Factory:
    """`smp.ARCHITECTURE:ENCODER`: networks of segmentation_models_pytorch (Iakubovskii 2019), randomly initialised."""
    made = _find("smp", "segmentation_models_pytorch", name)

    def make(in_channels: int, out_channels: int, **settings: Any) -> nn.Module:
        chosen = {"encoder_name": variant or "resnet34", "encoder_weights": None} | settings
        network: nn.Module = made(in_channels=in_channels, classes=out_channels, **chosen)
        return network

    return make


MONAI_DEFAULTS: dict[str, Settings] = {
    "UNet": {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2), "num_res_units": 2},
    "AttentionUnet": {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2)},
    "DynUNet": {"kernel_size": (3,) * 5, "strides": (1, 2, 2, 2, 2), "upsample_kernel_size": (2,) * 4},
}
"""Settings of MONAI's networks that have no defaults there."""


def monai(name: str, variant: str) -> Factory:
    """`monai.CLASS`: networks of `monai.networks.nets` for images of two dimensions."""
    if variant:
        raise ConfigError(f"network is 'monai.{name}:{variant}'; expected 'monai.{name}', with settings in parentheses")
    made = _find("monai", "monai.networks.nets", name)

    def make(in_channels: int, out_channels: int, **settings: Any) -> nn.Module:
        chosen = {"spatial_dims": 2, **MONAI_DEFAULTS.get(name, {})} | settings
        parameters = inspect.signature(made).parameters
        if "kernel_size" in parameters and "upsample_kernel_size" in parameters:  # DynUNet takes lists alone
            chosen = {key: list(value) if isinstance(value, tuple) else value for key, value in chosen.items()}
        network: nn.Module = made(in_channels=in_channels, out_channels=out_channels, **chosen)
        return network

    return make


def torchvision(name: str, variant: str) -> Factory:
    """`torchvision.FUNCTION`: segmentation networks of torchvision; they take three channels."""
    if variant:
        raise ConfigError(f"network is 'torchvision.{name}:{variant}'; expected 'torchvision.{name}'")
    made = _find("torchvision", "torchvision.models.segmentation", name)

    def make(in_channels: int, out_channels: int, **settings: Any) -> nn.Module:
        network: nn.Module = made(weights=None, weights_backbone=None, num_classes=out_channels, **settings)
        return network

    return make


FAMILIES: dict[str, Callable[[str, str], Factory]] = {
    "smp": segmentation_models,
    "monai": monai,
    "torchvision": torchvision,
}
"""Families of networks by the first part of their name; each makes a factory of the second part and the variant."""

EXTRAS: dict[str, Extra] = {"smp": "smp", "monai": "scores", "torchvision": "torchvision"}
"""Extras that install the families' packages."""


def _find(family: str, module: str, name: str) -> Factory:
    try:
        package = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"network {family}.{name} needs a package that can't be imported ({error}): {install(EXTRAS[family])}"
        ) from error
    found: Any = getattr(package, name, None)
    if not callable(found) or name.startswith("_"):
        known = [each for each in vars(package) if not each.startswith("_") and callable(getattr(package, each))]
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)[:3]
        raise ConfigError(f"network is '{family}.{name}', and {module} has no {name!r}; close are {', '.join(close)}")
    factory: Factory = found
    return factory
