"""Real files: each broken or awkward one gets what it deserves, and of each good one every row is accounted
for.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from attune.data.read import rows
from attune.data.sources import Loaded, load
from attune.recipe.errors import DataError
from attune.recipe.schema import Source


def get(path: Path, kind: str | None = "conversation", **declared: Any) -> Loaded:
    found = load([Source(path=str(path), **declared)], kind)
    for report in found.files:
        assert report.num_rows == report.num_used + report.num_rejected
    return found


ROLES = {"speaker": "user", "listener": "assistant"}
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
    "57_rm_output_list.json": "holds rows of kind preference (format ranked), but this command learns",
    "61_multiline_cells.csv": "no known format fits; it has the columns: dialogue, id, summary.",
    "63_empty_cell.csv": "holds rows of kind labelled (format labelled), but this command learns from kind",
    "65_cranfield_queries.xml": "unknown kind of file",
    "67_umlauts-non-utf8.md": "line 1 (byte 5, 0xf6): neither UTF-8 nor Chinese in GB18030. Read as cp1252 "
    "it says: "
    "“## können können äöüß”",
    "69_fake-text-utf-32.txt": "plain text (format text); supervised fine-tuning needs prompts and answers",
    "71_chosen_equals_rejected.jsonl": "or learn the chosen answers: attune convert",
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
    "49_speaker_listener.json": (0, 2, 0),
    "59_mixed_answer_types.jsonl": (30, 0, 7),
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
        ("49_speaker_listener.json", 1, "with roles: {"),
    ],
)
def test_reasons(shared, name, row, reason):
    rejected = get(shared / "data/dirty" / name).rejected
    assert all(reason in bad.reason for bad in rejected)
    assert row is None or rejected[0].origin.row == row


ANY_KIND = {
    "01_bom_header.tsv": ("labelled", 39, {}),
    "03_gbk.jsonl": ("prompts", 379, {}),
    "25_u2028.jsonl": ("labelled", 2, {}),
    "33_all_empty_row.json": ("alpaca", 3, {"empty_prompt": 1}),
    "45_single_turn.json": ("sharegpt", 0, {"no_answer": 1}),
    "47_same_role_twice.jsonl": ("sharegpt", 0, {"turns_out_of_order": 1}),
    "51_pairs.jsonl": ("conversation", 3, {}),
    "53_list_of_lists.json": ("messages", 1, {"no_answer": 3}),
    "55_tools_reasoning.jsonl": ("messages", 2, {}),
    "57_rm_output_list.json": ("ranked", 3, {}),
    "59_mixed_answer_types.jsonl": ("prompt_completion", 30, {}),
    "63_empty_cell.csv": ("labelled", 4, {"empty_text": 1}),
    "71_chosen_equals_rejected.jsonl": ("transcripts", 0, {"equal_answers": 2}),
}


@pytest.mark.parametrize("name", ANY_KIND)
def test_recognised_as_what_it_is_where_no_kind_is_wanted(shared, name):
    found = get(shared / "data/dirty" / name, None)
    assert (found.files[0].format, len(found.examples), named(found)) == ANY_KIND[name]


def named(found: Loaded) -> dict[str, int]:
    return dict(Counter(bad.name for bad in found.rejected))


@pytest.mark.parametrize(
    ("name", "declared", "used"),
    [
        ("49_speaker_listener.json", {"roles": ROLES, "merge_turns": True}, (1, 1, 1)),
        ("47_same_role_twice.jsonl", {"merge_turns": True}, (1, 0, 1)),
        ("37_html_entities_translated_code.json", {"unescape": True}, (10, 0, 10)),
        ("61_multiline_cells.csv", {"columns": {"prompt": "dialogue", "completion": "summary"}}, (5, 0, 0)),
        ("05_latin1.txt", {"encoding": "latin-1", "format": "text"}, (1, 0, 0)),
    ],
)
def test_what_a_person_declares_is_the_cure(shared, name, declared, used):
    (report,) = get(shared / "data/dirty" / name, None, **declared).files
    assert (report.num_used, report.num_rejected, report.num_changed) == used


def test_a_registry_that_is_cut_off(shared):
    with pytest.raises(DataError) as error:
        load([Source(path=f"{shared}/data/dirty/27_dataset_info_truncated.json:identity")], None)
    assert "27_dataset_info_truncated.json, line 642" in str(error.value)
    assert "naming the data file itself works without it" in str(error.value)


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
    "llamafactory_demos/glaive_toolcall_en_demo.json": ("sharegpt", 300, 0),
    "llamafactory_demos/glaive_toolcall_zh_demo.json": ("sharegpt", 300, 0),
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


OTHER_KINDS = {
    "cls_en_small/sentconv/TREC.test.all": ("labelled", 500, {}),
    "cls_en_small/sentconv/custrev.all": ("labelled", 3771, {"empty_text": 4}),
    "cls_en_small/sentconv_raw/TREC.test": ("labelled", 500, {}),
    "cls_zh_sentiment/ChnSentiCorp_htl_all.csv": ("labelled", 7765, {"empty_text": 1}),
    "cls_zh_sentiment/chnsenticorp_split/dev.tsv": ("labelled", 1200, {}),
    "glue/MRPC/train.tsv": ("labelled", 3667, {}),
    "glue/RTE/train.tsv": ("labelled", 2490, {}),
    "glue/SST-2/dev.tsv": ("labelled", 872, {}),
    "img_cifar10_subset/test": ("images", 800, {}),
    "llamafactory_demos/dpo_zh_demo.json": ("sharegpt_pairs", 300, {}),
    "llamafactory_demos/kto_en_demo.json": ("kto", 300, {}),
    "llamafactory_demos/v1_dpo_demo.jsonl": ("transcripts", 10, {}),
    "lora_wikisql/valid.jsonl": ("text", 100, {}),
    "math_gsm8k/train.jsonl": ("prompt_completion", 7473, {}),
    "pref_hh_test/harmless-base/test.jsonl.gz": (
        "transcripts",
        2299,
        {"turns_out_of_order": 9, "empty_answer": 4},
    ),
    "pref_hh_test/helpful-base/test.jsonl.gz": (
        "transcripts",
        2333,
        {"turns_out_of_order": 15, "empty_answer": 4, "equal_answers": 2},
    ),
    "pref_ultrafeedback_sub/eval_clean.jsonl.gz": ("pairs", 199, {"equal_answers": 1}),
    "sft_belle/eval_set.json": ("prompts", 1000, {}),
    "sft_fastchat/vicuna_bench/question.jsonl": ("prompts", 80, {}),
    "sft_firefly_dummy/dummy_dpo.jsonl": ("pairs", 16, {}),
    "sft_framework_fixtures/chat/data_sample.jsonl": ("turn_columns", 3, {}),
    "sft_framework_fixtures/torchtune/hh_rlhf_tiny.json": ("transcripts", 1, {}),
    "sft_framework_fixtures/torchtune/stack_exchange_paired_tiny.json": ("pairs", 25, {}),
    "sft_openai_messages/xtuner/gsm8k_val_example_data.jsonl": ("prompts", 100, {}),
    "sft_rasbt_1100/instruction-data-with-preference.json": ("pairs", 1094, {"equal_answers": 6}),
}


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_sets_of_every_kind_are_recognised(shared, name):
    found = get(shared / "data" / name, None)
    assert (found.files[0].format, len(found.examples), named(found)) == OTHER_KINDS[name]


def test_a_set_in_latin_1(shared):
    path = shared / "data/cls_en_small/sentconv/rt-polarity.all"
    found = get(path, None, encoding="latin-1")
    assert (found.files[0].format, len(found.examples)) == ("labelled", 10_662)
    assert Counter(example.label for example in found.examples) == {"0": 5331, "1": 5331}  # type: ignore[union-attr]


def test_rows_of_an_unquoted_tsv_are_its_lines(shared):
    """Read with quoting, this file would lose rows in silence: the number of lines is what counts."""
    path = shared / "data/glue/SST-2/train.tsv"
    with open(path, encoding="utf-8") as file:
        num_lines = sum(1 for _ in file)
    assert get(path, None).files[0].num_rows == num_lines - 1 == 67_349


TEXTS = {
    "llamafactory_demos/c4_demo.jsonl": 300,
    "llamafactory_demos/wiki_demo.txt": 1,
    "sft_firefly_dummy/dummy_pretrain.jsonl": 45,
    "lora_wikisql/train.jsonl.gz": 1_000,
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_for_pretraining(shared, name):
    assert len(get(shared / "data" / name, "text").examples) == TEXTS[name]
