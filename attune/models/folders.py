"""Places on the disk that may hold a model: what each must contain, and errors that say what it holds."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

from ..recipe.errors import ModelError
from ..recipe.messages import join, say
from ..recipe.schema import Model


def is_config_file(path: str) -> bool:
    """True for a config.json, which stands for random weights."""
    return path.endswith(".json")


def is_adapter(path: str) -> bool:
    """True for a folder that holds an adapter."""
    return (Path(path) / "adapter_config.json").is_file()


def base_of(adapter_config: Path) -> Model:
    """Where the base model of an adapter lives. Raises ModelError where the file does not say."""
    try:
        settings = json.loads(adapter_config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = None
    base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    if not isinstance(base, str) or not base:
        raise ModelError(
            say(
                "{path} names no base model. It must be PEFT's file, with base_model_name_or_path.",
                "{path} 没有写明基座模型。它应为 PEFT 的文件，含 base_model_name_or_path。",
                path=adapter_config,
            )
        )
    revision = settings.get("revision")
    return Model(path=base, revision=revision if isinstance(revision, str) else None)


def check_place(path: str, *, needs_config: bool) -> None:
    """A path that looks local must exist; a folder must hold a model (or at least a tokenizer)."""
    place = Path(path)
    if place.is_file() and not is_config_file(path):
        raise ModelError(
            say(
                "{path} is a file. A model is a folder (with config.json), a hub id, or a config.json for "
                "random weights.",
                "{path} 是文件。模型应为文件夹（含 config.json）、模型 id，或用于随机权重的 config.json。",
                path=path,
            )
        )
    if place.is_dir() and not (place / "config.json").is_file():
        _refuse(place, needs_config)
    # owner/name is a hub id unless a folder of the owner's name lies here
    is_beside = place.parent != Path() and place.parent.is_dir()
    looks_local = path.startswith((".", "/", "~")) or path.count("/") > 1 or is_config_file(path) or is_beside
    if not place.exists() and looks_local:
        siblings = [str(child) for child in place.parent.iterdir()] if place.parent.is_dir() else []
        near = difflib.get_close_matches(path, siblings, n=1)
        raise ModelError(
            say(
                "No model at {path}.{hint}",
                "{path} 处没有模型。{hint}",
                path=path,
                hint=say(" Did you mean {near}?", "您是否想写 {near}？", near=near[0]) if near else "",
            )
        )


def _refuse(place: Path, needs_config: bool) -> None:
    """A folder without config.json: an adapter is told apart; a tokenizer needs no configuration."""
    adapter = place / "adapter_config.json"
    if needs_config and adapter.is_file():
        raise ModelError(
            say(
                "{path} is an adapter, not a whole model. Its base is {base}; merge the two first "
                "(attune merge {path} --output <folder>), or give the base.",
                "{path} 是适配器而非完整模型，其基座是 {base}。请先合并"
                "（attune merge {path} --output <文件夹>），或直接给出基座。",
                path=place,
                base=base_of(adapter).path,
            )
        )
    if not needs_config and (any(place.glob("tokenizer*")) or any(place.glob("vocab*"))):
        return
    raise ModelError(
        say(
            "{path} holds no config.json: it is no model folder. It holds: {names}.",
            "{path} 中没有 config.json，不是模型文件夹。其中有：{names}。",
            path=place,
            names=join(sorted(child.name for child in place.iterdir())[:8]) or "-",
        )
    )
