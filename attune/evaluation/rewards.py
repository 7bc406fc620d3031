"""What an answer is worth: a weighted sum of verifiers, of a person's own functions and of reward models.

A reward is written ``NAME``, ``NAME:ARGUMENT`` (a verifier), ``FILE.py:FUNCTION`` or the folder of a reward
model, with ``*WEIGHT`` behind it where the weight is not 1. A function is called as

    score(prompt, answer, reference, **extra) -> float

with the last user turn, the answer's text, the row's reference (or None) and, by name, its other columns and
``messages`` (all turns of the prompt). A function without ``**extra`` gets those that it names. The file runs
as the person's own code, because they named it; nothing else in the data is ever run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Protocol

from ..data.examples import Messages, Origin
from ..recipe.errors import DataError, RecipeError, RunError
from ..recipe.messages import join, say
from ..recipe.plugs import unknown
from .verifiers import NAMES, Verifier, verifier


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and all that a reward may look at."""

    messages: Messages
    """The prompt's turns."""
    text: str
    reference: str | None
    extra: Mapping[str, Any]
    """The row's other columns."""
    origin: Origin

    @property
    def prompt(self) -> str:
        """The last user turn."""
        return next((turn.content for turn in reversed(self.messages) if turn.role == "user"), "")


class Judge(Protocol):
    """A reward model, say: scores for many answers at once, one finite number each."""

    def __call__(self, answers: Sequence[Answer]) -> list[float]: ...


OpenFolder = Callable[[str], Judge]
"""Makes a judge of a reward model's folder."""


@dataclass(frozen=True, slots=True)
class Reward:
    """One part of the sum."""

    name: str
    weight: float
    judge: Judge
    needs_reference: bool = False


@dataclass(frozen=True, slots=True)
class Rewards:
    """The sum. Its parts have different names."""

    parts: tuple[Reward, ...]

    def score(self, answers: Sequence[Answer]) -> tuple[list[float], dict[str, list[float]]]:
        """The sum for each answer, and each part's own number before its weight.

        Raises RunError where a function fails or gives something else than a finite number.
        """
        found = {part.name: part.judge(answers) for part in self.parts}
        for name, scores in found.items():
            if len(scores) != len(answers):
                raise RunError(
                    say(
                        "The reward {name} gave {got} numbers for {num} answers. It must give one each.",
                        "奖励 {name} 对 {num} 个回答给出了 {got} 个数。每个回答须有一个。",
                        name=name,
                        got=len(scores),
                        num=len(answers),
                    )
                )
            for answer, score in zip(answers, scores, strict=True):
                _must_be_finite(name, answer, score)
        columns = zip(*(found[part.name] for part in self.parts), strict=True)
        weights = [part.weight for part in self.parts]
        totals = [sum(w * score for w, score in zip(weights, row, strict=True)) for row in columns]
        return totals, found

    def check_references(self, rows: Sequence[tuple[Origin, str | None]]) -> None:
        """Raises DataError where a part compares with a reference that some rows do not have."""
        names = [part.name for part in self.parts if part.needs_reference]
        missing = [origin for origin, reference in rows if reference is None]
        if not names or not missing:
            return
        places = join([f"{one.path}:{one.row}" for one in missing[:5]])
        raise DataError(
            say(
                "{names} compares with the right answer, and {num} of {total} rows have none "
                "({places}{more}). Give them a column reference (or answer, solution, ground_truth), or use "
                "another reward.",
                "{names} 需要与正确答案比较，而 {total} 行中有 {num} 行没有（{places}{more}）。"
                "请加上 reference 列（或 answer、solution、ground_truth），或换一种奖励。",
                names=join(names),
                num=len(missing),
                total=len(rows),
                places=places,
                more=" …" if len(missing) > 5 else "",
            )
        )


def digest(specs: Sequence[str]) -> str | None:
    """A hash of the files that the rewards read (functions and schemas), None where they read none: a run
    that goes on must earn what it earned before.
    """
    parts = [part for spec in specs for part in _weighted(spec)[0].split(":")]
    files = [Path(part) for part in parts if part.endswith((".py", ".json"))]
    contents = [file.read_bytes() for file in files if file.is_file()]
    return hashlib.sha256(b"\0".join(contents)).hexdigest() if contents else None


