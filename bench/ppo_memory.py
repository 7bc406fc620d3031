"""PPO's memory over one LoRA base: policy, reference, reward model and critic beside the base's SFT step.

    python bench/ppo_memory.py [--rounds 1] [--steps 2] [--hidden 512] [--json numbers.json]

The base is a Llama of random weights. A reward model is trained over it with LoRA (a step, its numbers do not
matter); then, each in a process of its own with one thread,

    sft        fine-tunes the base with LoRA: an answer as long as all answers to a prompt
    ppo        samples and learns with LoRA: the policy with its value head, the reference (the policy
               with its adapter off), the reward model (an adapter and a head over the same base)
    ppo-apart  the same, where the reward model keeps the base that it was loaded with

for as many tokens a step in packs of as many tokens. ``peak`` is the peak of the resident set while training
goes on; ``models`` is that without what the process held before any model was there, its libraries: what the
weights, the optimizer and the step take.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from measure import SEED, Clock, Numbers, answered, in_a_process, in_turns, let_stop, save_llama, words

PROMPTS_A_STEP = 4
GROUP = 8
NEW_TOKENS = 64
MICRO_TOKENS = 2048
SIDES = ("sft", "ppo", "ppo-apart")
LORA = {"name": "lora", "rank": 8, "target_modules": ["q_proj", "v_proj"]}


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """Writes prompts, rows, pairs, tokenizer and weights."""
    text, count = words(2000), PROMPTS_A_STEP * (1 + options.steps)
    prompts = [text(24) for _ in range(count)]
    rows: dict[str, list[dict[str, str]]] = {
        "ppo": [{"prompt": prompt} for prompt in prompts],
        "sft": [{"prompt": prompt, "completion": text(options.answer_words)} for prompt in prompts],
        "reward": [{"prompt": prompt, "chosen": text(9), "rejected": text(9)} for prompt in prompts],
    }
    for name, several in rows.items():
        (folder / f"{name}.json").write_text(json.dumps(several))
    save_llama(folder / "model", [text(400) for _ in range(100)], 16_000, options.hidden, options.layers)
    let_stop(folder / "model", 0)


def recipe_of(job: Numbers, output: str) -> Any:
    """The recipe that an attune user would write."""
    from attune.recipe.schema import Recipe

    kind, folder = job["side"].partition("-")[0], job["folder"]
    objective: Any = kind
    if kind == "ppo":
        objective = {
            "name": "ppo",
            "rewards": [f"{folder}/judge"],
            "group_size": GROUP,
            "max_new_tokens": NEW_TOKENS,
            "truncated": "keep",
            "inner_epochs": 1,
        }
    return Recipe.model_validate(
        {
            "objective": objective,
            "model": f"{folder}/model",
            "data": {
                "train": f"{folder}/{kind}.json",
                "held_out": 0.0,
                "check": "off",
                "workers": 1,
                "cache_dir": f"{output}/cache",
            },
            "adapter": LORA,
            "train": {
                "max_steps": job["warmup"] + job["steps"],
                "global_batch_size": PROMPTS_A_STEP,
                "micro_tokens": MICRO_TOKENS,
                "precision": "fp32",
                "activation_checkpointing": "off",
                "threads": 1,
                "seed": SEED,
            },
            "output": f"{folder}/judge" if kind == "reward" else f"{output}/run",
        }
    )


def work(job: Numbers, output: str) -> Numbers:
    """One run of attune in this process, watched through its events."""
    import torch

    from attune.engine import train
    from attune.engine.events import RunStarted, StepEnd
    from attune.models import memory, shared

    if job["side"] == "ppo-apart":
        shared.share = lambda *_: 0
    clock = Clock()
    memory.reset_peak(torch.device("cpu"))
    libraries = memory.peak_gib(torch.device("cpu"))

    def listen(event: Any) -> None:
        if isinstance(event, RunStarted):
            clock.begin()
        elif isinstance(event, StepEnd):
            clock.step(event.num_tokens, event.num_learnt_tokens)

    train.train(recipe_of(job, output), fresh=True, listeners=[listen])
    found = clock.numbers(job["warmup"])
    return {
        **found,
        "models_gib": found["peak_gib"] - libraries,
        "tokens_a_step": found["num_tokens"] / found["num_steps"],
        "learnt_a_step": found["num_learnt"] / found["num_steps"],
    }


def shown(found: Numbers) -> str:
    """A measurement in a line."""
    return (
        f"{found['tokens_a_step']:.0f} tokens a step, {found['learnt_a_step']:.0f} learnt; "
        f"peak {found['peak_gib']:.2f} GiB, models {found['models_gib']:.2f}"
    )


def table(results: list[Numbers]) -> str:
    """Memory, and as a multiple of the SFT step's."""
    base = results[0]
    lines = [f"{'':10} tokens a step  learnt  peak GiB  of sft's  models GiB  of sft's"]
    lines += [
        f"{row['side']:10} {row['tokens_a_step']:13.0f} {row['learnt_a_step']:7.0f} {row['peak_gib']:9.2f} "
        f"{row['peak_gib'] / base['peak_gib']:8.2f}x {row['models_gib']:11.2f} "
        f"{row['models_gib'] / base['models_gib']:8.2f}x"
        for row in results
    ]
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="memory hardly varies")
    parser.add_argument("--steps", type=int, default=2, help="steps after the first")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument(
        "--answer-words", type=int, default=510, help="of an SFT row: fits the tokens to PPO's"
    )
    parser.add_argument("--json", help="file for all numbers")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Prepares, measures and prints; with ``--job`` it is one of the measuring processes."""
    options = parsed()
    if options.job:
        answered(options.job, work)
        return
    with tempfile.TemporaryDirectory() as place:
        prepare(Path(place), options)
        common = {"folder": place, "warmup": 1, "steps": options.steps}
        in_a_process(__file__, {**common, "steps": 1, "side": "reward"})
        jobs = [{**common, "side": side} for side in SIDES]
        results = in_turns(__file__, jobs, options.rounds, shown)
    print(f"\n{table(results)}")
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
