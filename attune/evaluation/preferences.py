"""How a model that answers ranks what people have ranked, and how its answers fare against another model's.

likelier       the better answer has the higher mean log p a token: no reference is needed
pair_accuracy  the better answer has the higher r(y) = log p(y|x) - log p_ref(y|x), the reward that the
policy
               itself is (Rafailov et al., arXiv 2305.18290, equation 5, in units of beta); p_ref is the
               other model, else the base of an adapter
reward_margin  by how much, in nats
followed       an answer that was called good has r(y) > 0, one that was called bad r(y) < 0
win            a judge takes this model's answer (a tie is half a win)
kl             log p(y) - log p_other(y) of the model's own answers, in nats an answer: the divergence
from the
               other model, estimated without bias where the answers are sampled at temperature 1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.encode import Encoder
from ..data.encode import Policy as Encoding
from ..data.examples import Messages, Preference, Verdict
from ..data.layout import Segments, lay
from ..data.pack import packs
from ..inference.decode import window
from ..models.load import Loaded
from ..models.policy import Policy
from ..recipe.messages import say
from . import pairwise
from .judges import Contest, Judge
from .questions import Question
from .score import MICRO_TOKENS, UNBOUNDED, Progress, Said, Scored


@dataclass(frozen=True, slots=True)
class AnswerLogps:
    """Of the answers to one prompt: log-probabilities in nats, and learnt tokens."""

    sums: list[float]
    lengths: list[int]

    @property
    def means(self) -> list[float]:
        """A token's."""
        return [total / max(1, length) for total, length in zip(self.sums, self.lengths, strict=True)]


Logps = list[AnswerLogps | None]
"""A row each; None where there is nothing to rank, or it cannot be encoded."""


def ranked_logps(loaded: Loaded, questions: Sequence[Question], on_progress: Progress) -> Logps:
    """Of the answers that people have ranked, or called good or bad."""
    limit = window(loaded.model) or UNBOUNDED
    encoder = Encoder(loaded.tokenizer, loaded.template, Encoding(max_length=limit))
    pieces = [
        (row, piece)
        for row, question in enumerate(questions)
        if isinstance(question.example, Preference | Verdict)
        for piece in encoder.encode(question.example).segments
    ]
    return _logps(loaded, pieces, len(questions), on_progress)


def said_logps(loaded: Loaded, said: Sequence[Said | None], on_progress: Progress) -> Logps:
    """Of the answers that another model with the same tokens gave."""
    pieces = [(row, one.piece) for row, one in enumerate(said) if one is not None]
    return _logps(loaded, pieces, len(said), on_progress)


@torch.inference_mode()
def _logps(
    loaded: Loaded, pieces: Sequence[tuple[int, Segments]], num_rows: int, on_progress: Progress
) -> Logps:
    found: Logps = [None] * num_rows
    if not pieces:
        return found
    policy, what, done = Policy(loaded.model), say("scoring answers", "计算回答的概率"), 0
    lengths = [piece.num_tokens for _, piece in pieces]
    for pack in packs(range(len(pieces)), lengths, MICRO_TOKENS, padded=not policy.packs):
        batch = lay([pieces[place] for place in pack])
        sums = batch.per_branch(policy(batch).cpu().double())
        counts = batch.per_branch(torch.ones(batch.num_learnt))
        for number, place in enumerate(pack):
            mine = batch.examples == number
            found[pieces[place][0]] = AnswerLogps(sums[mine].tolist(), counts[mine].int().tolist())
        done += len(pack)
        on_progress(what, done, len(pieces))
    return found


def add_ranking(scored: Scored, mine: Logps, reference: Logps | None) -> None:
    """Adds ``likelier`` to the rows that people have ranked, and ``pair_accuracy`` and ``reward_margin``
    where there is a reference.
    """
    rows = [at for at, one in enumerate(mine) if one is not None and len(one.sums) > 1]
    known = [one for at in rows if (one := mine[at]) is not None]
    if known:
        lengths = [one.lengths for one in known]
        columns = pairwise.of_examples([one.means for one in known], lengths).columns()
        _put(scored, rows, likelier=columns["pair_accuracy"])
    both = [(at, one, other) for at in rows if (one := mine[at]) and (other := (reference or mine)[at])]
    if reference is None or not both:
        return
    rewards = [[a - b for a, b in zip(one.sums, other.sums, strict=True)] for _, one, other in both]
    columns = pairwise.of_examples(rewards, [one.lengths for _, one, _ in both]).columns()
    names = ("pair_accuracy", "reward_margin")
    _put(scored, [at for at, *_ in both], **{name: columns[name] for name in names})


def add_verdicts(scored: Scored, questions: Sequence[Question], mine: Logps, reference: Logps | None) -> None:
    """Adds ``followed`` to the rows that people have called good or bad, where there is a reference."""
    for row, question, one, other in zip(scored.scores, questions, mine, reference or [], strict=False):
        if isinstance(question.example, Verdict) and one is not None and other is not None:
            side = 1 if question.example.is_good else -1
            row["followed"] = float((np.sign(side * (one.sums[0] - other.sums[0])) + 1) / 2)


def add_divergence(scored: Scored, other: Logps) -> None:
    """Adds ``kl`` to the rows that were answered; ``other``: ``said_logps`` of the same answers."""
    for row, mine, theirs in zip(scored.scores, scored.said, other, strict=True):
        if mine is not None and theirs is not None:
            row["kl"] = mine.logp - theirs.sums[0]


def add_wins(first: Scored, second: Scored, questions: Sequence[Question], judge: Judge) -> None:
    """Adds ``win`` to both: what the judge says of the two answers to each prompt. Equal answers are a tie,
    and the judge is not asked.

    Raises what the judge raises.
    """
    contests: list[tuple[int, Contest]] = []
    for at, question in enumerate(questions):
        one, other = first.answers[at], second.answers[at]
        if one is None or other is None:
            continue
        first.scores[at]["win"] = second.scores[at]["win"] = 0.5
        if one != other:
            turns: Messages = question.prompt
            contests.append((at, Contest(turns, one, other, question.origin, question.reference)))
    verdicts = judge([contest for _, contest in contests]) if contests else []
    for (at, _), verdict in zip(contests, verdicts, strict=True):
        first.scores[at]["win"], second.scores[at]["win"] = verdict, 1 - verdict


def _put(scored: Scored, rows: Sequence[int], **columns: NDArray[np.float64]) -> None:
    for name, values in columns.items():
        for at, value in zip(rows, values.tolist(), strict=True):
            scored.scores[at][name] = value
