"""Clean real data must not be stopped: a check that cries wolf is turned off."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from attune.data.check import check
from attune.data.encode import Encoder, Policy
from attune.data.template import ChatTemplate
from attune.recipe.schema import Data

CLEAN = {
    "sft_ruozhiba/ruozhiba_qa2449_gpt4o.json": ("conversation", 2449),
    "sft_rasbt_1100/instruction-data.json": ("conversation", 1100),
    "sft_belle/dev1K.json": ("conversation", 1000),
    "llamafactory_demos/alpaca_zh_demo.json": ("conversation", 1000),
    "sft_openai_messages/mlx_wwdc25_all.jsonl": ("conversation", 1944),
    "sft_llm_adapters/piqa": ("conversation", 1838),
    "sft_rasbt_1100/instruction-data-with-preference.json": ("preference", 1094),
    "lora_wikisql/valid.jsonl": ("text", 100),
}
"""Kind and usable rows."""


@pytest.mark.parametrize("name", CLEAN)
def test_nothing_stops(name: str, shared: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared / "data/tok_files/minimind")

    def encoder(kind: str) -> Encoder:
        return Encoder(tokenizer, None if kind == "text" else ChatTemplate.load(tokenizer), Policy(2048))

    report = check(Data(train=str(shared / "data" / name), workers=1), None, encoder)
    assert [one.name for one in report.findings if one.level in ("stop", "unusable")] == []
    assert report.exit_code == 0
    assert (report.kind, report.num_examples) == CLEAN[name]
