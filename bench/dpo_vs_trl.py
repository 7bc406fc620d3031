"""attune's DPO against TRL's DPOTrainer: pairs a second, peak memory, and what laying a prompt once brings.

    python bench/dpo_vs_trl.py [--quick] [--rounds 3] [--steps 6] [--data prefs.json] [--json numbers.json]
    [--what trl sharing] [--profile]

Both sides get the same weights, the same token ids and the same pairs in the same order: 4 pairs an optimizer
step, LoRA of rank 8 on q and v, AdamW, fp32, no gradient checkpointing (``trl-default`` is TRL with its
default, which turns it on). Without ``--data`` the pairs are those of ``dpo_en_demo`` where this checkout
has them, else made-up ones of the same lengths. Each measurement is a process of its own with one thread; the
sides alternate and medians are compared. Time is the CPU time of the process, so that other people's work on
the machine counts less. Memory is the peak of the resident set during training, absolute and as growth since
just before the first step.

The reference: attune computes its log-probabilities once, before the first step, and keeps them on the disk.
TRL computes them in each step, or once (``trl-precomputed``: precompute_ref_log_probs). So there are two
columns: ``steps`` is the time of the steps after one of warm-up, which for ``trl`` holds the reference and
for the others does not; ``one pass`` adds to each step what the reference of its pairs has cost, as if the
data were seen once and nothing had been kept. Their answer to "how many times as fast" lies between: the more
passes, the nearer to ``steps``.

``sharing``: pairs whose prompts are three times as long as their answers, by attune with each prompt laid
once for both answers, and by attune with each answer laid behind its own copy.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from measure import SEED, SHARED, Clock, Numbers, Stopwatch, answered, in_turns, range_of, save_llama, words

PAIRS_A_STEP = 4
MAX_LENGTH = 1024
RANK = 8
TARGETS = ["q_proj", "v_proj"]
LEARNING_RATE = 1e-4
SIDES = {"trl": ("attune", "trl", "trl-precomputed", "trl-default"), "sharing": ("attune", "attune-unshared")}
NUM_ROWS = 300
DEMO = SHARED / "dpo_en_demo.json"


# What both sides are given


def prepare(folder: Path, options: argparse.Namespace, what: str) -> None:
    """Writes as many pairs as the steps take, the tokenizer, the weights, and the ids for TRL."""
    count = PAIRS_A_STEP * (1 + options.steps)
    if what == "sharing":
        rows = synthetic_rows(NUM_ROWS, prompt=(300, 300), answer=(100, 100))
    elif options.data:
        rows = json.loads(Path(options.data).read_text(encoding="utf-8"))
    else:
        rows = synthetic_rows(NUM_ROWS, prompt=(10, 580), answer=(20, 440))
    texts = [json.dumps(row, ensure_ascii=False) for row in rows]
    rows = random.Random(SEED).sample(rows, count)
    (folder / "rows.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    save_llama(folder / "model", texts, options.vocabulary, options.hidden, options.layers)
    write_ids(folder, options.steps + 1)


def synthetic_rows(count: int, prompt: tuple[int, int], answer: tuple[int, int]) -> list[dict[str, str]]:
    """Pairs whose prompts and answers have so many words (least and most; evenly spread)."""
    rng, text = random.Random(SEED), words(3000)
    return [
        {
            "prompt": text(rng.randint(*prompt)),
            "chosen": text(rng.randint(*answer)),
            "rejected": text(rng.randint(*answer)),
        }
        for _ in range(count)
    ]


def recipe_of(folder: Path, num_steps: int, output: str) -> Any:
    """The recipe that an attune user would write for this comparison."""
    from attune.recipe.schema import Recipe

    return Recipe.model_validate(
        {
            "objective": "dpo",
            "model": str(folder / "model"),
            "data": {
                "train": [str(folder / "rows.json")],
                "held_out": 0.0,
                "max_length": MAX_LENGTH,
                "check": "off",
                "accept": ["prompt_cut"],
                "workers": 1,
                "cache_dir": f"{output}/cache",
            },
            "adapter": {"name": "lora", "rank": RANK, "alpha": 2.0 * RANK, "target_modules": TARGETS},
            "train": {
                "max_steps": num_steps,
                "learning_rate": LEARNING_RATE,
                "schedule": "constant",
                "warmup_steps": 0.0,
                "global_batch_size": PAIRS_A_STEP,
                "precision": "fp32",
                "activation_checkpointing": "off",
                "threads": 1,
                "seed": SEED,
            },
            "output": f"{output}/run",
        }
    )


def write_ids(folder: Path, num_steps: int) -> None:
    """The pairs of the steps in attune's order, as attune encodes them: TRL trains on the very same ids."""
    from attune.data import pack
    from attune.engine.parts import open_model, prepare_data

    with tempfile.TemporaryDirectory() as output:
        recipe, tokenizer, template, config, _ = open_model(recipe_of(folder, num_steps, output))
        store = prepare_data(recipe, tokenizer, template, config, ()).train
        rows = []
        for at in range(num_steps):
            for index in pack.step_examples(at, len(store), PAIRS_A_STEP, SEED):
                example = store[index]
                chosen, rejected = ([int(token) for token in ids] for ids, _ in example.branches)
                assert all(all(learn) for _, learn in example.branches), "TRL learns the whole of an answer"
                prompt = [int(token) for token in example.prompt]
                rows.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    (folder / "ids.json").write_text(json.dumps(rows))


