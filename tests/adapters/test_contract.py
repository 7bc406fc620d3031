"""Every method keeps the contract, with its main options, on four architectures."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from attune.adapters import (
    adalora,
    bitfit,
    bottleneck,
    dora,
    freeze,
    full,
    ia3,
    lora,
    peft,
    prefix,
    probe,
    prompt,
    ptuning,
    rslora,
)
from attune.adapters.method import Method
from attune.engine.contract import LoopContract


def options_of(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(request.param)


class TestFull(LoopContract):
    @pytest.fixture
    def config(self) -> Method:
        return full.Config()


class TestFreeze(LoopContract):
    @pytest.fixture(
        params=[{"num_layers": 1}, {"pattern": r".*\.(ln_f|norm)\.weight|.*[hs]\.0\..*"}], ids=str
    )
    def config(self, request: pytest.FixtureRequest) -> Method:
        return freeze.Config(**options_of(request))


class TestLora(LoopContract):
    @pytest.fixture(
        params=[
            {"rslora": True, "alpha": 3.0},
            {"start": "pissa"},
            {"start": "olora"},
            {"rank": 20},  # more than the keys' width: wasteful, not wrong
        ],
        ids=str,
    )
    def config(self, request: pytest.FixtureRequest) -> Method:
        return lora.Config(**{"rank": 4, **options_of(request)})


class TestDora(LoopContract):
    @pytest.fixture
    def config(self) -> Method:
        return dora.Config(rank=4)


class TestRslora(LoopContract):
    @pytest.fixture
    def config(self) -> Method:
        return rslora.Config(rank=8)


class TestAdalora(LoopContract):
    @pytest.fixture
    def config(self) -> Method:
        return adalora.Config(rank=2, start_rank=4)


class TestPassedThrough(LoopContract):
    """One of PEFT's that attune knows nothing of, and which takes all four architectures."""

    @pytest.fixture
    def config(self) -> Method:
        targets = r".*\.(q_proj|down_proj|c_attn)"
        return peft.Config(method="vera", options={"r": 4, "target_modules": targets})


class TestIa3(LoopContract):
    @pytest.fixture
    def config(self) -> Method:
        return ia3.Config()


class TestBitfit(LoopContract):
    @pytest.fixture(params=[{}, {"biases": "all"}], ids=str)
    def config(self, request: pytest.FixtureRequest) -> Method:
        return bitfit.Config(**options_of(request))


class TestBottleneck(LoopContract):
    @pytest.fixture(params=[{}, {"placement": "pfeiffer", "activation": "relu"}], ids=str)
    def config(self, request: pytest.FixtureRequest) -> Method:
        return bottleneck.Config(**{"size": 8, **options_of(request)})


class TestPrompt(LoopContract):
    STARTS_AS_BASE: ClassVar[bool] = False

    @pytest.fixture
    def config(self) -> Method:
        return prompt.Config(num_virtual_tokens=6)


class TestPtuning(LoopContract):
    STARTS_AS_BASE: ClassVar[bool] = False
    SAVES_WHAT_LEARNS: ClassVar[bool] = False

    @pytest.fixture
    def config(self) -> Method:
        return ptuning.Config(num_virtual_tokens=6)


class TestPrefix(LoopContract):
    STARTS_AS_BASE: ClassVar[bool] = False

    @pytest.fixture
    def config(self) -> Method:
        return prefix.Config(num_virtual_tokens=6)


class TestProjectedPrefix(LoopContract):
    STARTS_AS_BASE: ClassVar[bool] = False
    SAVES_WHAT_LEARNS: ClassVar[bool] = False

    @pytest.fixture
    def config(self) -> Method:
        return prefix.Config(num_virtual_tokens=6, projection=True)


class TestProbe(LoopContract):
    SCORES: ClassVar[bool] = True

    @pytest.fixture
    def config(self) -> Method:
        return probe.Config()
