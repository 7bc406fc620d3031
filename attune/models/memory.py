"""Peak memory of the process (CPU) or of the device (CUDA), in GiB."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from pathlib import Path

import torch

GIB = 2**30

_HEAP_UP_TO = 32 * 2**20
"""Bytes of a block from which on glibc asks the system for it alone: the most that it can be told."""

_HEAP_SHARE = 1.2
"""What the heap grows for a byte that lives in it: blocks that come and go leave gaps that the next ones do
not fit. Measured over all methods, whose shares lie between 1.0 and 1.4 (bench/methods.py).
"""


def peak_gib(device: torch.device) -> float:
    """The most memory in use since the last ``reset_peak``."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / GIB
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


def reset_peak(device: torch.device) -> None:
    """Forgets earlier peaks, where the system allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def available_gib(device: torch.device) -> float | None:
    """What can still be allocated, or None where that is unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / GIB
    info = Path("/proc/meminfo")
    if not info.is_file():
        return None
    for line in info.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 / GIB
    return None


def keep_freed_memory() -> None:
    """Asks glibc to keep freed blocks of up to 32 MiB instead of returning them to the system: a training
    step frees and takes the same blocks again, and each return costs page faults. Harmless where it is not
    glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    name = ctypes.util.find_library("c")
    if name is None:
        return
    mallopt = getattr(ctypes.CDLL(name), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold = -1, -3
        mallopt(m_mmap_threshold, _HEAP_UP_TO)
        mallopt(m_trim_threshold, 512 * 2**20)


def taken(num_bytes: int, device: torch.device) -> float:
    """Of the process's memory by a tensor of ``num_bytes`` that is made and freed in a step, under
    ``keep_freed_memory``; on a GPU, where bytes are counted by the tensor, just as many.
    """
    is_in_heap = device.type == "cpu" and num_bytes < _HEAP_UP_TO
    return num_bytes * _HEAP_SHARE if is_in_heap else num_bytes
