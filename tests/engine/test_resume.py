"""A run that was interrupted goes on to the same weights and the same curve; what differs is refused."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_engine import LORA, MakeRecipe, curve, events, weights_digest, write_rows

from attune.engine import run as runs
from attune.engine.events import Event, Listener, RunEnded, Saved, StepEnd
from attune.engine.train import train
from attune.recipe.errors import AttuneError, Interrupted, RecipeError, RunError
from attune.recipe.schema import Recipe


class KilledError(Exception):
    """Stands for the end of the process."""


def at_step(step: int, act: Callable[[], None]) -> Listener:
    def listen(event: Event) -> None:
        if isinstance(event, StepEnd) and event.step == step:
            act()

    return listen


def die() -> None:
    raise KilledError


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def killed(recipe: Recipe, step: int, **options: Any) -> None:
    with pytest.raises(KilledError):
        train(recipe, listeners=[at_step(step, die)], **options)


def heard(recipe: Recipe, **options: Any) -> list[Event]:
    said: list[Event] = []
    train(recipe, listeners=[said.append], **options)
    return said


@pytest.mark.parametrize("adapter", ["full", LORA], ids=["full", "lora"])
@pytest.mark.parametrize("save_steps", [1, 2])
def test_the_same_weights_and_the_same_curve(recipe: MakeRecipe, adapter: Any, save_steps: int) -> None:
    whole = train(recipe("whole", adapter=adapter, eval_steps=2)).output
    broken = recipe("broken", adapter=adapter, eval_steps=2, save_steps=save_steps)
    killed(broken, 3)
    torch.rand(7)  # whatever else drew random numbers does not matter
    killed(broken, 5)
    again = train(broken).output
    assert weights_digest(again) == weights_digest(whole)
    assert curve(again) == curve(whole)
    held_out = [
        [(e["step"], e["loss"], e["is_best"]) for e in events(path, "eval_end")] for path in (again, whole)
    ]
    assert held_out[0] == held_out[1]
    assert [step for step, *_ in curve(whole)] == [1, 2, 3, 4, 5, 6]


def test_another_seed_gives_other_weights(recipe: MakeRecipe) -> None:
    """Or the comparisons above would prove nothing; dropout alone must do it too."""
    digests = {
        weights_digest(train(recipe(str(index), adapter=adapter, max_steps=2, **more)).output)
        for index, (adapter, more) in enumerate(
            [(LORA, {}), (LORA, {"seed": 7}), ({**LORA, "dropout": 0.1}, {})]
        )
    }
    assert len(digests) == 3


def test_ctrl_c_ends_after_a_checkpoint_and_the_same_command_goes_on(recipe: MakeRecipe) -> None:
    whole = train(recipe("whole", adapter=LORA)).output
    broken = recipe("broken", adapter=LORA)
    with pytest.raises(Interrupted, match=r"Stopped after step 2 of 6; the same command goes on") as caught:
        train(broken, listeners=[at_step(2, press_ctrl_c)])
    assert caught.value.exit_code == 130
    assert [event["step"] for event in events(Path(broken.output or ""), "saved")] == [2]
    said = heard(broken)
    assert [event.step for event in said if isinstance(event, StepEnd)] == [3, 4, 5, 6]
    assert weights_digest(Path(broken.output or "")) == weights_digest(whole)


def test_sigterm_is_like_ctrl_c(recipe: MakeRecipe) -> None:
    with pytest.raises(Interrupted, match="Stopped after step 1 of 6"):
        train(recipe(), listeners=[at_step(1, lambda: os.kill(os.getpid(), signal.SIGTERM))])


def test_a_second_ctrl_c_ends_at_once(recipe: MakeRecipe) -> None:
    def twice() -> None:
        press_ctrl_c()
        press_ctrl_c()

    # A process that was started in the background has another handler than one at a terminal.
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(recipe(), listeners=[at_step(1, twice)])
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_in_the_last_step_finishes(recipe: MakeRecipe) -> None:
    assert train(recipe(max_steps=2), listeners=[at_step(2, press_ctrl_c)]).reason == "finished"


def test_a_finished_run_says_so_and_does_nothing(recipe: MakeRecipe) -> None:
    first = train(recipe(max_steps=2))
    before = {path: path.stat().st_mtime_ns for path in first.output.rglob("*") if path.is_file()}
    said = heard(recipe(max_steps=2))
    assert [type(event) for event in said] == [RunEnded]
    (ended,) = said
    assert isinstance(ended, RunEnded)
    assert (ended.reason, ended.step, ended.final_loss) == ("already_finished", 2, first.state["final_loss"])
    assert train(recipe(max_steps=2)).reason == "already_finished"
    after = {path: path.stat().st_mtime_ns for path in first.output.rglob("*") if path.is_file()}
    assert {p: t for p, t in after.items() if p.name != ".lock"} == {
        p: t for p, t in before.items() if p.name != ".lock"
    }


def test_a_finished_run_on_data_that_has_changed_is_named(recipe: MakeRecipe, rows_path: Path) -> None:
    train(recipe(max_steps=2))
    write_rows(rows_path, 25)
    with pytest.raises(RecipeError, match=r"finished run of something else:\n  .*rows.jsonl has changed\n"):
        train(recipe(max_steps=2))


def test_a_finished_run_of_another_recipe_is_not_touched(recipe: MakeRecipe) -> None:
    train(recipe(max_steps=2))
    with pytest.raises(
        RecipeError, match=r"finished run of something else:\n  train.max_steps: 2 → 3\n.*--fresh"
    ):
        train(recipe(max_steps=3))
    assert train(recipe(max_steps=2, save_steps=1)).reason == "already_finished", "no weight depends on it"


def test_fresh_starts_over(recipe: MakeRecipe) -> None:
    first = train(recipe(max_steps=2))
    kept = weights_digest(first.output)
    said = heard(recipe(max_steps=2), fresh=True)
    assert [event.step for event in said if isinstance(event, StepEnd)] == [1, 2]
    assert weights_digest(first.output) == kept
    assert train(recipe(max_steps=3), fresh=True).reason == "finished"


def test_fresh_forgets_an_unfinished_run(recipe: MakeRecipe) -> None:
    killed(recipe(save_steps=1), 4)
    said = heard(recipe(save_steps=1), fresh=True)
    assert [event.step for event in said if isinstance(event, StepEnd)] == [1, 2, 3, 4, 5, 6]


def test_fresh_keeps_the_old_run_until_the_new_one_can_begin(recipe: MakeRecipe, tmp_path: Path) -> None:
    first = train(recipe(max_steps=2))
    with pytest.raises(AttuneError, match=r"absent\.json"):
        train(recipe(max_steps=2, data={"train": str(tmp_path / "absent.json")}), fresh=True)
    assert (first.output / "final" / "model.safetensors").is_file()
    assert train(recipe(max_steps=2)).reason == "already_finished"


def test_changed_data_is_refused_unless_accepted(recipe: MakeRecipe, rows_path: Path) -> None:
    killed(recipe(save_steps=1), 2)
    write_rows(rows_path, 27)
    with pytest.raises(
        RunError, match=r"(?s)unfinished run that differs.*the training data has changed.*--accept"
    ):
        train(recipe(save_steps=1))
    result = train(recipe(save_steps=1), accept_changes=True)
    assert any("accepted although changed: the training data" in text for text in result.state["warnings"])
    assert [step for step, *_ in curve(result.output)] == [1, 2, 3, 4, 5, 6]


def test_a_changed_recipe_is_refused_field_by_field(recipe: MakeRecipe) -> None:
    killed(recipe(save_steps=1), 2)
    with pytest.raises(RunError) as caught:
        train(recipe(learning_rate=1e-3, seed=7))
    assert "train.learning_rate: 0.01 → 0.001" in str(caught.value)
    assert "train.seed: 42 → 7" in str(caught.value)
    assert "save_steps" not in str(caught.value), "no weight depends on it"
    assert train(recipe(learning_rate=1e-3, seed=7), accept_changes=True).reason == "finished"


def test_an_accepted_change_that_does_not_fit_the_checkpoint_is_refused_in_words(recipe: MakeRecipe) -> None:
    killed(recipe(adapter=LORA, save_steps=1), 2)
    with pytest.raises(RunError, match=r"does not fit the model: \d+ parameters differ .*--fresh"):
        train(recipe(adapter={**LORA, "rank": 8}), accept_changes=True)


def test_other_libraries_and_threads_are_named(recipe: MakeRecipe) -> None:
    killed(recipe(save_steps=1), 2)
    record = Path(recipe().output or "") / "run.json"
    state = json.loads(record.read_text())
    state["versions"]["torch"], state["machine"]["threads"] = "1.0.0", 5
    record.write_text(json.dumps(state))
    with pytest.raises(RunError) as caught:
        train(recipe(save_steps=1))
    assert f"torch: 1.0.0 → {runs.versions()['torch']}" in str(caught.value)
    assert "CPU threads: 5 → 1" in str(caught.value)


def test_a_lost_run_json_does_not_hide_a_changed_recipe(recipe: MakeRecipe) -> None:
    killed(recipe(save_steps=1), 2)
    (Path(recipe().output or "") / "run.json").unlink()
    with pytest.raises(RunError, match=r"train\.seed: 42 → 7"):
        train(recipe(seed=7))
    said = heard(recipe(save_steps=1))
    assert [event.step for event in said if isinstance(event, StepEnd)] == [2, 3, 4, 5, 6]


def test_a_damaged_checkpoint_is_named_in_the_summary(recipe: MakeRecipe) -> None:
    whole = train(recipe("whole")).output
    broken = recipe("broken", save_steps=1)
    killed(broken, 4)
    place = Path(broken.output or "") / "checkpoints" / "step-000003" / "weights.safetensors"
    place.write_bytes(place.read_bytes()[:-1])
    result = train(broken)
    assert any(
        "step-000003 is damaged (weights.safetensors has changed)" in w for w in result.state["warnings"]
    )
    assert weights_digest(result.output) == weights_digest(whole)
    assert curve(result.output) == curve(whole)


def test_without_an_intact_checkpoint_it_starts_over_and_says_so(recipe: MakeRecipe) -> None:
    killed(recipe(save_steps=1, keep_checkpoints=1), 3)
    for manifest in Path(recipe().output or "").glob("checkpoints/*/manifest.json"):
        manifest.unlink()
    result = train(recipe(save_steps=1, keep_checkpoints=1))
    assert any("No checkpoint is intact: starting over" in text for text in result.state["warnings"])
    assert [step for step, *_ in curve(result.output)] == [1, 2, 3, 4, 5, 6]


def test_auto_precision_is_kept(recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on the border would measure one answer today and the other tomorrow."""
    monkeypatch.setattr("attune.models.precision.bf16_speedup", lambda: 1.1)
    killed(recipe(precision="auto", save_steps=1), 2)
    monkeypatch.setattr("attune.models.precision.bf16_speedup", lambda: 9.9)
    assert train(recipe(precision="auto", save_steps=1)).state["precision"] == "fp32"


def test_one_process_a_folder(recipe: MakeRecipe) -> None:
    folder = runs.RunFolder(Path(recipe().output or ""))
    with folder.lock(), pytest.raises(RunError, match="Another process is training in"):
        train(recipe())


def test_saved_events_name_places_that_exist(recipe: MakeRecipe) -> None:
    places = []

    def look(event: Event) -> None:
        if isinstance(event, Saved):
            places.append(event.path)
            assert (Path(event.path) / "manifest.json").is_file()

    train(recipe(save_steps=2), listeners=[look])
    assert [Path(place).name for place in places] == ["step-000002", "step-000004"]
