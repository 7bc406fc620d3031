"""Three findings of the LoRA paper (Hu et al., arXiv 2106.09685) on a model of a million weights.

    python studies/lora.py --data data --out /tmp/methods

(a) LoRA against full fine-tuning, bottleneck adapters, BitFit and prefix tuning, at equal steps: score,
trained parameters, memory, time. (b) Which of Wq, Wk, Wv, Wo, with equally many trained parameters (their
table 5). (c) Which rank (their table 6). Base and tasks are those of ``tasks.py``.

The paper tuned the step size of each method; here it is the one that ``defaults.py`` finds for the method
and the task (seed 1), for (b) and (c) that of LoRA on all matrices at rank 16. Alpha is twice the rank
throughout. Three seeds; a score is the mean over them with its 95% interval over test rows (bootstrap of the
rows' means over the seeds), a loss the mean and the range over the seeds. Time is processor time; memory is
the peak of a fresh process, libraries and all.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from defaults import found_rate
from tasks import TASKS, USUAL, Row, Runs, base, before_training, run, table, train_on

from attune.evaluation.metrics import Floats, bootstrap, paired_bootstrap

METHODS = {
    "lora": (73.4, 45.9),
    "full": (73.8, 44.5),
    "bottleneck": (73.2, 45.1),
    "bitfit": (71.3, 43.5),
    "prefix": (70.1, 43.5),
}
"""What the paper's table 4 has for WikiSQL and for SAMSum's ROUGE-L (GPT-3 175B)."""
MATRICES: dict[str, tuple[str, int, float, float]] = {
    "Wq": ("q", 8, 70.4, 91.0),
    "Wk": ("k", 8, 70.0, 90.8),
    "Wv": ("v", 8, 73.0, 91.0),
    "Wo": ("o", 8, 73.2, 91.3),
    "Wq, Wk": ("qk", 4, 71.4, 91.3),
    "Wq, Wv": ("qv", 4, 73.7, 91.3),
    "Wq, Wk, Wv, Wo": ("qkvo", 2, 73.7, 91.7),
}
"""Matrices, rank, and what the paper's table 5 has for WikiSQL and MultiNLI (GPT-3 175B)."""
RANKS: dict[str, tuple[float, ...]] = {
    "qkvo": (74.1, 73.7, 74.0, 74.0, 73.9),
    "qv": (73.4, 73.3, 73.7, 73.8, 73.5),
    "q": (68.8, 69.6, 70.5, 70.4, 70.0),
}
"""Matrices, and what the paper's table 6 has for WikiSQL at these ranks."""
ALL_RANKS = (1, 2, 4, 8, 64)
SCORES = {
    "wikisql": ["wikisql exact", "… up to WHERE"],
    "samsum": ["samsum ROUGE-L"],
    "trec": ["trec accuracy"],
    "sst2": ["sst2 accuracy"],
}


def runs(
    out: Path, task: str, adapter: Row, method: str, seeds: Sequence[int], *, answers: bool = True
) -> list[Row]:
    """A run a seed, at the step size found for ``method``."""
    rate = found_rate(out, task, method)
    return [run(out, task, adapter, seed, rate, answers=answers) for seed in seeds]


