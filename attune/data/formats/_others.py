"""Columns that make a row more than text answers: media, preferences, verdicts.

Learning the answers of such a row as they stand is not what it is for, so formats of conversations refuse it.
"""

from __future__ import annotations

from typing import Any

from ...recipe.messages import say
from ..examples import RowError
from ._row import first, is_nothing

VERDICT = ("kto_tag", "label")
_MEDIA = ("images", "image", "videos", "video", "audios", "audio")
_PREFERENCE = ("chosen", "rejected", "chosen_messages", "rejected_messages")
_OTHER_KINDS = frozenset({*_MEDIA, *_PREFERENCE, *VERDICT})


def is_plain(row: Any) -> bool:
    """Whether no column says that the row's answers are compared or judged."""
    return not isinstance(row, dict) or (_preference(row) is None and _verdict(row) is None)


def refuse_other_kinds(row: dict[str, Any]) -> None:
    """Raises RowError where learning the row's answers would not be what it is for."""
    if _OTHER_KINDS.isdisjoint(row):
        return
    refuse_media(row)
    if name := _preference(row):
        raise RowError(
            say(
                "column {name}: preference data (chosen, rejected), which supervised fine-tuning does not "
                "learn from. To learn the chosen answers: attune convert FILE --to messages --output "
                "chosen.jsonl",
                "{name} 列：这是偏好数据（chosen、rejected），监督微调不使用。若要学习 chosen 的回答：attune "
                "convert 文件 --to messages --output chosen.jsonl",
                name=name,
            ),
            "wrong_kind",
        )
    if name := _verdict(row):
        raise RowError(
            say(
                "column {name}: true or false, a verdict on the answer (KTO data), which supervised "
                "fine-tuning does not read. To learn the good answers: attune convert FILE --to messages "
                "--output good.jsonl",
                "{name} 列是 true/false，即对回答的评判（KTO 数据），监督微调不使用。若要学习好的回答："
                "attune convert 文件 --to messages --output good.jsonl",
                name=name,
            ),
            "wrong_kind",
        )


def refuse_media(row: dict[str, Any]) -> None:
    """Raises RowError for a row that refers to images, sound or films."""
    for name in _MEDIA:
        value = row.get(name)
        if not is_nothing(value) and value not in ("", []):
            raise RowError(
                say(
                    "column {name}: the row refers to media; a text model cannot see it.",
                    "{name} 列：该行引用了图片或音视频，纯文本模型无法使用。",
                    name=name,
                ),
                "media",
            )


def verdict_of(value: Any) -> bool | None:
    """True or false, also as 1 or 0 and as tables write it; None for anything else."""
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    return None


def _preference(row: dict[str, Any]) -> str | None:
    return first(row, _PREFERENCE)


def _verdict(row: dict[str, Any]) -> str | None:
    """A column ``label`` may hold a class or a number; only true and false are surely verdicts."""
    name = first(row, VERDICT)
    is_verdict = name == "kto_tag" or (name and isinstance(row[name], bool))
    return name if is_verdict else None
