"""Decoding: equal to transformers' ``generate``, whatever the batch; log-probabilities; limits; errors."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import PreTrainedModel

from attune.inference import single
from attune.inference.decode import generate, usable_cache
from attune.inference.mode import evaluating
from attune.inference.sampling import Sample
from attune.models import attention
from attune.recipe.errors import DataError
from attune.recipe.schema import Generation

Tiny = Callable[..., PreTrainedModel]
STOPS = frozenset(range(2, 8))
LENGTHS = (3, 9, 1, 17, 5, 9, 30, 2, 4)


def _prompts(lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(8, 61) for _ in range(length)] for length in lengths]


def _reference(model: Any, prompt: list[int], stops: frozenset[int], **options: Any) -> list[int]:
    """transformers' greedy answer to one prompt, without the stop token."""
    ids = torch.tensor([prompt])
    whole = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        eos_token_id=sorted(stops) or -1,
        **options,
    )
    answer = whole[0, len(prompt) :].tolist()
    return answer[:-1] if answer[-1] in stops else answer


def _ids(answers: list[list[Sample]]) -> list[list[list[int]]]:
    return [[sample.ids for sample in samples] for samples in answers]


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize(
    "family", ["llama", "qwen3", "mistral", "gemma", "gemma2", "gemma3", "gpt2", "mamba"]
)
def test_greedy_equals_transformers(tiny: Tiny, family: str, penalty: float) -> None:
    model, prompts = tiny(family), _prompts()
    generation = Generation(max_new_tokens=20, repetition_penalty=penalty)
    answers = generate(model, prompts, generation, STOPS, batch_tokens=160)  # three rows for nine prompts
    expected = [
        _reference(model, prompt, STOPS, max_new_tokens=20, repetition_penalty=penalty) for prompt in prompts
    ]
    assert [sample.ids for (sample,) in answers] == expected
    assert len({len(ids) for ids in expected}) > 2, "the answers must stop at mixed times"


@pytest.mark.parametrize("batch_tokens", [1, 100, 300, 10_000])
def test_the_batch_changes_nothing(tiny: Tiny, batch_tokens: int) -> None:
    model, prompts = tiny("qwen3"), _prompts()
    generation = Generation(max_new_tokens=15, temperature=1.0, top_p=0.9, repetition_penalty=1.2, seed=5)
    alone = generate(model, prompts, generation, STOPS, batch_tokens=1)
    assert _ids(generate(model, prompts, generation, STOPS, batch_tokens=batch_tokens)) == _ids(alone)


def test_who_shares_the_batch_does_not_matter(tiny: Tiny) -> None:
    """Three samples a prompt on five places: rows leave and prompts enter; each prompt alone has the same."""
    model, prompts = tiny("llama"), _prompts()
    generation = Generation(max_new_tokens=15, temperature=1.0, seed=5)
    shapes = _count_tokens(model)
    together = generate(model, prompts, generation, STOPS, num_samples=3, batch_tokens=5 * 45)
    read = [place for place, (_, columns) in enumerate(shapes) if columns > 1]
    assert any(later - earlier > 1 for earlier, later in itertools.pairwise(read)), "some entered later"
    assert max(rows for rows, _ in shapes) == 5
    alone = [
        generate(model, [prompt], generation, STOPS, num_samples=3, places=[place])[0]
        for place, prompt in enumerate(prompts)
    ]
    assert _ids(together) == _ids(alone)
    for ours, theirs in zip(together, alone, strict=True):
        for mine, other in zip(ours, theirs, strict=True):
            assert (mine.finished, mine.stop) == (other.finished, other.stop)
            assert mine.logps == pytest.approx(other.logps, abs=1e-4)


def test_samples_differ_and_more_of_them_keep_the_first(tiny: Tiny) -> None:
    model, prompts = tiny("llama"), _prompts()
    generation = Generation(max_new_tokens=12, temperature=1.0)
    three = generate(model, prompts, generation, STOPS, num_samples=3, batch_tokens=200)
    assert [len(samples) for samples in three] == [3] * len(prompts)
    assert len({tuple(sample.ids) for samples in three for sample in samples}) > len(prompts)
    one = generate(model, prompts, generation, STOPS)
    assert [samples[:1] for samples in _ids(three)] == _ids(one)
    other_seed = generation.model_copy(update={"seed": 1})
    assert _ids(generate(model, prompts, other_seed, STOPS)) != _ids(one)


