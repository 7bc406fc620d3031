"""The check's time and memory: ``attune check`` as a person runs it, in a process of its own.

    python bench/check.py [--data my.json] [--model folder] [--gib 2 [--no-model]]

Without arguments: the 52,002 Alpaca rows of ../shared with its MiniMind tokenizer. ``--gib`` writes a
JSON Lines file of that size (random sentences, no two rows alike) and checks it, to show that memory does not
grow with the file. Prints wall seconds, CPU seconds and the largest process.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", nargs="*", default=sorted(map(str, (SHARED / "sft_alpaca_en").glob("alpaca_data.json")))
    )
    parser.add_argument("--model")
    parser.add_argument("--gib", type=float)
    parser.add_argument("--no-model", action="store_true", help="check without tokens")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = asked.data
        if asked.gib:
            data = [written(Path(folder) / "large.jsonl", asked.gib)]
        model = [] if asked.no_model else ["--model", asked.model or model_of(Path(folder) / "model")]
        print(f"{sum(Path(path).stat().st_size for path in data) / 2**20:,.0f} MiB: {' '.join(data)}")
        run(["check", *data, *model, "--quiet"])


def run(words: list[str]) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "attune", *words], text=True, capture_output=True)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr.strip())
    print(
        f"exit {done.returncode}; {seconds:.1f} s wall, {cpu:.1f} s CPU, largest process "
        f"{after.ru_maxrss / 2**20:.2f} GiB"
    )


def model_of(folder: Path) -> str:
    """A configuration with MiniMind's tokenizer beside it: the check reads no weights."""
    from transformers import AutoTokenizer, LlamaConfig

    tokenizer = AutoTokenizer.from_pretrained(SHARED / "tok_files" / "minimind")
    tokenizer.save_pretrained(folder)
    LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=2048).save_pretrained(folder)
    return str(folder)


def written(path: Path, gib: float) -> str:
    """Rows of three to nine sentences of random words."""
    draw = random.Random(0)
    words = ["".join(draw.choices("aeioubcdfglmnprst", k=draw.randint(2, 9))) for _ in range(20_000)]
    size = 0
    with path.open("w", encoding="utf-8") as file:
        while size < gib * 2**30:
            sentences = [
                " ".join(draw.choices(words, k=draw.randint(6, 18))) + "." for _ in range(draw.randint(3, 9))
            ]
            row = {"instruction": sentences[0][:-1] + "?", "output": " ".join(sentences[1:])}
            size += file.write(json.dumps(row) + "\n")
    return str(path)


if __name__ == "__main__":
    main()
