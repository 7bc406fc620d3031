"""Does reinforcement learning raise a reward that can be checked? PPO, TRPO, GRPO and RLOO on small sums.

    python studies/verifiable.py --out /tmp/verifiable --seeds 1 2 3

A Llama of about 0.4 M parameters learns sums of two numbers below 20 from scratch, answering half of them as
"#### 8" and half as "It is 8". It is stopped early, when it is right now and then. Each method then starts
from this model, with LoRA, and is rewarded for the right number (exact_number) and for the form (format,
weight 0.5). A fifth of the sums is in no training file; on these the model is sampled before and after, four
answers each at temperature 1. The table gives the mean reward of each seed, shares of right numbers and
forms, the gain in reward with its 95 % interval over sums (bootstrap, seeds averaged), and the divergence
from the model before, in nats a token.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import torch

from attune.data.examples import Message, Origin
from attune.engine.train import train
from attune.evaluation.metrics import bootstrap, paired_bootstrap
from attune.evaluation.rewards import Answer, rewards
from attune.inference.generate import generate
from attune.models.load import load_for_inference
from attune.recipe.schema import Generation, Recipe

REWARDS = ["exact_number", "format*0.5"]
MOST = 8
SHAPE = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 320,
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}
METHODS: dict[str, dict[str, Any]] = {
    "ppo": {"group_size": 8, "beta": 0.02, "inner_epochs": 2, "value_weight": 0.5},
    "trpo": {"group_size": 8, "beta": 0.02, "max_kl": 0.02, "cg_iterations": 5},
    "grpo": {"group_size": 8, "beta": 0.02},
    "rloo": {"group_size": 8, "beta": 0.02},
}
STEPS = {"ppo": 60, "trpo": 60, "grpo": 80, "rloo": 80}
"""A step of PPO is two updates."""
RATES = {"ppo": 1e-3, "grpo": 1e-3, "rloo": 1e-3, "trpo": None}


def sums() -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """All pairs below 20: four fifths to learn, one fifth to ask."""
    pairs = [(a, b) for a in range(20) for b in range(20)]
    random.Random(0).shuffle(pairs)
    return pairs[80:], pairs[:80]


def question(a: int, b: int) -> str:
    return f"{a} + {b} = ?"


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def start(out: Path, steps: int) -> Path:
    """The model before: it knows both forms, and the right number now and then."""
    learnt, _ = sums()
    rows = [
        {"instruction": question(a, b), "output": form.format(a + b)}
        for a, b in learnt
        for form in ("#### {}", "It is {}")
    ]
    (out / "shape").mkdir(exist_ok=True)
    (out / "shape" / "config.json").write_text(json.dumps(SHAPE))
    recipe = {
        "model": {"path": str(out / "shape" / "config.json"), "template": "plain"},
        "data": {"train": write(out / "sft.jsonl", rows), "held_out": 0.0, "check": "off"},
        "adapter": "full",
        "train": {"max_steps": steps, "global_batch_size": 32, "learning_rate": 2e-3, "precision": "fp32"},
        "output": str(out / "sft"),
    }
    return train(Recipe.model_validate(recipe)).output


def learn(out: Path, method: str, seed: int, steps: int) -> Path:
    """One run of one method."""
    learnt, _ = sums()
    prompts = [{"prompt": question(a, b), "reference": str(a + b)} for a, b in learnt]
    settings = {
        "max_steps": steps,
        "global_batch_size": 8,
        "learning_rate": RATES[method],
        "schedule": "constant",
        "precision": "fp32",
        "seed": seed,
    }
    recipe = {
        "objective": {"name": method, "rewards": REWARDS, "max_new_tokens": MOST, **METHODS[method]},
        "model": {"path": str(out / "sft"), "template": "plain"},
        "data": {"train": write(out / "prompts.jsonl", prompts), "held_out": 0.0, "check": "off"},
        "adapter": {"name": "lora", "rank": 8},
        "train": settings,
        "output": str(out / f"{method}-{seed}"),
    }
    return train(Recipe.model_validate(recipe)).output


def measure(run: Path) -> np.ndarray[Any, Any]:
    """``[sums, 3]``: mean reward, right numbers and right forms over four samples a held-out sum."""
    _, asked = sums()
    loaded = load_for_inference(str(run))
    generation = Generation(temperature=1.0, max_new_tokens=MOST, seed=1)
    found = generate(loaded, [question(a, b) for a, b in asked], generation, num_samples=4)
    judge, rows = rewards(REWARDS), []
    for (a, b), texts in zip(asked, found, strict=True):
        turns = (Message("user", question(a, b)),)
        answers = [Answer(turns, text, str(a + b), {}, Origin("held out", 1)) for text in texts]
        totals, parts = judge.score(answers)
        rows.append([np.mean(totals), np.mean(parts["exact_number"]), np.mean(parts["format"])])
    return np.array(rows)


def kl_of(run: Path) -> float:
    """Nats a token from the start, mean of the last five steps."""
    return float(np.mean(course(run, "kl")[-5:]))


def course(run: Path, metric: str) -> list[float]:
    """A number a step."""
    events = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [event["metrics"][metric] for event in events if event["event"] == "step_end"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--sft-steps", type=int, default=400)
    parser.add_argument("--steps", type=int, help="of every method; default: each its own")
    parser.add_argument("--pictures", type=Path, help="folder for the courses of reward and KL")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    begun = time.monotonic()
    before = measure(start(options.out, options.sft_steps))
    line = bootstrap(before[:, 0])
    print(
        f"start: reward {line.mean:.3f} [{line.low:.3f}, {line.high:.3f}], right {before[:, 1].mean():.3f}, "
        f"form {before[:, 2].mean():.3f}; {time.monotonic() - begun:.0f} s",
        flush=True,
    )
    print(
        "| method | reward after | right | form | gain | KL | seconds a run |\n|---|---|---|---|---|---|---|"
    )
    courses: dict[str, dict[str, list[list[float]]]] = {"reward": {}, "kl": {}}
    for method in options.methods:
        begun = time.monotonic()
        runs = [learn(options.out, method, seed, options.steps or STEPS[method]) for seed in options.seeds]
        seconds = (time.monotonic() - begun) / len(runs)
        after = [measure(run) for run in runs]
        mean = np.mean(after, axis=0)
        gain = paired_bootstrap(mean[:, 0], before[:, 0])
        kls = " ".join(f"{kl_of(run):.3f}" for run in runs)
        each = " ".join(f"{one[:, 0].mean():.3f}" for one in after)
        print(
            f"| {method} | {each} | {mean[:, 1].mean():.3f} | {mean[:, 2].mean():.3f} | "
            f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] | {kls} | {seconds:.0f} |",
            flush=True,
        )
        for metric, panels in courses.items():
            panels[method.upper()] = [course(run, metric) for run in runs]
    if options.pictures:
        pictures.courses(
            options.pictures / "reward.svg", "mean reward of the sampled answers", courses["reward"]
        )
        pictures.courses(options.pictures / "kl.svg", "KL, nats a token", courses["kl"])


if __name__ == "__main__":
    main()
