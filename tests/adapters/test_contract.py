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
    prompt,
    ptuning,
    rslora,
)
from attune.adapters.contract import AdapterContract
from attune.adapters.method import Method


def options_of(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(request.param)


class TestFull(AdapterContract):
    @pytest.fixture
    def config(self) -> Method:
        return full.Config()


class TestFreeze(AdapterContract):
    @pytest.fixture(
        params=[{"num_layers": 1}, {"pattern": r".*\.(ln_f|norm)\.weight|.*[hs]\.0\..*"}], ids=str
    )
    def config(self, request: pytest.FixtureRequest) -> Method:
        return freeze.Config(**options_of(request))


class TestLora(AdapterContract):
    @pytest.fixture(
        params=[
            {"rslora": True, "alpha": 3.0},
            {"start": "pissa"},
            {"start": "olora"},
            {"rank": 40},  # more than the layers' width: wasteful, not wrong
        ],
        ids=str,
    )
    def config(self, request: pytest.FixtureRequest) -> Method:
        return lora.Config(**{"rank": 4, **options_of(request)})


class TestDora(AdapterContract):
    @pytest.fixture
    def config(self) -> Method:
        return dora.Config(rank=4)


class TestRslora(AdapterContract):
    @pytest.fixture
    def config(self) -> Method:
        return rslora.Config(rank=8)


class TestAdalora(AdapterContract):
    @pytest.fixture
    def config(self) -> Method:
        return adalora.Config(rank=2, start_rank=4)


class TestPassedThrough(AdapterContract):
    """One of PEFT's that attune knows nothing of, and which takes all four architectures."""

    @pytest.fixture
    def config(self) -> Method:
        targets = r".*\.(q_proj|down_proj|c_attn)"
        return peft.Config(method="vera", options={"r": 4, "target_modules": targets})


class TestIa3(AdapterContract):
    @pytest.fixture
    def config(self) -> Method:
        return ia3.Config()


class TestBitfit(AdapterContract):
    @pytest.fixture(params=[{}, {"biases": "all"}], ids=str)
    def config(self, request: pytest.FixtureRequest) -> Method:
        return bitfit.Config(**options_of(request))


class TestBottleneck(AdapterContract):
    @pytest.fixture(params=[{}, {"placement": "pfeiffer", "activation": "relu"}], ids=str)
    def config(self, request: pytest.FixtureRequest) -> Method:
        return bottleneck.Config(**{"size": 8, **options_of(request)})


class TestPrompt(AdapterContract):
    STARTS_AS_BASE: ClassVar[bool] = False

    @pytest.fixture
    def config(self) -> Method:
        return prompt.Config(num_virtual_tokens=6)


class TestPtuning(AdapterContract):
    STARTS_AS_BASE: ClassVar[bool] = False
    SAVES_WHAT_LEARNS: ClassVar[bool] = False

    @pytest.fixture
    def config(self) -> Method:
        return ptuning.Config(num_virtual_tokens=6)


class TestPrefix(AdapterContract):
    STARTS_AS_BASE: ClassVar[bool] = False

    @pytest.fixture
    def config(self) -> Method:
        return prefix.Config(num_virtual_tokens=6)


class TestProjectedPrefix(AdapterContract):
    STARTS_AS_BASE: ClassVar[bool] = False
    SAVES_WHAT_LEARNS: ClassVar[bool] = False

    @pytest.fixture
    def config(self) -> Method:
        return prefix.Config(num_virtual_tokens=6, projection=True)
