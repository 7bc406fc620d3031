"""What the benchmarks share: a process of its own for each measurement, its clock, and the model they run."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SEED = 42
SHARED = Path(__file__).resolve().parents[2] / "shared/data/llamafactory_demos"
"""Real rows, where this checkout has them."""

Numbers = dict[str, Any]


class Clock:
    """CPU time and resident memory at the borders of steps."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.tokens: list[int] = []
        self.learnt: list[int] = []
        self.resident_gib = self.peak_gib = 0.0
        self.more: Numbers = {}

    def begin(self) -> None:
        import torch

        from attune.models import memory

        memory.reset_peak(torch.device("cpu"))
        self.resident_gib = memory.peak_gib(torch.device("cpu"))

    def step(self, num_tokens: int = 0, num_learnt: int = 0) -> None:
        import torch

        from attune.models import memory

        self.times.append(time.process_time())
        self.tokens.append(num_tokens)
        self.learnt.append(num_learnt)
        self.peak_gib = memory.peak_gib(torch.device("cpu"))

    def numbers(self, warmup: int) -> Numbers:
        seconds = self.times[-1] - self.times[warmup - 1]
        return {
            "tokens_per_second": sum(self.tokens[warmup:]) / seconds,
            "seconds_per_step": seconds / (len(self.times) - warmup),
            "num_tokens": sum(self.tokens[warmup:]),
            "num_learnt": sum(self.learnt[warmup:]),
            "num_steps": len(self.times) - warmup,
            "peak_gib": self.peak_gib,
            "growth_gib": self.peak_gib - self.resident_gib,
            **self.more,
        }


class Stopwatch:
    """CPU seconds of the calls of a function, which is otherwise left as it is."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        begun = time.process_time()
        try:
            return self.function(*args, **kwargs)
        finally:
            self.seconds += time.process_time() - begun


def in_a_process(script: str, job: Numbers) -> Numbers:
    """One job in a fresh process with one thread; its numbers. ``script`` is called with ``--job``, and
    ``answered`` is what it does then.
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as answer:
        call = [sys.executable, script, "--job", json.dumps({**job, "answer": answer.name})]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "ATTUNE_LANG": "en"}
        done = subprocess.run(call, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{job} failed:\n{done.stderr[-4000:]}")
        return dict(json.loads(Path(answer.name).read_text()))


def answered(job: str, work: Callable[[Numbers, str], Numbers]) -> None:
    """Does a job in this process, with one thread and a folder that goes away, and writes its numbers where
    ``in_a_process`` reads them.
    """
    import torch

    torch.set_num_threads(1)
    asked = json.loads(job)
    with tempfile.TemporaryDirectory() as output:
        numbers = work(asked, output)
    Path(asked["answer"]).write_text(json.dumps(numbers))


def in_turns(
    script: str, jobs: Sequence[Numbers], rounds: int, shown: Callable[[Numbers], str]
) -> list[Numbers]:
    """Every job ``rounds`` times, in turn, so that a busy hour of the machine meets all; medians of their
    numbers beside what each job says, and the slowest and fastest of ``seconds_per_step``.
    """
    found: list[list[Numbers]] = [[] for _ in jobs]
    for turn in range(rounds):
        for several, job in zip(found, jobs, strict=True):
            several.append(in_a_process(script, job))
            print(f"  round {turn + 1} {job['side']:16} {shown(several[-1])}", flush=True)
    return [{**job, **medians(several), "several": several} for job, several in zip(jobs, found, strict=True)]


def medians(several: Sequence[Numbers]) -> Numbers:
    """Of each number of several measurements; what is no number is the first's."""
    return {
        name: statistics.median(one[name] for one in several) if isinstance(value, int | float) else value
        for name, value in several[0].items()
    }


def range_of(row: Numbers, name: str) -> tuple[float, float]:
    """The smallest and the largest of a number in the rounds."""
    values = [one[name] for one in row["several"]]
    return min(values), max(values)


def save_llama(folder: Path, texts: Sequence[str], vocabulary: int, hidden: int, layers: int) -> Any:
    """A Llama of random weights, 4 heads of which 2 hold keys, and a tokenizer trained on ``texts``; both in
    ``folder``. Gives the model.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from attune.data.tokenizer import train_tokenizer
    from attune.models.load import quiet

    quiet()
    tokenizer = train_tokenizer(texts, vocabulary)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=hidden * 43 // 16,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return model


def let_stop(folder: Path, mean_length: int) -> None:
    """Changes the model in ``folder`` so that it ends an answer with the same probability at every token, 1 /
    ``mean_length``; 0: never. Random weights alone would stop once in a vocabulary of tokens.

    All embeddings share a large first number, which reaches the head all but unchanged by what was read; of
    the head only the stop token looks at it.
    """
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    from attune.data.template import ChatTemplate

    tokenizer = AutoTokenizer.from_pretrained(folder)
    stop = ChatTemplate.load(tokenizer).stop_id
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(stop)
    tokenizer.save_pretrained(folder)
    model = LlamaForCausalLM.from_pretrained(folder)
    head = model.lm_head.weight.data
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 4.0
        head[:, 0] = 0.0
        head[stop] = 0.0
        states = model.model(torch.randint(len(head), (1, 512))).last_hidden_state[0]
        odds = 1 / (mean_length - 1) if mean_length else 1e-30
        wanted = float((states @ head.T).logsumexp(1).mean()) + math.log(odds)
        head[stop, 0] = wanted / float(states[:, 0].mean())
    model.config.eos_token_id = model.generation_config.eos_token_id = stop
    model.save_pretrained(folder)


def words(count: int, seed: int = SEED) -> Callable[[int], str]:
    """A source of texts of so many words, drawn from ``count`` made-up ones."""
    import random

    rng = random.Random(seed)
    known = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(count)]
    return lambda number: " ".join(rng.choices(known, k=number))
