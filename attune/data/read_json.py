"""JSON and JSON Lines, told apart by what the file holds, whatever its suffix says.

- JSON Lines: the first line is a whole value and more lines follow. Read line by line in bounded memory; the
  row number is the line number. Blank lines and comment lines (``#``, ``//``) are no rows; comments are
  counted.
- JSON: one array (its items are the rows), one object (one row), or objects one after another. An array whose
  items are turns, ``{"role": …, "content": …}``, is one conversation and so one row.

A line that is not JSON stops the reading of its file, after all of them are counted: never is one skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..recipe.errors import DataError
from ..recipe.messages import language, say
from .decode import Content, open_text

Row = tuple[int, Any]
_LINES = (".jsonl", ".ndjson", ".jsonlines")
_COMMENT = ("#", "//")
_SHOWN = 5
_DECODER = json.JSONDecoder()
_CHINESE = {
    "Expecting value": "此处缺少值",
    "Expecting property name enclosed in double quotes": "此处应为双引号括起的键",
    "Expecting ':' delimiter": "此处应为冒号",
    "Expecting ',' delimiter": "此处应为逗号",
    "Illegal trailing comma before end of array": "] 之前多了一个逗号",
    "Illegal trailing comma before end of object": "} 之前多了一个逗号",
    "Unterminated string starting at": "字符串没有结束引号",
    "Invalid control character at": "字符串中有未转义的控制字符（如换行）",
    "Invalid \\escape": "无效的反斜杠转义",
    "Invalid \\uXXXX escape": "无效的 \\u 转义",
    "Extra data": "值之后还有多余内容",
}


@dataclass(slots=True)
class JsonRows:
    """``container``: ``json`` or ``jsonl``; ``rows`` gives ``(number, value)`` once; ``notes`` grows while
    reading.
    """

    container: str
    rows: Iterator[Row]
    notes: list[str] = field(default_factory=list)


class _NotJsonError(Exception):
    """``position`` is in characters, ``row`` from 1 where it is known."""

    def __init__(self, reason: str, position: int, row: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.position, self.row = reason, position, row


def read_json(content: Content, encoding: str) -> JsonRows:
    """Raises DataError, here or while the rows are read, naming file, line and column of what is not JSON."""
    if _is_lines(content, encoding):
        return _lines(content, encoding)
    with open_text(content, encoding, newline=None) as file:
        text = file.read()
    try:
        result = JsonRows("json", _documents(text))
    except _NotJsonError as error:
        if _mostly_lines(text):
            return _lines(content, encoding)
        raise DataError(_broken(content.path, text, error)) from None
    if _has_suffix(content.path, _LINES):
        result.notes.append(
            say(
                "{path}: the name says JSON Lines, but it is one JSON document; read as such.",
                "{path}：后缀是 JSON Lines，内容却是一个 JSON 文档；已按 JSON 读取。",
                path=content.path,
            )
        )
    return result


def holds_json(content: Content, encoding: str) -> bool:
    """Whether a file of another suffix is JSON in truth: its first line is a whole object, or all of it is
    JSON.
    """
    first, _ = _first_lines(content, encoding)
    if not first.lstrip().startswith(("{", "[")):
        return False
    if _is_whole(first):
        return True
    with open_text(content, encoding, newline=None) as file:
        return _is_whole(file.read())


def _is_lines(content: Content, encoding: str) -> bool:
    first, is_alone = _first_lines(content, encoding)
    try:
        value = _parse(first)
    except _NotJsonError:
        return False
    return not is_alone or (
        _has_suffix(content.path, _LINES) and (not isinstance(value, list) or _is_turns(value))
    )


def _first_lines(content: Content, encoding: str) -> tuple[str, bool]:
    """The first line that is neither blank nor a comment, and whether no other such line follows."""
    with open_text(content, encoding, newline="\n") as file:
        lines = (line for line in file if line.strip() and not line.lstrip().startswith(_COMMENT))
        return next(lines, ""), next(lines, None) is None


def _lines(content: Content, encoding: str) -> JsonRows:
    notes: list[str] = []
    return JsonRows("jsonl", _line_rows(content, encoding, notes), notes)


def _line_rows(content: Content, encoding: str, notes: list[str]) -> Iterator[Row]:
    """Only ``\\n`` ends a line: U+2028 and its like occur inside of rows."""
    wrong: list[str] = []
    num_wrong = num_comments = 0
    with open_text(content, encoding, newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = _parse(line)
            except _NotJsonError as error:
                if line.lstrip().startswith(_COMMENT):
                    num_comments += 1
                    continue
                num_wrong += 1
                if num_wrong <= _SHOWN:
                    wrong.append(_wrong_line(number, line, error))
                continue
            if not num_wrong:
                yield number, value
    if num_wrong:
        raise DataError(_broken_lines(content.path, num_wrong, wrong))
    if num_comments:
        notes.append(
            say(
                "{path}: comment lines, which are no rows, were passed over: {num}.",
                "{path}：有 {num} 行注释，不算数据行，已跳过。",
                path=content.path,
                num=num_comments,
            )
        )


def _documents(text: str) -> Iterator[Row]:
    """The rows of an array, of one object, or of objects one after another. Raises _NotJsonError before the
    first row.
    """
    try:
        value = _parse(text)
    except _NotJsonError as error:
        if text.lstrip().startswith("["):
            raise _in_array(text) or error from None
        if error.reason != "Extra data" or not text.lstrip().startswith("{"):
            raise
        return enumerate(_one_after_another(text), start=1)
    values = value if isinstance(value, list) and not _is_turns(value) else [value]
    return enumerate(values, start=1)


def _one_after_another(text: str) -> list[Any]:
    values: list[Any] = []
    position = _skip(text, 0)
    while position < len(text):
        value, position = _parse_at(text, position, len(values) + 1)
        values.append(value)
        position = _skip(text, position)
    return values


def _in_array(text: str) -> _NotJsonError | None:
    """Which row of a broken top-level array it is that breaks."""
    position, row = _skip(text, text.index("[") + 1), 1
    while position < len(text):
        try:
            _, position = _parse_at(text, position, row)
        except _NotJsonError as error:
            if (
                error.reason == "Expecting value"
                and text[error.position : error.position + 1] == "]"
                and row > 1
            ):
                error.reason = "Illegal trailing comma before end of array"
            return error
        position = _skip(text, position)
        if text[position : position + 1] != ",":
            done = text[position : position + 1] == "]"
            return None if done else _NotJsonError("Expecting ',' delimiter", position, row + 1)
        position, row = _skip(text, position + 1), row + 1
    return None


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _NotJsonError(error.msg, error.pos) from None
    except RecursionError:
        raise _NotJsonError("nested too deeply", 0) from None
    except ValueError as error:  # an integer of more digits than Python converts
        raise _NotJsonError(str(error), 0) from None


def _parse_at(text: str, position: int, row: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise _NotJsonError(error.msg, error.pos, row) from None
    except RecursionError:
        raise _NotJsonError("nested too deeply", position, row) from None
    except ValueError as error:
        raise _NotJsonError(str(error), position, row) from None


def _is_turns(value: list[Any]) -> bool:
    return bool(value) and all(
        isinstance(item, dict) and {"role", "content"} <= item.keys() for item in value
    )


def _mostly_lines(text: str) -> bool:
    """Whether this is JSON Lines with a broken beginning: at least half of its lines are whole objects."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines or lines[0].strip() in ("[", "{"):
        return False
    whole = sum(_is_whole(line) for line in lines)
    return whole > 1 and whole >= len(lines) / 2


def _is_whole(text: str) -> bool:
    """Whether the text is an object, or a list of objects or lists: ``[1]`` may be a footnote."""
    try:
        value = _parse(text)
    except _NotJsonError:
        return False
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(isinstance(item, dict | list) for item in items)


def _broken(path: str, text: str, error: _NotJsonError) -> str:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.startswith("<<<<<<< "):
            return _conflict(path, number)
    at_line = text.count("\n", 0, error.position) + 1
    column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
    return say(
        "{path}, line {line}, column {column}{row}: not valid JSON: {reason}, at: {around} Correct this "
        "place; "
        "`python -m json.tool FILE` checks the file.",
        "{path} 第 {line} 行第 {column} 列{row}：不是有效的 JSON：{reason}，位于：{around} 请修正此处；"
        "可用 `python -m json.tool 文件` 检查。",
        path=path,
        line=at_line,
        column=column,
        row=say(" (row {row})", "（第 {row} 条）", row=error.row) if error.row else "",
        reason=_reason(error),
        around=_around(text, error.position),
    )


def _conflict(path: str, line: int) -> str:
    return say(
        "{path}, line {line}: a merge-conflict marker (<<<<<<<): the file holds two versions at once. Keep "
        "one, "
        "delete the markers (<<<<<<<, =======, >>>>>>>).",
        "{path} 第 {line} 行：存在合并冲突标记（<<<<<<<），文件里有两个版本。请保留一个，"
        "并删除标记（<<<<<<<、=======、>>>>>>>）。",
        path=path,
        line=line,
    )


def _broken_lines(path: str, num_wrong: int, wrong: list[str]) -> str:
    if any("<<<<<<< " in text for text in wrong):
        hint = say(
            "These are merge-conflict markers: keep one version.", "其中有合并冲突标记：请保留一个版本。"
        )
    else:
        hint = say(
            "Each line must be one whole JSON value; line breaks inside of texts are written \\n.",
            "每行必须是一个完整的 JSON 值；文本内的换行写作 \\n。",
        )
    more = num_wrong - len(wrong)
    if more:
        wrong = [*wrong, say("  … and {more} more", "  …… 另有 {more} 行", more=more)]
    head = say(
        "{path}: not valid JSON, number of lines: {num}",
        "{path}：不是有效 JSON 的行数：{num}",
        path=path,
        num=num_wrong,
    )
    return "\n".join([head, *wrong, hint])


def _wrong_line(number: int, line: str, error: _NotJsonError) -> str:
    return say(
        "  line {line}, column {column}: {reason}, at: {around}",
        "  第 {line} 行第 {column} 列：{reason}，位于：{around}",
        line=number,
        column=error.position + 1,
        reason=_reason(error),
        around=_around(line, error.position),
    )


def _reason(error: _NotJsonError) -> str:
    if error.reason == "nested too deeply":
        return say("nested too deeply", "嵌套过深")
    return _CHINESE.get(error.reason, error.reason) if language() == "zh" else error.reason


def _around(text: str, position: int) -> str:
    """A short excerpt in which the place is marked by an arrow."""
    before, after = text[max(0, position - 20) : position], text[position : position + 30]
    return f"“{_flat(before)}→{_flat(after)}”"


def _flat(text: str) -> str:
    return "".join(
        character if character.isprintable() else "␤" if character == "\n" else " " for character in text
    )


def _has_suffix(path: str, suffixes: tuple[str, ...]) -> bool:
    return path.lower().removesuffix(".gz").endswith(suffixes)
