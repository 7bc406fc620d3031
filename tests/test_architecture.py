"""The house rules that a program can check, read from the source (``ast`` only; nothing is imported)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "attune"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "examples" not in path.relative_to(PACKAGE).parts)
ROOMS = (
    "recipe",
    "data",
    "models",
    "adapters",
    "objectives",
    "inference",
    "evaluation",
    "retrieval",
    "engine",
    "search",
    "serving",
    "studio",
    "cli",
)
"""A room imports only itself and rooms before it."""


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_door(path: Path) -> bool:
    """The lazy front doors may import our rooms inside functions."""
    return path.name == "__init__.py" or path.relative_to(PACKAGE).parts[0] == "cli"


def imports(path: Path, root: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of every import of ours under ``root``."""
    package = ["attune", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(root):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "attune":
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module.split(".")[0] == "attune":
                for alias in node.names:
                    yield node.lineno, f"{module}.{alias.name}"


def wrong_arrows(path: Path) -> list[str]:
    room = path.relative_to(PACKAGE).parts[0]
    if room not in ROOMS:
        return []
    wrong = []
    for line, name in imports(path, tree_of(path)):
        target = name.split(".")[1]
        if target in ROOMS and ROOMS.index(target) > ROOMS.index(room):
            wrong.append(f"{name_of(path)}:{line} imports {name}, a room below")
    return wrong


def test_the_package_is_found() -> None:
    assert len(FILES) > 40


def test_every_folder_is_a_room() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders - set(ROOMS) - {"examples"} == set()


def test_rooms_import_only_rooms_above() -> None:
    assert [problem for path in FILES for problem in wrong_arrows(path)] == []


def test_no_function_imports_our_rooms() -> None:
    wrong = []
    for path in FILES:
        if is_door(path):
            continue
        for function in functions(tree_of(path)):
            wrong += [
                f"{name_of(path)}:{line} imports {name} inside a function"
                for line, name in imports(path, function)
            ]
    assert wrong == []


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_files_are_short() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length >= 400} == {}


def test_functions_are_short() -> None:
    long = []
    for path in FILES:
        for function in functions(tree_of(path)):
            length = (function.end_lineno or function.lineno) - function.lineno + 1
            if length >= 60:
                long.append(f"{name_of(path)}:{function.lineno} {function.name}: {length} lines")
    assert long == []


@pytest.mark.parametrize("word", ["utils", "util", "common", "helpers", "helper", "misc"])
def test_no_file_without_a_noun(word: str) -> None:
    assert [
        name_of(path) for path in FILES if word in path.stem.split("_") or word in path.parent.parts[-1:]
    ] == []


def test_every_module_says_what_it_is() -> None:
    assert [name_of(path) for path in FILES if not ast.get_docstring(tree_of(path))] == []


def test_only_the_command_line_prints() -> None:
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in FILES
        if path.relative_to(PACKAGE).parts[0] != "cli"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert wrong == []


def test_no_exception_is_swallowed_whole() -> None:
    """Catching everything is right only to tidy up and raise again."""
    wrong = []
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ExceptHandler) and _catches_all(node):
                raises = any(isinstance(below, ast.Raise) and below.exc is None for below in ast.walk(node))
                wrong += [] if raises else [f"{name_of(path)}:{node.lineno}"]
    assert wrong == []


def _catches_all(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    return caught is None or (isinstance(caught, ast.Name) and caught.id in {"Exception", "BaseException"})


@pytest.mark.parametrize(
    ("place", "code", "wrong"),
    [
        ("data/x.py", "from ..engine import events", True),
        ("data/x.py", "from attune.engine.events import Event", True),
        ("data/formats/x.py", "from ...engine.events import Event", True),
        ("data/formats/x.py", "from ..examples import Text", False),
        ("engine/x.py", "import attune.data.read", False),
        ("data/x.py", "import attune.engine", True),
        ("recipe/x.py", "from .. import models", True),
        ("recipe/x.py", "import os, torch", False),
    ],
)
def test_the_arrows_are_seen(
    place: str, code: str, wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check itself can fail."""
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(code)
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    assert bool(wrong_arrows(path)) is wrong
