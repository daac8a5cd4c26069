"""Blocks from outside metaseg on their way to Ray's workers."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from ray import cloudpickle

from checkout import ROOT
from metaseg.config import ConfigError, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.engine.shipping import ship_code
from metaseg.networks.blocks import Matched, block_name

LAYERS = """
FACTOR = 0.5

def scaled(values):
    return FACTOR * values
"""

BLOCK = """
import threading

import {layers}
from metaseg.networks.blocks import ChannelModulation

class Scaled(ChannelModulation):
    def forward(self, features, metadata):
        return {layers}.scaled(features)

class Locked(ChannelModulation):
    lock = threading.Lock

    def forward(self, features, metadata):
        return features

Locked.held = property(lambda self, lock=threading.Lock(): lock)
"""

WORKER = """
import sys
import torch
from ray import cloudpickle
from metaseg.networks.unet import UNet

config = cloudpickle.load(sys.stdin.buffer)
print(config.block, UNet(1, 1, config.block, 0, config.network)(torch.zeros(1, 1, 8, 8)).shape)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A module with blocks that uses another one, in a folder that no other process looks into."""
    name = f"blocks_of_{abs(hash(request.node.name))}"
    (tmp_path / f"layers_of_{name}.py").write_text(LAYERS)
    (tmp_path / f"{name}.py").write_text(BLOCK.format(layers=f"layers_of_{name}"))
    monkeypatch.syspath_prepend(tmp_path)
    return name


def run_of(block: str) -> RunConfig:
    return RunConfig(block, "absent", 0, "0" * 16, NetworkConfig(width=4, depth=1), ScheduleConfig())


@pytest.mark.parametrize("matched", [False, True])
def test_a_worker_builds_a_block_whose_files_it_cant_import(module: str, matched: bool) -> None:
    block = importlib.import_module(module).Scaled
    config = run_of(block_name("se-matched", Matched(block)) if matched else block_name(block))
    ship_code([config])
    worker = subprocess.run(
        [sys.executable, "-c", WORKER], input=cloudpickle.dumps(config), cwd=ROOT, capture_output=True, timeout=60
    )
    assert worker.returncode == 0, worker.stderr.decode()
    assert worker.stdout.decode() == f"{config.block} torch.Size([1, 1, 8, 8])\n"


def test_a_block_that_cant_be_sent_is_refused_before_ray_is_started(module: str) -> None:
    block = importlib.import_module(module).Locked
    with pytest.raises(ConfigError, match=r"block 'Locked' of .*\.py can't be sent to Ray's workers: .*lock"):
        ship_code([run_of(block_name(block))])
