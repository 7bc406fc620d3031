"""From a YAML file and ``key=value`` words to a Recipe, and back; every problem is told at once.

    load(Path("recipe.yaml"), ["adapter.rank=16", "train.epochs=2"])

An override is ``path=value`` (the value as ``tree.value_of`` reads it). Where a section can be given in
short, the short form sets its main field: ``model=M`` is ``model.path=M``, ``data=F`` is ``data.train=F``;
``adapter=full`` replaces an adapter of another name with all its options. Items of lists are counted from 1
(``data.train.2.weight=0.5``).
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError

from . import tree as trees
from .errors import RecipeError
from .messages import say
from .problems import described, told
from .schema import Generation, Recipe, spelled_out
from .tree import Tree


def load(source: str | Path | Mapping[str, Any] | None, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, or in a mapping, or (None) made of overrides alone.

    Raises RecipeError with every problem of the file and the overrides.
    """
    tree = _from_file(Path(source)) if isinstance(source, str | PurePath) else _from_mapping(source or {})
    into = tree if isinstance(tree.values, dict) else Tree(problems=tree.problems)
    for number, text in enumerate(overrides, 1):
        _override(into, number, text)
    return _checked(tree)


def _checked(tree: Tree) -> Recipe:
    """The recipe; a tree that could not be read or has other problems is told with what the schema finds."""
    if isinstance(tree.values, dict):
        try:
            recipe = Recipe.model_validate(tree.values)
        except ValidationError as error:
            tree.problems += told(error, tree)
        else:
            if not tree.problems:
                return recipe
    raise RecipeError(tree.problems)


def _from_mapping(source: Mapping[str, Any]) -> Tree:
    return Tree(values=copy.deepcopy(dict(source)))


def _from_file(path: Path) -> Tree:
    """The tree of a YAML file; its values are None where they cannot be used, and the problems say why."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return Tree(values=None, problems=[_no_file(path)])
    except UnicodeDecodeError as error:
        problem = say(
            "{path}: not UTF-8 (byte {at}). Save the file as UTF-8.",
            "{path}：不是 UTF-8（第 {at} 字节）。请另存为 UTF-8。",
            path=path,
            at=error.start + 1,
        )
        return Tree(values=None, problems=[problem])
    except OSError as error:
        problem = say(
            "{path}: cannot be read ({why}).", "{path}：无法读取（{why}）。", path=path, why=error.strerror
        )
        return Tree(values=None, problems=[problem])
    tree = trees.read(text, str(path))
    if tree.problems:
        return tree
    if not tree.values:
        got = say("the file holds nothing", "文件是空的")
    elif not isinstance(tree.values, dict):
        got = say("got {what}", "得到{what}", what=described(tree.values))
    else:
        return tree
    problem = say(
        "{path}: {got}. A recipe holds at least two lines: 'model: <id or folder>' and 'data: <file>'.",
        "{path}：{got}。配方至少有两行：“model: <模型 id 或文件夹>”和“data: <文件>”。",
        path=path,
        got=got,
    )
    return Tree(values=None, problems=[problem])


def _no_file(path: Path) -> str:
    beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    recipes = [name for name in beside if name.endswith((".yaml", ".yml"))]
    near = difflib.get_close_matches(path.name, recipes, n=1, cutoff=0.5)
    return say(
        "{path}: no such file.{hint}",
        "{path}：没有这个文件。{hint}",
        path=path,
        hint=say(" Did you mean '{near}'?", "您是否想写“{near}”？", near=path.with_name(near[0]))
        if near
        else "",
    )


_KEY = re.compile(r"[^\s.=\[\]{}\"']+(\.[^\s.=\[\]{}\"']+)*")


def _override(tree: Tree, number: int, text: str, section: str = "") -> None:
    """Puts one ``key=value`` into the tree, the key counted from ``section``."""
    place = say("override {number}: {text}", "第 {number} 个覆盖项：{text}", number=number, text=text)
    key, equals, written = text.partition("=")
    if not equals or not _KEY.fullmatch(key):
        tree.problems.append(
            say(
                "{place}: not of the form key=value. Write for example train.epochs=2.",
                "{place}：格式不是 key=value。请写成如 train.epochs=2。",
                place=place,
            )
        )
        return
    try:
        value = trees.value_of(written)
    except ValueError as error:
        tree.problems.append(f"{place}: {error}")
        return
    tree.values = _short_forms_opened(tree.values)
    path = _path_of((section + key).split("."), tree, place)
    if path is not None:
        tree.put(*_aimed(path, value, tree), place)


def _short_forms_opened(values: dict[str, Any]) -> dict[str, Any]:
    """Sections given in short as mappings, so that overrides find their parts; nothing is added."""
    opened = spelled_out(values)
    return {key: opened[key] for key in values}


def _aimed(path: trees.Path, value: Any, tree: Tree) -> tuple[trees.Path, Any]:
    """Where a short form points: ``model=M`` is ``model.path=M``; ``adapter=lora`` keeps lora's options."""
    if path == ("model",) and isinstance(value, str):
        return ("model", "path"), value
    if path == ("data",) and isinstance(value, str | list):
        return ("data", "train"), value
    if path in {("adapter",), ("objective",)} and not isinstance(value, dict):
        stands = tree.values.get(path[0])
        if isinstance(stands, dict) and stands.get("name") == value:
            return (*path, "name"), value
        return path, {"name": value}
    return path, value


