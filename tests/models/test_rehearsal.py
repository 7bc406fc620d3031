"""What lives at once, by hand on a few tensors; a pass of a real model, tensor by tensor."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from attune.adapters import fused
from attune.adapters.contract import base_model, batch
from attune.models import memory, quantize
from attune.models.policy import Policy
from attune.models.rehearsal import Ledger, rehearsing, weight_bytes
from attune.recipe import plugs

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _bytes_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what the heap loses."""
    monkeypatch.setattr(memory, "_HEAP_SHARE", 1.0)


def on_meta(build: Any) -> Any:
    with torch.device("meta"):
        return build()


def test_what_is_made_and_freed() -> None:
    """4,000 bytes each: the product and its square live together, then only the sum of one number."""
    model = on_meta(lambda: nn.Linear(10, 100, bias=False))
    with rehearsing(model, CPU) as ledger, torch.no_grad():
        given = torch.zeros(10, 10)
        assert ledger.live == 400
        product = model(given)
        assert (ledger.live, ledger.peak) == (4400, 4400)
        square = product * product
        del product
        assert (ledger.live, ledger.peak) == (4400, 8400)
        view = square.view(-1)[3:]
        del square
        assert ledger.live == 4400, "a view holds it"
        del view
        assert ledger.live == 400
    assert ledger.flops == 2 * 10 * 10 * 100
    assert model.weight.device == CPU, "as if it lay there"


def test_a_question_about_a_number_is_answered_with_none() -> None:
    with rehearsing(on_meta(lambda: nn.Linear(2, 2)), CPU):
        assert not bool((torch.zeros(3) == 0).all())


def test_a_shared_weight_stays_shared_and_counts_once() -> None:
    model = on_meta(lambda: nn.ModuleList([nn.Linear(3, 5, bias=False), nn.Linear(3, 5, bias=False)]))
    model[1].weight = model[0].weight
    assert weight_bytes(model) == 4 * 15
    with rehearsing(model, CPU):
        assert model[0].weight is model[1].weight


class Real(Ledger):
    """The same count over tensors that have numbers."""


@pytest.mark.parametrize("name", ["full", "freeze", "lora", "dora", "adalora", "ia3", "bottleneck", "bitfit"])
def test_a_rehearsed_pass_makes_what_a_real_one_does(name: str) -> None:
    """The method's code runs in both; what autograd keeps, what lies beside it, and the gradients."""
    module = plugs.find("adapters", name)
    config = module.Config(num_layers=1) if name == "freeze" else module.Config()

    def attached(base: Any) -> Any:
        model = module.attach(base, config)
        fused.fuse(model)
        return model

    policy = Policy(attached(base_model())).train()
    with Real() as real:
        for tensor in (*policy.parameters(), *policy.buffers()):
            real.leave_out(tensor)
        policy(batch()).sum().backward()
    model = on_meta(lambda: attached(base_model().to("meta")))
    with rehearsing(model, CPU) as ledger:
        Policy(model, packs=True).train()(batch()).sum().backward()
    assert ledger.flops == real.flops > 0
    assert ledger.peak == pytest.approx(real.peak, rel=0.01)
    assert ledger.live == pytest.approx(real.live, rel=0.01)


def test_four_bits_are_counted_as_they_lie() -> None:
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes, which is not here")
    four = on_meta(lambda: quantize.quantize(base_model().to("meta"), torch.float32))
    whole = base_model()
    matrices = sum(whole.get_submodule(name).weight.numel() for name in quantize.matrix_names(whole))
    rest = sum(p.numel() for p in whole.parameters()) - matrices
    assert sum(map(quantize.num_weights, four.parameters())) == matrices + rest
    buffers = sum(b.numel() * b.element_size() for b in four.buffers())
    assert weight_bytes(four) == pytest.approx(0.516 * matrices + 4 * rest + buffers, rel=0.01)
    with rehearsing(four, CPU) as ledger:
        policy = Policy(four, packs=True)
        policy.base.get_input_embeddings().weight.requires_grad_(True)
        policy(batch()).sum().backward()
    assert ledger.peak > 0


def test_blocks_of_the_heap_cost_more_than_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert memory.taken(1000, CPU) == 1200
    assert memory.taken(32 * 2**20, CPU) == 32 * 2**20, "the system gives it alone and takes it back whole"
    assert memory.taken(1000, torch.device("cuda")) == 1000
