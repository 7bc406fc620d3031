"""attune's GRPO against TRL's GRPOTrainer without vLLM: completions a second, rollout and update together.

    python bench/grpo_vs_trl.py [--quick] [--rounds 3] [--steps 3] [--json numbers.json] [--profile]
    [--mean-lengths 64 0] [--max-new-tokens 192]

Both sides get the same weights, the same prompts as the same token ids, the same reward, LoRA of rank 8 on q
and v, AdamW, fp32, no leash to a reference, no gradient checkpointing (``trl-default`` is TRL with its
default, which turns it on): 4 prompts a step, 8 answers to each at temperature 1, one update. Answers are
drawn, so each side has its own; their lengths have one distribution, because the random weights are made to
stop with the same probability at every token. ``--mean-lengths 0`` never stops: all answers are as long as
they may be, and nothing can be gained by letting finished ones go.

Each measurement is a process of its own with one thread; the sides alternate and medians are compared. Time
is the CPU time of the process over the steps after one of warm-up. A completion token is a token of an
answer: padding is not counted for anybody. Memory is the peak of the resident set during training, absolute
and as growth since just before the first step.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from measure import (
    SEED,
    SHARED,
    Clock,
    Numbers,
    Stopwatch,
    answered,
    in_turns,
    let_stop,
    range_of,
    save_llama,
    words,
)  # fmt: skip

PROMPTS_A_STEP = 4
GROUP = 8
RANK = 8
TARGETS = ["q_proj", "v_proj"]
LEARNING_RATE = 1e-5
SIDES = ("attune", "trl", "trl-default")
DEMO = SHARED / "alpaca_en_demo.json"
REWARD = "def score(answer):\n    return len(answer) % 7 / 7\n"


# What both sides are given


def prepare(folder: Path, options: argparse.Namespace, mean_length: int) -> None:
    """Writes as many prompts as the steps take, the reward, tokenizer and weights, and the ids for TRL."""
    count = PROMPTS_A_STEP * (1 + options.steps)
    if DEMO.is_file():
        demo = json.loads(DEMO.read_text(encoding="utf-8"))
        texts = [f"{row['instruction']} {row['input']}".strip() for row in demo]
    else:
        rng, text = random.Random(SEED), words(3000)
        texts = [text(rng.randint(8, 60)) for _ in range(999)]
    rows = [{"prompt": text} for text in random.Random(SEED).sample(texts, count)]
    (folder / "rows.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    (folder / "my_rewards.py").write_text(REWARD)
    save_llama(folder / "model", texts, options.vocabulary, options.hidden, options.layers)
    let_stop(folder / "model", mean_length)
    write_ids(folder, options)


def recipe_of(folder: Path, job: Numbers, output: str) -> Any:
    """The recipe that an attune user would write for this comparison."""
    from attune.recipe.schema import Recipe

    return Recipe.model_validate(
        {
            "objective": {
                "name": "grpo",
                "rewards": [f"{folder}/my_rewards.py:score"],
                "group_size": GROUP,
                "max_new_tokens": job["max_new_tokens"],
                "truncated": "keep",
            },
            "model": str(folder / "model"),
            "data": {
                "train": [str(folder / "rows.json")],
                "held_out": 0.0,
                "check": "off",
                "workers": 1,
                "cache_dir": f"{output}/cache",
            },
            "adapter": {"name": "lora", "rank": RANK, "alpha": 2.0 * RANK, "target_modules": TARGETS},
            "train": {
                "max_steps": job["warmup"] + job["steps"],
                "learning_rate": LEARNING_RATE,
                "schedule": "constant",
                "warmup_steps": 0.0,
                "global_batch_size": PROMPTS_A_STEP,
                "precision": "fp32",
                "activation_checkpointing": "off",
                "threads": 1,
                "seed": SEED,
            },
            "output": f"{output}/run",
        }
    )


def write_ids(folder: Path, options: argparse.Namespace) -> None:
    """The prompts of the steps in attune's order, as attune encodes them."""
    from attune.data import pack
    from attune.engine.parts import open_model, prepare_data

    job = {"max_new_tokens": options.max_new_tokens, "warmup": 1, "steps": options.steps}
    with tempfile.TemporaryDirectory() as output:
        recipe, tokenizer, template, config, _ = open_model(recipe_of(folder, job, output))
        store = prepare_data(recipe, tokenizer, template, config, ()).train
        order = [
            index
            for at in range(1 + options.steps)
            for index in pack.step_examples(at, len(store), PROMPTS_A_STEP, SEED)
        ]
        ids = [[int(token) for token in store[index].prompt] for index in order]
    (folder / "ids.json").write_text(json.dumps(ids))


# One measurement: a process of its own


def work(job: Numbers, output: str) -> Numbers:
    """Runs one job in this process and gives its numbers."""
    run = run_attune if job["side"] == "attune" else run_trl
    clock, rollouts = run(Path(job["folder"]), job, output)
    found = clock.numbers(job["warmup"])
    seconds = found["seconds_per_step"]
    return {
        **found,
        "completions_per_second": PROMPTS_A_STEP * GROUP / seconds,
        "rollout_share": rollouts.seconds / (len(clock.times) * seconds),
        "mean_length": found["num_tokens"] / (found["num_steps"] * PROMPTS_A_STEP * GROUP),
    }


