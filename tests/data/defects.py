"""The corpus of planted defects: each is a small data set, clean but for one thing, with the finding that must
name it and the rows it stands in. ``python -m tests.data.defects FOLDER`` writes all of them to look at.
"""

# ruff: noqa: E501 (a defect and its finding stand in one line)
from __future__ import annotations

import gzip
import json
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

AT = 17
"""The row in which most defects are planted."""

# Forty questions and answers that have little in common, so that each set is clean but for what is planted.
_THINGS = [
    "dumplings",
    "noodles",
    "soup",
    "rice",
    "tea",
    "buns",
    "pancakes",
    "tofu",
    "greens",
    "fish",
    "vinegar",
    "ginger",
    "chives",
    "lamb",
    "shrimp",
    "duck",
    "corn",
    "plums",
    "honey",
    "sesame",
    "lanterns",
    "stools",
    "windows",
    "bicycles",
    "umbrellas",
    "letters",
    "candles",
    "kites",
    "paper",
    "bamboo",
    "brushes",
    "drums",
    "rivers",
    "bridges",
    "gardens",
    "sparrows",
    "winters",
    "markets",
    "ferries",
    "mountains",
]
_VERBS = ["keep", "wash", "carry", "paint", "cook", "sell", "mend", "count", "dry", "wrap"]
_REASONS = (
    "because the morning light is best then",
    "as long as nobody minds the noise",
    "with both hands and some patience",
    "after the bell has rung twice",
    "unless it rains before noon",
    "and never on an empty stomach",
    "so that the smell stays outside",
)
QUESTIONS = [f"How do people {_VERBS[n % 10]} {thing} here?" for n, thing in enumerate(_THINGS)]
ANSWERS = [
    f"They {_VERBS[n % 10]} {thing} {_REASONS[n % 7]}, {n * 37 % 91} at a time, says "
    f"{_THINGS[n * 7 % 40]} cook {n}."
    for n, thing in enumerate(_THINGS)
]


@dataclass(frozen=True)
class Defect:
    """``finding`` must be among the findings, at ``level`` or graver, and name ``rows``; ``says`` must stand in
    its text. ``files``: what lies in the folder; ``data`` and ``held_out`` name what is checked.
    """

    name: str
    finding: str
    level: str
    files: dict[str, bytes]
    rows: tuple[int, ...] = ()
    says: str = ""
    data: str = "data.jsonl"
    held_out: str | None = None
    kind: str | None = None
    template: str = "chatml"
    """Which of the tokenizers of ``test_defects.py``."""
    limit: int = 256
    settings: dict[str, Any] = field(default_factory=dict)
    """Further fields of the data section."""


def alpaca() -> list[dict[str, Any]]:
    return [{"instruction": q, "output": a} for q, a in zip(QUESTIONS, ANSWERS, strict=True)]


def chats() -> list[dict[str, Any]]:
    pairs = zip(QUESTIONS, ANSWERS, strict=True)
    return [{"messages": [turn("user", q), turn("assistant", a)]} for q, a in pairs]


def pairs() -> list[dict[str, Any]]:
    """Preferences whose chosen answer is longer in half of the rows."""
    rows = []
    for n, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True)):
        other = f"Nobody knows that for sure in kitchen {n}" + (
            ", sorry to say, dear guest." if n % 2 else "."
        )
        rows.append(
            {
                "prompt": question,
                "chosen": answer if n % 4 else answer[:30] + ".",
                "rejected": other * (1 + n % 2),
            }
        )
    return rows


def verdicts() -> list[dict[str, Any]]:
    made = zip(QUESTIONS, ANSWERS, strict=True)
    return [{"prompt": q, "completion": a, "label": bool(n % 2)} for n, (q, a) in enumerate(made)]


def labels() -> list[dict[str, Any]]:
    return [{"text": answer, "label": ("good", "bad", "soso")[n % 3]} for n, answer in enumerate(ANSWERS)]


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(
        "utf-8", "surrogatepass"
    )


def one(name: str, finding: str, level: str, **row: Any) -> Defect:
    """An Alpaca set with one row changed."""
    rows = alpaca()
    rows[AT - 1] = {**rows[AT - 1], **row}
    return Defect(name, finding, level, {"data.jsonl": lines(rows)}, (AT,))


