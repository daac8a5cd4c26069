"""Peers in their best setting, and the time that each takes to a validation F1."""

import importlib.util
import os
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.training import best_setting
from benchmarks.training.bare import ALL, Arithmetic
from benchmarks.training.best_setting import seconds_by_setting
from benchmarks.training.contender import NotMeasuredError
from benchmarks.training.loop import Stepper, Unconditioned
from benchmarks.training.nnunet_peer import VARIABLE, NnunetPeer
from benchmarks.training.textbook import mean_loss, textbook_network
from benchmarks.training.trainers import TRAINERS, USUAL
from benchmarks.training.work import Size, Work, make_work
from benchmarks.training.worker_process import WorkerPeer
from metaseg.config import NetworkConfig
from metaseg.device import KEPT_BYTES

TINY = Size(side=64, images=42, network=NetworkConfig(width=2, depth=2), batch=8, crop=32)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return make_work(tmp_path_factory.mktemp("work"), TINY, torch.device("cpu"), torch.get_num_threads())


def quiet(line: str) -> None:
    """No progress."""


class Sleepy(nn.Module):
    """A network that is slow unless its images are channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, image):
        if image.stride(1) != 1:
            time.sleep(0.02)
        return self.layer(image)


def test_the_probe_finds_the_setting_that_is_fast(work):
    seconds = seconds_by_setting(work, lambda: (Unconditioned(Sleepy()), mean_loss), list(ALL), rounds=2)
    assert set(seconds) == set(ALL)
    assert min(seconds, key=seconds.__getitem__).channels_last


def test_a_peer_has_the_fastest_setting_and_says_so_and_is_probed_once(work, monkeypatch):
    probed = []

    def seconds(work, make, settings):
        probed.append(settings)
        return {each: 1.0 if each == Arithmetic("bfloat16", channels_last=True) else 2.0 for each in settings}

    monkeypatch.setattr(best_setting, "seconds_by_setting", seconds)
    monkeypatch.setattr(best_setting, "_found", {})
    for seed in (0, 1):
        loop = TRAINERS["textbook"](work, seed, 2)
        assert loop.about.endswith("; bfloat16 channels last")
    assert probed == [list(ALL)]
    assert TRAINERS["textbook float32"](work, 0, 2).about.endswith("; float32 NCHW")


@pytest.mark.parametrize("channels_last", [False, True])
def test_images_with_one_channel_reach_the_network_in_the_memory_format(work, channels_last):
    """`Tensor.to` would leave their strides, and convolutions compute by strides."""
    strides = []
    stepper = Stepper(*textbook_network(work), work.device, Arithmetic("float32", channels_last), 1e-4)
    stepper.model.register_forward_pre_hook(lambda module, inputs: strides.append(inputs[0].stride()))
    stepper.step(torch.randn(2, 1, 32, 32), torch.ones(2, 32, 32, dtype=torch.uint8), torch.zeros(2, 7))
    assert strides == [(1024, 1, 32, 1) if channels_last else (1024, 1024, 32, 1)]


def test_usual_trainers_have_one_row_a_peer_and_are_all_known():
    assert set(USUAL) <= set(TRAINERS)
    assert not [name for name in USUAL if name.endswith(("bfloat16", "compiled"))]


def test_smp_that_isnt_installed_says_how_it_is(work, monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    monkeypatch.delitem(sys.modules, "benchmarks.training.smp_peer", raising=False)
    with pytest.raises(NotMeasuredError, match="segmentation_models_pytorch isn't installed: pip install"):
        TRAINERS["SMP"](work, 0, 1)


@pytest.mark.skipif(
    importlib.util.find_spec("segmentation_models_pytorch") is None, reason="segmentation_models_pytorch not installed"
)
def test_smp_trains_a_network_of_about_as_many_parameters(work):
    from benchmarks.training.smp_peer import smp_loop

    loop = smp_loop(work, 0, 2, 2_000_000, Arithmetic())
    assert loop.parameters == pytest.approx(2_000_000, rel=0.5)
    assert loop.lap().images == work.crops
    assert 0 <= loop.score() <= 1


def test_nnunet_that_isnt_there_says_how_it_is_named(work, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(NotMeasuredError, match=r"METASEG_BENCH_NNUNET must name .* with nnunetv2, and it isn't set"):
        NnunetPeer(work, 0, 1, 1000)


@pytest.mark.skipif(not Path(os.environ.get(VARIABLE, "/nowhere")).is_file(), reason=f"{VARIABLE} names no Python")
def test_nnunet_trains_on_the_same_images(work):
    peer = NnunetPeer(work, 0, 2, 30_000)
    try:
        assert peer.parameters == pytest.approx(30_000, rel=0.5)
        assert peer.lap().images == work.steps * TINY.batch
        assert 0 <= peer.score() <= 1
    finally:
        peer.close()


def test_a_peer_in_a_process_of_its_own_keeps_freed_memory_too(tmp_path, monkeypatch):
    """Otherwise page faults, which ours hasn't, would be counted as the peer's slowness."""
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import json, os, sys\n"
        "sys.stdin.readline()\n"
        "print(json.dumps({'parameters': 1, 'seen': dict(os.environ)}), flush=True)\n"
        "sys.stdin.read()\n"
    )
    monkeypatch.setenv("METASEG_BENCH_PLANTED", sys.executable)
    peer = WorkerPeer("METASEG_BENCH_PLANTED", "planted", worker)
    peer.close()
    seen = peer.started["seen"]
    assert (seen["MALLOC_ARENA_MAX"], seen["MALLOC_MMAP_MAX_"]) == ("1", "0")
    assert seen["MALLOC_TRIM_THRESHOLD_"] == str(KEPT_BYTES)