def lora_cells(out: Path, letters: str, rank: int, tasks: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """A line of (b) or (c). No model writes queries or summaries there: the losses say more, and sooner."""
    adapter = {
        "name": "lora",
        "rank": rank,
        "target_modules": [f"{letter}_proj" for letter in letters],
    }
    found = {task: runs(out, task, adapter, "lora", seeds, answers=False) for task in tasks}
    return [cell for task, one in found.items() for cell in cells(task, one)]


def mean_rows(found: Sequence[Row], key: str = "scores") -> Floats:
    """The mean of each test row over the seeds."""
    mean: Floats = np.asarray([one[key] for one in found], dtype=np.float64).mean(axis=0)
    return mean


def share(rows: Floats) -> str:
    line = bootstrap(rows)
    return f"{line.mean:.1%} [{line.low:.1%}, {line.high:.1%}]"


def losses(found: Sequence[Row]) -> str:
    each = [one["loss"] for one in found]
    return f"{np.mean(each):.3f} ({min(each):.3f}–{max(each):.3f})"


def cells(task: str, found: Sequence[Row]) -> list[str]:
    """What a table tells of a task: its scores where there are any, and the held-out loss."""
    known = [key for key in ("scores", "columns") if key in found[0]]
    return [*(share(mean_rows(found, key)) for key in known), losses(found)]


def heads(tasks: Sequence[str], *, answers: bool = True) -> list[str]:
    """The headings above ``cells``."""
    found = []
    for task in tasks:
        if answers or TASKS[task].objective == "classify":
            found += SCORES[task]
        found.append(f"{task} loss")
    return found


def peak_mib(out: str, method: str) -> float:
    """Peak memory of this process, which must be a new one, after five steps on WikiSQL."""
    torch.set_num_threads(1)
    path = train_on(Path(out), "wikisql", {"name": method}, max_steps=5)
    record = json.loads((path / "run.json").read_text(encoding="utf-8"))
    shutil.rmtree(path)
    return float(record["peak_memory_gib"]) * 1024


def memory(out: Path, method: str) -> float:
    def measure() -> Row:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            return {"peak_mib": pool.submit(peak_mib, str(out), method).result()}

    return float(Runs(out / "memory.jsonl").get({"memory": method}, measure)["peak_mib"])


def compare_methods(out: Path, tasks: Sequence[str], seeds: Sequence[int]) -> None:
    found = {
        method: {task: runs(out, task, {"name": method}, method, seeds) for task in tasks}
        for method in METHODS
    }
    before: list[str] = []
    for task in tasks:
        if TASKS[task].objective == "classify":
            before += ["–", "–"]
            continue
        one = before_training(out, task)
        before += [*cells(task, [one])[:-1], f"{one['loss']:.3f}"]
    lines = [["the base", *["–"] * 5, *before]]
    for method, by_task in found.items():
        first = by_task[tasks[0]]
        lines.append(
            [
                method,
                *(f"{number}" for number in METHODS[method]),
                f"{first[0]['num_trained_parameters']:,}",
                f"{memory(out, method):.0f} MiB",
                f"{np.median([one['step_seconds'] for one in first]) * 1000:.0f} ms",
                *(cell for task in tasks for cell in cells(task, by_task[task])),
            ]
        )
    head = ["method", "paper: WikiSQL", "paper: SAMSum", "trained", "memory", "a step"]
    table([*head, *heads(tasks)], lines)
    for method in list(METHODS)[1:]:
        told = []
        for task in tasks:
            gap = paired_bootstrap(mean_rows(found[method][task]), mean_rows(found["lora"][task]))
            told.append(f"{task} {gap.mean:+.1%} [{gap.low:+.1%}, {gap.high:+.1%}]")
        print(f"{method} less lora: {', '.join(told)}")


def compare_matrices(out: Path, tasks: Sequence[str], seeds: Sequence[int]) -> None:
    lines = [
        [name, f"{rank}", f"{wikisql}", f"{mnli}", *lora_cells(out, letters, rank, tasks, seeds)]
        for name, (letters, rank, wikisql, mnli) in MATRICES.items()
    ]
    head = ["matrices", "rank", "paper: WikiSQL", "paper: MNLI"]
    table([*head, *heads(tasks, answers=False)], lines)


def compare_ranks(out: Path, tasks: Sequence[str], seeds: Sequence[int]) -> None:
    for letters, paper in RANKS.items():
        name = ", ".join(f"W{letter}" for letter in letters)
        lines = [
            [name, f"{rank}", f"{wikisql}", *lora_cells(out, letters, rank, tasks, seeds)]
            for rank, wikisql in zip(ALL_RANKS, paper, strict=True)
        ]
        table(["matrices", "rank", "paper: WikiSQL", *heads(tasks, answers=False)], lines)


PARTS = {"methods": compare_methods, "matrices": compare_matrices, "ranks": compare_ranks}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder with lora_wikisql, glue …")
    parser.add_argument("--out", type=Path, required=True, help="for the base and the runs")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--tasks", nargs="+", default=list(USUAL), choices=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    base(options.data, options.out)
    for part in options.parts:
        PARTS[part](options.out, options.tasks, options.seeds)


if __name__ == "__main__":
    main()