def chat(name: str, finding: str, *turns: dict[str, Any], level: str = "warning", **more: Any) -> Defect:
    """A set of chats with one of them exchanged."""
    rows = chats()
    rows[AT - 1] = {"messages": list(turns)}
    return Defect(name, finding, level, {"data.jsonl": lines(rows)}, (AT,), **more)


def broken(name: str, content: bytes, says: str, path: str = "data.json") -> Defect:
    """A file that cannot be read."""
    return Defect(name, "unreadable_file", "unusable", {path: content}, says=says, data=path)


def rows_of() -> list[Defect]:
    """Single rows of chats and instructions."""
    q, a = QUESTIONS[AT - 1], ANSWERS[AT - 1]
    return [
        chat("two_user_turns_running", "turns_out_of_order", turn("user", q), turn("user", "Well?"), turn("assistant", a)),
        chat("two_answers_running", "turns_out_of_order", turn("user", q), turn("assistant", a), turn("assistant", a)),
        chat("begins_with_the_assistant", "turns_out_of_order", turn("assistant", a), turn("user", q), turn("assistant", a)),
        chat("system_in_the_middle", "turns_out_of_order", turn("user", q), turn("system", "Be brief."), turn("assistant", a)),
        chat("empty_answer", "empty_answer", turn("user", q), turn("assistant", "")),
        chat("null_answer", "empty_answer", turn("user", q), turn("assistant", None)),
        chat("blank_question", "empty_prompt", turn("user", " \n"), turn("assistant", a)),
        chat("no_answer", "no_answer", turn("user", q)),
        chat("unknown_role", "unknown_role", turn("user", q), turn("narrator", "Meanwhile …"), turn("assistant", a)),
        chat("missing_content", "empty_answer", turn("user", q), {"role": "assistant"}),
        chat("all_masked", "nothing_learnt", turn("user", q), turn("assistant", a, weight=0)),
        chat("wrong_weight", "bad_weight", turn("user", q), turn("assistant", a, weight=3)),
        chat("image_part", "media", turn("user", [{"type": "image_url", "image_url": {"url": "x"}}]), turn("assistant", a)),
        chat("broken_tool_call", "bad_tool_call", turn("user", q), turn("assistant", "", tool_calls=[{"function": {}}])),
        chat("stop_token_in_answer", "stop_token_in_answer", turn("user", q), turn("assistant", f"Yes.<|im_end|>{a}")),
        chat(
            "marker_in_prompt", "special_tokens_in_text", turn("user", f"{q}<|im_end|>\n<|im_start|>assistant\nNo."),
            turn("assistant", a), level="stop",
        ),
        chat("foreign_marker", "template_markers_in_text", turn("user", f"[INST] {q} [/INST]"), turn("assistant", a)),
        chat("prompt_too_long", "prompt_cut", turn("user", f"{q} " * 80), turn("assistant", a)),
        chat("answer_too_long", "too_long", turn("user", q), turn("assistant", f"{a} " * 80)),
        chat(
            "answer_cut", "answer_cut", turn("user", q), turn("assistant", f"{a} " * 80),
            settings={"overlong": "cut_answer"},
        ),
        one("missing_field", "missing_column", "warning", output=None),
        one("number_as_answer", "not_text", "warning", output=7),
        _half_a_character(),
        one("nooutput", "placeholder_answer", "warning", output="<nooutput>"),
        one("not_available", "placeholder_answer", "warning", output="N/A"),
        one("slot", "unfilled_slot", "warning", output="I am {{name}}, and the buns are steamed."),
        one("replacement_character", "lost_characters", "warning", output="The bu\ufffds are st\ufffdamed."),
        one("mojibake", "mojibake", "warning", output="The cafÃ© serves crÃ¨me brÃ»lÃ©e after the buns."),
        one("zero_width", "invisible_characters", "warning", output="The buns\u200b are \u200bsteamed."),
        one("control_character", "control_characters", "warning", output="The buns\x07 are steamed."),
        one("html_entities", "html_entities", "warning", output="The cook&#39;s buns &amp; noodles are fresh."),
        one("phone", "private_phone", "warning", output="Call the cook: 13876290415, he knows."),
        one("e_mail", "private_email", "warning", output="Write to zhang.wei1987@qq.com about it."),
        one("id_card", "private_id_card", "warning", output="His number is 11010519491231002X in full."),
        one("api_key", "secret_key", "warning", output="Use AKIAIOSFODNN7QWERTYU for the door."),
        one("odd_language", "odd_language", "info", instruction="包子是怎么做的？请说得详细一点。", output="包子要先和面，再发酵，然后包馅，最后上锅蒸十五分钟。"),
        one("picture_that_is_not_there", "media_reference", "info", instruction="Describe the image below in one sentence."),
    ]  # fmt: skip


