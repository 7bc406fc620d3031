"""Checkpoints: complete or absent; damaged ones are named; nothing is lost while the next one is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from attune.engine import checkpoint
from attune.recipe.errors import RunError


def make(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A small net after two steps of AdamW, one of its parameters frozen."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    net[1].bias.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], fused=True)
    for _ in range(2):
        net(torch.randn(5, 4)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return net, optimizer


def write(folder: Path, *steps: int, best: int | None = None) -> None:
    for step in steps:
        checkpoint.write(folder, *make(step), {"step": step, "best_step": best})


def test_what_was_written_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    net, optimizer = make(1)
    place = checkpoint.write(tmp_path, net, optimizer, {"step": 2, "best_loss": 0.1 + 0.2})
    assert place == tmp_path / "step-000002"
    found, damaged = checkpoint.newest(tmp_path)
    assert found is not None
    assert (found.step, found.state["best_loss"], damaged) == (2, 0.1 + 0.2, [])
    other, other_optimizer = make(9)
    checkpoint.restore(found, other, other_optimizer)
    for (name, mine), theirs in zip(net.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs) == (name != "1.bias"), name
    batch = torch.ones(5, 4)
    other[1].bias.data = net[1].bias.data.clone()
    for model, its in ((net, optimizer), (other, other_optimizer)):
        model(batch).square().mean().backward()
        its.step()
    for mine, theirs in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_manifest_holds_the_hash_of_every_other_file(tmp_path: Path) -> None:
    write(tmp_path, 1)
    place = tmp_path / "step-000001"
    manifest = json.loads((place / "manifest.json").read_text())
    assert set(manifest) == {"weights.safetensors", "optimizer.safetensors", "state.json"}
    assert {p.name for p in place.iterdir()} == {*manifest, "manifest.json"}


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def empty(file: Path) -> None:
    file.write_text("{}")


DAMAGE = [
    ("weights.safetensors", Path.unlink, "weights.safetensors is missing"),
    ("optimizer.safetensors", Path.unlink, "optimizer.safetensors is missing"),
    ("optimizer.safetensors", cut, "optimizer.safetensors has changed"),
    ("weights.safetensors", flip, "weights.safetensors has changed"),
    ("state.json", flip, "state.json has changed"),
    ("state.json", Path.unlink, "state.json is missing"),
    ("manifest.json", Path.unlink, "it has no manifest"),
    ("manifest.json", cut, "its manifest is cut off"),
    ("manifest.json", empty, "its manifest is cut off"),
]


@pytest.mark.parametrize(("name", "damage", "words"), DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    tmp_path: Path, name: str, damage: Callable[[Path], None], words: str
) -> None:
    write(tmp_path, 1, 2, 3)
    damage(tmp_path / "step-000003" / name)
    found, damaged = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.step == 2
    assert len(damaged) == 1
    assert f"step-000003 is damaged ({words})" in damaged[0]


def test_nothing_intact_is_nothing(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "absent") == (None, [])
    write(tmp_path, 1, 2)
    for step in (1, 2):
        cut(tmp_path / f"step-00000{step}" / "weights.safetensors")
    found, damaged = checkpoint.newest(tmp_path)
    assert found is None
    assert len(damaged) == 2


def test_the_best_checkpoint_must_be_intact_where_it_is_needed(tmp_path: Path) -> None:
    write(tmp_path, 1)
    write(tmp_path, 2, 3, best=2)
    cut(tmp_path / "step-000002" / "weights.safetensors")
    assert checkpoint.newest(tmp_path)[0].step == 3  # type: ignore[union-attr]
    found, damaged = checkpoint.newest(tmp_path, with_best=True)
    assert found is not None
    assert found.step == 1
    assert "step-000003 is damaged (step-000002: weights.safetensors has changed)" in damaged[0]


def test_a_write_that_fails_leaves_no_scrap_and_what_stood_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_flush", full)
    for step in (1, 2):
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path, step)
    assert [p.name for p in tmp_path.iterdir()] == ["step-000001"]
    assert checkpoint.newest(tmp_path)[0] is not None


def test_drafts_are_no_checkpoints(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    (tmp_path / "step-000002").rename(tmp_path / ".writing-step-000002")
    assert checkpoint.newest(tmp_path)[0].step == 1  # type: ignore[union-attr]
    write(tmp_path, 2)
    assert checkpoint.newest(tmp_path)[0].step == 2  # type: ignore[union-attr]


def test_the_same_step_again_replaces_a_damaged_one(tmp_path: Path) -> None:
    write(tmp_path, 1)
    cut(tmp_path / "step-000001" / "state.json")
    write(tmp_path, 1)
    assert checkpoint.newest(tmp_path)[1] == []
    assert [p.name for p in tmp_path.iterdir()] == ["step-000001"]


def names(folder: Path) -> list[int]:
    return sorted(int(p.name[5:]) for p in folder.iterdir())


def test_prune_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3, 4, 5)
    (tmp_path / ".writing-step-000006").mkdir()
    checkpoint.prune(tmp_path, 2, step=5, best=2)
    assert names(tmp_path) == [2, 4, 5]
    checkpoint.prune(tmp_path, 1, step=5, best=None)
    assert names(tmp_path) == [5]


def test_prune_removes_what_was_passed_over_as_damaged_before_what_is_good(tmp_path: Path) -> None:
    """Step 9 was damaged, the run went on from 4 and saved 5: with one to keep, 5 stays and not 9."""
    write(tmp_path, 4, 5, 9)
    checkpoint.prune(tmp_path, 1, step=5, best=None)
    assert names(tmp_path) == [5]


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    write(tmp_path, 999_999, 1_000_000)
    assert checkpoint.newest(tmp_path)[0].step == 1_000_000  # type: ignore[union-attr]


def test_a_checkpoint_of_another_model_is_refused_in_words(tmp_path: Path) -> None:
    write(tmp_path, 1)
    found, _ = checkpoint.newest(tmp_path)
    assert found is not None
    wider = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2))
    with pytest.raises(
        RunError, match=r"does not fit the model: 4 parameters differ \(0.bias, 0.weight, 1.bias, …\)"
    ):
        checkpoint.restore(found, wider, torch.optim.AdamW(wider.parameters()))
