"""Learning from sampled answers through the real loop: bit-exact resume, ratios, alarms, refusals."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_distributed import TORCHRUN, assert_close, finish, launch
from test_kill import fork, num_steps_done, wait_until
from test_resume import KilledError, at_step, die
from tiny_engine import curve, events, save_model, weights_digest

from attune.engine import online
from attune.engine.events import Event, RolloutEnd
from attune.engine.train import train
from attune.recipe.errors import AttuneError, DataError, RecipeError, RunError
from attune.recipe.schema import Recipe

REWARD = """
def score(prompt, answer, reference, **extra):
    return answer.count("e") / 10 + extra["bonus"]

def broken(answer):
    return {}["nothing"]

def silent(answer):
    return float("nan")
"""
NUM_ROWS = 18
Make = Callable[..., Recipe]


@pytest.fixture(scope="module")
def calm_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without dropout, which would be drawn per process."""
    return save_model(tmp_path_factory.mktemp("calm"))


@pytest.fixture
def asked(model_dir: Path, cache_dir: Path, tmp_path: Path) -> Make:
    """``asked("grpo", objective options, **fields of train)`` on 18 prompts, of which two are held out."""
    rows = [
        {"prompt": f"{number} opens at ten?", "reference": "tea", "bonus": number / 100}
        for number in range(NUM_ROWS)
    ]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "my_rewards.py").write_text(REWARD)

    def make(name: str, options: dict[str, Any] | None = None, run: str = "run", **train: Any) -> Recipe:
        objective = {
            "name": name,
            "rewards": [f"{tmp_path}/my_rewards.py:score"],
            "group_size": 3,
            "max_new_tokens": 8,
            "truncated": "keep",
            **(options or {}),
        }
        model = str(train.pop("model", model_dir))
        data = {
            "train": str(tmp_path / "prompts.jsonl"),
            "held_out": 0.1,
            "cache_dir": str(cache_dir),
            "check": "off",
            **train.pop("data", {}),
        }
        settings = {
            "max_steps": 4,
            "global_batch_size": 4,
            "learning_rate": None if name == "trpo" else 1e-2,
            "precision": "fp32",
            "threads": 1,
            "eval_steps": 2,
            **train,
        }
        adapter = settings.pop("adapter", {"name": "lora", "rank": 4})
        return Recipe.model_validate(
            {
                "objective": objective,
                "model": model,
                "data": data,
                "adapter": adapter,
                "train": settings,
                "output": str(tmp_path / run),
            }
        )

    return make


def metrics(run: Path) -> list[dict[str, float]]:
    return [event["metrics"] for event in events(run, "step_end")]


CASES = {
    "grpo": {"beta": 0.01, "inner_epochs": 2, "minibatches": 2},
    "rloo": {"beta": 0.01},
    "ppo": {"kl_target": 0.01, "inner_epochs": 2},
    "trpo": {"cg_iterations": 3},
}


