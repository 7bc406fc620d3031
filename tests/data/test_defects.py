"""Every planted defect is found, under its name and in its row; what only looks broken is read whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attune.data.check import Report, check
from attune.data.encode import Encoder, Policy
from attune.data.template import ChatTemplate
from attune.recipe.schema import Data
from tests.data.defects import Defect, corpus, harmless, write
from tests.data.tiny import CHATML, tokenizer

ORDER = ("info", "warning", "stop", "unusable")
DEFECTS = corpus()
TEMPLATES = {
    "chatml": CHATML,
    "pad": CHATML,
    "no_stop": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}",
    "double_bos": "{{ bos_token }}{{ bos_token }}" + CHATML,
    "unlike": "{{ messages | length }}" + CHATML,
    "upper": CHATML.replace("{{ m.content }}", "{{ m.content | upper }}"),
}


def encoder_of(template: str, limit: int) -> Any:
    """What makes the encoder once the kind is known; None where the check is to go without a model."""
    if template == "none":
        return None

    def make(kind: str) -> Encoder:
        made = tokenizer(template=TEMPLATES[template], bos=template == "double_bos")
        if template == "pad":
            made.pad_token = "<|im_end|>"
        has_turns = kind not in ("text", "labelled")
        return Encoder(made, ChatTemplate.load(made) if has_turns else None, Policy(limit))

    return make


def look(defect: Defect, folder: Path) -> Report:
    write(defect, folder)
    held_out = {"held_out": str(folder / defect.held_out)} if defect.held_out else {}
    data = Data(train=str(folder / defect.data), **held_out, **defect.settings)
    make = encoder_of(defect.template, defect.limit)
    if make is not None and "overlong" in defect.settings:
        inner = make

        def make(kind: str) -> Encoder:
            found: Encoder = inner(kind)
            return Encoder(found.tokenizer, found.template, Policy(defect.limit, data.overlong))

    return check(data, defect.kind, make)


def test_there_are_at_least_forty() -> None:
    assert len(DEFECTS) >= 40
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_it_is_found(defect: Defect, tmp_path: Path) -> None:
    report = look(defect, tmp_path)
    told = {one.name: one for one in report.findings}
    assert defect.finding in told, f"found instead: {sorted(told)}"
    finding = told[defect.finding]
    assert ORDER.index(finding.level) >= ORDER.index(defect.level)
    assert finding.cure or finding.name == "unreadable_file", "its text says what to do"
    assert defect.says in finding.text
    assert set(defect.rows) <= {row.origin.row for row in finding.rows}
    assert report.exit_code == {"info": 0, "warning": 0, "stop": 1, "unusable": 2}[_gravest(report)]


def _gravest(report: Report) -> str:
    return max((one.level for one in report.findings), key=ORDER.index)


@pytest.mark.parametrize("kind", ["chats", "pairs", "verdicts", "labels", "alpaca"])
def test_the_sets_without_a_defect_are_clean(kind: str, tmp_path: Path) -> None:
    from tests.data import defects

    rows = getattr(defects, kind)()
    clean = Defect(
        kind, "", "", {"data.jsonl": defects.lines(rows)}, kind="labelled" if kind == "labels" else None
    )
    report = look(clean, tmp_path)
    assert [one for one in report.findings if one.level != "info"] == []
    assert report.num_examples == 40


@pytest.mark.parametrize("name", sorted(harmless()))
def test_what_only_looks_broken_is_read_whole(name: str, tmp_path: Path) -> None:
    path, content = harmless()[name]
    report = look(Defect(name, "", "", {path: content}, data=path), tmp_path)
    assert report.num_examples == 40
    assert [one.name for one in report.findings if one.level in ("stop", "unusable")] == []
