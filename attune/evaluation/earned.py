"""What a model's answers earn: the rewards that a run learnt from, or that a person names, on each row."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.examples import Prompt
from ..objectives._online import Online
from ..recipe.errors import DataError, RunError
from ..recipe.messages import say
from ..recipe.schema import Recipe
from .compare import PART
from .questions import Question
from .rewards import Answer, Rewards, rewards
from .score import Scored
from .scorer import RewardModel


def asked(specs: Sequence[str], recipe: Recipe | None, run: str, *, gives_scores: bool) -> Rewards | None:
    """The rewards that a person names, else those that the run learnt from; None for a run that had none.

    Raises RecipeError for a reward that does not exist, RunError for a model that does not answer.
    """
    if specs and gives_scores:
        raise RunError(
            say(
                "{run} gives scores, no answers: there is nothing to reward. Leave out --reward.",
                "{run} 输出分数而不作答：没有可奖励的回答。请去掉 --reward。",
                run=run,
            )
        )
    own = recipe.objective.rewards if recipe and isinstance(recipe.objective, Online) else []
    return rewards(specs or own, RewardModel) if specs or own else None


def applicable(
    found: Rewards | None, questions: Sequence[Question], *, named: bool
) -> tuple[Rewards | None, list[str]]:
    """The rewards if every row has what they read, and what to say where it has not.

    Raises DataError where they were ``named`` by the person: then they must not be left out.
    """
    if found is None:
        return None, []
    try:
        found.check_references([(one.origin, one.reference) for one in questions if one.prompt])
    except DataError as error:
        if named:
            raise
        left_out = say(
            "The run's own rewards are left out: {reason}",
            "未计算该运行自身的奖励：{reason}",
            reason=error,
        )
        return None, [left_out]
    return found, []


def add_rewards(scored: Scored, questions: Sequence[Question], found: Rewards) -> None:
    """Adds ``reward`` to every row that was answered and, where the sum has several parts, ``reward/<part>``.

    The answers are scored as in a rollout: as they were generated, white space included. Raises what
    ``Rewards.score`` raises.
    """
    rows = [at for at, answer in enumerate(scored.answers) if answer is not None]
    totals, parts = found.score([_answer(questions[at], scored, at) for at in rows])
    for place, at in enumerate(rows):
        scored.scores[at]["reward"] = totals[place]
        if len(parts) > 1:
            scored.scores[at] |= {PART + name: float(values[place]) for name, values in parts.items()}


def _answer(question: Question, scored: Scored, at: int) -> Answer:
    said, example = scored.said[at], question.example
    extra = example.extra if isinstance(example, Prompt) else {}
    text = "" if said is None else said.text
    return Answer(question.prompt, text, question.reference, extra, question.origin)
