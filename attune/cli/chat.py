"""``attune chat``: a conversation with a run or a model, streaming."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..recipe.errors import AttuneError
from ..recipe.messages import pick, say
from .eval import Run
from .sft import Words

if TYPE_CHECKING:
    from ..inference.chat import Chat

System = Annotated[
    str | None,
    typer.Option("--system", "-s", metavar="TEXT", help=pick("System message. | 系统消息。")),
]


def chat(run: Run, words: Words = None, system: System = None) -> None:
    """Talk to a run or a model; a piped line is a turn. | 与模型对话；管道输入时每行一轮。"""
    from ..recipe.load import generation_of

    generation = generation_of(Path(run), words or [])
    is_person = sys.stdin.isatty()
    if is_person:
        print(say("Loading {run} …", "正在加载 {run} …", run=run), file=sys.stderr)

    from ..inference.chat import Chat

    partner = Chat.load(run, system, generation, on_notice=lambda text: print(text, file=sys.stderr))
    if is_person:
        print(
            say(
                "/reset starts over, /undo takes the last turn back, /exit ends.",
                "/reset 重新开始，/undo 撤回上一轮，/exit 结束。",
            )
        )
    converse(partner, _typed() if is_person else sys.stdin, is_person=is_person)


def converse(partner: Chat, turns: Iterable[str], *, is_person: bool) -> None:
    """Answers turn by turn until the turns end or one is ``/exit``.

    For a person Ctrl-C ends an answer, and an error a turn, but not the conversation.
    """
    for turn in turns:
        text = turn.strip()
        if text == "/exit":
            return
        if text == "/reset":
            partner.reset()
        elif text == "/undo":
            partner.undo()
        elif text.startswith("/") and " " not in text and is_person:
            print(say("Commands: /reset, /undo, /exit.", "可用命令：/reset、/undo、/exit。"))
        elif text:
            _answer(partner, text, is_person)


def _answer(partner: Chat, text: str, is_person: bool) -> None:
    try:
        with closing(cast("Generator[str, None, None]", partner.say(text))) as pieces:
            for piece in pieces:
                print(piece, end="", flush=True)
    except KeyboardInterrupt:
        if not is_person:
            raise
    except AttuneError as error:
        if not is_person:
            raise
        print(error, file=sys.stderr)
    print(flush=True)


def _typed() -> Iterator[str]:
    """What a person types, line by line, with history; Ctrl-D ends."""
    with suppress(ImportError):  # Windows has none; input() works without
        import readline  # noqa: F401 (gives input() history and editing)
    with suppress(EOFError):
        while True:
            yield input("\n> ")
    print()
