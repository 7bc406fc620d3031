"""What the schema found wrong, told to people: where, which key, what was got, what is allowed, what to type.

Only the kind and the place of a finding are taken from pydantic; what is allowed is read from the schema, so
a field says the same in its error, in ``--help`` and in the reference.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from .fields import fields, section_at, type_text, walk_to
from .messages import join, say
from .schema import Section, spelled_out
from .tree import Path, Tree

_ELSEWHERE = {
    "model_name_or_path": "model.path",
    "base_model": "model.path",
    "chat_template": "model.template",
    "dataset": "data.train",
    "datasets": "data.train",
    "train_file": "data.train",
    "system_prompt": "data.system",
    "val_size": "data.held_out",
    "validation": "data.held_out",
    "cutoff_len": "data.max_length",
    "max_seq_length": "data.max_length",
    "sequence_len": "data.max_length",
    "num_train_epochs": "train.epochs",
    "num_epochs": "train.epochs",
    "steps": "train.max_steps",
    "iters": "train.max_steps",
    "lr": "train.learning_rate",
    "lr_scheduler_type": "train.schedule",
    "lr_scheduler": "train.schedule",
    "warmup_ratio": "train.warmup_steps",
    "batch_size": "train.global_batch_size",
    "per_device_train_batch_size": "train.global_batch_size",
    "gradient_accumulation_steps": "train.global_batch_size",
    "bf16": "train.precision",
    "fp16": "train.precision",
    "gradient_checkpointing": "train.activation_checkpointing",
    "report_to": "train.trackers",
    "lora_rank": "adapter.rank",
    "lora_r": "adapter.rank",
    "r": "adapter.rank",
    "lora_alpha": "adapter.alpha",
    "lora_dropout": "adapter.dropout",
    "lora_target": "adapter.target_modules",
    "finetuning_type": "adapter",
    "output_dir": "output",
}
"""What other tools call our fields."""

_SAY_WHAT_TO_TYPE = {
    "model": ("--model Qwen/Qwen3-0.6B", "model: Qwen/Qwen3-0.6B"),
    "data": ("--data my.json", "data: my.json"),
}


def told(error: ValidationError, tree: Tree) -> list[str]:
    """One sentence a problem, in the order of the recipe."""
    values = spelled_out(tree.values)
    found: dict[Path, ErrorDetails] = {}
    for detail in error.errors(include_url=False):
        found.setdefault(_path(detail["loc"], values), detail)
    nearest = {
        path: _nearest_key(path, values)
        for path, detail in found.items()
        if detail["type"] == "extra_forbidden"
    }
    meant = set(nearest.values())
    problems = []
    for path, detail in found.items():
        name = _missing_name(path)
        if detail["type"] == "missing" and (name in meant or name.partition(".")[0] in meant):
            continue  # the misspelt key is named already
        if path in nearest:
            text = _unknown_key(path, nearest[path], values)
        else:
            text = _sentence(path, detail, values)
        place = tree.place(path)
        problems.append(f"{place}: {text}" if place else text)
    return problems


def _path(loc: Sequence[str | int], values: Mapping[str, Any]) -> Path:
    """The place in the recipe: pydantic's, without the names it gives to the members of a union."""
    path: Path = ()
    for part in loc:
        if isinstance(part, str) and isinstance(walk_to(path, values), FieldInfo):
            if part in {"share", "files"}:
                continue
            break
        path = (*path, part)
    return path


def _dotted(path: Path) -> str:
    """``data.train.2.path``: items are counted from 1."""
    return ".".join(str(part + 1) if isinstance(part, int) else part for part in path)


def _missing_name(path: Path) -> str:
    return {"data": "data.train", "model": "model.path"}.get(_dotted(path), _dotted(path))


def _sentence(path: Path, detail: ErrorDetails, values: Mapping[str, Any]) -> str:
    if detail["type"] == "missing":
        return _missing(path)
    if detail["type"] == "choice":
        return f"{_dotted(path)}: {detail['msg']}"
    at = walk_to(path, values)
    if at is None or detail["type"] in {"value_error", "assertion_error"}:
        return f"{_dotted(path)}: {detail['msg']}"
    info = at if isinstance(at, FieldInfo) else None
    allowed = type_text(info.annotation, info.metadata) if info else type_text(at)
    return say(
        "{path}: got {got}. Allowed: {allowed}.{hint}",
        "{path}：得到{got}。允许：{allowed}。{hint}",
        path=_dotted(path),
        got=described(detail["input"]),
        allowed=allowed,
        hint=_hint(path, info, detail["input"]),
    )


