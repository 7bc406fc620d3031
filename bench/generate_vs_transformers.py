"""attune's decoding against transformers' ``generate``: the same greedy answers, tokens a second.

    python bench/generate_vs_transformers.py [--prompts 128] [--max-new-tokens 256] [--batch 32] [--threads 1]

A random Llama of about 4 million parameters, with stop tokens drawn so that answers stop at mixed times.
transformers gets its best shape: prompts sorted by length, padded, in batches of as many rows as ours. Both
sides alternate; the answers must be equal. Times are processor time over the number of threads, which other
work on the machine disturbs less than the clock on the wall; that one is printed too.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from attune.inference.decode import generate
from attune.recipe.schema import Generation


def model_of(seed: int, vocabulary: int) -> LlamaForCausalLM:
    """About 4M parameters, weights large enough that the context decides the next token."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, 0.08)
    model.generation_config = GenerationConfig(pad_token_id=0)
    return model


def theirs(
    model: LlamaForCausalLM, prompts: list[list[int]], stops: frozenset[int], most: int, batch: int
) -> list[list[int]]:
    """``model.generate`` in left-padded batches, longest prompts first."""
    order = sorted(range(len(prompts)), key=lambda prompt: -len(prompts[prompt]))
    answers: list[list[int]] = [[] for _ in prompts]
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        width = max(len(prompts[prompt]) for prompt in chosen)
        ids = torch.zeros((len(chosen), width), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(chosen):
            ids[row, width - len(prompts[prompt]) :] = torch.tensor(prompts[prompt])
            mask[row, width - len(prompts[prompt]) :] = 1
        with torch.inference_mode():
            whole = model.generate(
                ids, attention_mask=mask, max_new_tokens=most, do_sample=False, eos_token_id=sorted(stops)
            )
        for row, prompt in enumerate(chosen):
            answer = whole[row, width:].tolist()
            stop = next((place for place, token in enumerate(answer) if token in stops), len(answer))
            answers[prompt] = answer[:stop]
    return answers


def _clocks() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def main() -> None:
    """Prints two lines a round and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    vocabulary = 4096
    rng = random.Random(0)
    model = model_of(0, vocabulary)
    prompts = [
        [rng.randrange(vocabulary) for _ in range(rng.randrange(8, 120))] for _ in range(options.prompts)
    ]
    stops = frozenset(rng.sample(range(vocabulary), vocabulary // 80))
    generation = Generation(max_new_tokens=options.max_new_tokens)
    longest = max(map(len, prompts)) + options.max_new_tokens
    speeds: dict[str, list[float]] = {"transformers": [], "attune": []}
    for _ in range(options.rounds):
        begun = _clocks()
        their_answers = theirs(model, prompts, stops, options.max_new_tokens, options.batch)
        between = _clocks()
        samples = generate(model, prompts, generation, stops, batch_tokens=options.batch * longest)
        ended = _clocks()
        our_answers = [answer[0].ids for answer in samples]
        assert our_answers == their_answers, "greedy answers differ"
        num_tokens = sum(len(answer) + 1 for answer in our_answers)
        for name, start, end in (("transformers", begun, between), ("attune", between, ended)):
            processor, wall = (end[0] - start[0]) / options.threads, end[1] - start[1]
            speeds[name].append(num_tokens / processor)
            print(f"{name:12s} {num_tokens / processor:6.0f} tokens/s ({num_tokens / wall:.0f} by the wall)")
    lengths = sorted(map(len, our_answers))
    ratio = statistics.median(speeds["attune"]) / statistics.median(speeds["transformers"])
    print(
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}M parameters, {options.prompts} prompts, "
        f"{options.batch} rows, {options.threads} threads; answers {lengths[0]} to {lengths[-1]} tokens, "
        f"median {lengths[len(lengths) // 2]}: attune / transformers = {ratio:.2f}"
    )


if __name__ == "__main__":
    main()
