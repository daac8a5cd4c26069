from .config import (
    ArchitectureConfig,
    ConfigError,
    DataConfig,
    EngineConfig,
    LossConfig,
    NetworkConfig,
    RunConfig,
    ScheduleConfig,
)
from .data.dataset import Dataset
from .data.decode import decode_image
from .data.manifest import Manifest, ManifestError
from .data.preparation import prepare
from .datasets.table import read_table
from .engine.study import run_study
from .networks.blocks.registry import BLOCKS, build_block
from .networks.condition import condition
from .networks.feature_maps import conditionable
from .networks.unet import UNet
from .prediction.ensemble import Ensemble
from .simulators.settings import SyntheticConfig
from .simulators.seven_cells import make_seven_cells
from .store.runs import Store
from .study.arms import ARMS, Arm
from .study.plan import Study, plan
from .study.predict import Predictor
from .training.fit import fit

__version__: str

__all__ = [
    "ARMS",
    "BLOCKS",
    "ArchitectureConfig",
    "Arm",
    "ConfigError",
    "DataConfig",
    "Dataset",
    "EngineConfig",
    "Ensemble",
    "LossConfig",
    "Manifest",
    "ManifestError",
    "NetworkConfig",
    "Predictor",
    "RunConfig",
    "ScheduleConfig",
    "Store",
    "Study",
    "SyntheticConfig",
    "UNet",
    "build_block",
    "condition",
    "conditionable",
    "decode_image",
    "fit",
    "make_seven_cells",
    "plan",
    "prepare",
    "read_table",
    "run_study",
]