@pytest.mark.parametrize("name", CASES)
def test_a_killed_run_goes_on_bit_for_bit(asked: Make, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between steps and in the middle of a rollout; the value head and the leash come back too."""
    whole = train(asked(name, CASES[name], "whole")).output
    broken = asked(name, CASES[name], "broken", save_steps=1)
    with pytest.raises(KilledError):
        train(broken, listeners=[at_step(2, die)])
    torch.rand(7)  # whatever else drew random numbers does not matter
    with monkeypatch.context() as patch:
        patch.setattr(online.rollout, "laid", lambda *_: die())
        with pytest.raises(KilledError):
            train(broken)
    again = train(broken).output
    assert weights_digest(again) == weights_digest(whole)
    assert curve(again) == curve(whole)
    assert metrics(again) == metrics(whole)
    samples = [(run / "samples.jsonl").read_text() for run in (again, whole)]
    assert samples[0] == samples[1] != ""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("name", ["grpo", "ppo"])
def test_a_process_that_was_killed_goes_on(asked: Make, name: str) -> None:
    """A real SIGKILL, twice, wherever it happens to be: sampling, learning or saving."""
    options = {**CASES[name], "inner_epochs": 1}
    settings = {"max_steps": 6, "save_steps": 1}
    whole = train(asked(name, options, "whole", **settings)).output
    broken = asked(name, options, "broken", **settings)
    run = Path(broken.output or "")
    for pause in (0.0, 0.15):
        process = fork(broken)
        target = num_steps_done(run) + 2
        wait_until(lambda target=target: num_steps_done(run) >= target, process.is_alive)
        time.sleep(pause)
        process.kill()
        process.join()
    last = fork(broken)
    last.join(120.0)
    assert last.exitcode == 0
    assert weights_digest(run) == weights_digest(whole)
    assert metrics(run) == metrics(whole)


def test_a_changed_reward_is_refused(asked: Make, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train(asked("grpo", save_steps=1), listeners=[at_step(2, die)])
    (tmp_path / "my_rewards.py").write_text(REWARD + "\n# looked at again\n")
    with pytest.raises(RunError, match=r"(?s)unfinished run that differs.*a file of the rewards has changed"):
        train(asked("grpo", save_steps=1))


def test_another_seed_samples_other_answers(asked: Make) -> None:
    runs = [train(asked("grpo", run=str(seed), seed=seed, max_steps=1)).output for seed in (1, 2)]
    assert (runs[0] / "samples.jsonl").read_text() != (runs[1] / "samples.jsonl").read_text()


@pytest.mark.parametrize(
    "adapter", ["full", {"name": "lora", "rank": 4, "dropout": 0.5}], ids=["full", "lora"]
)
def test_the_first_update_has_a_ratio_of_exactly_one(asked: Make, adapter: Any) -> None:
    """Also with dropout in the adapter and in the model's attention."""
    run = train(asked("grpo", {"minibatches": 1}, adapter=adapter, micro_tokens=64)).output
    for found in metrics(run):
        assert found["step_kl"] == found["clip_share"] == 0.0
    assert [step for step, loss, *_ in curve(run) if abs(loss) > 1e-6] == [], "advantages of a group sum to 0"


def test_several_updates_move_away_from_the_policy_that_sampled(asked: Make) -> None:
    run = train(asked("grpo", {"inner_epochs": 3})).output
    assert all(found["step_kl"] > 0 for found in metrics(run))


def test_the_reference_is_the_start(asked: Make) -> None:
    """With an adapter and, as a second copy, where all weights learn."""
    for adapter in ({"name": "lora", "rank": 4}, "full"):
        kind = adapter if isinstance(adapter, str) else "lora"
        result = train(asked("grpo", {"beta": 0.1}, run=kind, adapter=adapter))
        kls = [found["kl"] for found in metrics(result.output)]
        assert kls[0] == pytest.approx(0.0, abs=1e-9)
        assert all(kl > 1e-7 for kl in kls[1:])


def test_without_a_leash_nothing_is_copied(asked: Make) -> None:
    found = metrics(train(asked("grpo", adapter="full", max_steps=1)).output)
    assert "kl" not in found[0]


def test_the_value_head_is_not_in_the_result(asked: Make) -> None:
    from safetensors.torch import load_file

    run = train(asked("ppo", save_steps=1, max_steps=2)).output
    kept = load_file(next(run.glob("checkpoints/*/weights.safetensors")))
    assert kept["value_head.weight"].any()
    saved = load_file(run / "final" / "adapter_model.safetensors")
    assert not [name for name in saved if "value" in name]


def test_masked_answers_are_not_learnt(asked: Make) -> None:
    """Cut answers have no stop token in any case; masked, they have no learnt token at all."""
    run = train(asked("grpo", {"truncated": "mask", "max_new_tokens": 2}, max_steps=2)).output
    for event in events(run, "step_end"):
        finished = round((1 - event["metrics"]["truncated_share"]) * 12)
        assert event["num_learnt_tokens"] <= 2 * finished


def test_the_penalty_for_a_cut_answer_is_taken_from_its_reward(asked: Make) -> None:
    """It changes the advantages, not the reward that is reported."""
    runs = [
        train(
            asked(
                "grpo", {"truncated": how, "max_new_tokens": 4}, run=how, max_steps=2, data={"held_out": 0.0}
            )
        )
        for how in ("keep", "penalise")
    ]
    first = [metrics(result.output)[0] for result in runs]
    assert first[0]["reward"] == first[1]["reward"]
    if 0 < first[0]["truncated_share"] < 1:
        assert weights_digest(runs[0].output) != weights_digest(runs[1].output)


def test_trpo_keeps_its_bound(asked: Make) -> None:
    run = train(asked("trpo", {"max_kl": 0.003, "group_size": 6, "cg_iterations": 3})).output
    moved = [found["step_kl"] for found in metrics(run)]
    assert all(kl <= 0.003 for kl in moved)
    assert sum(kl > 0 for kl in moved) >= 2
    shares = {found["step_share"] for found in metrics(run)}
    assert shares <= {0.0, *(0.5**halvings for halvings in range(11))}


def test_trpo_says_what_does_nothing_and_what_it_cannot_do(asked: Make) -> None:
    result = train(asked("trpo", max_steps=1, learning_rate=1e-3))
    assert any("train.learning_rate does nothing here" in text for text in result.state["warnings"])
    with pytest.raises(RecipeError, match=r"objective=trpo moves an adapter on the layers, and adapter=full"):
        train(asked("trpo", run="full", adapter="full"))


def test_without_any_signal_no_weight_moves_and_it_is_said(asked: Make, tmp_path: Path) -> None:
    (tmp_path / "same.py").write_text("def score(answer):\n    return 1.0\n")
    result = train(asked("grpo", {"rewards": [f"{tmp_path}/same.py"]}, max_steps=2))
    assert [found["no_signal_share"] for found in metrics(result.output)] == [1.0, 1.0]
    assert [event["num_learnt_tokens"] for event in events(result.output, "step_end")] == [0, 0]
    texts = [text for text in result.state["warnings"] if "no signal" in text]
    assert len(texts) == 1
    assert texts[0].startswith("Step 1: no signal: to every prompt all answers earned the same")


def test_rollouts_are_told_with_samples_where_it_is_time(asked: Make) -> None:
    seen: list[Event] = []
    train(asked("rloo"), listeners=[seen.append])
    rollouts = [event for event in seen if isinstance(event, RolloutEnd)]
    assert [(event.step, len(event.samples)) for event in rollouts] == [(1, 4), (2, 4), (3, 0), (4, 4)]
    assert all(event.num_answers == 12 for event in rollouts)
    shown = rollouts[0].samples[0]
    assert shown["prompt"].endswith("opens at ten?")
    assert shown["scores"].keys() == {"my_rewards.py:score"}
    assert shown["reference"] == "tea"


def test_held_out_prompts_are_answered(asked: Make) -> None:
    run = train(asked("grpo")).output
    found = events(run, "eval_end")
    assert [event["step"] for event in found] == [2, 4]
    for event in found:
        assert event["loss"] == -event["metrics"]["reward"]
        assert event["perplexity"] is None
        assert math.isfinite(event["loss"])


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"rewards": []},
            RecipeError,
            r"No reward: nothing says which answer is better.*--reward exact_number",
        ),
        ({"group_size": 1}, RecipeError, r"objective.group_size=1: grpo compares the answers.*Give 2"),
        (
            {"max_new_tokens": 250},
            DataError,
            r"18 prompts and 250 tokens .* window of 256 .*data.max_length=8",
        ),
        (
            {"rewards": ["{dir}/my_rewards.py:broken"]},
            RunError,
            r"my_rewards.py:broken failed on .*jsonl:\d+: KeyError: 'nothing' \(my_rewards.py, line 6\)",
        ),
        (
            {"rewards": ["{dir}/my_rewards.py:silent"]},
            RunError,
            r"my_rewards.py:silent gave nan for .*jsonl:\d+",
        ),
    ],
    ids=["none", "alone", "long", "raises", "nan"],
)
def test_what_is_wrong_is_said(
    asked: Make, tmp_path: Path, options: dict[str, Any], error: type[AttuneError], text: str
) -> None:
    if "rewards" in options:
        options = {**options, "rewards": [one.format(dir=tmp_path) for one in options["rewards"]]}
    with pytest.raises(error, match=f"(?s){text}"):
        train(asked("grpo", options, data={"held_out": 0.0}))


def test_a_reference_that_is_missing_is_said_before_anything_is_sampled(asked: Make, tmp_path: Path) -> None:
    recipe = asked("grpo", {"rewards": ["exact_number"]})
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "one?"}\n{"prompt": "two?", "reference": "2"}\n')
    with pytest.raises(
        DataError, match=r"exact_number compares with the right answer, and 1 of 2 rows .*:1\)"
    ):
        train(recipe.model_copy(update={"data": recipe.data.model_copy(update={"held_out": 0.0})}))


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
@pytest.mark.parametrize("name", ["grpo", "ppo", "trpo"])
def test_two_processes_equal_one(asked: Make, calm_dir: Path, name: str) -> None:
    """Each samples and scores its share of the prompts; answers, rewards and weights are those of one."""
    settings = {"model": calm_dir, "max_steps": 2, "micro_tokens": 64}
    two = asked(name, CASES[name], "two", **settings)
    process = launch(two, TORCHRUN)
    one = train(asked(name, CASES[name], "one", **settings)).output
    finish(process)
    run = Path(two.output or "")
    assert_close(run, one)
    assert (run / "samples.jsonl").read_text() == (one / "samples.jsonl").read_text()
    for ours, theirs in zip(metrics(run), metrics(one), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)
