"""The report is one whole, harmless file: parsed as HTML, its pictures as XML, whatever the data holds."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from attune.evaluation import report
from attune.evaluation.evaluate import evaluate
from attune.recipe.errors import RunError
from attune.recipe.schema import Generation
from tests.evaluation.tiny_run import RECORD, ROWS, write_lines

VOID = {"meta", "br", "hr", "img", "link", "input"}
EVIL = (
    '</td></table><script src="https://evil.example/x.js">alert(1)</script>'
    "<img src=x onerror=alert(1)> \"' & \x00 \ud800"
)
STEPS: list[dict[str, Any]] = [
    {
        "event": "step_end",
        "step": s,
        "loss": 3.0 / s,
        "learning_rate": 1e-4 / s,
        "tokens_per_second": 900.0 + s,
    }
    for s in range(1, 41)
]
EVALS: list[dict[str, Any]] = [
    {"event": "eval_end", "step": s, "loss": 3.2 / s, "perplexity": math.exp(3.2 / s)} for s in (20, 40)
]


class Page(HTMLParser):
    """Checks that every element is closed where it was opened, and gathers what a browser would act on."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.headings: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)
        self.text.append(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "tuned"
    run.mkdir()
    (run / "run.json").write_text(
        json.dumps({**RECORD, "model": "some/model", "warnings": ["Mind the gap."]})
    )
    write_lines(run / "metrics.jsonl", [*STEPS, *EVALS])
    (run / "recipe.yaml").write_text("objective: sft\nmodel: some/model\n")
    write_lines(
        run / "rejected.jsonl", [{"path": "a.json", "row": 3, "reason": "output is empty", "value": "{}"}]
    )
    return run


def read(path: Path) -> tuple[str, Page]:
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def assert_harmless(text: str, page: Page) -> None:
    assert {"script", "img", "iframe", "object", "embed", "link", "form", "base"}.isdisjoint(page.tags)
    assert not any(name.startswith("on") or name in ("src", "href", "action") for name, _ in page.attributes)
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_a_whole_report(folder: Path) -> None:
    samples = [{"prompt": "几点开门？", "before": "的的", "after": "十点。", "reference": "十点。"}]
    path = report.write(folder, [], samples, {"merged model": "equals the adapter to 2e-7"})
    assert path == folder / "report.html"
    text, page = read(path)
    assert_harmless(text, page)
    assert page.headings == [
        "tuned",
        "Answers before and after",
        "How it went",
        "What was trained",
        "Data",
        "To reproduce",
    ]
    words = " ".join(page.text)
    for expected in (
        "几点开门？",
        "✓ exact",
        "Mind the gap.",
        "1,024 / 65,536 (1.56%)",
        "0.812",
        "perplexity 2.25",
        "1,098",
        "1.84 GiB",
        "3 min 22 s",
        "ab12cd34ef56",
        "output is empty",
        f"attune train {folder}/recipe.yaml output={folder}-again",
        "model: some/model",
        "2.13.0",
        "42",
        "equals the adapter to 2e-7",
        "finished 2026-11-21 14:03",
    ):
        assert expected in words, expected
    assert "://" not in text


def test_pictures_are_well_formed(folder: Path) -> None:
    text, _ = read(report.write(folder))
    pictures = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(pictures) == 3
    loss, _, _ = map(ElementTree.fromstring, pictures)
    assert [line.get("class") for line in loss.iter("polyline")] == ["line faint", "line run", "line base"]
    assert [title.text for title in loss.iter("title")] == ["held-out: 20 → 0.16", "held-out: 40 → 0.08"]


def test_whatever_the_data_holds_is_text(folder: Path) -> None:
    evil = {**RECORD, "name": EVIL, "model": EVIL, "adapter": EVIL, "platform": EVIL, "warnings": [EVIL]}
    evil["data"] = [{"path": EVIL, "format": EVIL, "num_rows": 1, "sha256": EVIL}]
    evil["versions"] = {EVIL: EVIL}
    (folder / "run.json").write_text(json.dumps(evil))
    (folder / "recipe.yaml").write_text(EVIL.replace("\ud800", ""))
    write_lines(
        folder / "rejected.jsonl",
        [{"path": "a", "row": 1, "reason": "x", "value": EVIL.replace("\ud800", "")}],
    )
    samples = [{"prompt": EVIL, "before": EVIL, "after": EVIL, "reference": EVIL}]
    scores = {"loss": {"mean": 1.0, "low": 0.5, "high": 2.0, "n": 3}}
    evaluation = {
        "data": EVIL,
        "num_rows": 3,
        "models": [{"name": EVIL, "scores": scores}, {"name": EVIL, "scores": scores}],
        "differences": scores,
        "rows": [],
        "notes": [EVIL],
    }
    text, page = read(report.write(folder, [evaluation], samples, {EVIL: EVIL}, command=EVIL))
    assert_harmless(text, page)
    assert "<script" not in text
    assert "alert(1)" in "".join(page.text)
    assert "\x00" not in text
    for picture in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        ElementTree.fromstring(picture)


def test_a_real_evaluation_shows_scores_and_answers(run: Path) -> None:
    found = evaluate(str(run), against="base", generation=Generation(max_new_tokens=4))
    text, page = read(report.write(run, [found.as_dict()]))
    assert_harmless(text, page)
    assert page.headings[:3] == ["tuned", "Scores", "Answers before and after"]
    words = " ".join(page.text)
    assert "held_out: 3 rows" in words
    assert ROWS[0]["messages"][0]["content"] in words
    assert len(re.findall('<svg class="intervals"', text)) == 6
    assert page.tags.count("svg") == 6, "no metrics, no curves"
    assert "up to 100 points away" in words


def test_many_answers_are_folded_and_then_counted(folder: Path) -> None:
    samples = [{"prompt": f"q{i}", "after": f"a{i}"} for i in range(300)]
    _, page = read(report.write(folder, samples=samples))
    words = " ".join(page.text)
    assert "Answers" in page.headings
    assert "200 more" in words
    assert "90 further rows are in the evals folder." in words
    assert "q209" in page.text
    assert "q210" not in page.text


def test_a_pretraining_run_and_one_that_knows_little(folder: Path, tmp_path: Path) -> None:
    (folder / "run.json").write_text(
        json.dumps({**RECORD, "objective": "pretrain", "adapter": "full", "model": "config.json"})
    )
    _, page = read(report.write(folder))
    words = " ".join(page.text)
    assert "attune · Causal language modelling of plain text" in words
    assert "all weights" in words
    assert "Scores" not in page.headings
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "run.json").write_text('{"state": "running", "held_out_loss": null}')
    _, page = read(report.write(bare))
    assert page.headings == ["bare"]
    assert "not finished" in " ".join(page.text)