def test_a_longer_limit_begins_with_the_shorter_answer(tiny: Tiny) -> None:
    model, prompts = tiny("llama"), _prompts()
    short, long = (
        generate(model, prompts, Generation(max_new_tokens=most, temperature=1.0), frozenset())
        for most in (4, 9)
    )
    assert [[ids[:4] for ids in samples] for samples in _ids(long)] == _ids(short)


def _count_tokens(model: PreTrainedModel) -> list[tuple[int, int]]:
    """The (rows, columns) of every forward from now on."""
    shapes: list[tuple[int, int]] = []
    model.register_forward_pre_hook(
        lambda _module, _args, given: shapes.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    return shapes


def test_a_prompt_is_read_once_for_all_its_samples(tiny: Tiny) -> None:
    model = tiny("llama")
    shapes = _count_tokens(model)
    generate(
        model,
        _prompts((40, 40)),
        Generation(max_new_tokens=3, temperature=1.0),
        frozenset(),
        num_samples=5,
        batch_tokens=4 * 43,
    )
    read = [shape for shape in shapes if shape[1] > 1]
    assert sum(rows * columns for rows, columns in read) == 2 * 40
    assert max(rows for rows, _ in shapes) == 4, "ten answers on four places"


def test_finished_rows_leave_the_batch(tiny: Tiny) -> None:
    model, prompts = tiny("llama"), _prompts()
    shapes = _count_tokens(model)
    answers = generate(model, prompts, Generation(max_new_tokens=40), STOPS)
    stepped = sum(rows for rows, columns in shapes[2:] if columns == 1)
    # The first token of an answer comes from reading the prompt; the last one (stop or cut) is never read.
    assert stepped == sum(len(sample.ids) - (not sample.finished) for (sample,) in answers)


@pytest.mark.parametrize("family", ["llama", "gemma2", "mamba"])
def test_logps_equal_a_full_forward(tiny: Tiny, family: str) -> None:
    model, prompts = tiny(family), _prompts()
    generation = Generation(max_new_tokens=20, temperature=1.3, top_k=20, repetition_penalty=1.2)
    if family == "gemma2":
        model.set_attn_implementation("eager")
    for prompt, (sample,) in zip(prompts, generate(model, prompts, generation, frozenset({2})), strict=True):
        ids = [*prompt, *sample.ids, *([2] if sample.finished else [])]
        with torch.no_grad():
            logps = model(torch.tensor([ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        expected = logps[torch.arange(len(logps)), torch.tensor(ids[len(prompt) :])]
        torch.testing.assert_close(torch.tensor(sample.logps), expected, atol=1e-4, rtol=1e-4)


def test_an_immediate_stop_is_an_empty_finished_answer(tiny: Tiny) -> None:
    model, prompts = tiny("llama"), _prompts()
    answers = generate(model, prompts, Generation(max_new_tokens=5), frozenset(range(61)), batch_tokens=60)
    assert all(sample.ids == [] and sample.finished and len(sample.logps) == 1 for (sample,) in answers)


def test_max_new_tokens_cuts(tiny: Tiny) -> None:
    (sample,) = generate(tiny("llama"), [[9]], Generation(max_new_tokens=1), frozenset())[0]
    assert (len(sample.ids), sample.finished, len(sample.logps)) == (1, False, 1)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_window_is_never_exceeded(tiny: Tiny, family: str) -> None:
    size = {"n_positions": 12} if family == "gpt2" else {"max_position_embeddings": 12}
    answers = generate(tiny(family, **size), _prompts((11, 3, 8)), Generation(max_new_tokens=30), frozenset())
    assert [len(sample.ids) for (sample,) in answers] == [1, 9, 4]
    assert not any(sample.finished for (sample,) in answers)


def test_what_cannot_be_answered_is_named(tiny: Tiny) -> None:
    model = tiny("llama", max_position_embeddings=12)
    with pytest.raises(DataError) as caught:
        generate(model, [[9], [], [9] * 12], Generation(), STOPS)
    assert caught.value.problems == [
        "Prompt 2 is empty - a model continues at least one token - write a prompt.",
        "Prompt 3 has 12 tokens - the model's window of 12 must hold it and an answer - shorten it to 11 "
        "tokens or fewer.",
    ]


def test_no_prompts_no_answers(tiny: Tiny) -> None:
    assert generate(tiny("llama"), [], Generation(), STOPS) == []


@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_progress_counts_answers(tiny: Tiny, family: str) -> None:
    told: list[tuple[int, int]] = []
    generate(
        tiny(family),
        _prompts((3, 4)),
        Generation(max_new_tokens=5, temperature=1.0),
        STOPS,
        num_samples=2,
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (4, 4)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_the_slow_way_makes_the_same_choices(tiny: Tiny) -> None:
    model, prompts = tiny("llama"), _prompts()
    generation = Generation(max_new_tokens=12, temperature=1.0, top_k=30, repetition_penalty=1.1)
    with torch.inference_mode(), evaluating(model):
        slow = single.generate(model, prompts, generation, STOPS, 2, None, 128, None)
    fast = generate(model, prompts, generation, STOPS, num_samples=2)
    assert _ids(slow) == _ids(fast)
    for ours, theirs in zip(fast, slow, strict=True):
        for mine, reference in zip(ours, theirs, strict=True):
            assert mine.finished == reference.finished
            assert mine.logps == pytest.approx(reference.logps, abs=1e-4)


def test_the_slow_way_ignores_the_models_own_settings(tiny: Tiny) -> None:
    model, prompts = tiny("mamba"), _prompts((3, 5))
    expected = generate(model, prompts, Generation(max_new_tokens=12), STOPS)
    model.generation_config.update(repetition_penalty=3.0, no_repeat_ngram_size=1, min_new_tokens=9)
    assert _ids(generate(model, prompts, Generation(max_new_tokens=12), STOPS)) == _ids(expected)


def test_capability_not_name(tiny: Tiny) -> None:
    with torch.inference_mode():
        assert usable_cache(tiny("llama")) is not None
        assert usable_cache(tiny("mamba")) is None
        forgetful = tiny("llama")
        whole = forgetful.model.forward
        forgetful.model.forward = lambda **given: whole(
            **{**given, "past_key_values": None, "use_cache": False}
        )
        assert usable_cache(forgetful) is None


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_during_training(tiny: Tiny, family: str) -> None:
    """In training mode, with the layout attention, it answers as it would outside and is left as it was."""
    attention.register()
    model, prompts = tiny(family, attention_dropout=0.5), _prompts()
    expected = generate(model, prompts, Generation(max_new_tokens=10), STOPS)
    model.train()
    model.set_attn_implementation(attention.NAME)
    answers = generate(model, prompts, Generation(max_new_tokens=10), STOPS)
    assert answers == expected
    assert model.training
    assert model.config._attn_implementation == attention.NAME
    model.set_attn_implementation("sdpa")
    model(torch.tensor([prompts[0]])).logits.sum().backward()  # no inference tensor was left behind


def test_lora_takes_part(tiny: Tiny) -> None:
    prompts, generation = _prompts(), Generation(max_new_tokens=12)
    plain = generate(tiny("llama"), prompts, generation, STOPS)
    torch.manual_seed(0)
    model = get_peft_model(
        tiny("llama"), LoraConfig(r=4, init_lora_weights=False, target_modules="all-linear")
    )
    answers = generate(model, prompts, generation, STOPS, batch_tokens=150)
    model.eval()
    expected = [_reference(model, prompt, STOPS, max_new_tokens=12) for prompt in prompts]
    assert [sample.ids for (sample,) in answers] == expected
    assert answers != plain


def test_virtual_tokens_take_part(tiny: Tiny) -> None:
    torch.manual_seed(0)
    config = PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM")
    model = get_peft_model(tiny("llama"), config).eval()
    with torch.no_grad():
        model.prompt_encoder["default"].embedding.weight.normal_()
    prompts = _prompts((3, 8, 5))
    answers = generate(model, prompts, Generation(max_new_tokens=8), frozenset())
    for prompt, (sample,) in zip(prompts, answers, strict=True):
        ids = list(prompt)
        with torch.no_grad():
            for _ in range(8):
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        assert sample.ids == ids[len(prompt) :]
