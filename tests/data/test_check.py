"""The check: rows stream through it, findings are sorted, and training does not begin with what stops it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from attune.data import check as checks
from attune.data import parallel
from attune.data.check import Report, check
from attune.data.encode import Encoder, Policy
from attune.data.findings._finding import Context, Finding, Quote, Seen, Table, Tally
from attune.data.template import ChatTemplate
from attune.recipe import plugs
from attune.recipe.errors import RecipeError
from attune.recipe.schema import Data
from tests.data.tiny import tokenizer

GOOD = [{"instruction": f"How many are {n} and {n}?", "output": f"They are {2 * n}."} for n in range(30)]


def data(path: Path, rows: Sequence[Any], **more: Any) -> Data:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return Data(train=str(path), **more)


def encoder(kind: str, limit: int = 64) -> Encoder:
    made = tokenizer()
    template = ChatTemplate.load(made) if kind != "text" else None
    return Encoder(made, template, Policy(limit))


def names(report: Report, *levels: str) -> list[str]:
    return [one.name for one in report.findings if one.level in (levels or ("unusable", "stop", "warning"))]


def test_clean_data_is_clean(tmp_path: Path) -> None:
    report = check(data(tmp_path / "a.jsonl", GOOD), None, encoder)
    assert names(report) == []
    assert report.exit_code == 0
    assert (report.kind, report.num_rows, report.num_examples) == ("conversation", 30, 30)
    assert any(isinstance(fact, Quote) and "How many are 0 and 0?" in fact.text for fact in report.facts)


def test_rejected_rows_are_findings_by_the_rule_they_break(tmp_path: Path) -> None:
    rows = [*GOOD, {"instruction": "x", "output": ""}, {"instruction": "y", "output": " "}]
    report = check(data(tmp_path / "a.jsonl", rows, max_rejected_share=0.5), None)
    (finding,) = [one for one in report.findings if one.name == "empty_answer"]
    assert (finding.level, finding.num, finding.total) == ("warning", 2, 32)
    assert [row.origin.row for row in finding.rows] == [31, 32]
    assert finding.cure
    assert report.exit_code == 0
    assert check(data(tmp_path / "a.jsonl", rows), None).exit_code == 1, "more than 2% must stop"


def test_what_cannot_be_encoded_is_rejected_too(tmp_path: Path) -> None:
    rows = [*GOOD, {"instruction": "Tell me.", "output": "no stop <|im_end|> here"}]
    report = check(data(tmp_path / "a.jsonl", rows, max_rejected_share=0.5), None, encoder)
    (finding,) = [one for one in report.findings if one.name == "stop_token_in_answer"]
    assert finding.rows[0].origin.row == 31
    assert report.num_examples == 30


def test_a_finding_says_what_its_rule_is_and_each_row_its_own_reason(tmp_path: Path) -> None:
    turn = [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}]
    answer = {"role": "assistant", "content": "z"}
    rows = [
        {"messages": [*turn, answer]},
        {"messages": [turn[0], answer, answer]},
        {"messages": [turn[0], answer]},
    ]
    report = check(data(tmp_path / "a.jsonl", rows), None)
    (finding,) = [one for one in report.findings if one.name == "turns_out_of_order"]
    assert finding.text == "2 of 3 rows cannot be used: user and assistant do not take turns"
    assert [row.excerpt[:18] for row in finding.rows] == ["turns 1 and 2 are ", "turns 2 and 3 are "]


def test_accepted_rows_do_not_make_others_too_many(tmp_path: Path) -> None:
    bad = [{"instruction": "x", "output": ""}] * 3 + [{"instruction": "", "output": "y"}]
    asked = data(tmp_path / "a.jsonl", [*GOOD * 4, *bad], accept=["empty_answer"])
    assert check(asked, None).exit_code == 0, "1 of 124 is below 2%, as it is to the training run"
    assert check(asked.model_copy(update={"accept": []}), None).exit_code == 1


@pytest.mark.parametrize(("overlong", "code"), [("cut_answer", 1), ("drop", 0), ("stop", 1)])
def test_rows_that_do_not_fit_stop_as_was_asked(tmp_path: Path, overlong: str, code: int) -> None:
    rows = [*GOOD, {"instruction": "word " * 60, "output": "Yes. " * 60}]
    asked = data(tmp_path / "a.jsonl", rows, overlong=overlong)
    assert check(asked, None, lambda kind: _with(encoder(kind), overlong)).exit_code == code
    few = data(tmp_path / "a.jsonl", rows, overlong="stop", max_rejected_share=0.5)
    assert check(few, None, lambda kind: _with(encoder(kind), "stop")).exit_code == 1, "one is enough"


def _with(made: Encoder, overlong: Any) -> Encoder:
    return replace(made, policy=replace(made.policy, overlong=overlong))


def test_changed_rows_are_told(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    rows = [{"messages": turns}, {"messages": [*turns, {"role": "user", "content": "z"}]}]
    report = check(data(tmp_path / "a.jsonl", rows), None)
    (finding,) = [one for one in report.findings if one.name == "changed_rows"]
    assert (finding.level, finding.num, finding.total, finding.rows[0].origin.row) == ("info", 1, 2, 2)
    assert "cut after the last answer" in finding.rows[0].excerpt


def test_a_broken_file_is_a_finding_and_the_others_are_still_read(tmp_path: Path) -> None:
    good = data(tmp_path / "a.jsonl", GOOD)
    (tmp_path / "b.json").write_text('[{"instruction": "x", "output": "y"},]')
    both = good.model_copy(update={"train": [*good.train, *Data(train=str(tmp_path / "b.json")).train]})
    report = check(both, None)
    assert report.num_examples >= 30
    (finding,) = [one for one in report.findings if one.level == "unusable"]
    assert finding.name == "unreadable_file"
    assert "b.json" in finding.text
    assert not finding.cure, "the sentence says what to do"
    assert report.exit_code == 2


def test_no_rows_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("[]")
    report = check(Data(train=str(tmp_path / "empty.json")), None)
    assert report.exit_code == 2
    assert "holds no rows" in report.findings[0].text


def test_a_template_that_is_not_exact_is_unusable(tmp_path: Path) -> None:
    def no_stop(kind: str) -> Encoder:
        made = tokenizer(template="{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
        return Encoder(made, ChatTemplate.load(made), Policy(64))

    report = check(data(tmp_path / "a.jsonl", GOOD), None, no_stop)
    assert names(report, "unusable") == ["template_no_stop_token"]
    assert report.exit_code == 2


def test_what_stops_can_be_accepted_by_name(tmp_path: Path) -> None:
    long = [{"instruction": "word " * 60 + str(n), "output": "Yes."} for n in range(30)]
    report = check(data(tmp_path / "a.jsonl", long), None, encoder)
    assert "prompt_cut" in names(report, "stop")
    assert report.exit_code == 1
    stops = names(report, "stop")
    accepted = check(data(tmp_path / "a.jsonl", long, accept=stops), None, encoder)
    assert names(accepted, "stop") == stops, "what is accepted is still told"
    assert accepted.exit_code == 0
    with pytest.raises(RecipeError, match=r"data\.accept=prompt_cuts.*Did you mean 'prompt_cut'"):
        check(data(tmp_path / "a.jsonl", long, accept=["prompt_cuts"]), None)


def test_held_out_files_are_looked_at_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []

    class Spy:
        def __init__(self, context: Context) -> None:
            pass

        def see(self, one: Seen) -> None:
            seen.append((Path(one.origin.path).name, one.is_held_out))

        def findings(self) -> Iterable[Finding]:
            return ()

        facts = findings

    spy = SimpleNamespace(Detector=Spy, KINDS=("conversation",), NAMES={})
    monkeypatch.setattr(plugs, "names", lambda room: ["spy"])
    monkeypatch.setattr(plugs, "find", lambda room, name: spy)
    monkeypatch.setattr(checks, "must_be_known", lambda accepted: None)
    monkeypatch.setattr("attune.data.sources.formats", _own_formats)
    data(tmp_path / "held.jsonl", GOOD[:2])
    check(data(tmp_path / "a.jsonl", GOOD[:3], held_out=str(tmp_path / "held.jsonl")), "conversation")
    assert seen == [("a.jsonl", False)] * 3 + [("held.jsonl", True)] * 2


def _own_formats() -> list[Any]:
    from attune.data.formats import alpaca
    from attune.data.recognise import Format

    return [Format("alpaca", alpaca)]


def test_several_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*GOOD, {"instruction": "x", "output": ""}, *GOOD, {"instruction": "y", "output": "a<|im_end|>b"}]
    rows += [{"instruction": "word " * 60, "output": "Yes."}]
    asked = data(tmp_path / "a.jsonl", rows, max_rejected_share=0.5, workers=2)
    alone = check(asked, None, encoder)
    monkeypatch.setattr(checks, "PARALLEL_FROM", 10)
    monkeypatch.setattr(checks, "CHUNK", 7)
    assert check(asked, None, encoder) == alone


def test_work_is_not_given_out_far_ahead_of_its_results() -> None:
    given: list[int] = []

    def items() -> Iterable[int]:
        for number in range(100):
            given.append(number)
            yield number

    results = parallel.run(_double, items(), 2)
    assert next(results) == 0
    assert len(given) < 20
    assert list(results) == [2 * number for number in range(1, 100)]


def _double(number: int) -> int:
    return 2 * number


def test_a_report_as_json_holds_every_number(tmp_path: Path) -> None:
    rows = [*GOOD, {"instruction": "x", "output": ""}]
    report = check(data(tmp_path / "a.jsonl", rows, max_rejected_share=0.5), None, encoder)
    told = json.loads(json.dumps(report.as_dict(), default=str))
    assert told["exit_code"] == 0
    assert told["files"][0]["num_rows"] == 31
    (finding,) = [one for one in told["findings"] if one["name"] == "empty_answer"]
    assert finding["share"] == pytest.approx(1 / 31)
    assert finding["rows"][0]["origin"]["row"] == 31
    assert {fact["form"] for fact in told["facts"]} >= {"table", "histogram", "quote"}


def test_every_finding_has_a_sentence_in_both_languages() -> None:
    for room in (plugs.find("findings", name) for name in plugs.names("findings")):
        assert room.__doc__
        for name, text in room.NAMES.items():
            english, bar, chinese = text.partition(" | ")
            assert english, name
            assert bar, name
            assert chinese, name


def test_a_tally_keeps_the_first_rows_and_counts_all() -> None:
    from attune.data.examples import Origin

    tally = Tally()
    for row in range(1, 10):
        tally.add(Origin("a", row), "x")
    finding = tally.finding("name", "info", "text", "cure", 20)
    assert (finding.num, finding.share, len(finding.rows)) == (9, 0.45, 5)


def test_lengths_are_counted_by_hand(tmp_path: Path) -> None:
    report = check(data(tmp_path / "a.jsonl", GOOD[:1]), None, encoder)
    made = encoder("conversation")
    assert made.template is not None
    from attune.data.examples import Message

    given = len(made.template.prompt_ids([Message("user", "How many are 0 and 0?")]))
    learnt = len(made.tokenizer("They are 0.")["input_ids"]) + 1
    tables = [fact for fact in report.facts if isinstance(fact, Table)]
    rows = {row[0]: row[1:] for fact in tables for row in fact.rows if len(row) == 5}
    assert rows["given"] == (given, given, given, given)
    assert rows["learnt"] == (learnt, learnt, learnt, learnt)
