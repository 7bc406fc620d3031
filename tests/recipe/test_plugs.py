"""Files and entry points as registrations."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import attune.adapters
from attune.recipe import plugs
from attune.recipe.errors import RecipeError


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that brings an adapter ``foreign`` and a second ``lora``."""
    plugs._foreign.cache_clear()
    module = types.ModuleType("stranger")
    monkeypatch.setitem(sys.modules, "stranger", module)
    points = [EntryPoint(name, "stranger", "attune.adapters") for name in ("foreign", "lora")]
    monkeypatch.setattr(plugs, "entry_points", lambda group: points if group == "attune.adapters" else [])
    yield
    plugs._foreign.cache_clear()


def test_a_file_is_a_name() -> None:
    assert {"lora", "full"} <= set(plugs.names("adapters"))
    assert {"pretrain", "sft"} <= set(plugs.names("objectives"))
    assert plugs.find("adapters", "full").__name__ == "attune.adapters.full"


def test_files_that_serve_plugs_are_no_names() -> None:
    assert not {"fused", "contract", "advantages", "__init__"} & set(plugs.names("adapters"))


def test_an_entry_point_is_a_name(stranger: None) -> None:
    assert "foreign" in plugs.names("adapters")
    assert plugs.find("adapters", "foreign").__name__ == "stranger"


def test_a_clash_names_both(stranger: None) -> None:
    with pytest.raises(RecipeError) as caught:
        plugs.find("adapters", "lora")
    assert caught.value.problems == [
        "'lora' is implemented more than once in adapters: attune.adapters.lora, stranger. "
        "Keep one, uninstall the others."
    ]


def test_an_unknown_name_prints_the_list_and_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        plugs.find("objectives", "sfft")
    allowed = ", ".join(plugs.names("objectives"))
    assert str(caught.value) == (
        f"no such name in objectives: 'sfft'. Allowed: {allowed}. Did you mean 'sft'?"
    )


def test_an_import_error_inside_a_file_surfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text("import a_package_that_is_not_here\n")
    monkeypatch.setattr(attune.adapters, "__path__", [*attune.adapters.__path__, str(tmp_path)])
    assert "broken" in plugs.names("adapters")
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_here"):
        plugs.find("adapters", "broken")
