"""What people read when a recipe is wrong: the place, the key, what was got, what is allowed, the nearest."""

# ruff: noqa: E501 (a case and its sentence stand in one line)
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attune.recipe import plugs
from attune.recipe.errors import RecipeError
from attune.recipe.load import load

SHORT = {"model": "m", "data": "a.json"}
LORA = ", ".join(plugs.find("adapters", "lora").Config.model_fields)
ADAPTERS, OBJECTIVES = (", ".join(plugs.names(room)) for room in ("adapters", "objectives"))


def problems(source: Any, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(source, overrides)
    return caught.value.problems


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.seed=true", "train.seed: got true. Allowed: whole number ≥ 0."),
        ("train.seed=1.5", "train.seed: got the number 1.5. Allowed: whole number ≥ 0."),
        ("train.seed=", "train.seed: got nothing (null). Allowed: whole number ≥ 0."),
        ("train.seed=[1]", "train.seed: got a list [1]. Allowed: whole number ≥ 0."),
        ("train.seed={a: 1}", "train.seed: got a section {'a': 1}. Allowed: whole number ≥ 0."),
        ("train.epochs=0", "train.epochs: got the number 0. Allowed: number > 0."),
        ("train.epochs=.nan", "train.epochs: got the number nan. Allowed: number > 0."),
        ("train.epochs=.inf", "train.epochs: got the number inf. Allowed: number > 0."),
        ("train.epochs=two", "train.epochs: got the text 'two'. Allowed: number > 0."),
        ("train.epochs='2'", "train.epochs: got the text '2'. Allowed: number > 0. Write it without quotes: epochs: 2"),
        ("train.compile='true'", "train.compile: got the text 'true'. Allowed: true or false. Write it without quotes: compile: true"),
        ("train.max_steps=0", "train.max_steps: got the number 0. Allowed: whole number ≥ 1 or null."),
        ("train.adam_beta1=1", "train.adam_beta1: got the number 1. Allowed: number ≥ 0 and < 1."),
        ("train.schedule=Linear", "train.schedule: got the text 'Linear'. Allowed: cosine, linear or constant. Did you mean 'linear'?"),
        ("train.schedule=zzz", "train.schedule: got the text 'zzz'. Allowed: cosine, linear or constant."),
        ("train.trackers=tensorboard", "train.trackers: got the text 'tensorboard'. Allowed: list of tensorboard. Write a list: trackers: [tensorboard]"),
        ("train.trackers=[wandb]", "train.trackers.1: got the text 'wandb'. Allowed: tensorboard."),
        ("train=5", "train: got the number 5. Allowed: a section of keys such as epochs, max_steps, learning_rate."),
        ("model=5", "model: got the number 5. Allowed: a section of keys such as path, revision, tokenizer."),
        ("model.revision=123", 'model.revision: got the number 123. Allowed: text or null. Write it in quotes: revision: "123"'),
        ("data.held_out=1.5", "data.held_out: got the number 1.5. Allowed: number ≥ 0 and < 1 or a path or a list of paths."),
        ("data.train=[]", "data.train: got a list []. Allowed: a path or a list of paths (at least 1)."),
        ("data.train=[a, 5]", "data.train.2: got the number 5. Allowed: a section of keys such as path, weight, format."),
        ("data.train={weight: 2}", "data.train.1.path is missing. Add it."),
        ("adapter.dropout=1", "adapter.dropout: got the number 1. Allowed: number ≥ 0 and < 1."),
        ("adapter.target_modules=[1]", "adapter.target_modules: got a list [1]. Allowed: text or list of text."),
        ("adapter.rnk=4", f"adapter.rnk: unknown key. Did you mean 'adapter.rank'? Allowed in adapter: {LORA}."),
        ("adapter.r=4", f"adapter.r: unknown key. Did you mean 'adapter.rank'? Allowed in adapter: {LORA}."),
        ("adapter=loar", f"adapter: no such name in adapters: 'loar'. Allowed: {ADAPTERS}. Did you mean 'lora'?"),
        ("adapter=5", f"adapter: no such name in adapters: '5'. Allowed: {ADAPTERS}."),
        ("objective=stf", f"objective: no such name in objectives: 'stf'. Allowed: {OBJECTIVES}. Did you mean 'sft'?"),
        ("data.train.1.wieght=2", "data.train.1.wieght: unknown key. Did you mean 'data.train.1.weight'? Allowed in data.train.1: path, weight, format, split, subset, encoding, columns, has_header, roles, merge_turns, unescape, num_samples."),
    ],
)  # fmt: skip
def test_one_problem(override: str, said: str) -> None:
    assert problems(SHORT, override) == [f"override 1: {override}: {said}"]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("epochs", "train.epochs"),
        ("rank", "adapter.rank"),
        ("lr", "train.learning_rate"),
        ("num_train_epochs", "train.epochs"),
        ("cutoff_len", "data.max_length"),
        ("lora_alpha", "adapter.alpha"),
        ("output_dir", "output"),
        ("adaptor", "adapter"),
        ("train.learningrate", "train.learning_rate"),
        ("train.batch_size", "train.global_batch_size"),
        ("train.max_len", "data.max_length"),
        ("data.seed", "train.seed"),
        ("generation.temp", "generation.temperature"),
    ],
)
def test_the_field_that_was_meant(key: str, meant: str) -> None:
    (problem,) = problems(SHORT, f"{key}=1")
    assert f"{key}: unknown key. Did you mean '{meant}'?" in problem