def run_attune(folder: Path, job: Numbers, output: str) -> tuple[Clock, Stopwatch]:
    """The whole of ``attune.train``, watched through its events, and its rollouts."""
    import torch

    from attune.engine import rollout
    from attune.engine.events import RolloutEnd, RunStarted, StepEnd
    from attune.engine.train import train

    clock, lengths = Clock(), [0]
    rollouts = rollout.roll_out = Stopwatch(rollout.roll_out)
    profiler = torch.profiler.profile() if job.get("profile") else None

    def listen(event: Any) -> None:
        if isinstance(event, RunStarted):
            clock.begin()
        elif isinstance(event, RolloutEnd):
            lengths.append(event.num_tokens)
        elif isinstance(event, StepEnd):
            clock.step(lengths[-1], event.num_learnt_tokens)
            if profiler and event.step == job["warmup"]:
                profiler.start()

    train(recipe_of(folder, job, output), fresh=True, listeners=[listen])
    if profiler:
        profiler.stop()
        clock.more["profile"] = profiler.key_averages().table(
            sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=45
        )
    return clock, rollouts


def run_trl(folder: Path, job: Numbers, output: str) -> tuple[Clock, Stopwatch]:
    """The whole of ``GRPOTrainer.train``, watched through its callbacks, and its rollouts."""
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig
    from transformers import AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    disable_progress_bars()
    clock, lengths = Clock(), [0]
    ids = json.loads((folder / "ids.json").read_text())
    rollouts = Stopwatch(lambda function, *args: function(*args))

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.step(lengths[-1], lengths[-1])

    class Prepared(GRPOTrainer):  # type: ignore[misc]
        def _tokenize_prompts(self, prompts: list[str]) -> Any:
            return [ids[int(prompt)] for prompt in prompts], None, {}

        def _generate(self, prompts: list[str]) -> Any:
            return rollouts(super()._generate, prompts)

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            found = super()._generate_and_score_completions(inputs)
            lengths.append(int(found["completion_mask"].sum()))
            return found

    def reward(completions: list[str], **_: Any) -> list[float]:
        return [len(answer) % 7 / 7 for answer in completions]

    settings = GRPOConfig(
        output_dir=output,
        num_train_epochs=1,
        per_device_train_batch_size=PROMPTS_A_STEP * GROUP,
        num_generations=GROUP,
        max_completion_length=job["max_new_tokens"],
        temperature=1.0,
        beta=0.0,
        loss_type="grpo",
        gradient_checkpointing=job["side"] == "trl-default",
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        shuffle_dataset=False,
        seed=SEED,
        bf16=False,
        use_cpu=True,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        model_init_kwargs={"dtype": "float32"},
    )
    Prepared(
        model=str(folder / "model"),
        reward_funcs=reward,
        args=settings,
        train_dataset=Dataset.from_list([{"prompt": str(number)} for number in range(len(ids))]),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
        peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=TARGETS, task_type="CAUSAL_LM"),
        callbacks=[Watch()],
    ).train()
    return clock, rollouts


# The tables


def shown(found: Numbers) -> str:
    """A measurement in a line."""
    return (
        f"{found['completions_per_second']:6.2f} completions/s, {found['tokens_per_second']:5.0f} tokens/s, "
        f"{found['peak_gib']:.2f} GiB"
    )


def table(results: list[Numbers]) -> str:
    """Completions and their tokens a second, and memory, with attune's share of each line's."""
    ours = results[0]
    lines = [
        f"{'':12} completions/s {'(range)':>14} attune's  tokens/s attune's  in rollouts  mean length  "
        "peak GiB attune's  growth attune's"
    ]
    for row in results:
        low, high = range_of(row, "completions_per_second")
        lines.append(
            f"{row['side']:12} {row['completions_per_second']:13.2f} {f'{low:.2f}-{high:.2f}':>14} "
            f"{ours['completions_per_second'] / row['completions_per_second']:7.2f}x "
            f"{row['tokens_per_second']:9.0f} {ours['tokens_per_second'] / row['tokens_per_second']:7.2f}x "
            f"{row['rollout_share']:12.0%} {row['mean_length']:12.0f} "
            f"{row['peak_gib']:9.2f} {ours['peak_gib'] / row['peak_gib']:7.2f}x "
            f"{row['growth_gib']:7.2f} {ours['growth_gib'] / row['growth_gib']:7.2f}x"
        )
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mean-lengths", nargs="+", type=int, default=[64, 0], help="0: as long as may be")
    parser.add_argument("--max-new-tokens", type=int, default=192)
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="measured optimizer steps, after one of warm-up")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=16_000)
    parser.add_argument("--quick", action="store_true", help="a small model, two sides, one round")
    parser.add_argument("--profile", action="store_true", help="attune's costliest operations, no table")
    parser.add_argument("--json", help="file for all numbers")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.sides, options.rounds, options.steps, options.mean_lengths = ["attune", "trl"], 1, 1, [16]
        options.layers, options.vocabulary, options.max_new_tokens = 2, 4000, 48
    return options


def main() -> None:
    """Prepares, measures and prints; with ``--job`` it is one of the measuring processes."""
    options = parsed()
    if options.job:
        answered(options.job, work)
        return
    found: dict[str, Any] = {"options": vars(options)}
    for mean_length in options.mean_lengths:
        with tempfile.TemporaryDirectory() as place:
            prepare(Path(place), options, mean_length)
            about = f"a mean of {mean_length}" if mean_length else "never a stop"
            print(f"answers of at most {options.max_new_tokens} tokens, {about}")
            common = {
                "folder": place, "warmup": 1, "steps": options.steps,
                "max_new_tokens": options.max_new_tokens, "profile": options.profile,
            }  # fmt: skip
            sides = options.sides[:1] if options.profile else options.sides
            jobs = [{**common, "side": side} for side in sides]
            results = in_turns(__file__, jobs, options.rounds, shown)
        if options.profile:
            print(results[0]["profile"])
            continue
        print(f"\n{table(results)}\n")
        found[str(mean_length)] = results
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
