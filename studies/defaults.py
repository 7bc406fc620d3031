"""Do the defaults of every method work? Each against a modest search, on three small tasks.

    python studies/defaults.py --data data --out /tmp/methods

Base and tasks are those of ``tasks.py``. For each method and task the search begins at the default step size
and climbs a ladder of factors to the lowest held-out loss; there it tries another value of the method's main
setting. One seed. *reached* is a share of what the best run of the search reaches: of its accuracy (trec), or
of its gain in held-out loss over the base (wikisql, samsum). In brackets stand the factor of the best step
and the best accuracy or loss.

The base is a thousand times smaller than the models that the defaults are meant for, and learns for a minute
where they learn for hours; both want larger steps. So there is a second table: every method at ten times
its default step, the same ten for all. It tells whether the methods' defaults agree with each other.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tasks import TASKS, USUAL, Row, base, before_training, run, table

from attune.recipe import plugs

LADDER = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
SETTINGS: dict[str, list[Row]] = {
    "lora": [{"rank": 64}],
    "full": [],
    "bottleneck": [{"size": 256}],
    "bitfit": [],
    "prefix": [{"num_virtual_tokens": 128}],
    "ia3": [{"target_modules": ["k_proj", "v_proj", "down_proj"]}],
    "prompt": [{"num_virtual_tokens": 16}],
    "ptuning": [{"num_virtual_tokens": 80}],
    "dora": [{"rank": 64}],
    "rslora": [{"rank": 16}],
    "adalora": [{"rank": 32, "start_rank": 48}],
    "freeze": [{"num_layers": 4}],
    "probe": [],
}
"""Another value of each method's main setting: mostly four times the default, or a quarter."""
COMMON = 10.0


def rate_of(method: str, factor: float) -> float:
    """So many times the default step size; rounded, so that the same run has the same name."""
    return float(f"{plugs.find('adapters', method).LEARNING_RATE * factor:.3g}")


def losses(out: Path, task: str, method: str, settings: Row, factor: float) -> Row:
    """The run of a method's settings, the default ones but for ``settings``."""
    rate = rate_of(method, factor)
    return run(out, task, {"name": method, **settings}, seed=1, learning_rate=rate, answers=False)


def climb(out: Path, task: str, method: str) -> dict[float, Row]:
    """The runs at the factors that lead from 1 to the lowest loss; the default settings otherwise."""
    tried: dict[float, Row] = {}

    def loss_at(place: int) -> float:
        factor = LADDER[place]
        if factor not in tried:
            tried[factor] = losses(out, task, method, {}, factor)
        return float(tried[factor]["loss"])

    first = at = LADDER.index(1.0)
    while at + 1 < len(LADDER) and loss_at(at + 1) < loss_at(at):
        at += 1
    while 0 < at <= first and loss_at(at - 1) < loss_at(at):
        at -= 1
    return tried


def best_factor(tried: dict[float, Row]) -> float:
    """The one with the lowest loss."""
    return min(tried, key=lambda factor: float(tried[factor]["loss"]))


def found_rate(out: Path, task: str, method: str) -> float:
    """The step size that the search finds, of the default settings otherwise."""
    return rate_of(method, best_factor(climb(out, task, method)))


def search(out: Path, task: str, method: str) -> list[tuple[float, Row, Row]]:
    """Factor of the step, settings beside the default ones, and result: of the defaults, then of all."""
    tried = climb(out, task, method)
    best = best_factor(tried)
    others = [(best, one, losses(out, task, method, one, best)) for one in SETTINGS[method]]
    steps: list[tuple[float, Row, Row]] = [(factor, {}, made) for factor, made in tried.items()]
    return [(1.0, {}, tried[1.0]), *steps, *others]


def reached(out: Path, task: str, made: Row, found: Sequence[Row]) -> float:
    """What ``made`` reaches of the best of ``found``."""
    if TASKS[task].objective == "classify":
        return float(np.mean(made["scores"])) / best_of(task, found)
    before = float(before_training(out, task)["loss"])
    return (before - float(made["loss"])) / (before - best_of(task, found))


def best_of(task: str, found: Sequence[Row]) -> float:
    """The best accuracy, or the lowest loss."""
    if TASKS[task].objective == "classify":
        return max(float(np.mean(one["scores"])) for one in found)
    return min(float(one["loss"]) for one in found)


def lines_of(out: Path, method: str, tasks: Sequence[str]) -> tuple[list[str], list[str]]:
    """A line of each table."""
    first = [method, f"{rate_of(method, 1):g}"]
    second = [method, f"{rate_of(method, COMMON):g}"]
    for task in tasks:
        if method == "probe" and TASKS[task].objective != "classify":
            first.append("–")
            second.append("–")
            continue
        found = search(out, task, method)
        common = losses(out, task, method, {}, COMMON)
        all_made = [made for _, _, made in found] + [common]
        best = best_factor({factor: made for factor, settings, made in found if not settings})
        share = reached(out, task, found[0][2], all_made)
        first.append(f"{share:.0%} (×{best:g} → {best_of(task, all_made):.2f})")
        second.append(f"{reached(out, task, common, all_made):.0%}")
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder with lora_wikisql, glue …")
    parser.add_argument("--out", type=Path, required=True, help="for the base and the runs")
    parser.add_argument("--tasks", nargs="+", default=list(USUAL), choices=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    base(options.data, options.out)
    pairs = [lines_of(options.out, method, options.tasks) for method in options.methods]
    table(["adapter=", "default step", *options.tasks], [first for first, _ in pairs])
    table(["adapter=", f"{COMMON:g} × default", *options.tasks], [second for _, second in pairs])


if __name__ == "__main__":
    main()