def rewards(specs: Sequence[str], open_folder: OpenFolder | None = None) -> Rewards:
    """The rewards that a person asks for. ``open_folder`` makes a judge of a reward model's folder.

    Raises RecipeError with everything that is wrong with them.
    """
    if not specs:
        raise RecipeError(
            say(
                "No reward: nothing says which answer is better. Name one with --reward, for example "
                "--reward exact_number or --reward my_rewards.py:score. Known: {names}.",
                "没有奖励：无法判断哪个回答更好。请用 --reward 指定，例如 --reward exact_number 或 "
                "--reward my_rewards.py:score。可用：{names}。",
                names=join(NAMES),
            )
        )
    parts: list[Reward] = []
    problems: list[str] = []
    for spec in specs:
        with _gathering(problems):
            parts.append(_reward(spec, open_folder))
    names = [part.name for part in parts]
    problems += [
        say(
            "{name} is named twice. Once is enough: give it a weight (*2).",
            "{name} 出现了两次。一次即可，可加权重（*2）。",
            name=name,
        )
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if problems:
        raise RecipeError(problems)
    return Rewards(tuple(parts))


@contextmanager
def _gathering(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except RecipeError as error:
        problems += error.problems


def _reward(spec: str, open_folder: OpenFolder | None) -> Reward:
    name, weight = _weighted(spec)
    file, _, function = name.rpartition(":")
    if file.endswith(".py") or name.endswith(".py"):
        path, function = (file, function) if file else (name, "score")
        called = f"{Path(path).name}:{function}"
        return Reward(called, weight, _Function(called, _function(path, function)))
    if open_folder is not None and Path(name).is_dir():
        return Reward(name, weight, open_folder(name))
    kind = name.partition(":")[0]
    if kind not in NAMES:
        what = say(
            "no such reward (nor a file FILE.py:FUNCTION, nor a folder)",
            "没有这个奖励（也不是 文件.py:函数 或目录）",
        )
        raise RecipeError(unknown(what, kind, list(NAMES)))
    found = verifier(name)
    return Reward(name, weight, _Each(found), found.needs_reference)


def _weighted(spec: str) -> tuple[str, float]:
    """``name*0.2`` taken apart; a regular expression may hold stars, so only a number behind one counts."""
    name, star, weight = spec.rpartition("*")
    try:
        number = float(weight) if star else math.nan
    except ValueError:
        number = math.nan
    return (name, number) if math.isfinite(number) else (spec, 1.0)


@dataclass(frozen=True, slots=True)
class _Each:
    """A verifier, answer by answer."""

    verifier: Verifier

    def __call__(self, answers: Sequence[Answer]) -> list[float]:
        return [self.verifier(answer.text, answer.reference) for answer in answers]


class _Function:
    """A person's function, answer by answer; what it raises is told with the row."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name, self.function = name, function
        parameters = inspect.signature(function).parameters.values()
        self.takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
        self.names = {one.name for one in parameters}

    def __call__(self, answers: Sequence[Answer]) -> list[float]:
        scores = []
        for answer in answers:
            named = {
                **answer.extra,
                "messages": [turn.as_dict() for turn in answer.messages],
                "prompt": answer.prompt,
                "answer": answer.text,
                "reference": answer.reference,
            }
            if not self.takes_all:
                named = {name: value for name, value in named.items() if name in self.names}
            with _Named(self.name, answer):
                scores.append(self.function(**named))
        return scores


class _Named:
    """Turns whatever a stranger's code raises into an error that names the reward, the row and the line."""

    def __init__(self, name: str, answer: Answer) -> None:
        self.name, self.answer = name, answer

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception):
            return
        last = traceback.extract_tb(trace)[-1]
        raise RunError(
            say(
                "The reward {name} failed on {place}: {kind}: {error} ({file}, line {line}). The answer was: "
                "{answer}",
                "奖励 {name} 在 {place} 处出错：{kind}：{error}（{file} 第 {line} 行）。回答为：{answer}",
                name=self.name,
                place=_place(self.answer),
                kind=type(error).__name__,
                error=error,
                file=Path(last.filename).name,
                line=last.lineno,
                answer=_short(self.answer.text),
            )
        ) from error


def _function(file: str, name: str) -> Callable[..., Any]:
    """The function ``name`` (``score`` where none is given) of a Python file, which runs."""
    path = Path(file)
    if not path.is_file():
        raise RecipeError(
            say("{file}: no such file, so no reward.", "{file}：没有这个文件，无法作为奖励。", file=file)
        )
    module = _run(path)
    function = getattr(module, name, None)
    if not callable(function):
        here = sorted(
            one
            for one, value in vars(module).items()
            if inspect.isfunction(value) and not one.startswith("_")
        )
        raise RecipeError(
            unknown(say("{file} has no such function", "{file} 中没有这个函数", file=file), name, here)
        )
    found: Callable[..., Any] = function
    return found


def _run(path: Path) -> ModuleType:
    settings = importlib.util.spec_from_file_location(f"attune_reward_{path.stem}", path)
    assert settings is not None
    assert settings.loader is not None
    module = importlib.util.module_from_spec(settings)
    try:
        settings.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError, OSError) as error:
        raise RecipeError(
            say(
                "{file} cannot be run: {kind}: {error}",
                "{file} 无法运行：{kind}：{error}",
                file=path,
                kind=type(error).__name__,
                error=error,
            )
        ) from None
    return module


def _must_be_finite(name: str, answer: Answer, score: object) -> None:
    if isinstance(score, bool | int | float) and math.isfinite(score):
        return
    raise RunError(
        say(
            "The reward {name} gave {score!r} for {place}, where a finite number is needed. The answer was: "
            "{answer}",
            "奖励 {name} 对 {place} 给出 {score!r}，应为有限的数。回答为：{answer}",
            name=name,
            score=score,
            place=_place(answer),
            answer=_short(answer.text),
        )
    )


def _place(answer: Answer) -> str:
    return f"{answer.origin.path}:{answer.origin.row}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")
