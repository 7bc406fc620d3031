"""Which of two answers is better: by a rule, a verifier or a reward model (``rewards.py``), or by a language
model behind an OpenAI-compatible address, which is asked twice with the answers swapped.

A judge is written as a reward is (``my_rules.py:score``, ``exact_number``, the folder of a reward model), or
as ``http://host/v1#model``. The key of a service is read from ``OPENAI_API_KEY``.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..data.examples import Messages, Origin
from ..recipe.errors import RecipeError, RunError
from ..recipe.messages import say
from .rewards import Answer, Rewards, rewards
from .scorer import RewardModel

FIRST, SECOND, TIE = 1.0, 0.0, 0.5
"""The verdict on two answers, as the first one's share of a win."""


@dataclass(frozen=True, slots=True)
class Contest:
    """Two answers to one prompt."""

    messages: Messages
    first: str
    second: str
    origin: Origin
    reference: str | None = None
    """The right answer, for rewards that compare."""
    extra: dict[str, Any] = field(default_factory=dict)
    """The row's other columns, for rewards that read them."""


class Judge(Protocol):
    """Anything that compares answers: ``FIRST``, ``SECOND`` or ``TIE`` for each contest, in order."""

    @property
    def name(self) -> str: ...

    def __call__(self, contests: Sequence[Contest]) -> list[float]: ...


def judge(spec: str) -> Judge:
    """The judge that ``spec`` asks for. Raises RecipeError for one that does not exist."""
    if not spec.startswith(("http://", "https://")):
        return ByReward(spec, rewards([spec], RewardModel))
    address, _, model = spec.partition("#")
    if not model:
        raise RecipeError(
            say(
                "--judge {spec} names no model. Write the model's name behind a #: {spec}#my-model.",
                "--judge {spec} 没有写明模型。请在 # 后写上模型名：{spec}#my-model。",
                spec=spec,
            )
        )
    return ByModel(address.rstrip("/"), model)


@dataclass(frozen=True, slots=True)
class ByReward:
    """The answer with the higher reward; equal rewards are a tie."""

    name: str
    rewards: Rewards

    def __call__(self, contests: Sequence[Contest]) -> list[float]:
        """Raises what ``Rewards.score`` raises, and DataError for a reference that is missing."""
        self.rewards.check_references([(one.origin, one.reference) for one in contests])
        texts = [text for one in contests for text in (one.first, one.second)]
        twice = [one for one in contests for _ in range(2)]
        scores, _ = self.rewards.score(
            [
                Answer(one.messages, text, one.reference, one.extra, one.origin)
                for one, text in zip(twice, texts, strict=True)
            ]
        )
        pairs = zip(scores[0::2], scores[1::2], strict=True)
        return [TIE if one == other else FIRST if one > other else SECOND for one, other in pairs]


ASK = """Two answers to the last message of a conversation follow. Decide which is better: more helpful, \
more correct, and in the manner that was asked for. Length alone is no merit.

[Conversation]
{conversation}

[Answer A]
{a}

[Answer B]
{b}

Reply with one word: A, B, or TIE."""

_WORD = re.compile(r"\b(A|B|TIE)\b")
_RETRIES = 4


@dataclass(frozen=True, slots=True)
class ByModel:
    """A language model behind ``address``/chat/completions. An answer wins that wins on both sides: a model
    that prefers a side rather than an answer makes ties.
    """

    address: str
    model: str
    timeout_seconds: float = 120.0
    pause_seconds: float = 1.0
    """Before the first repetition of a failed request; it doubles."""

    @property
    def name(self) -> str:
        return f"{self.address}#{self.model}"

    def __call__(self, contests: Sequence[Contest]) -> list[float]:
        """Raises RunError where the service does not answer, or not with a verdict."""
        return [self._verdict(one) for one in contests]

    def _verdict(self, contest: Contest) -> float:
        straight = self._ask(contest, contest.first, contest.second)
        swapped = self._ask(contest, contest.second, contest.first)
        if straight == "A" and swapped == "B":
            return FIRST
        return SECOND if straight == "B" and swapped == "A" else TIE

    def _ask(self, contest: Contest, a: str, b: str) -> str:
        turns = "\n".join(f"{turn.role}: {turn.content}" for turn in contest.messages)
        question = ASK.format(conversation=turns, a=a, b=b)
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": 8,
        }
        said = self._post(json.dumps(body).encode())
        found = _WORD.search(said.upper())
        if found is None:
            raise RunError(
                say(
                    "{judge} said {said!r} of {place}, which is no verdict (A, B or TIE). Ask a model that "
                    "follows instructions.",
                    "{judge} 对 {place} 的回复是 {said!r}，不是裁决（A、B、TIE）。请换能遵循指令的模型。",
                    judge=self.name,
                    said=said[:80],
                    place=f"{contest.origin.path}:{contest.origin.row}",
                )
            )
        return found[1]

    def _post(self, body: bytes) -> str:
        """The text of the reply; a service that is busy is asked again."""
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.address}/chat/completions", body, headers)
        for attempt in range(_RETRIES):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout_seconds) as reply:
                    return str(json.load(reply)["choices"][0]["message"]["content"] or "")
            except urllib.error.HTTPError as error:
                reason, may_pass = f"HTTP {error.code}", error.code == 429 or error.code >= 500
            except (OSError, ValueError, LookupError, TypeError) as error:
                reason, may_pass = f"{type(error).__name__}: {error}", isinstance(error, OSError)
            if not may_pass or attempt == _RETRIES - 1:
                break
            time.sleep(self.pause_seconds * 2**attempt)
        raise RunError(
            say(
                "The judge {judge} does not answer as an OpenAI-compatible service ({reason}). Look at the "
                "address (it ends in /v1) and at OPENAI_API_KEY; what was judged so far is kept.",
                "裁判 {judge} 未按 OpenAI 兼容接口作答（{reason}）。请检查地址（以 /v1 结尾）和 "
                "OPENAI_API_KEY；已完成的裁决均已保存。",
                judge=self.name,
                reason=reason,
            )
        )