def described(value: Any) -> str:
    """A value as a person would name it, shortened."""
    if value is None:
        return say("nothing (null)", "空值（null）")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return say("the number {value}", "数 {value}", value=value)
    if isinstance(value, str):
        return say("the text '{value}'", "文本“{value}”", value=_short(value))
    if isinstance(value, Mapping):
        return say("a section {value}", "一个部分 {value}", value=_short(str(dict(value))))
    if isinstance(value, Sequence):
        return say("a list {value}", "列表 {value}", value=_short(str(list(value))))
    return _short(repr(value))


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _hint(path: Path, info: FieldInfo | None, got: Any) -> str:
    """What to type instead, where that can be said."""
    if info is None:
        return ""
    key, annotation = path[-1], info.annotation
    accepts = {annotation, *get_args(annotation)}
    if get_origin(annotation) is list and isinstance(got, str):
        return say(" Write a list: {key}: [{got}]", "请写成列表：{key}: [{got}]", key=key, got=got)
    words = [str(word) for part in accepts if get_origin(part) is Literal for word in get_args(part)]
    if near := difflib.get_close_matches(str(got).lower(), words, n=1, cutoff=0.5):
        return say(" Did you mean '{near}'?", "您是否想写“{near}”？", near=near[0])
    if isinstance(got, str) and accepts & {int, float, bool} and _is_number(got):
        return say(" Write it without quotes: {key}: {got}", "请去掉引号：{key}: {got}", key=key, got=got)
    if isinstance(got, int | float) and str in accepts:
        return say(' Write it in quotes: {key}: "{got}"', '请加引号：{key}: "{got}"', key=key, got=got)
    return ""


def _is_number(text: str) -> bool:
    if text in {"true", "false"}:
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _missing(path: Path) -> str:
    name = _missing_name(path)
    if path[0] in _SAY_WHAT_TO_TYPE and len(path) <= 2:
        flag, line = _SAY_WHAT_TO_TYPE[str(path[0])]
        return say(
            "{name} is missing. Give it as {flag} on the command line, or as {line} in the recipe.",
            "缺少 {name}。请在命令行写 {flag}，或在配方中写 {line}。",
            name=name,
            flag=flag,
            line=line,
        )
    return say("{name} is missing. Add it.", "缺少 {name}。请补上。", name=name)


def _unknown_key(path: Path, near: str, values: Mapping[str, Any]) -> str:
    section = section_at(path[:-1], values)
    assert section is not None, path
    return say(
        "{path}: unknown key.{hint} Allowed {where}: {allowed}.",
        "{path}：未知的键。{hint}{where}可用：{allowed}。",
        path=_dotted(path),
        hint=say(" Did you mean '{near}'?", "您是否想写“{near}”？", near=near) if near else "",
        where=say("in {part}", "{part} 中", part=_dotted(path[:-1])) if path[1:] else say("here", "此处"),
        allowed=join(section.model_fields),
    )


def _nearest_key(path: Path, values: Mapping[str, Any]) -> str:
    """The field that was probably meant: a sibling, the same name elsewhere, or another tool's name."""
    name, prefix = str(path[-1]), _dotted(path[:-1])
    section = section_at(path[:-1], values)
    adapter = section_at(("adapter",), values)
    known = (
        [field.path for field in fields(rooms=())]
        + [f"adapter.{key}" for key in _keys(adapter)]
        + ["model", "data"]
    )
    leaves = {full.rpartition(".")[2]: full for full in reversed(known)}
    family = {key: f"{prefix}.{key}" if prefix else key for key in _keys(section)}
    return (
        _like(name, family, 0.75)
        or leaves.get(name)
        or _ELSEWHERE.get(name)
        or next((full for key, full in family.items() if len(name) > 2 and key.startswith(name)), None)
        or _like(name, leaves, 0.8)
        or _like(name, family, 0.6)
        or _like(name, leaves, 0.7)
        or ""
    )


def _like(name: str, known: Mapping[str, str], cutoff: float) -> str | None:
    close = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return known[close[0]] if close else None


def _keys(section: type[Section] | None) -> list[str]:
    return list(section.model_fields) if section else []