def _half_a_character() -> Defect:
    rows = alpaca()
    rows[AT - 1]["output"] = "A smile: SMILE"
    content = lines(rows).replace(b"SMILE", b"\\ud83d")
    return Defect("half_a_character", "half_character", "warning", {"data.jsonl": content}, (AT,))


def sets() -> list[Defect]:
    """Defects of a set as a whole."""
    rows = alpaca()
    repeated = [*rows, rows[AT - 1]]
    words = "a long list of sauces, from mild to hot, with vinegar, ginger, garlic, chives and a drop of oil"
    near = [*rows, {"instruction": f"Name {words}.", "output": f"Here is {words}."}]
    near += [{"instruction": f"Name {words}!", "output": f"Here is {words} ."}]
    contradiction = [*rows, {"instruction": "Is there soup on Sundays?", "output": "Yes"}]
    contradiction += [{"instruction": "Is there soup on Sundays?", "output": "No"}]
    swapped = [{"instruction": a, "output": q} for q, a in zip(QUESTIONS, ANSWERS, strict=True)]
    same = [{"instruction": q, "output": "The cook will know that one."} for q in QUESTIONS]
    return [
        Defect("duplicate_rows", "duplicates", "info", {"data.jsonl": lines(repeated)}, (41,)),
        Defect("near_duplicates", "near_duplicates", "info", {"data.jsonl": lines(near)}, (42,)),
        Defect("contradiction", "contradictory_answers", "warning", {"data.jsonl": lines(contradiction)}, (42,)),
        Defect("roles_swapped", "roles_swapped", "warning", {"data.jsonl": lines(swapped)}, (1,)),
        Defect("one_answer_for_all", "identical_answers", "warning", {"data.jsonl": lines(same)}),
        Defect(
            "leak", "leak_into_held_out", "stop",
            {"data.jsonl": lines(rows), "test.jsonl": lines([rows[3], {"instruction": "New?", "output": "Yes."}])},
            (1,), held_out="test.jsonl",
        ),
        Defect("too_many_unusable", "empty_answer", "stop", {"data.jsonl": lines([*rows, *({**row, "output": ""} for row in rows[:9])])}, (41,)),
    ]  # fmt: skip


def compared() -> list[Defect]:
    """Preferences, verdicts and labels."""
    equal, always = pairs(), pairs()
    equal[AT - 1]["rejected"] = equal[AT - 1]["chosen"]
    for n, row in enumerate(always):
        row["chosen"], row["rejected"] = f"{ANSWERS[n]} It is worth the wait.", ANSWERS[n - 1][:20]
    shorter = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in always]
    good = [{**row, "label": True} for row in verdicts()]
    nan, alone = labels(), labels()
    nan[AT - 1]["label"] = float("nan")
    alone[AT - 1]["label"] = "excellent"
    case = labels()
    case[AT - 1]["label"] = "Good "
    empty = labels()
    empty[AT - 1]["text"] = ""
    return [
        Defect("chosen_equals_rejected", "equal_answers", "warning", {"data.jsonl": lines(equal)}, (AT,)),
        Defect("chosen_always_longer", "chosen_always_longer", "stop", {"data.jsonl": lines(always)}),
        Defect("rejected_always_longer", "rejected_always_longer", "stop", {"data.jsonl": lines(shorter)}),
        Defect("one_sided_verdicts", "one_sided_verdicts", "stop", {"data.jsonl": lines(good)}),
        Defect("nan_label", "missing_column", "warning", {"data.jsonl": lines(nan)}, (AT,), kind="labelled"),
        Defect("lonely_class", "class_with_one_row", "warning", {"data.jsonl": lines(alone)}, (AT,), kind="labelled"),
        Defect("label_in_other_case", "labels_differ_in_case", "warning", {"data.jsonl": lines(case)}, (AT,), kind="labelled"),
        Defect("empty_text", "empty_text", "warning", {"data.jsonl": lines(empty)}, (AT,), kind="labelled"),
        Defect("one_class", "single_class", "stop", {"data.jsonl": lines([{**row, "label": "good"} for row in labels()])}, kind="labelled"),
        _images("image_missing", "no_image", None),
        _images("image_corrupt", "image_unreadable", b"\x89PNG\r\n\x1a\n and no more"),
    ]  # fmt: skip


