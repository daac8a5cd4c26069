"""Memory that a process keeps between steps."""

import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import torch
from metaseg.device import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    for megabytes in (1, 40):
        torch.zeros(megabytes, 2**18).add_(1)
for _ in range(3):
    step()
before = faults()
for _ in range(5):
    step()
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library is glibc only on Linux")
def test_a_step_gets_the_memory_of_the_step_before():
    def faults(how: str) -> int:
        return int(subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, check=True).stdout)

    assert faults("usual") > 5 * 5_000  # 4 KiB a page
    assert faults("kept") < 500
