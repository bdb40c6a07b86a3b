"""Large buffers go back to the system when they are free, however large those before them were."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import ctypes
from controller.app.memory import give_large_buffers_back

def resident_kib():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

give_large_buffers_back()
del_me = bytearray(16 << 20)
del del_me
before = resident_kib()
# Between the buffers are blocks that stay.
kept, buffers = [], []
for _ in range(200):
    buffers.append(b"x" * (200 << 10))
    kept.append(b"y" * 5000)
buffers.clear()
print(resident_kib() - before)
"""


def test_buffers_between_small_blocks_that_stay_are_given_back() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 10_000, "40 000 KiB of buffers are free"
