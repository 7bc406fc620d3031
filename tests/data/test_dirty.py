"""Real files: each broken or awkward one gets what it deserves, and of each good one every row is accounted
for.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from attune.data.read import rows
from attune.data.sources import Loaded, load
from attune.recipe.errors import DataError
from attune.recipe.schema import Source


def get(path: Path, kind: str = "conversation") -> Loaded:
    found = load([Source(path=str(path))], kind)
    for report in found.files:
        assert report.num_rows == report.num_used + report.num_rejected
    return found


REFUSED = {
    "05_latin1.txt": "line 6 (byte 646, 0xf3): neither UTF-8 nor Chinese in GB18030. Read as cp1252 it "
    "says: “e "
    "retadora , el ladrón de orquídeas",
    "07_lfs_pointer.json": "this is a Git LFS pointer, the data itself was not downloaded",
    "09_truncated.gz": "the gzip file is cut off: its end mark is missing",
    "11_merge_conflict.json": "line 1: a merge-conflict marker (<<<<<<<)",
    "13_trailing_comma_array.json": "line 112, column 1 (row 23): not valid JSON: Illegal trailing comma "
    "before end",
    "15_triple_quotes.json": "line 1, column 11: not valid JSON",
    "19_broken_lines.jsonl": "number of lines: 5\n  line 9, column 202: Invalid control character",
    "21_pretty_dict.jsonl": "no known format fits; it has the columns: 亲子",
    "27_dataset_info_truncated.json": "line 642, column 1: not valid JSON: Expecting ',' delimiter",
    "49_speaker_listener.json": "no known format fits; it has the columns: dialog, emotion_type",
    "61_multiline_cells.csv": "no known format fits; it has the columns: dialogue, id, summary.",
    "63_empty_cell.csv": "no known format fits; it has the columns: cat, label, review.",
    "65_cranfield_queries.xml": "unknown kind of file",
    "67_umlauts-non-utf8.md": "line 1 (byte 5, 0xf6): neither UTF-8 nor Chinese in GB18030. Read as cp1252 "
    "it says: "
    "“## können können äöüß”",
    "69_fake-text-utf-32.txt": "plain text (format text); supervised fine-tuning needs prompts and answers",
    "71_chosen_equals_rejected.jsonl": "The columns chosen and rejected are preference data",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_cure(shared, name):
    with pytest.raises(DataError) as error:
        get(shared / "data/dirty" / name)
    assert REFUSED[name] in str(error.value)


READ = {
    "01_bom_header.tsv": ("tsv", "utf-8-sig", 39),
    "03_gbk.jsonl": ("jsonl", "gb18030", 379),
    "17_comments.jsonl": ("jsonl", "utf-8", 54),
    "21_pretty_dict.jsonl": ("json", "utf-8", 1),
    "23_jsonlines.json": ("jsonl", "utf-8", 15),
    "25_u2028.jsonl": ("jsonl", "utf-8", 2),
    "61_multiline_cells.csv": ("csv", "utf-8", 5),
    "63_empty_cell.csv": ("csv", "utf-8", 5),
    "69_fake-text-utf-32.txt": ("txt", "utf-32", 4),
}


@pytest.mark.parametrize("name", READ)
def test_read_for_what_it_is(shared, name):
    stream = rows(str(shared / "data/dirty" / name))
    found = [value for _, value in stream]
    assert (stream.container, stream.encoding, stream.num_rows) == READ[name]
    assert found
    if name == "01_bom_header.tsv":
        assert all(row["Quality"] in ("0", "1") for row in found)
    if name == "17_comments.jsonl":
        assert "comment lines, which are no rows, were passed over: 15" in stream.notes[0]
    if name == "61_multiline_cells.csv":
        assert found[0]["dialogue"].count("\n") > 5


USED = {
    "29_placeholder_output.json": (49, 0, 0),
    "31_media_reference.json": (25, 0, 0),
    "33_all_empty_row.json": (3, 1, 0),
    "35_same_prompt_many_answers.json": (16, 0, 0),
    "37_html_entities_translated_code.json": (10, 0, 0),
    "39_mixed_language.json": (12, 0, 0),
    "43_ends_with_human.json": (4, 0, 4),
    "45_single_turn.json": (0, 1, 0),
    "47_same_role_twice.jsonl": (0, 1, 0),
    "51_pairs.jsonl": (3, 0, 0),
    "53_list_of_lists.json": (1, 3, 1),
    "55_tools_reasoning.jsonl": (2, 0, 0),
    "57_rm_output_list.json": (0, 3, 0),
    "59_mixed_answer_types.jsonl": (23, 7, 0),
}


@pytest.mark.parametrize("name", USED)
def test_used_rejected_changed(shared, name):
    (report,) = get(shared / "data/dirty" / name).files
    assert (report.num_used, report.num_rejected, report.num_changed) == USED[name]


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("33_all_empty_row.json", None, "instruction and input are empty."),
        ("45_single_turn.json", 1, "no assistant turn: nothing to learn."),
        ("47_same_role_twice.jsonl", 1, "turns 11 and 12 are both from user"),
        ("57_rm_output_list.json", 1, "output is a list: several answers to one prompt are preference data"),
        ("59_mixed_answer_types.jsonl", None, "answer is a list; it must be text."),
    ],
)
def test_reasons(shared, name, row, reason):
    rejected = get(shared / "data/dirty" / name).rejected
    assert all(reason in bad.reason for bad in rejected)
    assert row is None or rejected[0].origin.row == row


def test_tools_and_reasoning_are_kept(shared):
    found = get(shared / "data/dirty/55_tools_reasoning.jsonl")
    extra = [message.extra for example in found.examples for message in example.messages]  # type: ignore[union-attr]
    assert all(example.tools for example in found.examples)  # type: ignore[union-attr]
    assert any("reasoning_content" in item for item in extra)


REAL = {
    "sft_alpaca_en/alpaca_data.json": ("alpaca", 51_974, 28),
    "sft_alpaca_zh_hikariming/extra/代码问题.json": ("alpaca", None, None),
    "sft_alpaca_zh_hikariming/identity.json": ("alpaca", 91, 0),
    "sft_belle/dev1K.json": ("alpaca", None, None),
    "sft_chatlm_mini_zh/my_valid_dataset_1k.parquet": ("prompt_completion", None, None),
    "sft_fastchat/dummy_conversation.json": ("sharegpt", 500, 0),
    "sft_firefly_dummy/dummy_data.jsonl": ("conversation", 33, 0),
    "sft_framework_fixtures/axolotl/conversation.json": ("sharegpt", 1, 0),
    "sft_framework_fixtures/axolotl/conversation.missingturns.json": ("sharegpt", 0, 1),
    "sft_framework_fixtures/litgpt/dolly.json": ("alpaca", 12, 0),
    "sft_framework_fixtures/litgpt/longform_train.json": ("prompt_completion", 17, 0),
    "sft_framework_fixtures/torchtune/alpaca_tiny.json": ("alpaca", 100, 0),
    "sft_llm_adapters/boolq/train.json.gz": ("alpaca", 9_427, 0),
    "sft_llm_adapters/gsm8k/test.json.gz": ("alpaca", 1_313, 6),
    "sft_openai_messages/openai_sft.jsonl": ("messages", 128, 0),
    "sft_openai_messages/mlx_wwdc25_all.jsonl": ("prompt_completion", 1_944, 0),
    "sft_openai_messages/xtuner/qwen35_tokenize_data.jsonl": ("messages", 12, 5),
    "sft_rasbt_1100/instruction-data.json": ("alpaca", 1_100, 0),
    "sft_ruozhiba/ruozhiba_qa2449_gpt4o.json": ("alpaca", 2_449, 0),
    "llamafactory_demos/alpaca_en_demo.json": ("alpaca", 999, 0),
    "llamafactory_demos/alpaca_zh_demo.json": ("alpaca", 1_000, 0),
    "llamafactory_demos/dpo_en_demo.json": ("sharegpt", 0, 300),
    "llamafactory_demos/glaive_toolcall_en_demo.json": ("sharegpt", 300, 0),
    "llamafactory_demos/glaive_toolcall_zh_demo.json": ("sharegpt", 300, 0),
    "llamafactory_demos/kto_en_demo.json": ("messages", 0, 300),
    "llamafactory_demos/mllm_demo.json": ("messages", 0, 6),
    "llamafactory_demos/reason_tool_use_demo_50.jsonl": ("messages", 50, 0),
    "llamafactory_demos/v1_sft_demo.jsonl": ("messages", 500, 0),
}


@pytest.mark.parametrize("name", REAL)
def test_of_each_real_set_every_row_is_accounted_for(shared, name):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    form, used, rejected = REAL[name]
    (report,) = get(shared / "data" / name).files
    assert report.format == form
    assert used is None or (report.num_used, report.num_rejected) == (used, rejected)
    assert report.num_used + report.num_rejected == report.num_rows > 0


TEXTS = {
    "llamafactory_demos/c4_demo.jsonl": 300,
    "llamafactory_demos/wiki_demo.txt": 1,
    "sft_firefly_dummy/dummy_pretrain.jsonl": 45,
    "lora_wikisql/train.jsonl.gz": 1_000,
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_for_pretraining(shared, name):
    assert len(get(shared / "data" / name, "text").examples) == TEXTS[name]