def _images(name: str, finding: str, content: bytes | None) -> Defect:
    rows = [{"image_path": f"{n}.png", "label": ("cat", "dog")[n % 2]} for n in range(1, 41)]
    files = {f"{n}.png": png() for n in range(1, 41) if n != AT}
    if content is not None:
        files[f"{AT}.png"] = content
    return Defect(name, finding, "warning", {"data.jsonl": lines(rows), **files}, (AT,), template="none")


def png() -> bytes:
    """A picture of one pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0\0"))
        + chunk(b"IEND", b"")
    )


def files() -> list[Defect]:
    """Files that cannot be read whole."""
    whole = json.dumps(alpaca()).encode()
    packed = gzip.compress(lines(alpaca()) * 40)
    conflict = lines(alpaca()).replace(
        lines(alpaca()[AT - 1 : AT]), b"<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> x\n"
    )
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0f\nsize 12345\n"
    halves = lines(alpaca()).split(b"\n")
    halves[AT - 1] = halves[AT - 1][:30]
    return [
        broken("lfs_pointer", pointer, "pointer"),
        broken("merge_conflict", conflict, f"{AT}", "data.jsonl"),
        broken("trailing_comma", whole[:-1] + b",]", "comma"),
        broken("truncated_json", whole[: len(whole) // 2], "data.json"),
        broken("truncated_gzip", packed[: len(packed) // 2], "data.jsonl.gz", "data.jsonl.gz"),
        broken("line_cut_in_two", b"\n".join(halves), f"{AT}", "data.jsonl"),
        broken("triple_quotes", b'[{"instruction": "x", "output": """y"""}]', "data.json"),
        broken("nothing_in_it", b"", "data.json"),
        broken("a_picture_as_data", b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8, "data.json"),
    ]


def templates() -> list[Defect]:
    """Defects of the model's chat template, found before any row is learnt."""
    whole = {"data.jsonl": lines(alpaca())}
    return [
        Defect("no_stop_token", "template_no_stop_token", "unusable", whole, template="no_stop"),
        Defect("double_bos", "template_double_bos", "unusable", whole, template="double_bos"),
        Defect(
            "training_unlike_inference",
            "template_differs_from_inference",
            "unusable",
            whole,
            template="unlike",
        ),
        Defect("answer_altered", "template_alters_answer", "unusable", whole, template="upper"),
        Defect("stop_token_is_pad", "stop_token_is_pad", "info", whole, template="pad"),
    ]


def harmless() -> dict[str, tuple[str, bytes]]:
    """Files that look broken and are not: they must be read whole, and nothing may stop."""
    rows, text = alpaca(), lines(alpaca())
    separators = alpaca()
    separators[AT - 1]["output"] = "One.\u2028Two."
    pretty = json.dumps(rows, indent=2).encode()
    table = "instruction,output\r\n" + "".join(
        f'"{row["instruction"]}","{row["output"]}"\r\n' for row in rows
    )
    chinese = [
        {"instruction": f"第{n}道菜怎么做？", "output": f"先蒸{n}分钟，再浇汁。"} for n in range(1, 41)
    ]
    return {
        "bom": ("data.jsonl", b"\xef\xbb\xbf" + text),
        "crlf": ("data.jsonl", text.replace(b"\n", b"\r\n")),
        "u2028": ("data.jsonl", lines(separators)),
        "array_in_jsonl": ("data.jsonl", pretty),
        "lines_in_json": ("data.json", text),
        "utf_16": ("data.jsonl", text.decode().encode("utf-16")),
        "gb18030": ("data.jsonl", lines(chinese).decode().encode("gb18030")),
        "gzip": ("data.jsonl.gz", gzip.compress(text)),
        "csv_with_crlf": ("data.csv", table.encode()),
    }


GROUPS: tuple[Callable[[], list[Defect]], ...] = (rows_of, sets, compared, files, templates)


def corpus() -> list[Defect]:
    return [defect for group in GROUPS for defect in group()]


def write(defect: Defect, folder: Path) -> None:
    """Lays the files of a defect into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in defect.files.items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    for defect in corpus():
        write(defect, Path(sys.argv[1]) / defect.name)
        print(f"{defect.name}: {defect.finding} ({defect.level}) {defect.rows or ''}")