def _path_of(parts: list[str], tree: Tree, place: str) -> trees.Path | None:
    """The keys, with list items counted from 0; None, and a problem, for an item that is not there."""
    path: trees.Path = ()
    here: Any = tree.values
    for depth, part in enumerate(parts):
        if depth == 2 and parts[:2] in (["data", "train"], ["data", "held_out"]) and part.isdecimal():
            here = _listed(tree, (parts[0], parts[1]), here)
        if isinstance(here, list):
            if not (part.isdecimal() and 1 <= int(part) <= len(here)):
                tree.problems.append(
                    say(
                        "{place}: {path} has {count} items, counted from 1; there is no item '{part}'.",
                        "{place}：{path} 有 {count} 项（从 1 数起），没有第“{part}”项。",
                        place=place,
                        path=".".join(parts[:depth]),
                        count=len(here),
                        part=part,
                    )
                )
                return None
            path = (*path, int(part) - 1)
            here = here[int(part) - 1]
        else:
            path = (*path, part)
            here = here.get(part) if isinstance(here, dict) else None
    return path


def _listed(tree: Tree, path: tuple[str, str], files: Any) -> list[Any]:
    """Data files given in short as a list of mappings, in place, so that one of them can be addressed."""
    items = files if isinstance(files, list) else [files] if isinstance(files, str | dict) else []
    items = [{"path": item} if isinstance(item, str) else item for item in items]
    if items:
        tree.values[path[0]][path[1]] = items
    return items


def generation_of(run: Path, overrides: Sequence[str], *, as_trained: bool = False) -> Generation:
    """How a run answers: as its recipe says (defaults where it is no run), changed by ``temperature=0.7`` ….
    ``as_trained``: an answer has the room that it had where the run learnt from its own answers.

    Raises RecipeError as ``load`` does.
    """
    recipe = load(run / "recipe.yaml") if (run / "recipe.yaml").is_file() else None
    base = Generation() if recipe is None else recipe.generation
    room = None if recipe is None else getattr(recipe.objective, "max_new_tokens", None)
    if as_trained and room is not None and base.max_new_tokens == Generation().max_new_tokens:
        base = base.model_copy(update={"max_new_tokens": room})
    tree = _from_mapping({"model": "-", "data": "-", "generation": base.model_dump()})
    for number, text in enumerate(overrides, 1):
        _override(tree, number, text, section="generation.")
    return _checked(tree).generation


def dump(recipe: Recipe) -> str:
    """The whole recipe as YAML, defaults included; ``load`` takes it back to an equal one."""
    return trees.write(recipe.model_dump(mode="json"))


def settings(recipe: Recipe) -> dict[str, Any]:
    """Every value by its path: ``{"train.seed": 42, "data.train.1.path": "my.json", …}``."""
    return dict(_flat(recipe.model_dump(mode="json"), ""))


def _flat(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        items = [(str(key), below) for key, below in value.items()]
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        items = [(str(number), below) for number, below in enumerate(value, 1)]
    else:
        return [(path, value)]
    return [pair for key, below in items for pair in _flat(below, f"{path}.{key}" if path else key)]


def difference(old: Recipe, new: Recipe) -> list[str]:
    """The fields in which two recipes differ: ``train.seed: 42 → 7``; "–" where a field is not there."""
    before, after = settings(old), settings(new)
    return [
        f"{path}: {_shown(before, path)} → {_shown(after, path)}"
        for path in {**before, **after}
        if path not in before or path not in after or before[path] != after[path]
    ]


def _shown(values: Mapping[str, Any], path: str) -> str:
    if path not in values:
        return "–"
    value = values[path]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def default_output(recipe: Recipe) -> str:
    """``runs/<objective>-<model>-<data>-<hash>``: a recipe has one folder, however it was written.

    The hash counts what is not at its default, so that a later version with more fields finds it again.
    """
    model, data = recipe.model.path, [source.path for source in recipe.data.train]
    more = f"-and-{len(data) - 1}-more" if data[1:] else ""
    name = f"{recipe.objective.name}-{_short_name(model)}-{_short_name(data[0])}{more}"
    return f"runs/{name}-{fingerprint(recipe)}"


def touches_weights(path: str) -> bool:
    """False for a field that may change between the parts of a run, such as how often it saves."""
    return path not in _FREE and not path.startswith("generation.")


_FREE = frozenset(
    {
        "output",
        "train.trackers",
        "data.cache_dir",
        "data.workers",
        "train.keep_checkpoints",
        "train.save_steps",
        "train.threads",  # a resumed run compares the number in use
    }
)


def fingerprint(recipe: Recipe) -> str:
    """Eight hex digits of all fields that touch the weights."""
    defaults = settings(
        Recipe.model_validate(
            {"objective": recipe.objective.name, "adapter": recipe.adapter.name, "model": "-", "data": "-"}
        )
    )
    kept = {
        path: value
        for path, value in settings(recipe).items()
        if touches_weights(path) and (path.endswith(".name") or defaults.get(_first(path), ...) != value)
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


def _first(path: str) -> str:
    """``data.train.1.weight`` for the weight of any file: all items have the same defaults."""
    return re.sub(r"\.\d+\.", ".1.", path)


def _short_name(path: str) -> str:
    """The last telling part of a path or an id, in signs that every file system takes."""
    parts = [part for part in re.split(r"[/\\]", path) if part not in {"", ".", ".."} and "*" not in part]
    if len(parts) > 1 and parts[-1] == "config.json":
        parts.pop()
    last = parts[-1] if parts else "" if "*" in path else Path(path).resolve().name
    stem = re.sub(r"\.(json|jsonl|csv|tsv|txt|md|parquet|yaml|gz)$", "", last)
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.")[:40] or "x"
