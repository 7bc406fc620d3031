"""attune's fine-tuning against TRL's SFTTrainer: tokens a second, peak memory, first-step gradients.

    python bench/sft_vs_trl.py [--quick] [--adapters lora full] [--precisions fp32 bf16] [--rounds 3]
    [--steps 4] [--data rows.json] [--json numbers.json] [--profile]

Both sides get the same weights, the same token ids and the same rows: 8 examples an optimizer step, in the
same order, completion-only loss, AdamW, no gradient checkpointing (``trl-default`` is TRL with its default,
which turns it on). attune runs as its users run it, through ``attune.train``; TRL through
``SFTTrainer.train``. Each measurement is a process of its own with one thread; the sides alternate and
medians are compared. Time is the CPU time of the process over the steps after a warm-up step, so that other
people's work on the machine counts less (it still takes cache and memory bandwidth). A token is a token of a
row: padding is not counted for anybody. Memory is the peak of the resident set during training, absolute and
as growth since just before the first step.

TRL's packs are made by TRL (``packing=True``, its default ``max_length`` of 1,024); two packs make a step,
which hold about as many rows as attune's eight. In bf16 frozen weights are stored in bf16 on both sides, and
weights that learn stay in fp32 under autocast.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from measure import SEED, SHARED, answered, in_a_process, save_llama
from sft_sides import work, write_ids

SIDES = ("attune", "trl-padded", "trl-packed", "trl-default")
SHARED_ROWS = SHARED / "alpaca_en_demo.json"


# What both sides are given


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """Writes rows, tokenizer and weights, once, for every process to read."""
    rows = json.loads(Path(options.data).read_text(encoding="utf-8")) if options.data else synthetic_rows()
    (folder / "rows.json").write_text(json.dumps(rows[: options.rows], ensure_ascii=False), encoding="utf-8")
    texts = [" ".join(str(value) for value in row.values()) for row in rows]
    save_llama(folder / "model", texts, options.vocabulary, options.hidden, options.layers)


def synthetic_rows(count: int = 999) -> list[dict[str, str]]:
    """Rows with the lengths of alpaca_en_demo: about 20 words asked, 10 to 400 (mean 130) answered."""
    import random

    rng = random.Random(SEED)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(12_000)]

    def text(num_words: int) -> str:
        return " ".join(rng.choices(words, k=num_words))

    return [
        {
            "instruction": text(rng.randint(8, 30)),
            "output": text(min(400, 10 + int(rng.expovariate(1 / 120)))),
        }
        for _ in range(count)
    ]


def compare_gradients(ours: str, theirs: str) -> dict[str, float]:
    """Largest difference of any tensor, relative to its largest entry; and of all as one vector."""
    from safetensors.torch import load_file

    left, right = load_file(ours), load_file(theirs)
    assert left.keys() == right.keys(), sorted(left.keys() ^ right.keys())
    worst = max(float((left[k] - right[k]).abs().max() / right[k].abs().max().clamp(min=1e-30)) for k in left)
    apart = sum(float((left[k].double() - right[k].double()).square().sum()) for k in left)
    length = sum(float(right[k].double().square().sum()) for k in right)
    return {"worst_relative_difference": worst, "relative_norm_of_difference": (apart / length) ** 0.5}


# The table


def measure(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All sides in turn, ``rounds`` times; a line a measurement, the medians returned."""
    results = []
    for precision, adapter in itertools.product(options.precisions, options.adapters):
        what = {"adapter": adapter, "precision": precision}
        found: dict[str, list[dict[str, Any]]] = {side: [] for side in options.sides}
        for turn in range(options.rounds):
            for side in options.sides:
                numbers = in_a_process(__file__, {**speed_job(folder, options), **what, "side": side})
                found[side].append(numbers)
                speed, peak = numbers["tokens_per_second"], numbers["peak_gib"]
                print(
                    f"  round {turn + 1} {adapter} {precision} {side:11}{speed:5.0f} tokens/s {peak:.2f} GiB",
                    flush=True,
                )
        for side, several in found.items():
            speeds = [numbers["tokens_per_second"] for numbers in several]
            medians = {key: statistics.median(numbers[key] for numbers in several) for key in several[0]}
            results.append({**what, "side": side, **medians, "slowest": min(speeds), "fastest": max(speeds)})
    return results


