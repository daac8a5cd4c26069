"""Packages that only some tasks need, and the command that installs them, wherever metaseg itself came from.

metaseg isn't on PyPI under its own name (`metaseg` there is another project), so messages name the packages themselves
and never `metaseg[EXTRA]`.
"""

from typing import Literal

Extra = Literal[
    "fuzz", "gs", "kits", "livecell", "losses", "mlflow", "s3", "scores", "smp", "tensorboard", "torchvision",
    "trackio", "wandb",
]  # fmt: skip
"""Extras of the distribution (`pyproject.toml`) that messages speak of."""

PACKAGES: dict[Extra, str] = {
    "fuzz": "atheris>=3.0",
    "gs": "gcsfs>=2025.2",
    "kits": "nibabel>=5.3",
    "livecell": "pycocotools>=2.0.8",
    "losses": "monai>=1.5",
    "mlflow": "mlflow-skinny>=3.1",
    "s3": "s3fs>=2025.2",
    "scores": "monai>=1.5",
    "smp": "segmentation-models-pytorch>=0.5",
    "tensorboard": "tensorboardX>=2.6",
    "torchvision": "torchvision>=0.21",
    "trackio": "trackio>=0.20",
    "wandb": "wandb>=0.20",
}
"""The package that each extra adds, with the version that it needs."""


def install(extra: Extra) -> str:
    """The command that installs what an extra adds.

    >>> install("scores")
    "pip install 'monai>=1.5'"
    """
    return f"pip install '{PACKAGES[extra]}'"
