"""The walk over the schema."""

from __future__ import annotations

import re

from attune.recipe import plugs
from attune.recipe.fields import config_of, either, fields, options, type_text
from attune.recipe.messages import speaking
from attune.recipe.schema import Recipe


def test_every_field_is_listed_once_with_its_options() -> None:
    paths = [field.path for field in fields()]
    own = [field.path for field in fields(rooms=())]
    assert len(own) == len(set(own))
    assert {
        "model.path",
        "data.train",
        "adapter",
        "adapter.rank",
        "train.seed",
        "generation.top_k",
        "output",
    } <= set(paths)
    assert "adapter.rank" not in {field.path for field in fields(rooms=())}


def test_the_options_of_the_default_plug_alone() -> None:
    paths = [field.path for field in fields(rooms=("adapters",), default_only=True)]
    assert len(paths) == len(set(paths))
    assert "adapter.rank" in paths
    assert "adapter.num_virtual_tokens" not in paths


def test_type_default_and_help() -> None:
    known = {field.path: field for field in fields()}
    seed = known["train.seed"]
    assert (seed.type, seed.default, seed.required) == ("whole number ≥ 0", 42, False)
    assert known["model.path"].required
    assert known["adapter"].type == either(plugs.names("adapters"))
    assert known["adapter"].default == "lora"
    assert known["data.held_out"].type == "number ≥ 0 and < 1 or a path or a list of paths"
    with speaking("zh"):
        seed = {field.path: field for field in fields()}["train.seed"]
    assert seed.type == "整数 ≥ 0"
    assert re.search(r"[\u4e00-\u9fff]", seed.help)


def test_every_field_and_plug_explains_itself_in_both_languages() -> None:
    silent = []
    for language, sign in (("en", "[a-z]"), ("zh", r"[\u4e00-\u9fff]")):
        with speaking(language):
            silent += [f"{language} {field.path}" for field in fields() if not re.search(sign, field.help)]
    for room in ("adapters", "objectives"):
        for name in plugs.names(room):
            silent += [name] if " | " not in (config_of(room, name).__doc__ or "") else []
    silent += [name for name, info in Recipe.model_fields.items() if " | " not in (info.description or "")]
    assert silent == []


def test_options_of_a_plug() -> None:
    assert [option.path for option in options("adapters", "lora")][:2] == ["rank", "alpha"]
    assert options("adapters", "full") == []


def test_type_texts() -> None:
    assert type_text(str | list[str] | None) == "text or list of text or null"
    assert type_text(dict[str, str | int]) == "names, each with text or whole number"
    assert type_text(bytes) == "bytes"
