"""attune's fine-tuning against TRL's SFTTrainer: tokens a second, peak memory, first-step gradients.

    python bench/sft_vs_trl.py [--quick] [--adapters lora full] [--precisions fp32 bf16] [--rounds 3] [--steps 4]
    [--data rows.json] [--json numbers.json] [--profile]

Both sides get the same weights, the same token ids and the same rows: 8 examples an optimizer step, in the same
order, completion-only loss, AdamW, no gradient checkpointing (``trl-default`` is TRL with its default, which turns it
on). attune runs as its users run it, through ``attune.train``; TRL through ``SFTTrainer.train``. Each measurement is
a process of its own with one thread; the sides alternate and medians are compared. Time is the CPU time of the
process over the steps after a warm-up step, so that other people's work on the machine counts little. A token is a
token of a row: padding is not counted for anybody. Memory is the peak of the resident set during training, absolute
and as growth since the moment before the first step.

TRL's packs are made by TRL (``packing=True``, its default ``max_length`` of 1,024); two packs make a step, which are
as many rows as attune's eight, to a few.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sft_sides import SEED, work, write_ids

SIDES = ("attune", "trl-padded", "trl-packed", "trl-default")
SHARED_ROWS = Path(__file__).resolve().parents[2] / "shared/data/llamafactory_demos/alpaca_en_demo.json"


# What both sides are given ---------------------------------------------------------------------------------------


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """Writes rows, tokenizer and weights, once, for every process to read."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from attune.data.tokenizer import train_tokenizer

    rows = json.loads(Path(options.data).read_text(encoding="utf-8")) if options.data else synthetic_rows()
    (folder / "rows.json").write_text(json.dumps(rows[: options.rows], ensure_ascii=False), encoding="utf-8")
    texts = [" ".join(str(value) for value in row.values()) for row in rows]
    tokenizer = train_tokenizer(texts, options.vocabulary)
    tokenizer.save_pretrained(folder / "model")
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=options.vocabulary,
        hidden_size=options.hidden,
        intermediate_size=options.hidden * 43 // 16,
        num_hidden_layers=options.layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "model")


def synthetic_rows(count: int = 999) -> list[dict[str, str]]:
    """Rows with the lengths of alpaca_en_demo: about 20 words asked, 10 to 400 (mean 130) answered."""
    import random

    rng = random.Random(SEED)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(12_000)]

    def text(num_words: int) -> str:
        return " ".join(rng.choices(words, k=num_words))

    return [
        {"instruction": text(rng.randint(8, 30)), "input": "", "output": text(min(400, 10 + int(rng.expovariate(1 / 120))))}
        for _ in range(count)
    ]


def compare_gradients(ours: str, theirs: str) -> dict[str, float]:
    """Largest difference of any tensor, relative to that tensor's largest entry; and over all as one vector."""
    from safetensors.torch import load_file

    left, right = load_file(ours), load_file(theirs)
    assert left.keys() == right.keys(), sorted(left.keys() ^ right.keys())
    worst = max(float((left[k] - right[k]).abs().max() / right[k].abs().max().clamp(min=1e-30)) for k in left)
    apart = sum(float((left[k].double() - right[k].double()).square().sum()) for k in left)
    length = sum(float(right[k].double().square().sum()) for k in right)
    return {"worst_relative_difference": worst, "relative_norm_of_difference": (apart / length) ** 0.5}


# The table -------------------------------------------------------------------------------------------------------


