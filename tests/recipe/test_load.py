"""Recipes from files and overrides: what they become, and that writing one loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attune.recipe import load as recipes
from attune.recipe import plugs
from attune.recipe.errors import RecipeError
from attune.recipe.load import default_output, difference, dump, generation_of, load
from attune.recipe.schema import Recipe

SHORT = {"model": "Qwen/Qwen3-0.6B", "data": "my.json"}


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(source: Any, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(source, overrides)
    return caught.value.problems


def test_two_lines_are_enough() -> None:
    recipe = load(SHORT)
    assert recipe.objective.name == "sft"
    assert recipe.adapter.name == "lora"
    assert recipe.model.path == "Qwen/Qwen3-0.6B"
    assert [source.path for source in recipe.data.train] == ["my.json"]
    assert recipe.data.held_out == 0.05


def test_overrides_alone_are_a_recipe() -> None:
    assert load(None, ["model=Qwen/Qwen3-0.6B", "data=my.json"]) == load(SHORT)


def test_file_and_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, "model: m\ndata:\n  train: a.json\ntrain:\n  epochs: 1\n  learning_rate: 1e-4\n")
    recipe = load(path, ["train.epochs=2", "data.train=[a.json,b.json]", "data.system=You are: a #1 cook"])
    assert recipe.train.epochs == 2
    assert recipe.train.learning_rate == 1e-4
    assert [source.path for source in recipe.data.train] == ["a.json", "b.json"]
    assert recipe.data.system == "You are: a #1 cook"
    assert load(str(path)) == load(path)


def test_adapter_by_name_replaces_another_with_its_options() -> None:
    source = {**SHORT, "adapter": {"name": "lora", "rank": 64}}
    assert load(source, ["adapter=full"]).adapter.model_dump() == {"name": "full"}


def test_adapter_by_its_own_name_keeps_its_options() -> None:
    source = {**SHORT, "adapter": {"name": "lora", "rank": 64}}
    assert load(source, ["adapter=lora"]).adapter.model_dump()["rank"] == 64


@pytest.mark.parametrize("adapter", [None, "lora", {"name": "lora"}, {"dropout": 0.0}])
def test_an_option_keeps_the_name(adapter: Any) -> None:
    source = SHORT if adapter is None else {**SHORT, "adapter": adapter}
    chosen = load(source, ["adapter.rank=7"]).adapter.model_dump()
    assert (chosen["name"], chosen["rank"]) == ("lora", 7)


def test_pretraining_trains_all_weights_unless_told() -> None:
    assert load({**SHORT, "objective": "pretrain"}).adapter.name == "full"
    assert load({**SHORT, "objective": "pretrain"}, ["adapter=lora"]).adapter.name == "lora"
    assert load(SHORT, ["objective=pretrain"]).adapter.name == "full"


def test_short_forms_in_overrides_keep_the_rest_of_the_section() -> None:
    source = {"model": {"path": "a", "revision": "v1"}, "data": {"train": "a.json", "max_length": 64}}
    recipe = load(source, ["model=b", "data=b.json"])
    assert (recipe.model.path, recipe.model.revision) == ("b", "v1")
    assert (recipe.data.train[0].path, recipe.data.max_length) == ("b.json", 64)


def test_parts_of_sections_given_in_short() -> None:
    recipe = load(SHORT, ["model.revision=v2", "data.max_length=128", "data.train.1.weight=0.5"])
    assert recipe.model.revision == "v2"
    assert recipe.data.max_length == 128
    assert (recipe.data.train[0].path, recipe.data.train[0].weight) == ("my.json", 0.5)


def test_items_are_counted_from_one() -> None:
    source = {"model": "m", "data": ["a.json", {"path": "b.json"}]}
    assert [item.weight for item in load(source, ["data.train.2.weight=3"]).data.train] == [1.0, 3.0]
    assert problems(source, "data.train.0.weight=3", "data.train.3.weight=3") == [
        "override 1: data.train.0.weight=3: data.train has 2 items, counted from 1; there is no item '0'.",
        "override 2: data.train.3.weight=3: data.train has 2 items, counted from 1; there is no item '3'.",
    ]
    assert "data.train has 0 items" in problems({"model": "m"}, "data.train.1.weight=3")[0]


def test_the_last_override_wins() -> None:
    assert load(SHORT, ["train.seed=1", "train.seed=2"]).train.seed == 2


def test_nothing_means_null() -> None:
    assert load({**SHORT, "data": {"train": "a", "system": "s"}}, ["data.system="]).data.system is None


def test_held_out_is_a_share_or_files() -> None:
    assert load(SHORT, ["data.held_out=0.2"]).data.held_out == 0.2
    files = load(SHORT, ["data.held_out=test.json"]).data.held_out
    assert isinstance(files, list)
    assert files[0].path == "test.json"


def test_words_of_yaml_1_1_stay_words() -> None:
    recipe = load(SHORT, ["train.packing=off", "train.activation_checkpointing=on", "data.system=yes"])
    assert (recipe.train.packing, recipe.train.activation_checkpointing, recipe.data.system) == (
        "off",
        "on",
        "yes",
    )


def test_a_mapping_is_not_changed() -> None:
    source = {"model": "m", "data": {"train": ["a"]}}
    load(source, ["data.train.1.weight=2", "train.seed=3"])
    assert source == {"model": "m", "data": {"train": ["a"]}}


def test_all_problems_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "model: m\ndata: a.json\ntrain:\n  epoch: 2\n  seed: -1\nadapter:\n  rnk: 4\n")
    assert problems(path, "train.schedule=cosin", "nonsense") == [
        "override 2: nonsense: not of the form key=value. Write for example train.epochs=2.",
        f"{path}:7: adapter.rnk: unknown key. Did you mean 'adapter.rank'? "
        f"Allowed in adapter: {', '.join(plugs.find('adapters', 'lora').Config.model_fields)}.",
        "override 1: train.schedule=cosin: train.schedule: got the text 'cosin'. "
        "Allowed: cosine, linear or constant. Did you mean 'cosine'?",
        f"{path}:5: train.seed: got the number -1. Allowed: whole number ≥ 0.",
        problems(path)[-1],
    ]
    assert problems(path)[-1].startswith(
        f"{path}:4: train.epoch: unknown key. Did you mean 'train.epochs'? Allowed in"
    )


@pytest.mark.parametrize("text", ["=2", "a..b=2", ".a=2", "train.seed", "a b=2", ""])
def test_an_override_must_be_key_value(text: str) -> None:
    assert problems(SHORT, text) == [
        f"override 1: {text}: not of the form key=value. Write for example train.epochs=2."
    ]


def test_a_broken_list_in_an_override() -> None:
    (problem,) = problems(SHORT, "data.train=[a.json")
    assert problem.startswith("override 1: data.train=[a.json: 1:")
    assert "Close the bracket: [a, b]." in problem


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, "model: m\n")
    assert problems(tmp_path / "recipes.yaml") == [
        f"{tmp_path / 'recipes.yaml'}: no such file. Did you mean '{path}'?"
    ]
    assert problems(tmp_path / "absent" / "recipe.yaml") == [
        f"{tmp_path / 'absent' / 'recipe.yaml'}: no such file."
    ]


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    assert problems(tmp_path) == [f"{tmp_path}: cannot be read (Is a directory)."]


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("", "the file holds nothing"),
        ("# only this\n", "the file holds nothing"),
        ("{}", "the file holds nothing"),
        ("- a\n- b\n", "got a list ['a', 'b']"),
        ("hello", "got the text 'hello'"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, text: str, got: str) -> None:
    path = write(tmp_path, text)
    assert problems(path, "train.seed=1") == [
        f"{path}: {got}. A recipe holds at least two lines: 'model: <id or folder>' and 'data: <file>'."
    ]


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes("model: 模型\n".encode("gb18030"))
    assert problems(path) == [f"{path}: not UTF-8 (byte 10). Save the file as UTF-8."]


def test_a_byte_order_mark_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbfmodel: m\ndata: a\n")
    assert load(path).model.path == "m"


def test_generation_as_the_run_says_then_as_asked(tmp_path: Path) -> None:
    assert generation_of(tmp_path, []).temperature == 0
    write(tmp_path, dump(load(SHORT, ["generation.temperature=0.5", "generation.top_k=5"])))
    answer = generation_of(tmp_path, ["temperature=0.7"])
    assert (answer.temperature, answer.top_k) == (0.7, 5)
    with pytest.raises(RecipeError, match=r"Did you mean 'generation\.temperature'"):
        generation_of(tmp_path, ["temprature=1"])


def test_difference_names_the_fields() -> None:
    old = load({"model": "m", "data": ["a.json"]})
    new = load(
        {"model": "m", "data": ["b.json", "c.json"]}, ["train.seed=7", "adapter=full", "data.system=s"]
    )
    assert difference(old, old) == []
    lines = difference(old, new)
    assert "train.seed: 42 → 7" in lines
    assert "data.train.1.path: a.json → b.json" in lines
    assert "data.train.2.path: – → c.json" in lines
    assert "adapter.name: lora → full" in lines
    assert "adapter.rank: 16 → –" in lines
    assert "data.system: null → s" in lines


def test_default_output() -> None:
    name = default_output(load(SHORT))
    assert name.startswith("runs/sft-Qwen3-0.6B-my-")
    assert len(name.rpartition("-")[2]) == 8


def test_default_output_is_the_same_however_the_recipe_is_written() -> None:
    name = default_output(load(SHORT))
    assert default_output(load(SHORT, ["output=elsewhere"])) == name
    assert default_output(load(SHORT, ["train.epochs=3", "adapter.rank=16", "adapter=lora"])) == name
    others = [
        ["train.seed=7"],
        ["adapter=full"],
        ["adapter.rank=8"],
        ["objective=pretrain"],
        ["data.train=[my.json,b]"],
    ]
    assert len({default_output(load(SHORT, other)) for other in others} | {name}) == 6


def test_default_output_does_not_change_between_versions() -> None:
    """A folder's name must be found again by a later version: this value may only change with a reason."""
    assert default_output(load(SHORT)) == "runs/sft-Qwen3-0.6B-my-8ff4ce91"


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("Qwen/Qwen3-0.6B", "Qwen3-0.6B"),
        ("models/tiny/config.json", "tiny"),
        ("config.json", "config"),
        ("data/", "data"),
        ("data/*.jsonl", "data"),
        ("../a b?.json", "a-b"),
        ("小笼.json", "小笼"),
        ("C:\\x\\y.csv", "y"),
        ("x" * 99, "x" * 40),
    ],
)
def test_short_names(path: str, short: str) -> None:
    assert default_output(load({"model": path, "data": "d"})).startswith(f"runs/sft-{short}-d-")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
