"""``attune chat``: turns, commands, interruption; with a partner that echoes."""

from __future__ import annotations

import io
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from attune.cli.chat import converse
from attune.cli.main import run
from attune.recipe.errors import DataError


class Echo:
    """Answers with the turns so far."""

    def __init__(self) -> None:
        self.turns: list[str] = []
        self.loaded_with: tuple[Any, ...] = ()

    def say(self, text: str) -> Iterator[str]:
        if text == "bad":
            raise DataError("refused")
        self.turns.append(text)
        for turn in self.turns:
            if turn == "stop":
                raise KeyboardInterrupt
            yield turn
            yield " "

    def reset(self) -> None:
        self.turns.clear()

    def undo(self) -> None:
        self.turns.pop()


def answers(capsys: pytest.CaptureFixture[str], *turns: str, is_person: bool = False) -> list[str]:
    converse(Echo(), turns, is_person=is_person)  # type: ignore[arg-type]
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_each_line_is_a_turn(capsys: pytest.CaptureFixture[str]) -> None:
    assert answers(capsys, "a\n", "\n", "b\n") == ["a", "a b"]


def test_reset_undo_exit(capsys: pytest.CaptureFixture[str]) -> None:
    assert answers(capsys, "a", "b", "/undo", "c", "/reset", "d", "/exit", "e") == ["a", "a b", "a c", "d"]


def test_an_unknown_command_is_a_turn_in_a_script_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert answers(capsys, "/foo") == ["/foo"]
    assert answers(capsys, "/foo", is_person=True) == ["Commands: /reset, /undo, /exit."]


def test_ctrl_c_ends_the_answer_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert answers(capsys, "a", "stop", "/reset", "b", is_person=True) == ["a", "a", "b"]
    with pytest.raises(KeyboardInterrupt):
        answers(capsys, "stop")


def test_an_error_ends_the_turn_only(capsys: pytest.CaptureFixture[str]) -> None:
    converse(Echo(), ["bad", "a"], is_person=True)  # type: ignore[arg-type]
    captured = capsys.readouterr()
    assert captured.err == "refused\n"
    assert captured.out.split() == ["a"]
    with pytest.raises(DataError):
        answers(capsys, "bad")


def test_the_command_reads_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    class Chat(Echo):
        @classmethod
        def load(cls, path: str, system: str | None, generation: Any, on_notice: Any) -> Echo:
            asked.extend([path, system, generation.temperature])
            return cls()

    module = types.ModuleType("attune.inference.chat")
    module.Chat = Chat  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "attune.inference.chat", module)
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\nthere\n"))
    assert run(["chat", "runs/x", "temperature=0.7", "--system", "Be brief."]) == 0
    assert asked == ["runs/x", "Be brief.", 0.7]
    assert capsys.readouterr().out == "hello \nhello there \n"
