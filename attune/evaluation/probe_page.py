"""A probe as one page: its scores beside the baseline, the sweep, and what is taken for what."""

from __future__ import annotations

from pathlib import Path

from ..data.durable import write_text
from ..recipe.messages import language, say
from . import figures
from .page import escape, page, section, table
from .probe import Probe


def write(found: Probe, path: Path) -> None:
    """Writes the page; the file appears whole or not at all."""
    lead = say(
        "{model} on {data}: {train:,} rows to fit, {held:,} to judge by. Best: layer {layer}, {pooling}.",
        "{model}，数据 {data}：{train:,} 行用于拟合，{held:,} 行用于评判。最佳：第 {layer} 层，{pooling}。",
        model=found.model,
        data=found.data,
        train=found.num_train,
        held=found.num_held_out,
        layer=found.best.layer,
        pooling=found.best.pooling,
    )
    title = say("Linear probe", "线性探针")
    note = say(
        "In brackets: 95% bootstrap intervals over the held-out rows. The setting is chosen by "
        "cross-validation on the "
        "rows that are fitted, never by these.",
        "方括号内为留出行上按行自助法得到的 95% 区间。设置按拟合数据上的交叉验证选择，从不使用这些行。",
    )
    body = (
        f'<header><p class="eyebrow">attune</p><h1>{escape(title)}</h1>'
        f'<p class="lead">{escape(lead)}</p></header>'
        + section(say("Scores", "评分"), table(*found.table()), f'<p class="note">{escape(note)}</p>')
        + section(say("Layers and poolings", "层与汇聚方式"), table(*found.sweep()))
        + section(say("Pictures", "图"), figures.of(found.figures))
    )
    write_text(path, page(title, "zh" if language() == "zh" else "en", body))
