"""Models that give scores, loaded once and asked many times: classifiers, regressors, reward models.

Batched and packed as in training; what cannot be packed runs padded. A score never depends on its neighbours.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..data.encode import Encoded, Encoder, Overlong
from ..data.encode import Policy as Encoding
from ..data.examples import Example, Labelled, Message, Messages, Preference
from ..data.layout import Segments, lay
from ..data.pack import packs
from ..data.template import ChatTemplate
from ..inference.decode import window
from ..models import heads
from ..models.images import policy_of
from ..models.load import load_for_scoring
from ..recipe.errors import DataError, ModelError
from ..recipe.messages import say
from .rewards import Answer

Progress = Callable[[str, int, int], None]
"""Called with what is done, how much of it, and of how much."""

MICRO_TOKENS = 4096

Turn = Message | dict[str, Any]


class Scorer:
    """The model of a run, adapter or model folder or hub id that gives scores. ``labels`` says what they
    mean.
    """

    LONGEST = 2**31
    """Tokens of an input where neither the model's window nor the person says less."""

    def __init__(
        self,
        path: str,
        *,
        max_length: int | None = None,
        overlong: Overlong = "keep_prompt_end",
        device: str | None = None,
    ) -> None:
        model, self.tokenizer = load_for_scoring(path, device)
        self.path = path
        self.labels = heads.labels_of(model.config)
        self.policy = policy_of(model, self.tokenizer).eval()
        limit = min(max_length or self.LONGEST, window(model) or self.LONGEST)
        # A row that is asked must be answered: what training would drop is cut here.
        kept: Overlong = "cut_answer" if overlong == "cut_answer" else "keep_prompt_end"
        self.encoding = Encoding(max_length=limit, overlong=kept)

    @torch.inference_mode()
    def scores_of(self, pieces: Sequence[Segments], on_progress: Progress | None = None) -> Tensor:
        """The scores of every branch, in order, float32 ``[branches, k]``."""
        lengths = [piece.num_tokens for piece in pieces]
        found: list[Tensor | None] = [None] * len(pieces)
        done = 0
        for pack in packs(range(len(pieces)), lengths, MICRO_TOKENS, padded=not self.policy.packs):
            batch = lay([(place, pieces[place]) for place in pack])
            scores = self.policy.scores(batch).cpu()
            for number, place in enumerate(pack):
                found[place] = scores[batch.examples == number]
            done += len(pack)
            if on_progress is not None:
                on_progress(say("scoring", "打分"), done, len(pieces))
        known = [scores for scores in found if scores is not None]
        return torch.cat(known) if known else torch.zeros(0, self.policy.base.config.num_labels)

    def _encoded(
        self, encoder: Encoder, examples: Sequence[Example], places: Sequence[str] | None
    ) -> list[Segments]:
        """Raises DataError with the place (or the number) of each example that cannot be encoded."""
        done = [encoder.encode(example) for example in examples]
        names = places or [str(number) for number in range(1, len(done) + 1)]
        wrong = [f"{name}: {one.rejected}" for name, one in zip(names, done, strict=True) if one.rejected]
        if wrong:
            more = [say("and {n} more", "另有 {n} 处", n=len(wrong) - 5)] if wrong[5:] else []
            raise DataError([*wrong[:5], *more])
        return [one.segments[0] for one in done]


class Classifier(Scorer):
    """Gives a probability a class, or a number."""

    LONGEST = 2048

    def predict(
        self,
        examples: Sequence[Labelled],
        on_progress: Progress | None = None,
        places: Sequence[str] | None = None,
    ) -> Tensor:
        """Probabilities ``[n, k]`` (of several classes each by itself), or numbers ``[n, 1]``; float32."""
        return self.predict_pieces(self._encoded(self._encoder, examples, places), on_progress)

    def encode(self, examples: Sequence[Labelled]) -> list[Encoded]:
        """What the model reads of each, or why it cannot read it."""
        return [self._encoder.encode(example) for example in examples]

    @property
    def _encoder(self) -> Encoder:
        return Encoder(self.tokenizer, None, self.encoding)

    def predict_pieces(self, pieces: Sequence[Segments], on_progress: Progress | None = None) -> Tensor:
        """As ``predict``, of what ``encode`` gave."""
        scores = self.scores_of(pieces, on_progress)
        if self.labels.task == "classes":
            return scores.softmax(1)
        return scores.sigmoid() if self.labels.task == "several" else scores


class RewardModel(Scorer):
    """Gives an answer one number, higher for a better one. Loaded once, it serves evaluation, the collection
    of preferences and rollouts.
    """

    def __init__(
        self,
        path: str,
        *,
        max_length: int | None = None,
        overlong: Overlong = "keep_prompt_end",
        device: str | None = None,
    ) -> None:
        super().__init__(path, max_length=max_length, overlong=overlong, device=device)
        if len(self.labels.names) != 1:
            raise ModelError(
                say(
                    "{path} gives {n} scores an answer ({names}): a reward model gives one. Train "
                    "one with attune "
                    "reward.",
                    "{path} 为每个回答给出 {n} 个分数（{names}）：奖励模型只给一个。"
                    "请用 attune reward 训练。",
                    path=path,
                    n=len(self.labels.names),
                    names=", ".join(self.labels.names[:5]),
                )
            )
        self.template = ChatTemplate.load(self.tokenizer)

    def score(
        self, conversations: Sequence[Sequence[Turn]], on_progress: Progress | None = None
    ) -> list[float]:
        """The reward of each conversation's last answer, whose turns are messages or dicts of role and
        content.

        Raises DataError for conversations that end with no answer or cannot be encoded, with their numbers.
        """
        cut = [_parted(turns, number) for number, turns in enumerate(conversations, start=1)]
        found = self.score_answers([Preference(asked, (said,)) for asked, said in cut], on_progress)
        return [row[0] for row in found]

    def __call__(self, answers: Sequence[Answer]) -> list[float]:
        """The rewards of answers as ``rewards.py`` has them; neighbours with one prompt share its reading."""
        examples = []
        for prompt, group in itertools.groupby(answers, key=lambda answer: answer.messages):
            examples.append(Preference(prompt, tuple((Message("assistant", one.text),) for one in group)))
        return [reward for row in self.score_answers(examples) for reward in row]

    def score_answers(
        self,
        examples: Sequence[Preference],
        on_progress: Progress | None = None,
        places: Sequence[str] | None = None,
    ) -> list[list[float]]:
        """The reward of each answer of each prompt, which is read once for all of them. ``places`` name the
        examples in errors.
        """
        encoder = Encoder(self.tokenizer, self.template, self.encoding)
        pieces = self._encoded(encoder, examples, places)
        rewards = self.scores_of(pieces, on_progress)[:, 0].tolist()
        found, start = [], 0
        for piece in pieces:
            found.append(rewards[start : start + len(piece.branches)])
            start += len(piece.branches)
        return found


def _parted(turns: Sequence[Turn], number: int) -> tuple[Messages, Messages]:
    """What was asked, and the last answer."""
    said = tuple(
        turn if isinstance(turn, Message) else Message(turn["role"], str(turn["content"])) for turn in turns
    )
    if not said or said[-1].role != "assistant":
        raise DataError(
            say(
                "conversation {number} does not end with the assistant's turn: there is no answer to score.",
                "第 {number} 个对话没有以助手的话结束：没有可打分的回答。",
                number=number,
            )
        )
    return said[:-1], said[-1:]
