"""Which arithmetic this machine is fast with: measured, not assumed.

Many CPUs have no bfloat16 arithmetic and emulate it several times slower than float32; no flag says so
reliably.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def resolve(wanted: str, device: torch.device) -> Precision:
    """``auto`` becomes bf16 on a GPU that has it, and on a CPU where a matrix product is measured to be at
    least 1.2 times as fast with it.
    """
    if wanted in DTYPES:
        return "bf16" if wanted == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if bf16_speedup() >= 1.2 else "fp32"


@lru_cache(maxsize=1)
def bf16_speedup() -> float:
    """How many times as fast a 512 x 1024 x 1024 product is in bfloat16 as in float32 here (best of 5)."""
    best = {}
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16):
        left = torch.randn(512, 1024, generator=generator).to(dtype)
        right = torch.randn(1024, 1024, generator=generator).to(dtype)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            torch.nn.functional.linear(left, right)
            times.append(time.perf_counter() - start)
        best[dtype] = min(times)
    return best[torch.float32] / best[torch.bfloat16]
