"""The schema from Python: short forms, strictness, help in both languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from attune.recipe.schema import Data, Generation, Recipe, Train, spelled_out


def recipe(**values: Any) -> Recipe:
    return Recipe(**{"model": "m", "data": "a.json", **values})


def test_short_forms() -> None:
    made = recipe(data=["a.json", {"path": "b.json", "weight": 2}], adapter={"rank": 4})
    assert [(source.path, source.weight) for source in made.data.train] == [("a.json", 1.0), ("b.json", 2.0)]
    assert made.adapter.model_dump()["rank"] == 4
    assert recipe(model=Path("folder"), data=Path("a"), output=Path("runs/x")).output == "runs/x"


def test_a_recipe_taken_apart_is_the_same_recipe() -> None:
    made = recipe(adapter={"name": "lora", "rank": 3}, train={"seed": 1})
    assert Recipe(**made.model_dump()) == made
    assert Recipe(model=made.model, data=made.data, adapter=made.adapter, train=made.train) == made


def test_wrong_values_pass_the_short_forms_unchanged() -> None:
    assert spelled_out({"model": 5, "adapter": 7}) == {
        "model": 5,
        "objective": {"name": "sft"},
        "adapter": {"name": 7},
    }


@pytest.mark.parametrize("value", [True, "1", 1.0, None])
def test_no_value_is_bent_into_a_whole_number(value: Any) -> None:
    with pytest.raises(ValidationError):
        Train(seed=value)


def test_a_whole_number_is_a_number() -> None:
    assert Train(epochs=2).epochs == 2.0


def test_values_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Generation().temperature = 1.0  # type: ignore[misc]


def test_data_without_files_is_refused() -> None:
    with pytest.raises(ValidationError):
        Data()
    with pytest.raises(ValidationError):
        Data(train=[])
