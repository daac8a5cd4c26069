"""Fastest arithmetic of a device: type of mixed precision, memory format of feature maps, number of threads."""

import contextlib
from collections.abc import Iterator

import torch


def half_precision(device: torch.device) -> torch.dtype | None:
    """The type of mixed precision, by what the hardware has; None where it has no fast one.

    bfloat16 on GPUs and CPUs that compute with it (AVX512-BF16, AMX), float16 on older GPUs. It is asked of the
    hardware and not timed: a run has the same bits on the same machine.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    fast = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.bfloat16 if fast else None


def training_format(device: torch.device) -> torch.memory_format:
    """Memory format of feature maps during training; without gradients, channels come last everywhere.

    Channels come last on GPUs, whose tensor cores want them so, and on CPUs in float32. In bfloat16 on CPUs a map's
    pixels lie together: with channels last PyTorch's backward pass of group normalisation is slow there.
    """
    bfloat16_cpu = device.type == "cpu" and half_precision(device) is not None
    return torch.contiguous_format if bfloat16_cpu else torch.channels_last


def autocast(device: torch.device) -> torch.autocast:
    """Mixed precision where the hardware has it, full precision elsewhere."""
    half = half_precision(device)
    return torch.autocast(device.type, dtype=half or torch.bfloat16, enabled=half is not None)


@contextlib.contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Compute with one thread on a CPU: sums then have one order, and a run the same bits wherever it is called."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
