"""Peak memory of the process (CPU) or of the device (CUDA), in GiB."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from pathlib import Path

import torch

GIB = 2**30


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
        mallopt(m_mmap_threshold, 32 * 2**20)
        mallopt(m_trim_threshold, 512 * 2**20)