def speed_job(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What all measurements of speed and memory have in common."""
    return {"folder": str(folder), "what": "speed", "warmup": 1, "steps": options.steps}


def table(results: list[dict[str, Any]]) -> str:
    """Tokens a second and memory, with attune's share of each line's."""
    lines = [f"{'':22} tokens/s {'(range)':>13}  attune's  peak GiB  attune's  growth GiB  attune's"]
    for row in results:
        same = [r for r in results if (r["adapter"], r["precision"]) == (row["adapter"], row["precision"])]
        ours = next(r for r in same if r["side"] == "attune")
        faster = ours["tokens_per_second"] / row["tokens_per_second"]
        lines.append(
            f"{row['adapter']} {row['precision']} {row['side']:12} {row['tokens_per_second']:7.0f} "
            f"{row['slowest']:7.0f}-{row['fastest']:<6.0f} {faster:8.2f}x "
            f"{row['peak_gib']:9.2f} {ours['peak_gib'] / row['peak_gib']:8.2f}x "
            f"{row['growth_gib']:11.2f} {ours['growth_gib'] / row['growth_gib']:8.2f}x"
        )
    lines += [
        f"attune {row['adapter']} {row['precision']} reaches {row['share_of_ceiling']:.0%} of the measured "
        f"ceiling, {row['ceiling_gflops']:.0f} GFLOP/s (fp32 matrix product, one thread)"
        for row in results
        if row["side"] == "attune"
    ]
    return "\n".join(lines)


def gradients(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """First-step gradients of both sides in fp32, on padded TRL batches: exactly the same eight rows."""
    found = []
    for adapter in options.adapters:
        job = {**speed_job(folder, options), "what": "gradients", "adapter": adapter, "precision": "fp32"}
        places = {side: str(folder / f"{side}-{adapter}.safetensors") for side in ("attune", "trl-padded")}
        ours, theirs = (
            in_a_process(__file__, {**job, "side": side, "gradients": place})
            for side, place in places.items()
        )
        apart = compare_gradients(*places.values())
        found.append({"adapter": adapter, "attune": ours, "trl": theirs, **apart})
        print(
            f"first-step gradients, {adapter} fp32: apart by {apart['worst_relative_difference']:.1e} of a "
            f"tensor's largest entry at most, by {apart['relative_norm_of_difference']:.1e} of the norm; "
            f"loss {ours['loss']:.6f} and {theirs['loss']:.6f}; learnt tokens {ours['num_learnt']} and "
            f"{theirs['num_learnt']} of {ours['num_tokens']} and {theirs['num_tokens']}",
            flush=True,
        )
    return found


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapters", nargs="+", default=["lora", "full"], choices=["lora", "full"])
    parser.add_argument("--precisions", nargs="+", default=["fp32"], choices=["fp32", "bf16"])
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES, help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="measured optimizer steps, after one of warm-up")
    parser.add_argument(
        "--data", default=str(SHARED_ROWS) if SHARED_ROWS.is_file() else None, help="else synthetic"
    )
    parser.add_argument("--rows", type=int, default=999)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=16_000)
    parser.add_argument("--quick", action="store_true", help="a small model and one round: under a minute")
    parser.add_argument("--profile", action="store_true", help="attune's ten costliest operations, no table")
    parser.add_argument("--no-gradients", action="store_true")
    parser.add_argument("--json", help="file for all numbers")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if "attune" not in options.sides:
        parser.error("--sides needs attune: the ratios are to it")
    if options.quick:
        options.adapters, options.sides = ["lora"], list(SIDES[:3])
        options.rounds, options.steps, options.layers, options.vocabulary, options.rows = 1, 1, 2, 4000, 64
    return options


def main() -> None:
    """Prepares, measures and prints; with ``--job`` it is one of the measuring processes."""
    options = parsed()
    if options.job:
        answered(options.job, work)
        return
    from attune.models.precision import bf16_speedup

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder, options)
        write_ids(folder, options.steps + 1)
        if "bf16" in options.precisions and (speed := bf16_speedup()) < 1:
            print(f"note: this CPU emulates bf16: a product takes {1 / speed:.1f} times as long as in fp32")
        if options.profile:
            profile(folder, options)
            return
        numbers = {"options": vars(options)}
        numbers["gradients"] = [] if options.no_gradients else gradients(folder, options)
        numbers["speed"] = measure(folder, options)
        print(f"\n{table(numbers['speed'])}")
        if options.json:
            Path(options.json).write_text(json.dumps(numbers, indent=1))


def profile(folder: Path, options: argparse.Namespace) -> None:
    """Where attune's step spends its time."""
    for precision, adapter in itertools.product(options.precisions, options.adapters):
        what = {"side": "attune", "adapter": adapter, "precision": precision, "profile": True}
        numbers = in_a_process(__file__, {**speed_job(folder, options), **what})
        print(f"attune {adapter} {precision}, {options.steps} steps\n{numbers['profile']}")


if __name__ == "__main__":
    main()
