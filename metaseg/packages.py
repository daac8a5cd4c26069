"""Packages that only some tasks need, and the command that installs them, wherever metaseg itself came from.

metaseg isn't on PyPI under its own name (`metaseg` there is another project), so messages name the packages themselves
and never `metaseg[EXTRA]`.
"""

from typing import Literal

Extra = Literal[
    "bioimageio", "fuzz", "gs", "kits", "livecell", "losses", "mlflow", "onnx", "s3", "scores", "smp", "tensorboard",
    "torchvision", "trackio", "wandb",
]  # fmt: skip
"""Extras of the distribution (`pyproject.toml`) that messages speak of."""

PACKAGES: dict[Extra, str] = {
    "bioimageio": "bioimageio.core>=0.11 pydantic<2.14",
    "fuzz": "atheris>=3.0",
    "gs": "gcsfs>=2025.2",
    "kits": "nibabel>=5.3",
    "livecell": "pycocotools>=2.0.8",
    "losses": "monai>=1.5",
    "mlflow": "mlflow-skinny>=3.1",
    "onnx": "onnx>=1.17 onnxruntime>=1.20 onnxscript>=0.3",
    "s3": "s3fs>=2025.2",
    "scores": "monai>=1.5",
    "smp": "segmentation-models-pytorch>=0.5",
    "tensorboard": "tensorboard>=2.19 tensorboardX>=2.6",
    "torchvision": "torchvision>=0.21",
    "trackio": "trackio>=0.20",
    "wandb": "wandb>=0.20",
}
"""The packages that each extra adds, with the versions that it needs, with spaces between them."""


def install(extra: Extra) -> str:
    """The command that installs what an extra adds.

    >>> install("scores")
    "pip install 'monai>=1.5'"
    """
    return "pip install " + " ".join(f"'{package}'" for package in PACKAGES[extra].split())
