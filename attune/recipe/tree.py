"""YAML and ``key=value`` as a tree of plain values that remembers where each one was written.

YAML is read by the rules of version 1.2, which are what people expect: ``1e-4`` is a number, ``off`` and
``no`` are words (``packing: off``), ``2024-01-01`` is a text, ``010`` is not eight. A key that stands twice
is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from .messages import pick, say

Path = tuple[str | int, ...]
"""Keys, and the items of lists counted from 0."""

_BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float"))
_NULL, _MERGE = "tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"
_RULES = {
    _BOOL: r"true|True|TRUE|false|False|FALSE",
    _INT: r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+",
    _FLOAT: r"""[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?
                |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)""",
    _NULL: r"~|null|Null|NULL|",
    _MERGE: r"<<",
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 (as PyYAML declares it)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 (as PyYAML declares it)


for _tag, _pattern in _RULES.items():
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$", re.X), None)


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """In quotes where it holds a line end of Unicode, which YAML would read back as an ordinary one."""
    style = '"' if set(text) & set("\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


@dataclass
class Tree:
    """Nested values, the place of each (``recipe.yaml:7``, ``override 2: train.seed=7``), the problems."""

    values: Any = field(default_factory=dict)
    places: dict[Path, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def place(self, path: Path) -> str:
        """Where ``path``, or the nearest thing around it, was written; "" where nobody wrote it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return ""

    def put(self, path: Path, value: Any, place: str) -> None:
        """Sets one value, making the sections on the way; what stood there before is forgotten."""
        here = self.values
        for depth, part in enumerate(path[:-1]):
            below = here[part] if _has(here, part) else None
            if not isinstance(below, dict | list):
                below = {}
                here[part] = below
                self.places[path[: depth + 1]] = place
            here = below
        here[path[-1]] = value
        self.places = {known: at for known, at in self.places.items() if known[: len(path)] != path}
        self.places[path] = place


def _has(container: Any, part: str | int) -> bool:
    if isinstance(container, list):
        return isinstance(part, int) and part < len(container)
    return part in container


def read(text: str, name: str) -> Tree:
    """The YAML ``text`` of the file ``name``. Faults are gathered in ``problems``; nothing is raised.

    ``values`` is None for an empty document or one that cannot be read.
    """
    tree = Tree(values=None, places={(): name})
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            tree.values = _Builder(loader, name, tree).value(node, ())
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        tree.problems.append(
            say(
                "{name}:{line}: the character {code} is not allowed in YAML. Remove it.",
                "{name}:{line}：YAML 中不允许字符 {code}。请删除。",
                name=name,
                line=line,
                code=f"U+{int(error.character):04X}",
            )
        )
    except yaml.MarkedYAMLError as error:
        tree.problems.append(_syntax(error, name))
    finally:
        if loader is not None:
            loader.dispose()
    return tree


class _Builder:
    """Turns YAML nodes into values, and notes their lines."""

    def __init__(self, loader: _Loader, name: str, tree: Tree) -> None:
        self.loader, self.name, self.tree = loader, name, tree
        self.open: set[int] = set()

    def value(self, node: yaml.Node, path: Path) -> Any:
        if path and path not in self.tree.places:
            self.tree.places[path] = self.at(node)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        if id(node) in self.open:
            self.problem(node, say("an alias that contains itself.", "别名包含了自己。"))
            return None
        self.open.add(id(node))
        made: Any
        if isinstance(node, yaml.SequenceNode):
            made = [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        else:
            made = self.mapping(node, path)
        self.open.discard(id(node))
        return made

    def mapping(self, node: Any, path: Path) -> dict[str, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.problem(key, say("a key must be a word.", "键必须是一个词。"))
            elif key.value in lines:
                again = say(
                    "the key '{key}' stands twice (first in line {line}). Remove one of them.",
                    "键“{key}”出现了两次（第一次在第 {line} 行）。请删去一个。",
                    key=".".join([*map(str, path), key.value]),
                    line=lines[key.value],
                )
                self.problem(key, again)
            else:
                lines[key.value] = key.start_mark.line + 1
        self.loader.flatten_mapping(node)
        made = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                self.tree.places[(*path, key.value)] = self.at(key)
                made[key.value] = self.value(value, (*path, key.value))
        return made

    def scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag not in {*_RULES, "tag:yaml.org,2002:str"}:
            text = say(
                "the tag '{tag}' is not allowed. Remove it.", "不允许标签“{tag}”。请删除。", tag=node.tag
            )
            self.problem(node, text)
            return None
        return _plain(self.loader, node)

    def at(self, node: yaml.Node) -> str:
        return f"{self.name}:{node.start_mark.line + 1}"

    def problem(self, node: yaml.Node, text: str) -> None:
        self.tree.problems.append(f"{self.at(node)}: {text}")


def _plain(loader: _Loader, node: yaml.ScalarNode) -> Any:
    try:
        return loader.construct_object(node)
    except ValueError:  # an explicit tag that its text does not fit (!!int abc)
        return node.value


def value_of(text: str) -> Any:
    """What the right side of ``key=value`` means.

    Lists, mappings and quoted texts (``[a, b]``, ``{path: a, weight: 2}``, ``"7"``) are YAML; so are numbers,
    true, false, null and nothing; anything else is the text as it stands, whatever signs it holds.
    Raises ValueError (a sentence) where the YAML is broken.
    """
    text = text.strip()
    if text[:1] in {"[", "{", '"', "'"}:
        tree = read(text, "")
        if tree.problems:
            raise ValueError(tree.problems[0].lstrip(":"))
        return tree.values
    loader = _Loader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return _plain(loader, yaml.ScalarNode(tag, text))


def write(values: Mapping[str, Any]) -> str:
    """YAML that ``read`` takes back to the same values."""
    text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    assert isinstance(text, str)
    return text


_CURES = {
    "cannot start any token": (
        "Indent with spaces, not tabs; quote a text that begins with %, @ or `. "
        "| 请用空格而不是制表符缩进；以 %、@ 或 ` 开头的文本要加引号。"
    ),
    "mapping values are not allowed": "Quote a text that holds ': '. | 含有“: ”的文本要加引号。",
    "expected ':'": "Write key: value, with a space after the colon. | 写成 key: value，冒号后有空格。",
    "scanning an alias": "Quote a text that begins with *. | 以 * 开头的文本要加引号。",
    "undefined alias": "Quote a text that begins with *. | 以 * 开头的文本要加引号。",
    "quoted scalar": "Close the quotation mark. | 请补上引号。",
    "flow sequence": "Close the bracket: [a, b]. | 请补上括号：[a, b]。",
    "flow mapping": "Close the brace: {a: 1}. | 请补上花括号：{a: 1}。",
    "block mapping": "Align the keys of a section under each other. | 同一部分的键要左对齐。",
}
"""Signs in PyYAML's words, and what mends the fault."""


def _syntax(error: yaml.MarkedYAMLError, name: str) -> str:
    """``recipe.yaml:3:7: not valid YAML``, with PyYAML's words and, where they are known, the cure."""
    mark = error.problem_mark or error.context_mark
    told = f"{error.context or ''} {error.problem or ''}"
    cure = next((pick(text) for sign, text in _CURES.items() if sign in told), "")
    return say(
        "{name}:{line}:{column}: not valid YAML: {problem}. {cure}",
        "{name}:{line}:{column}：YAML 语法有误：{problem}。{cure}",
        name=name,
        line=mark.line + 1 if mark else "?",
        column=mark.column + 1 if mark else "?",
        problem=error.problem or error.context,
        cure=cure,
    ).rstrip()
