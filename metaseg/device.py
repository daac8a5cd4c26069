"""Arithmetic of a device: type of mixed precision, memory format of feature maps, number of threads."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
"""Parameters of glibc's `mallopt`."""

KEPT_BYTES = 2**31 - 1
"""Most freed memory at the heap's end that a process keeps: the most that `mallopt` takes."""


@dataclass(frozen=True)
class Arithmetic:
    """Number format and memory format of a network's training, and whether it is compiled."""

    dtype: torch.dtype
    """float32, or the half precision that convolutions compute in."""
    channels_last: bool
    """True if a pixel's channels lie together in memory, False if a channel's pixels do."""
    compiled: bool = False
    """True if the network is compiled by `torch.compile`."""

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        layout = "channels-last" if self.channels_last else "channels-first"
        return f"{dtype} {layout}{' compiled' if self.compiled else ''}"

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of images and weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self, device: torch.device) -> torch.autocast:
        """Mixed precision in this format, or none."""
        half = self.dtype != torch.float32
        return torch.autocast(device.type, dtype=self.dtype if half else torch.bfloat16, enabled=half)


def half_precision(device: torch.device) -> torch.dtype | None:
    """The type of mixed precision, by what the hardware has; None where it has no fast one.

    bfloat16 on GPUs and CPUs that compute with it (AVX512-BF16, AMX), float16 on older GPUs. It is asked of the
    hardware and not timed: a run has the same bits on the same machine.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    fast = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.bfloat16 if fast else None


def usual_arithmetic(device: torch.device) -> Arithmetic:
    """Arithmetic of trainings too short to measure what is fastest (`metaseg.training.arithmetic`).

    Channels come last on GPUs, whose tensor cores want them so. On CPUs a channel's pixels lie together: with channels
    last, PyTorch's backward pass of group normalisation is slow in bfloat16, and convolutions of few channels are on
    CPUs without AMX. Without gradients, channels come last everywhere.
    """
    return Arithmetic(half_precision(device) or torch.float32, channels_last=device.type == "cuda")


def possible_arithmetic(device: torch.device) -> list[Arithmetic]:
    """Arithmetic that a training on the device may have; the usual one first.

    A GPU with a fast half precision always computes in it.
    """
    half = half_precision(device)
    dtypes = [half] if half and device.type == "cuda" else [half, torch.float32] if half else [torch.float32]
    usual = usual_arithmetic(device)
    return [usual, *(each for dtype in dtypes for last in (False, True) if (each := Arithmetic(dtype, last)) != usual)]


def autocast(device: torch.device) -> torch.autocast:
    """Mixed precision of evaluation: where the hardware has it; full precision elsewhere."""
    half = half_precision(device)
    return torch.autocast(device.type, dtype=half or torch.bfloat16, enabled=half is not None)


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for the tensors of its next step, instead of giving it back.

    glibc gives large tensors back to the kernel, and the heap's end as soon as it is free. Each step then gets the same
    memory again page by page, which took from a tenth to two fifths of its time on CPUs (docs/performance.md). The
    price is fragmentation: up to a third more memory at the most. Does nothing where the C library isn't glibc.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_ARENA_MAX, 1)  # heaps of threads are too small for large tensors
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


@contextlib.contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Compute with one thread on a CPU: sums then have one order, and a run the same bits wherever it is called."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        keep_freed_memory()
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
