"""Every fine-tuning method: what ``attune plan`` says before a run, and what the run then does.

    python bench/methods.py [--methods lora dora ...] [--rounds 3] [--steps 3] [--data rows.json]
    [--precision fp32] [--json numbers.json] [--layers 12] [--hidden 256] [--vocabulary 16000]

A Llama of random weights learns the rows of ``alpaca_en_demo`` (or rows of their lengths), 8 a step, by each
method with its default settings; with ``classify-`` before its name a method learns to tell short answers
from long ones. Each measurement is a process of its own with one thread. Rounds alternate between the methods
and medians are compared.

``learns``: the parameters for which the optimizer's first step has a gradient. ``memory``: the peak of the
resident set while training goes on. ``tokens/s``: tokens of the rows, virtual ones not counted, over the CPU
time of the steps after the first.
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

from sft_sides import EXAMPLES_A_STEP, SEED, Clock
from sft_vs_trl import SHARED_ROWS, prepare

METHODS = (
    "lora", "full", "freeze", "rslora", "dora", "adalora", "qlora", "ia3", "bitfit", "bottleneck", "prefix",
    "prompt", "ptuning", "classify-lora", "classify-probe",
)  # fmt: skip
LONG_ANSWER = 400
"""Signs from which on an answer is called long."""


def recipe_of(folder: Path, job: dict[str, Any], output: str) -> Any:
    """What a person would write: the method's name, its settings left alone."""
    from attune.recipe.schema import Recipe

    kind, _, name = job["method"].rpartition("-")
    return Recipe.model_validate(
        {
            "objective": kind or "sft",
            "model": str(folder / "model"),
            "data": {
                "train": [str(folder / ("labelled.jsonl" if kind else "rows.json"))],
                "held_out": 0.0,
                "check": "off",
                "workers": 1,
                "cache_dir": str(folder / "cache"),
            },
            "adapter": name,
            "train": {
                "max_steps": 1 + job["steps"],
                "global_batch_size": EXAMPLES_A_STEP,
                "precision": job["precision"],
                "activation_checkpointing": "off",
                "threads": 1,
                "seed": SEED,
            },
            "output": output,
        }
    )


def labelled(folder: Path) -> None:
    """The same rows for a classifier."""
    rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    lines = [
        json.dumps(
            {
                "text": f"{row['instruction']} {row['output']}",
                "label": "long" if len(row["output"]) > LONG_ANSWER else "short",
            }
        )
        for row in rows
    ]
    (folder / "labelled.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


# One measurement: a process of its own


def work(job: dict[str, Any]) -> dict[str, Any]:
    """Predicts, or runs and measures."""
    import torch

    torch.set_num_threads(1)
    folder = Path(job["folder"])
    with tempfile.TemporaryDirectory() as output:
        if job["what"] == "run":
            return measured(recipe_of(folder, job, output))
        return {
            method: predicted(recipe_of(folder, {**job, "method": method}, output))
            for method in job["methods"]
        }


def predicted(asked: Any) -> dict[str, Any]:
    """By ``attune.plan``."""
    from attune.engine.plan import plan

    found = plan(asked)
    return {"learns": found.num_trained_parameters, "peak_gib": found.peak_memory_gib}


def measured(asked: Any) -> dict[str, Any]:
    """By ``attune.train``, watched through its events and the optimizer."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    from attune.engine.events import RunStarted, StepEnd
    from attune.engine.train import train

    clock, learning = Clock(), [0]

    def count(optimizer: Any, *_: Any) -> None:
        every = [p for group in optimizer.param_groups for p in group["params"]]
        learning[0] = max(learning[0], sum(p.numel() for p in every if p.grad is not None))

    def listen(event: Any) -> None:
        if isinstance(event, RunStarted):
            clock.begin()
        elif isinstance(event, StepEnd):
            clock.step(event.num_tokens)

    hook = register_optimizer_step_pre_hook(count)
    train(asked, fresh=True, listeners=[listen])
    hook.remove()
    return {"learns": learning[0], **clock.numbers(1)}


# The table


def run(job: dict[str, Any]) -> dict[str, Any]:
    """One job in a fresh process with one thread; its numbers."""
    with tempfile.NamedTemporaryFile(suffix=".json") as answer:
        call = [sys.executable, __file__, "--job", json.dumps({**job, "answer": answer.name})]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "ATTUNE_LANG": "en"}
        done = subprocess.run(call, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{job} failed:\n{done.stderr[-4000:]}")
        return dict(json.loads(Path(answer.name).read_text()))


def measure(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A prediction a method, then rounds over all of them; medians."""
    common = {"folder": str(folder), "steps": options.steps, "precision": options.precision}
    planned = run({**common, "methods": options.methods, "what": "plan"})
    ran: dict[str, list[dict[str, Any]]] = {method: [] for method in options.methods}
    for turn in range(options.rounds):
        for method in options.methods:
            found = run({**common, "method": method, "what": "run"})
            ran[method].append(found)
            print(
                f"  round {turn + 1} {method:15} {found['tokens_per_second']:6.0f} tokens/s "
                f"{found['peak_gib']:.3f} GiB (planned {planned[method]['peak_gib']:.3f}), load "
                f"{os.getloadavg()[0]:.1f}",
                flush=True,
            )
    return [
        {
            "method": method,
            "planned": planned[method],
            "measured": {key: statistics.median(one[key] for one in found) for key in found[0]},
        }
        for method, found in ran.items()
    ]


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: predicted beside measured, and the speed as a share of LoRA's on the same task."""
    heads = (
        "method", "learns, planned", "measured", "memory GiB, planned", "measured", "error",
        "tokens/s", "of LoRA's",
    )  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    speeds = {row["method"]: row["measured"]["tokens_per_second"] for row in rows}
    for row in rows:
        method, planned, found = row["method"], row["planned"], row["measured"]
        kind, _, _ = method.rpartition("-")
        reference = speeds.get(f"{kind}-lora" if kind else "lora")
        share = f"{speeds[method] / reference:.0%}" if reference else "-"
        error = planned["peak_gib"] / found["peak_gib"] - 1
        lines.append(
            f"| {method} | {planned['learns']:,} | {found['learns']:,.0f} | {planned['peak_gib']:.2f} | "
            f"{found['peak_gib']:.2f} | {error:+.0%} | {speeds[method]:,.0f} | {share} |"
        )
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS, metavar="METHOD")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="measured optimizer steps, after the first")
    parser.add_argument(
        "--data", default=str(SHARED_ROWS) if SHARED_ROWS.is_file() else None, help="else synthetic"
    )
    parser.add_argument("--rows", type=int, default=999)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=16_000)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--json", help="file for all numbers")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Prepares, measures and prints; with ``--job`` it is one of the measuring processes."""
    options = parsed()
    if options.job:
        job = json.loads(options.job)
        Path(job["answer"]).write_text(json.dumps(work(job)))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder, options)
        labelled(folder)
        rows = measure(folder, options)
    print(f"\n{table(rows)}")
    if options.json:
        Path(options.json).write_text(json.dumps({"options": vars(options), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
