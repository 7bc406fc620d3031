"""Prompts that speak of a picture or a recording that a text cannot hold."""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

import re
from collections.abc import Iterator

from ..examples import Example, inputs_of
from ._finding import excerpt
from ._symptom import Hit, RowDetector, Symptom, meanings

KINDS = ("conversation", "preference", "verdict", "prompt")
_SYMPTOMS = {
    "media_reference": Symptom(
        "the prompt refers to a picture or a recording that is not there; the answer is made up. | "
        "提示提到了并不存在的图片或音视频，回答只能是编造的。",
        "Take these rows out: a text model learns from them to invent what it cannot see. | "
        "请删除这些行：文本模型会由此学会编造看不到的内容。",
        warning_from=0.002,
        stop_from=0.5,
    ),
}
NAMES = meanings(_SYMPTOMS)

_SEEN = r"(?:image|photo(?:graph)?|picture|painting|screenshot|drawing|illustration|video|audio)s?"
_ANY = rf"(?:{_SEEN[:-2]}|diagram|chart|graph|figure|logo|map|flag|table|file|document)s?"
_MEDIA = re.compile(
    rf"[\[<](?:(?:an?|the|insert(?: an?)?|attached|see) )*(?:\w+ )?{_SEEN}\b[^\]>=\n]{{0,80}}[\]>]"
    rf"|[\[<](?:(?:an?|the|attached) )*{_ANY} (?:attached|provided|of)\b[^\]>=\n]{{0,80}}[\]>]|[\[<]attached {_ANY}[\]>]"
    rf"|\((?:(?:an?|the|see|attached) )*{_SEEN} (?:of|attached|provided|below|above)\b[^)\n]{{0,80}}\)|\({_ANY} image\)"
    rf"|\b(?:attached|uploaded|enclosed|accompanying) (?:\w+ )?{_ANY}\b"
    rf"|\b(?:given|provided|following|above) (?:\w+ )?{_SEEN}\b(?! (?:title|name|caption|description|editing|game|script|idea|prompt|software|file)s?\b)"
    rf"|\b{_SEEN} (?:below|above|attached|provided|shown|given)\b|\b{_SEEN} (?:that )?i (?:gave|sent|uploaded|attached)\b"
    r"|\b(?:in|from|of|describe|analy[sz]e|caption|for) (?:this|these) (?:image|photo|picture|painting|screenshot|photograph)s?\b"
    r"|!\[[^\]\n]*\]|<\|?(?:image|video|audio)(?:_pad)?\|?>"
    r"|如[下上右左]?图[所中，,：:]|[见看][下上]?图|[下上]图[所中是为的，,]|[图照]片[中里上](?:的|有|是|所)"
    r"|[这该此][张幅](?:图|照片|画)|[这该此]段(?:视频|音频)|[\[【（(<](?:图片|图像|图|视频|音频)[^\]】）)>]{0,8}[\]】）)>]"
    r"|(?:以下|下列|下面的?|给定的?|附上的?|上传的?)(?:图像|图片|照片|视频|音频)",
    re.IGNORECASE,
)
_HINTS = (
    *(
        "image",
        "photo",
        "picture",
        "painting",
        "screenshot",
        "drawing",
        "illustration",
        "video",
        "audio",
        "flag",
    ),
    *("attached", "uploaded", "enclosed", "accompanying", "![", "图", "照片", "视频", "音频", "画"),
)


class Detector(RowDetector):
    SYMPTOMS = _SYMPTOMS

    def hits(self, example: Example) -> Iterator[Hit]:
        for text in inputs_of(example):
            lower = text.lower()
            if any(hint in lower for hint in _HINTS) and (found := _MEDIA.search(text)):
                yield "media_reference", excerpt(text, *found.span())