def run(job: dict[str, Any]) -> dict[str, Any]:
    """One job in a fresh process with one thread; its numbers."""
    with tempfile.NamedTemporaryFile(suffix=".json") as answer:
        call = [sys.executable, __file__, "--job", json.dumps({**job, "answer": answer.name})]
        one = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TOKENIZERS_PARALLELISM")}
        done = subprocess.run(call, env={**os.environ, **one, "ATTUNE_LANG": "en"}, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{job} failed:\n{done.stderr[-4000:]}")
        return dict(json.loads(Path(answer.name).read_text()))


def measure(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All sides in turn, ``rounds`` times; a line a measurement, the medians returned."""
    results = []
    base = {"folder": str(folder), "what": "speed", "warmup": 1, "steps": options.steps}
    for precision in options.precisions:
        for adapter in options.adapters:
            found: dict[str, list[dict[str, Any]]] = {side: [] for side in options.sides}
            for turn in range(options.rounds):
                for side in options.sides:
                    numbers = run({**base, "side": side, "adapter": adapter, "precision": precision})
                    found[side].append(numbers)
                    print(
                        f"  {adapter} {precision} round {turn + 1} {side:12} {numbers['tokens_per_second']:7.0f} tokens/s "
                        f"{numbers['peak_gib']:6.2f} GiB",
                        flush=True,
                    )
            for side, several in found.items():
                medians = {
                    key: statistics.median(numbers[key] for numbers in several)
                    for key in several[0]
                    if isinstance(several[0][key], int | float)
                }
                spread = [numbers["tokens_per_second"] for numbers in several]
                results.append(
                    {"adapter": adapter, "precision": precision, "side": side, **medians, "slowest": min(spread), "fastest": max(spread)}
                )
    return results


def table(results: list[dict[str, Any]]) -> str:
    """Tokens a second and memory; the ratios are attune's to the line's."""
    lines = [
        f"{'':5} {'':4} {'side':12} {'tokens/s':>9} {'(range)':>13} {'faster':>7} {'peak GiB':>9} {'share':>6} {'growth GiB':>11} {'share':>6}"
    ]
    for row in results:
        ours = next(r for r in results if (r["adapter"], r["precision"]) == (row["adapter"], row["precision"]))
        ratios = [ours["tokens_per_second"] / row["tokens_per_second"], ours["peak_gib"] / row["peak_gib"]]
        ratios.append(ours["growth_gib"] / max(row["growth_gib"], 1e-9))
        lines.append(
            f"{row['adapter']:5} {row['precision']:4} {row['side']:12} {row['tokens_per_second']:9.0f} "
            f"{row['slowest']:6.0f}-{row['fastest']:<6.0f} {ratios[0]:6.2f}x {row['peak_gib']:9.2f} {ratios[1]:5.2f}x "
            f"{row['growth_gib']:11.2f} {ratios[2]:5.2f}x"
        )
    return "\n".join(lines)


def gradients(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """First-step gradients of both sides in fp32, on padded TRL batches: exactly the same eight rows."""
    found = []
    for adapter in options.adapters:
        job = {"folder": str(folder), "what": "gradients", "adapter": adapter, "precision": "fp32", "warmup": 1, "steps": 0}
        places = {side: str(folder / f"{side}-{adapter}.safetensors") for side in ("attune", "trl-padded")}
        ours, theirs = (run({**job, "side": side, "gradients": place}) for side, place in places.items())
        apart = compare_gradients(*places.values())
        found.append({"adapter": adapter, "attune": ours, "trl": theirs, **apart})
        print(
            f"first-step gradients, {adapter}: largest difference {apart['worst_relative_difference']:.1e} of a tensor's largest "
            f"entry, {apart['relative_norm_of_difference']:.1e} of the whole norm; loss {ours['loss']:.6f} and {theirs['loss']:.6f}; "
            f"learnt tokens {ours['num_learnt']} and {theirs['num_learnt']} of {ours['num_tokens']} and {theirs['num_tokens']}"
        )
    return found


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapters", nargs="+", default=["lora", "full"], choices=["lora", "full"])
    parser.add_argument("--precisions", nargs="+", default=["fp32"], choices=["fp32", "bf16"])
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES, help="attune first; ratios are to it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="measured optimizer steps, after one of warm-up")
    parser.add_argument("--data", default=str(SHARED_ROWS) if SHARED_ROWS.is_file() else None, help="default: synthetic rows")
    parser.add_argument("--rows", type=int, default=999)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=16_000)
    parser.add_argument("--quick", action="store_true", help="a small model and one round: under a minute")
    parser.add_argument("--profile", action="store_true", help="top ten operations of attune's step, instead of the table")
    parser.add_argument("--no-gradients", action="store_true")
    parser.add_argument("--json", help="file for all numbers")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.steps, options.layers, options.vocabulary, options.rows = 1, 1, 2, 4000, 64
    return options


def main() -> None:
    """Prepares, measures and prints; with ``--job`` it is one of the measuring processes."""
    options = parsed()
    if options.job:
        job = json.loads(options.job)
        Path(job["answer"]).write_text(json.dumps(work(job)))
        return
    from attune.models.precision import bf16_speedup

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder, options)
        write_ids(folder, options.steps + 1)
        if "bf16" in options.precisions and (speed := bf16_speedup()) < 1:
            print(f"note: this CPU emulates bf16: a product takes {1 / speed:.1f} times as long as in fp32, for both sides")
        if options.profile:
            profile(folder, options)
            return
        numbers = {"options": vars(options)}
        numbers["gradients"] = [] if options.no_gradients else gradients(folder, options)
        numbers["speed"] = measure(folder, options)
        print(f"\n{table(numbers['speed'])}\n")
        for row in numbers["speed"]:
            if row["side"] == "attune":
                print(
                    f"attune {row['adapter']} {row['precision']} reaches {row['share_of_ceiling']:.0%} of the measured fp32 "
                    f"matrix-product ceiling of one thread ({row['ceiling_gflops']:.0f} GFLOP/s)"
                )
        if options.json:
            Path(options.json).write_text(json.dumps(numbers, indent=1))


def profile(folder: Path, options: argparse.Namespace) -> None:
    """Where attune's step spends its time."""
    for precision in options.precisions:
        for adapter in options.adapters:
            job = {"folder": str(folder), "what": "speed", "side": "attune", "adapter": adapter, "precision": precision}
            numbers = run({**job, "warmup": 1, "steps": options.steps, "profile": True})
            print(f"attune {adapter} {precision}, {options.steps} steps\n{numbers['profile']}")


if __name__ == "__main__":
    main()
