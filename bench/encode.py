"""Rows a second of encoding: chat template, token ids, marks of what is learnt; one process and all cores.

    python bench/encode.py [--rows 52000] [--data my.json] [--tokenizer folder]

Without arguments: ../shared's Alpaca and MiniMind's tokenizer where they are, else synthetic rows and a
tokenizer trained on them. CPU seconds are printed too: a shared machine's wall time says little.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import time
from pathlib import Path
from typing import Any

from attune.data import sources
from attune.data.encode import Encoder, Policy
from attune.data.examples import Conversation, Message, Origin
from attune.data.prepare import encode
from attune.data.template import ChatTemplate
from attune.data.tokenizer import train_tokenizer
from attune.recipe.schema import Source

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=52_000)
    parser.add_argument("--data", default=str(SHARED / "sft_alpaca_en" / "alpaca_data.json"))
    parser.add_argument("--tokenizer", default=str(SHARED / "tok_files" / "minimind"))
    parser.add_argument("--workers", type=int, nargs="*", default=[1, os.cpu_count() or 1])
    asked = parser.parse_args()
    start = time.perf_counter()
    examples, origins = rows(asked.data, asked.rows)
    print(f"{len(examples):,} rows read in {time.perf_counter() - start:.1f} s")
    made = tokenizer(asked.tokenizer, examples)
    encoder = Encoder(made, ChatTemplate.load(made), Policy(2048))
    names = tuple({origin.path for origin in origins})
    for workers in asked.workers:
        wall, cpu = time.perf_counter(), cpu_seconds()
        store, _ = encode(examples, origins, encoder, names, workers)
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
        print(
            f"{workers} process(es): {len(examples) / wall:,.0f} rows/s, "
            f"{store.lengths.sum() / wall:,.0f} tokens/s, {wall:.1f} s (CPU {cpu:.1f} s)"
        )


def rows(path: str, count: int) -> tuple[list[Any], list[Origin]]:
    """Rows of the file, or synthetic ones."""
    if Path(path).is_file():
        loaded = sources.load([Source(path=path)], "conversation")
        return loaded.examples[:count], loaded.origins[:count]
    chance = random.Random(0)
    words = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz      ", k=40_000)).split()

    def text(length: int) -> str:
        return " ".join(chance.choices(words, k=length))

    made = [Conversation((Message("user", text(20)), Message("assistant", text(60)))) for _ in range(count)]
    return list(made), [Origin("synthetic", row) for row in range(1, count + 1)]


def tokenizer(folder: str, examples: list[Any]) -> Any:
    """The folder's tokenizer, or one trained on the answers."""
    if Path(folder).is_dir():
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder)
    return train_tokenizer((example.messages[-1].content for example in examples[:2000]), 4000)


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
