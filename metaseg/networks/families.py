"""Networks from elsewhere by family: a name and settings in, an unconditioned network out. Nothing is downloaded."""

import difflib
import hashlib
import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from torch import nn

from metaseg.config import ConfigError
from metaseg.packages import Extra, install

Factory = Callable[..., nn.Module]
"""Makes a network when called with `in_channels`, `out_channels` and settings."""

Settings = Mapping[str, Any]

REMOTE = ("hf-hub:", "hf_hub:", "://")
"""Parts of names by which packages fetch networks from elsewhere."""

FETCHES = ("encoder_weights", "pretrained", "weights", "weights_backbone")
"""Arguments by which packages download weights."""


@dataclass(frozen=True)
class FamilyFactory:
    """Makes networks of a class or function of a package."""

    made: Callable[..., Any]
    defaults: Settings
    """Settings where a user gives none and the package's own don't do."""
    inputs: str | None
    """Name of the argument for the channels of the image, if there is one."""
    outputs: str
    """Name of the argument for the number of logits."""

    def __call__(self, in_channels: int, out_channels: int, **settings: Any) -> nn.Module:
        """Make a network with random weights."""
        chosen = {**self.defaults, **settings, self.outputs: out_channels}
        if self.inputs is not None:
            chosen[self.inputs] = in_channels
        if "upsample_kernel_size" in inspect.signature(self.made).parameters:  # MONAI's DynUNet takes lists alone
            chosen = {key: list(value) if isinstance(value, tuple) else value for key, value in chosen.items()}
        network: nn.Module = self.made(**chosen)
        return network

    @property
    def digest(self) -> str:
        """12 hex digits: a hash of all defaults, the package's own too, which belong to what a network is."""
        parameters = inspect.signature(self.made).parameters.values()
        known = {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}
        plain = {name: _plain(value) for name, value in {**known, **self.defaults}.items()}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


def _plain(value: object) -> str:
    """A default as text that is the same in every process."""
    if isinstance(value, type | FunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)


def segmentation_models(name: str, variant: str) -> FamilyFactory:
    """`smp.ARCHITECTURE:ENCODER`: networks of segmentation_models_pytorch (Iakubovskii 2019), randomly initialised."""
    made = _find("smp", "segmentation_models_pytorch", name)
    if any(part in variant for part in REMOTE):
        raise ConfigError(f"network is 'smp.{name}:{variant}', which is fetched; expected an encoder of the package")
    return FamilyFactory(
        made, {"encoder_name": variant or "resnet34", "encoder_weights": None}, "in_channels", "classes"
    )


MONAI_DEFAULTS: dict[str, Settings] = {
    "UNet": {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2), "num_res_units": 2},
    "AttentionUnet": {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2)},
    "DynUNet": {"kernel_size": (3,) * 5, "strides": (1, 2, 2, 2, 2), "upsample_kernel_size": (2,) * 4},
}
"""Settings of MONAI's networks that have no defaults there."""


def monai(name: str, variant: str) -> FamilyFactory:
    """`monai.CLASS`: networks of `monai.networks.nets` for images of two dimensions."""
    if variant:
        raise ConfigError(f"network is 'monai.{name}:{variant}'; expected 'monai.{name}', with settings in parentheses")
    made = _find("monai", "monai.networks.nets", name)
    defaults = {"spatial_dims": 2, **MONAI_DEFAULTS.get(name, {})}
    return FamilyFactory(made, defaults, "in_channels", "out_channels")


def torchvision(name: str, variant: str) -> FamilyFactory:
    """`torchvision.FUNCTION`: segmentation networks of torchvision; they take three channels."""
    if variant:
        raise ConfigError(f"network is 'torchvision.{name}:{variant}'; expected 'torchvision.{name}'")
    made = _find("torchvision", "torchvision.models.segmentation", name)
    return FamilyFactory(made, {"weights": None, "weights_backbone": None}, None, "num_classes")


FAMILIES: dict[str, Callable[[str, str], FamilyFactory]] = {
    "smp": segmentation_models,
    "monai": monai,
    "torchvision": torchvision,
}
"""Families of networks by the first part of their name; each makes a factory of the second part and the variant."""

EXTRAS: dict[str, Extra] = {"smp": "smp", "monai": "scores", "torchvision": "torchvision"}
"""Extras that install the families' packages."""


def _find(family: str, module: str, name: str) -> Callable[..., Any]:
    try:
        package = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"network {family}.{name} needs a package that can't be imported ({error}): {install(EXTRAS[family])}"
        ) from error
    found: Any = getattr(package, name, None)
    if not _makes_networks(found, family) or name.startswith("_"):
        known = [each for each, value in vars(package).items() if each[0] != "_" and _makes_networks(value, family)]
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)[:3]
        raise ConfigError(f"network is '{family}.{name}', and {module} has no {name!r}; close are {', '.join(close)}")
    made: Callable[..., Any] = found
    return made


def _makes_networks(found: object, family: str) -> bool:
    """True for classes of networks; torchvision has functions. Others, such as `from_pretrained`, download."""
    if family == "torchvision":
        return isinstance(found, FunctionType)
    return isinstance(found, type) and issubclass(found, nn.Module)
