"""One model on the questions: the likelihood of the reference answers, and the answers it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..data.encode import Encoder
from ..data.encode import Policy as Encoding
from ..data.examples import Conversation, Example, Preference, Prompt, Verdict
from ..data.layout import Segments, lay
from ..data.pack import packs
from ..inference.decode import generate, window
from ..inference.generate import text_of
from ..models.load import Loaded
from ..models.policy import Policy
from ..recipe.messages import say
from ..recipe.schema import Generation
from .metrics import exact_match, rouge_l
from .questions import Question

Progress = Callable[[str, int, int], None]
"""Called with what is done, how much of it, and of how much."""

MICRO_TOKENS = 4096
UNBOUNDED = 2**31


@dataclass(frozen=True, slots=True)
class Said:
    """An answer's tokens behind its prompt's, its log-probability (nats) under the model that gave it, and
    its text, white space included.
    """

    piece: Segments
    logp: float
    text: str


@dataclass(frozen=True, slots=True)
class Scored:
    """What one model said: an answer a question (None where there was nothing to ask), and scores by row."""

    answers: list[str | None]
    scores: list[dict[str, float | None]]
    notes: list[str]
    said: list[Said | None]
    """The same answers as the model gave them."""


def score(
    loaded: Loaded, questions: Sequence[Question], generation: Generation, on_progress: Progress
) -> Scored:
    """Scores ``loaded`` on every question, in order."""
    notes: list[str] = []
    nlls, counts = answer_losses(loaded, [_learnable(one.example) for one in questions], on_progress, notes)
    scores: list[dict[str, float | None]] = [
        {"nll": nll if count else None, "num_tokens": count} for nll, count in zip(nlls, counts, strict=True)
    ]
    answers: list[str | None] = [None] * len(questions)
    said: list[Said | None] = [None] * len(questions)
    asked = [place for place, question in enumerate(questions) if question.prompt]
    prompts = [_prompt_ids(loaded, questions[place]) for place in asked]
    prompts = _shortened(prompts, window(loaded.model), generation.max_new_tokens, notes)
    what = say("answering", "生成回答")
    samples = generate(
        loaded.model,
        prompts,
        generation,
        loaded.template.stop_ids,
        on_progress=lambda done, total: on_progress(what, done, total),
    )
    for place, prompt, (sample,) in zip(asked, prompts, samples, strict=True):
        text = text_of(loaded, sample.ids)
        answer = text.strip()
        reference = questions[place].reference
        answers[place] = answer
        ids = sample.ids if sample.stop is None else [*sample.ids, sample.stop]
        if ids:
            said[place] = Said(Segments(prompt, ((ids, [True] * len(ids)),)), sum(sample.logps), text)
        scores[place] |= {"length": float(len(sample.ids)), "cut": float(not sample.finished)}
        if reference is not None:
            scores[place] |= {
                "exact_match": exact_match(answer, [reference]),
                "rouge_l": rouge_l(answer, reference),
            }
    return Scored(answers, scores, notes, said)


def answer_losses(
    loaded: Loaded, examples: Sequence[Example], on_progress: Progress, notes: list[str]
) -> tuple[list[float], list[int]]:
    """For each example the negative log-likelihood (nats, summed) of its learnt tokens, and their number.

    The tokens are those of every answer (as ``data.learn=answers`` has it), encoded by the code of
    training, but nothing is cut short of the model's window. An example that
    cannot be encoded has 0 tokens and is counted in ``notes``.
    """
    limit = window(loaded.model) or UNBOUNDED
    encoder = Encoder(loaded.tokenizer, loaded.template, Encoding(max_length=limit))
    pieces: list[tuple[int, Segments]] = []
    unusable: list[str] = []
    for row, example in enumerate(examples):
        encoded = encoder.encode(example)
        pieces += [(row, segments) for segments in encoded.segments]
        if encoded.rejected is not None:
            unusable.append(encoded.rejected)
    if unusable:
        notes.append(
            say(
                "Rows without a loss: {num}. The first: {reason}",
                "无法计算损失的行：{num}。第一处：{reason}",
                num=len(unusable),
                reason=unusable[0],
            )
        )
    return _summed(Policy(loaded.model), pieces, len(examples), on_progress)


@torch.inference_mode()
def _summed(
    policy: Policy, pieces: Sequence[tuple[int, Segments]], num_rows: int, on_progress: Progress
) -> tuple[list[float], list[int]]:
    """Sums by row over packs of pieces."""
    what = say("scoring the reference answers", "计算参考答案的损失")
    nlls, counts = torch.zeros(num_rows, dtype=torch.float64), torch.zeros(num_rows, dtype=torch.int64)
    lengths = [segments.num_tokens for _, segments in pieces]
    done = 0
    for pack in packs(range(len(pieces)), lengths, MICRO_TOKENS):
        batch = lay([pieces[place] for place in pack])
        rows = torch.tensor(batch.rows)[batch.branches]
        nlls.index_add_(0, rows, -policy(batch).cpu().double())
        counts.index_add_(0, rows, torch.ones_like(rows))
        done += len(pack)
        on_progress(what, done, len(pieces))
    return nlls.tolist(), counts.tolist()


def _prompt_ids(loaded: Loaded, question: Question) -> list[int]:
    return loaded.template.prompt_ids(question.prompt, getattr(question.example, "tools", ()))


def _learnable(example: Example) -> Example:
    """What has a likelihood of its own: of ranked answers the best, of a judged one the good, of a prompt
    none.
    """
    if isinstance(example, Preference):
        return Conversation((*example.prompt, *example.chosen), example.tools)
    if isinstance(example, Verdict):
        turns = (*example.prompt, *example.answer)
        return Conversation(turns, example.tools) if example.is_good else Prompt(example.prompt)
    return example


def _shortened(prompts: list[list[int]], most: int | None, room: int, notes: list[str]) -> list[list[int]]:
    """Prompts that leave no room for an answer lose their beginning, as in training, and that is said."""
    if most is None:
        return prompts
    fit = max(most // 2, most - room)
    num_long = sum(len(prompt) > fit for prompt in prompts)
    if num_long:
        notes.append(
            say(
                "Prompts of more than {fit} tokens, which lost their beginning: {num} "
                "(the model's window is {most}).",
                "超过 {fit} 个 token、开头被截去的提示：{num} 个（模型窗口为 {most}）。",
                num=num_long,
                fit=fit,
                most=most,
            )
        )
    return [prompt[-fit:] for prompt in prompts]