# One measurement: a process of its own


def work(job: Numbers, output: str) -> Numbers:
    """Runs one job in this process and gives its numbers."""
    run = run_attune if job["side"].startswith("attune") else run_trl
    clock, reference_seconds = run(Path(job["folder"]), job, output)
    found = clock.numbers(job["warmup"])
    num_pairs = PAIRS_A_STEP * found["num_steps"]
    of_reference = reference_seconds / (job["warmup"] + found["num_steps"])  # a step's share
    return {
        **found,
        "pairs_per_second": num_pairs / found["num_steps"] / found["seconds_per_step"],
        "pairs_per_second_one_pass": PAIRS_A_STEP / (found["seconds_per_step"] + of_reference),
        "reference_seconds_per_step": of_reference,
    }


def run_attune(folder: Path, job: Numbers, output: str) -> tuple[Clock, float]:
    """The whole of ``attune.train``, watched through its events, and the CPU seconds of its reference."""
    import torch

    from attune.data import pack
    from attune.engine import setup
    from attune.engine.events import RunStarted, StepEnd
    from attune.engine.train import train

    clock = Clock()
    reference = setup.add_reference = Stopwatch(setup.add_reference)
    if job["side"] == "attune-unshared":
        pack.lay = unshared
    profiler = torch.profiler.profile() if job.get("profile") else None

    def listen(event: Any) -> None:
        if isinstance(event, RunStarted):
            clock.begin()
        elif isinstance(event, StepEnd):
            clock.step(event.num_tokens, event.num_learnt_tokens)
            if profiler and event.step == job["warmup"]:
                profiler.start()

    train(recipe_of(folder, job["warmup"] + job["steps"], output), fresh=True, listeners=[listen])
    if profiler:
        profiler.stop()
        clock.more["profile"] = profiler.key_averages().table(
            sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=45
        )
    return clock, reference.seconds


def unshared(examples: Any) -> Any:
    """The same batch with a copy of the prompt before each branch."""
    from attune.data import layout

    pairs = layout.lay(examples)
    singles = [
        (row, dataclasses.replace(one, branches=(branch,), reference=None))
        for row, one in examples
        for branch in one.branches
    ]
    return dataclasses.replace(
        layout.lay(singles), examples=pairs.examples, values=pairs.values, reference=pairs.reference
    )