def test_a_key_like_nothing_gets_no_guess() -> None:
    assert problems(SHORT, "zzz=1") == [
        "override 1: zzz=1: zzz: unknown key. "
        "Allowed here: objective, model, data, adapter, train, generation, output."
    ]


def test_what_must_be_given() -> None:
    assert problems(None) == [
        "model.path is missing. Give it as --model Qwen/Qwen3-0.6B on the command line, "
        "or as model: Qwen/Qwen3-0.6B in the recipe.",
        "data.train is missing. Give it as --data my.json on the command line, or as data: my.json in the recipe.",
    ]
    assert problems({"model": {"revision": "x"}, "data": {"system": "s"}}) == problems(None)


def test_a_misspelt_section_is_not_also_missing() -> None:
    (problem,) = problems({"modle": "m", "data": "a"})
    assert problem.startswith("modle: unknown key. Did you mean 'model'?")


def test_an_option_of_another_adapter(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("model: m\ndata: a\nadapter:\n  name: full\n  rank: 4\n")
    assert problems(path) == [f"{path}:5: adapter.rank: unknown key. Allowed in adapter: name."]


def test_the_line_of_an_item(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("model: m\ndata:\n  train:\n  - a.json\n  - path: b.json\n    weight: -1\n")
    assert problems(path) == [f"{path}:6: data.train.2.weight: got the number -1. Allowed: number > 0."]


def test_an_override_of_a_line_is_the_place(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("model: m\ndata: a\ntrain:\n  seed: -1\n")
    assert problems(path, "train.seed=-2") == [
        "override 1: train.seed=-2: train.seed: got the number -2. Allowed: whole number ≥ 0."
    ]


def test_long_values_are_cut() -> None:
    (problem,) = problems(SHORT, "train.seed=" + "x" * 200)
    assert f"got the text '{'x' * 57}...'." in problem


def test_keys_that_are_no_words(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("model: m\ndata: a\n1: x\n")
    assert problems(path)[0].startswith(f"{path}:3: 1: unknown key.")


def test_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_LANG", "zh")
    assert problems(SHORT, "train.seed=-1", "adapter.rnk=2") == [
        "第 2 个覆盖项：adapter.rnk=2: adapter.rnk：未知的键。您是否想写“adapter.rank”？"
        f"adapter 中可用：{LORA.replace(', ', '、')}。",
        "第 1 个覆盖项：train.seed=-1: train.seed：得到数 -1。允许：整数 ≥ 0。",
    ]
