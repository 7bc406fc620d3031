"""Does a reward model learn which answers people like? On a small model, real votes and real texts.

    python studies/reward.py --hh test.jsonl.gz --polite instruction-data-with-preference.json

``--hh`` takes a file of Anthropic's HH pairs (github.com/anthropics/hh-rlhf): people voted for one of two
transcripts. ``--polite`` takes those of "Build a Large Language Model (From Scratch)" (ch07/04): a polite and
an impolite answer to one instruction. A seed draws the fifth of the prompts that is held out, the weights and
the order. A Llama of a million weights first learns the chosen answers of the training part (three passes),
then becomes a reward model (two passes). The share of held-out pairs in the right order comes with its 95%
interval over the pairs of all seeds.

*longer* is what length alone gets: the longer answer wins, or the shorter one, as fits the training part.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attune.engine.train import train
from attune.evaluation.evaluate import evaluate
from attune.evaluation.metrics import bootstrap
from attune.recipe.schema import Recipe

SHAPE = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 3000,
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}
Row = dict[str, str]


@dataclass(frozen=True)
class Result:
    """For each held-out pair: 1 where the order is right; what length alone would say."""

    right: np.ndarray
    longer: np.ndarray


def hh(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [{"prompt": _head(row["chosen"]), **row} for row in rows if row["chosen"] != row["rejected"]]


def _head(transcript: str) -> str:
    return transcript.rsplit("\n\nAssistant:", 1)[0]


def polite(path: Path) -> list[Row]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [
        {
            "prompt": "\n".join(filter(None, (row["instruction"], row["input"]))),
            "chosen": row["chosen"],
            "rejected": row["rejected"],
        }
        for row in rows
        if row["chosen"] != row["rejected"]
    ]


def write(path: Path, rows: Sequence[Row]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def divided(rows: list[Row], seed: int) -> tuple[list[Row], list[Row]]:
    """A fifth of the prompts is held out."""
    prompts = sorted({row["prompt"] for row in rows})
    held = set(random.Random(seed).sample(prompts, len(prompts) // 5))
    return [row for row in rows if row["prompt"] not in held], [row for row in rows if row["prompt"] in held]


def run(folder: Path, name: str, model: str, data: str, objective: str, **settings: Any) -> str:
    """Trains all weights and gives the run's folder."""
    recipe = {
        "objective": objective,
        "model": {"path": model, "template": "chatml"},
        "data": {
            "train": data,
            "held_out": 0.0,
            "check": "off",
            "max_length": 512,
            "overlong": "keep_prompt_end",
        },
        "adapter": "full",
        "train": {"precision": "fp32", "threads": 1, "global_batch_size": 16, **settings},
        "output": str(folder / name),
    }
    return str(train(Recipe.model_validate(recipe)).output)


def is_longer(rows: Sequence[Row]) -> np.ndarray:
    return np.array([float(len(row["chosen"]) > len(row["rejected"])) for row in rows])


def one_seed(folder: Path, rows: list[Row], seed: int) -> Result:
    folder.mkdir(parents=True)
    kept, held = divided(rows, seed)
    shape = folder / "config.json"
    shape.write_text(json.dumps(SHAPE), encoding="utf-8")
    pairs = [{key: row[key] for key in _columns(row)} for row in kept]
    asked = write(folder / "held_out.jsonl", [{key: row[key] for key in _columns(row)} for row in held])
    answers = write(folder / "answers.jsonl", [_answer(row) for row in kept])
    base = run(folder, "base", str(shape), answers, "sft", epochs=3, learning_rate=2e-3, seed=seed)
    source = write(folder / "pairs.jsonl", pairs)
    made = run(folder, "reward", base, source, "reward", epochs=2, learning_rate=3e-4, seed=seed)
    found = evaluate(made, asked)
    right = np.array([row["scores"][0]["pair_accuracy"] for row in found.rows])
    longer = is_longer(held)
    return Result(right, longer if is_longer(kept).mean() > 0.5 else 1 - longer)


def _columns(row: Row) -> list[str]:
    """HH's transcripts hold their prompt."""
    return ["chosen", "rejected"] if row["chosen"].startswith("\n\nHuman:") else list(row)


def _answer(row: Row) -> Row:
    """What the base learns: the chosen answer."""
    answer = row["chosen"].removeprefix(row["prompt"]).removeprefix("\n\nAssistant:")
    return {"instruction": row["prompt"].removeprefix("\n\nHuman:"), "output": answer.strip() or "-"}


def study(folder: Path, name: str, rows: list[Row], seeds: list[int], tell: Callable[[str], None]) -> str:
    """A line of the table."""
    found = []
    for seed in seeds:
        begun = time.monotonic()
        found.append(one_seed(folder / name / str(seed), rows, seed))
        right = found[-1].right
        tell(f"{name}, seed {seed}: {right.mean():.1%} of {len(right)} ({time.monotonic() - begun:.0f} s)")
    share = bootstrap(np.concatenate([one.right for one in found]))
    longer = np.mean(np.concatenate([one.longer for one in found]))
    seeds_told = " ".join(f"{one.right.mean():.1%}" for one in found)
    return f"| {name} | {seeds_told} | {share.mean:.1%} [{share.low:.1%}, {share.high:.1%}] | {longer:.1%} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hh", type=Path, help="test.jsonl.gz of harmless-base or helpful-base")
    parser.add_argument("--polite", type=Path, help="instruction-data-with-preference.json")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    tasks = {
        name: read(path)
        for name, path, read in (("HH", options.hh, hh), ("polite", options.polite, polite))
        if path
    }
    with tempfile.TemporaryDirectory() as folder:
        lines = [study(Path(folder), name, rows, options.seeds, print) for name, rows in tasks.items()]
    print("\n".join(["| pairs | a seed each | in the right order | longer |", "|---|---|---|---|", *lines]))


if __name__ == "__main__":
    main()