def run_trl(folder: Path, job: Numbers, output: str) -> tuple[Clock, float]:
    """The whole of ``DPOTrainer.train``, watched through its callbacks, and the CPU seconds of what it
    computes of the reference beforehand.
    """
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig
    from transformers import AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    disable_progress_bars()
    clock = Clock()
    rows = json.loads((folder / "ids.json").read_text())

    reference = Stopwatch(lambda function, *args, **kwargs: function(*args, **kwargs))

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            at = PAIRS_A_STEP * len(clock.times)
            answers = [
                row[name] for row in rows[at : at + PAIRS_A_STEP] for name in ("chosen_ids", "rejected_ids")
            ]
            clock.step(num_learnt=sum(map(len, answers)))

    class Prepared(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset  # ids already

        def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
            return reference(super()._precompute_ref_logps, *args, **kwargs)

    settings = DPOConfig(
        output_dir=output,
        num_train_epochs=1,
        per_device_train_batch_size=PAIRS_A_STEP,
        max_length=MAX_LENGTH,
        precompute_ref_log_probs=job["side"] == "trl-precomputed",
        gradient_checkpointing=job["side"] == "trl-default",
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        train_sampling_strategy="sequential",
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
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
        peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=TARGETS, task_type="CAUSAL_LM"),
        callbacks=[Watch()],
    ).train()
    return clock, reference.seconds


# The tables


def shown(found: Numbers) -> str:
    """A measurement in a line."""
    return (
        f"{found['pairs_per_second']:6.2f} pairs/s, one pass {found['pairs_per_second_one_pass']:6.2f}, "
        f"{found['peak_gib']:.2f} GiB"
    )


def table(results: list[Numbers]) -> str:
    """Pairs a second and memory, with attune's share of each line's."""
    ours = results[0]
    lines = [
        f"{'':16} {'steps':>8} {'(range)':>14} attune's  one pass attune's  "
        "peak GiB attune's  growth attune's"
    ]
    for row in results:
        low, high = range_of(row, "pairs_per_second")
        lines.append(
            f"{row['side']:16} {row['pairs_per_second']:8.2f} {f'{low:.2f}-{high:.2f}':>14} "
            f"{ours['pairs_per_second'] / row['pairs_per_second']:7.2f}x "
            f"{row['pairs_per_second_one_pass']:9.2f} "
            f"{ours['pairs_per_second_one_pass'] / row['pairs_per_second_one_pass']:7.2f}x "
            f"{row['peak_gib']:9.2f} {ours['peak_gib'] / row['peak_gib']:7.2f}x "
            f"{row['growth_gib']:7.2f} {ours['growth_gib'] / row['growth_gib']:7.2f}x"
        )
    return "\n".join(lines)


def lengths(folder: Path) -> str:
    """Of the pairs, in words."""
    rows = json.loads((folder / "ids.json").read_text())
    prompt, chosen, rejected = (
        sum(len(row[f"{name}_ids"]) for row in rows) / len(rows) for name in ("prompt", "chosen", "rejected")
    )
    return (
        f"{len(rows)} pairs; mean tokens: prompt {prompt:.0f}, chosen {chosen:.0f}, rejected {rejected:.0f}"
    )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", nargs="+", default=list(SIDES), choices=SIDES, help="default: both")
    parser.add_argument("--sides", nargs="+", help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="measured optimizer steps, after one of warm-up")
    parser.add_argument("--data", default=str(DEMO) if DEMO.is_file() else None, help="else synthetic")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=16_000)
    parser.add_argument("--quick", action="store_true", help="a small model, two sides, one round")
    parser.add_argument("--profile", action="store_true", help="attune's costliest operations, no table")
    parser.add_argument("--json", help="file for all numbers")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.sides, options.rounds, options.steps = ["attune", "trl-precomputed"], 1, 1
        options.layers, options.vocabulary, options.what = 2, 4000, ["trl"]
    return options


def main() -> None:
    """Prepares, measures and prints; with ``--job`` it is one of the measuring processes."""
    options = parsed()
    if options.job:
        answered(options.job, work)
        return
    found: dict[str, Any] = {"options": vars(options)}
    for what in options.what:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            prepare(folder, options, what)
            print(f"{what}: {lengths(folder)}")
            common = {"folder": place, "warmup": 1, "steps": options.steps, "profile": options.profile}
            sides = [side for side in SIDES[what] if not options.sides or side in options.sides]
            jobs = [{**common, "side": side} for side in (sides[:1] if options.profile else sides)]
            results = in_turns(__file__, jobs, options.rounds, shown)
        if options.profile:
            print(results[0]["profile"])
            continue
        learnt = {row["num_learnt"] for row in results}
        assert len(learnt) == 1, f"the sides learn different tokens: {learnt}"
        print(f"\n{table(results)}\n")
        found[what] = results
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
