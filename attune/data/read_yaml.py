"""YAML, by the rules that recipes have: a list of rows, or one row. For small files written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from ..recipe import tree
from ..recipe.errors import DataError
from ..recipe.messages import say
from .decode import Content, open_text

Row = tuple[int, Any]
_LARGEST = 2_000_000
"""Characters; reading takes about ten seconds for so many."""


def read_yaml(content: Content, encoding: str) -> Iterator[Row]:
    """``(row from 1, value)``. Raises DataError for what is not YAML, is too large, or has aliases."""
    with open_text(content, encoding, newline=None) as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise DataError(
            say(
                "{path}: YAML of more than {limit:,} characters is not read: it would take minutes. Write it "
                "as JSON Lines.",
                "{path}：超过 {limit:,} 个字符的 YAML 读取过慢，不予读取。请另存为 JSON Lines。",
                path=content.path,
                limit=_LARGEST,
            )
        )
    _refuse_aliases(content.path, text)
    found = tree.read(text, content.path)
    if found.problems:
        raise DataError(found.problems)
    values = found.values if isinstance(found.values, list) else [found.values]
    yield from enumerate(values, start=1)


def _refuse_aliases(path: str, text: str) -> None:
    """A few lines of aliases of aliases can mean more rows than any memory holds."""
    try:
        alias = next((token for token in yaml.scan(text) if isinstance(token, yaml.AliasToken)), None)
    except yaml.YAMLError:
        return  # told, with its line, by the reader
    if alias is not None:
        raise DataError(
            say(
                "{path}, line {line}: an alias (*{name}); in data each row is written out.",
                "{path} 第 {line} 行：使用了别名（*{name}）；数据中每一行都应完整写出。",
                path=path,
                line=alias.start_mark.line + 1,
                name=alias.value,
            )
        )
