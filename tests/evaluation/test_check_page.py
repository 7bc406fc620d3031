"""The page of a check: what it shows, and that the data on it stays data."""

from __future__ import annotations

from pathlib import Path

from attune.data.check import Report
from attune.data.examples import Origin
from attune.data.findings._finding import Finding, Histogram, Quote, Row, Table
from attune.evaluation.check_page import write


def test_it_holds_findings_rows_cures_and_numbers(tmp_path: Path) -> None:
    row = Row(Origin("a.json", 7), "<script>x</script> half of a sign: \ud83d")
    finding = Finding("empty_answer", "stop", "1 of 2 rows", "Write it.", 1, 2, (row,))
    facts = (
        Histogram("Prompt length", (0, 16, 32), (1, 4), "tokens"),
        Table("Languages", ("given", "rows"), (("en", 2),)),
        Quote("The first row", "<|im_start|>user"),
    )
    report = Report("conversation", (), 2, 1, (finding,), facts, ("a note",), ("empty_answer",))
    write(report, tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    for piece in (
        "empty_answer (accepted)",
        "a.json:7",
        "→ Write it.",
        "Languages",
        "&lt;|im_start|&gt;user",
    ):
        assert piece in text
    assert "<script>x" not in text
    assert "width:4.0rem" in text, "a bar is as long as its share of the longest, whatever its cell"
    assert "width:16.0rem" in text