paths = texts.filter(bool)
numbers = st.floats(min_value=1e-12, max_value=1e12)
recipes_of_all_kinds = st.fixed_dictionaries(
    {
        "model": st.fixed_dictionaries({"path": paths}, optional={"revision": st.none() | texts}),
        "data": st.fixed_dictionaries(
            {
                "train": st.lists(
                    paths | st.fixed_dictionaries({"path": paths, "weight": numbers}), min_size=1, max_size=3
                )
            },
            optional={
                "system": st.none() | texts,
                "held_out": st.floats(0, 0.99) | st.lists(paths, max_size=2),
            },
        ),
    },
    optional={
        "objective": st.sampled_from(["sft", "pretrain"]),
        "adapter": st.just("full")
        | st.fixed_dictionaries(
            {"name": st.just("lora"), "rank": st.integers(1, 99)},
            optional={"target_modules": texts | st.lists(texts, min_size=1), "rslora": st.booleans()},
        ),
        "train": st.fixed_dictionaries(
            {},
            optional={
                "learning_rate": st.none() | numbers,
                "seed": st.integers(0, 2**63),
                "packing": st.just("off"),
            },
        ),
        "output": st.none() | texts,
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(source=recipes_of_all_kinds)
def test_what_is_written_loads_back_equal(source: dict[str, Any], tmp_path: Path) -> None:
    recipe = load(source)
    path = write(tmp_path, dump(recipe))
    again = load(path)
    assert again == recipe
    assert default_output(again) == default_output(recipe)
    assert difference(recipe, again) == []


def test_dump_of_a_recipe_made_in_python() -> None:
    recipe = Recipe(model={"path": Path("m")}, data=Path("a.json"), adapter="full", output=Path("runs/x"))  # type: ignore[arg-type]
    assert recipes.settings(recipe)["output"] == "runs/x"
    assert "path: m\n" in dump(recipe)
