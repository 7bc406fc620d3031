"""LLaMA-Factory's ``dataset_info.json``: ``folder:name`` as the source that it describes.

    data/:alpaca_zh_demo        data/dataset_info.json:alpaca_zh_demo

An entry says which file or hub data set is meant, and how it spells its columns and roles; all of that has a
field in ``Source``, so that nothing after this file knows of registries. Columns that an entry does not name
are not read where LLaMA-Factory does not read them either (``system``, ``history``, ``tools`` …).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..recipe.errors import DataError
from ..recipe.messages import say
from ..recipe.plugs import unknown
from ..recipe.schema import Source
from .read import rows

FILE = "dataset_info.json"
_ASKED = {"prompt": "instruction", "query": "input", "response": "output"}
_NAMES = {
    **_ASKED,
    "messages": "conversations",
    **{name: name for name in ("history", "system", "tools", "images", "videos", "audios")},
    **{name: name for name in ("chosen", "rejected", "kto_tag")},
}
"""Their names of columns, and ours; a column that is called otherwise in the file is renamed."""
_ROLES = {
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function_call",
    "system_tag": "system",
}
_HIDDEN = (
    "system",
    "history",
    "tools",
    "chosen",
    "rejected",
    "kto_tag",
    "label",
    "input",
    "query",
    "context",
)
"""Columns that LLaMA-Factory reads only where the entry names them, and by default the input."""
_ELSEWHERE = ("ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")


def resolve(source: Source) -> Source:
    """The source itself, or what a registry says of it. Raises DataError for a registry that cannot be read,
    a name that it does not hold, and an entry that cannot be reached.
    """
    registry, name = _split(source.path)
    if registry is None:
        return source
    entries = _entries(registry, source.path)
    if name is None:
        raise DataError(_nameless(registry, list(entries)))
    if name not in entries:
        what = say("{registry}: no data set is called so", "{registry}：没有这个数据集", registry=registry)
        raise DataError(unknown(what, name, list(entries)))
    entry = entries[name]
    if not isinstance(entry, Mapping) or not all(
        isinstance(entry.get(key, {}), Mapping) for key in ("columns", "tags")
    ):
        raise DataError(_odd(registry, name))
    given = {
        "path": _place(registry, name, entry),
        "columns": {**_columns(entry), **source.columns},
        "roles": {**_roles(entry), **source.roles},
        "split": entry.get("split", source.split),
        "subset": entry.get("subset", source.subset),
        "num_samples": entry.get("num_samples", source.num_samples),
    }
    try:
        return Source.model_validate({**source.model_dump(), **given})
    except ValidationError:
        raise DataError(_odd(registry, name)) from None


def _split(path: str) -> tuple[Path | None, str | None]:
    """The registry and the name after the colon, where there are such."""
    if Path(path).name == FILE and Path(path).is_file():
        return Path(path), None
    before, colon, name = path.rpartition(":")
    if not colon or not name or Path(path).exists():
        return None, None
    here = Path(before or ".")
    if here.is_dir() and (here / FILE).is_file():
        return here / FILE, name
    return (here, name) if here.is_file() and here.suffix == ".json" else (None, None)


def _entries(registry: Path, path: str) -> Mapping[str, Any]:
    try:
        found = [value for _, value in rows(str(registry))]
    except DataError as error:
        advice = say(
            "So {path} cannot be found in it; naming the data file itself works without it.",
            "因此无法从中找到 {path}；直接写数据文件的路径即可，不需要它。",
            path=path,
        )
        raise DataError(f"{error}\n{advice}") from None
    if len(found) != 1 or not isinstance(found[0], Mapping):
        raise DataError(
            say(
                '{registry}: not a list of data sets by name ({{"name": {{"file_name": …}}}}). Name the data '
                "file itself.",
                '{registry}：不是数据集名录（{{"名称": {{"file_name": …}}}}）。请直接写数据文件。',
                registry=registry,
            )
        )
    return found[0]


def _place(registry: Path, name: str, entry: Mapping[str, Any]) -> str:
    """The file, the folder or the hub id; as there, a hub id goes before a file."""
    hub, file = entry.get("hf_hub_url"), entry.get("file_name")
    if isinstance(hub, str) and "/" in hub and not entry.get("folder"):
        return hub
    if hub is None and not any(entry.get(key) for key in _ELSEWHERE) and isinstance(file, str) and file:
        return str(registry.parent / file)
    raise DataError(
        say(
            "{registry}: {name} lies where it cannot be fetched from here ({keys}). Download it and name the "
            "file.",
            "{registry}：{name} 所在之处无法从这里获取（{keys}）。请下载后直接写文件路径。",
            registry=registry,
            name=name,
            keys=", ".join(
                f"{key}: {entry[key]}" for key in ("hf_hub_url", "folder", *_ELSEWHERE) if entry.get(key)
            )
            or say("no file_name", "没有 file_name"),
        )
    )


def _columns(entry: Mapping[str, Any]) -> dict[str, str]:
    named = {key: str(column) for key, column in entry.get("columns", {}).items() if key in _NAMES and column}
    turns: dict[str, str] = {}
    if entry.get("formatting", "alpaca") == "sharegpt":
        tags = entry.get("tags", {})
        turns = {"role": str(tags.get("role_tag", "from")), "content": str(tags.get("content_tag", "value"))}
    elif set(named) == {"prompt"}:  # so are texts for pretraining declared
        return {"text": named["prompt"]} if named["prompt"] != "text" else {}
    meant = {_NAMES[key]: column for key, column in (named or _ASKED).items()}
    kept = {*meant, *meant.values(), *(("chosen", "rejected") if entry.get("ranking") else ())}
    hidden = {name: "" for name in _HIDDEN if name not in kept}
    return {**hidden, **{name: column for name, column in meant.items() if name != column}, **turns}


def _roles(entry: Mapping[str, Any]) -> dict[str, str]:
    tags = entry.get("tags", {})
    return {str(tags[tag]): role for tag, role in _ROLES.items() if tag in tags}


def _nameless(registry: Path, names: list[str]) -> str:
    return say(
        "{registry} describes data sets and is none. Name one: {registry}:{first}",
        "{registry} 描述数据集，本身不是数据。请指定其中一个：{registry}:{first}",
        registry=registry,
        first=names[0] if names else "…",
    )


def _odd(registry: Path, name: str) -> str:
    return say(
        "{registry}: {name} must be an object with file_name or hf_hub_url; columns and tags are objects, "
        "split and subset texts, num_samples a number.",
        "{registry}：{name} 应为含 file_name 或 hf_hub_url 的对象；columns 与 tags 是对象，split 与 subset "
        "是文本，num_samples 是数。",
        registry=registry,
        name=name,
    )
