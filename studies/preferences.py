"""Does each preference objective make a model prefer what people prefer? On a small model and real pairs.

    python studies/preferences.py instruction-data-with-preference.json --seeds 1 2 3

The pairs are those of "Build a Large Language Model (From Scratch)" (github.com/rasbt/LLMs-from-scratch,
ch07/04, Apache-2.0): 1,100 instructions, each with a polite and an impolite answer. For each seed a Llama of
a million weights is trained from nothing on the instructions and their neutral answers; from there DPO,
IPO, KTO, ORPO and SimPO each start anew. 200 instructions, drawn by the seed, are held out from everything.

Two measures on the held-out pairs, with 95% intervals over pairs of all seeds. *likelier*: the polite answer
has the higher mean log-probability a token (any model has one). *moved*: since the SFT model that has risen
more for the polite answer than for the other (for half of the pairs, where nothing was learnt).
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pictures

from attune.engine.train import train
from attune.evaluation import pairwise
from attune.evaluation.metrics import bootstrap, paired_bootstrap
from attune.evaluation.preferences import ranked_logps
from attune.evaluation.questions import read
from attune.models.load import load_for_inference
from attune.recipe.schema import Recipe

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 3000,
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
METHODS: dict[str, tuple[dict[str, Any], float]] = {
    "DPO": ({"name": "dpo"}, 3e-4),
    "IPO": ({"name": "dpo", "loss": "ipo"}, 3e-4),
    "KTO": ({"name": "kto"}, 3e-4),
    "ORPO": ({"name": "orpo", "beta": 1.0}, 5e-4),
    "SimPO": ({"name": "simpo"}, 2e-4),
}
"""Objective and step size. The model is small and new, so the steps are larger than the defaults."""

HELD_OUT = 200

Numbers = dict[str, np.ndarray]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def run(folder: Path, name: str, model: str, data: str, objective: dict[str, Any], **settings: Any) -> str:
    """Trains all weights and gives the run's folder."""
    recipe = {
        "objective": objective,
        "model": {"path": model, "template": "chatml"},
        "data": {"train": data, "held_out": 0.0, "check": "off", "cache_dir": str(folder / "cache")},
        "adapter": "full",
        "train": {"precision": "fp32", "threads": 1, "global_batch_size": 16, **settings},
        "output": str(folder / name),
    }
    return str(train(Recipe.model_validate(recipe)).output)


def files(folder: Path, rows: list[dict[str, Any]], seed: int) -> dict[str, str]:
    """What is learnt and what is held out, in the forms that the objectives read."""
    drawn = random.Random(seed).sample(rows, len(rows))
    held_out, kept = drawn[:HELD_OUT], drawn[HELD_OUT:]
    asked = [{"prompt": "\n".join(filter(None, (row["instruction"], row["input"]))), **row} for row in kept]
    pairs = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in asked]
    verdicts = [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
        for row in asked
        for side in ("chosen", "rejected")
    ]
    others = [{key: row[key] for key in ("instruction", "input", "chosen", "rejected")} for row in held_out]
    answers = [{key: row[key] for key in ("instruction", "input", "output")} for row in kept]
    return {
        "answers": write(folder / "answers.jsonl", answers),
        "pairs": write(folder / "pairs.jsonl", pairs),
        "verdicts": write(folder / "verdicts.jsonl", verdicts),
        "held_out": write(folder / "held_out.jsonl", others),
    }


def measured(model: str, held_out: str, sft: Any) -> tuple[Numbers, Any]:
    """Both measures of each held-out pair, and the log-probabilities that they rest on."""
    found = [one for one in ranked_logps(load_for_inference(model), held_out_rows(held_out), _quiet) if one]
    lengths = [one.lengths for one in found]
    likelier = pairwise.of_examples([one.means for one in found], lengths).is_right
    rewards = [
        [a - b for a, b in zip(one.means, other.means, strict=True)]
        for one, other in zip(found, sft or found, strict=True)
    ]
    return {"likelier": likelier, "moved": pairwise.of_examples(rewards, lengths).is_right}, found


def held_out_rows(path: str) -> Any:
    return read(path, "preference").rows


def _quiet(*_: Any) -> None: ...


def one_seed(
    folder: Path, rows: list[dict[str, Any]], seed: int, tell: Callable[[str], None]
) -> dict[str, Numbers]:
    """Every model's measures on the held-out pairs."""
    folder.mkdir()
    data = files(folder, rows, seed)
    config = folder / "config.json"
    config.write_text(json.dumps(CONFIG), encoding="utf-8")
    begun = time.monotonic()
    sft = run(
        folder, "sft", str(config), data["answers"], {"name": "sft"}, epochs=8, learning_rate=2e-3, seed=seed
    )
    numbers, base = measured(sft, data["held_out"], None)
    found = {"SFT": numbers}
    tell(f"seed {seed}: SFT {numbers['likelier'].mean():.1%} ({time.monotonic() - begun:.0f} s)")
    for name, (objective, rate) in METHODS.items():
        begun = time.monotonic()
        source = data["verdicts" if objective["name"] == "kto" else "pairs"]
        made = run(folder, name, sft, source, objective, epochs=2, learning_rate=rate, seed=seed)
        found[name], _ = measured(made, data["held_out"], base)
        shares = ", ".join(f"{key} {values.mean():.1%}" for key, values in found[name].items())
        tell(f"seed {seed}: {name} {shares} ({time.monotonic() - begun:.0f} s)")
    return found


def together(seeds: list[dict[str, Numbers]], measure: str) -> Numbers:
    """A measure of all seeds' pairs, for each model."""
    return {name: np.concatenate([one[name][measure] for one in seeds]) for name in seeds[0]}


def table(seeds: list[dict[str, Numbers]]) -> str:
    """Markdown: shares with intervals, and the gain over SFT on the same pairs."""
    lines = ["| model | likelier | gain over SFT | moved |", "|---|---|---|---|"]
    likelier, moves = together(seeds, "likelier"), together(seeds, "moved")
    for name, column in likelier.items():
        share, moved = bootstrap(column), bootstrap(moves[name])
        cells = [name, f"{share.mean:.1%} [{share.low:.1%}, {share.high:.1%}]", "–", "–"]
        if name != "SFT":
            gain = paired_bootstrap(column, likelier["SFT"])
            cells[2] = f"{gain.mean:+.1%} [{gain.low:+.1%}, {gain.high:+.1%}]"
            cells[3] = f"{moved.mean:.1%} [{moved.low:.1%}, {moved.high:.1%}]"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", type=Path, help="instruction-data-with-preference.json")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--pictures", type=Path, help="folder for the picture of the table")
    options = parser.parse_args()
    rows = json.loads(options.pairs.read_text(encoding="utf-8"))
    rows = [row for row in rows if row["chosen"] != row["rejected"]]
    with tempfile.TemporaryDirectory() as folder:
        found = [one_seed(Path(folder) / str(seed), rows, seed, print) for seed in options.seeds]
    print(table(found))
    if options.pictures:
        shares = {name: bootstrap(column) for name, column in together(found, "likelier").items()}
        label = "the better answer is likelier, share of held-out pairs"
        pictures.intervals(options.pictures / "preferences.svg", label, shares)


if __name__ == "__main__":
    main()