def test_it_speaks_chinese(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_LANG", "zh")
    text, page = read(report.write(folder))
    assert '<html lang="zh">' in text
    assert page.headings == ["tuned", "训练过程", "训练内容", "数据", "复现方法"]
    assert "3 分 22 秒" in " ".join(page.text)


def test_no_run_no_report(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has no run.json: the run never began"):
        report.write(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_run_by_rewards_shows_what_it_earned(folder: Path) -> None:
    """Reward, parts and answers instead of a perplexity; a metric that nobody knows is drawn as well."""
    record = {**RECORD, "objective": "grpo", "held_out_loss": -0.75, "warnings": ["Step 3: no signal: x"]}
    (folder / "run.json").write_text(json.dumps(record))
    metrics = [
        {
            "reward": s / 9,
            "reward/exact_number": s / 9,
            "kl": 0.1,
            "answer_length": 7.0,
            "odd": s,
            "entropy": 2.0,
        }
        for s in range(1, 9)
    ]
    steps = [{**STEPS[at], "metrics": found} for at, found in enumerate(metrics)]
    evals = [
        {"event": "eval_end", "step": s, "loss": -r, "perplexity": None, "metrics": {"reward": r}}
        for s, r in ((2, 0.25), (4, 0.75), (8, 0.5))
    ]
    write_lines(folder / "metrics.jsonl", [*steps, *evals])
    parts = {"a": 1.0, "b": 0.5}
    sample = {"prompt": EVIL.replace("\ud800", ""), "answer": "It is 8.", "reward": 1.25, "scores": parts}
    write_lines(
        folder / "samples.jsonl",
        [{**sample, "step": 1, "finished": True}, {**sample, "step": 8, "answer": "8", "finished": False}],
    )
    text, page = read(report.write(folder))
    assert_harmless(text, page)
    words = " ".join(page.text)
    assert "perplexity" not in words
    assert "held-out loss" not in words
    assert "attune · Group relative policy optimization" in words
    assert "reward 0.75 held-out; 0.25 at first" in words, "of the best evaluation, which is the result"
    assert "Answers that were learnt from" in page.headings
    assert "cut off" in words
    assert "a 1, b 0.5" in words
    assert "At earlier steps" in words
    pictures = [ElementTree.fromstring(one) for one in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)]
    labels = [str(one.get("aria-label")).partition(":")[0] for one in pictures]
    assert labels == [
        "loss",
        "reward",
        "KL from the reference (nats)",
        "entropy (nats a token)",
        "answer length (tokens)",
        "reward/exact_number",
        "odd",
        "learning rate",
        "tokens a second",
    ]
    held_out = [title.text for title in pictures[1].iter("title")]
    assert held_out == ["held-out: 2 → 0.25", "held-out: 4 → 0.75", "held-out: 8 → 0.5"]
    assert list(pictures[0].iter("title")) == [], "minus the reward is not drawn as a loss"


def test_a_run_by_preferences_shows_both_answers(folder: Path) -> None:
    (folder / "run.json").write_text(json.dumps({**RECORD, "objective": "dpo"}))
    metrics = {"accuracy": 0.75, "chosen_logps": -20.0, "rejected_logps": -30.0}
    steps = [{**step, "metrics": metrics} for step in STEPS[:4]]
    evals = [{"event": "eval_end", "step": 4, "loss": 0.8123, "perplexity": None, "metrics": metrics}]
    write_lines(folder / "metrics.jsonl", [*steps, *evals])
    text, page = read(report.write(folder))
    words = " ".join(page.text)
    assert "perplexity" not in words
    assert "accuracy 0.75 held-out" in words
    assert "0.812" in words
    (logps,) = (one for one in re.findall(r"<figure>.*?</figure>", text, flags=re.DOTALL) if "nats an" in one)
    assert re.findall(r'class="key (\w+)">(\w+)<', logps) == [("run", "better"), ("base", "worse")]
    svg = ElementTree.fromstring(re.findall(r"<svg.*?</svg>", logps, flags=re.DOTALL)[0])
    assert [line.get("class") for line in svg.iter("polyline")] == ["line run", "line base"]
