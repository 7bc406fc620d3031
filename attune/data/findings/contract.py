"""The suite that every detector joins, ours or a stranger's: subclass, and give two fixtures.

class TestMyDetector(DetectorContract):
    @pytest.fixture
    def detector_module(self):
        return my_detector

    @pytest.fixture
    def seen(self):
        return [Seen(example, Origin("a.jsonl", row)), …]  # data that shows something
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import get_args

from ...recipe import plugs
from ...recipe.messages import speaking
from ..examples import KINDS, Origin, RowError, kind_of_example
from ..recognise import formats
from ._finding import SHOWN_ROWS, Context, Fact, Finding, Level, Seen

_CHINESE = re.compile("[\u4e00-\u9fff]")


class DetectorContract:
    """Every test takes the fixtures ``detector_module`` and ``seen``; ``context`` may be overridden."""

    context = Context(kind="conversation")

    def test_says_what_it_is(self, detector_module: ModuleType) -> None:
        assert detector_module.__doc__, "the docstring describes the family to people"
        assert detector_module.NAMES
        for name, meaning in detector_module.NAMES.items():
            assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name), f"{name} is typed by people: snake_case"
            english, bar, chinese = meaning.partition(" | ")
            assert english
            assert bar
            assert _CHINESE.search(chinese), f"{name}: English | 中文"
        assert detector_module.KINDS
        assert set(detector_module.KINDS) <= set(KINDS)

    def test_no_data_shows_nothing(self, detector_module: ModuleType) -> None:
        assert self._found(detector_module, [])[0] == []

    def test_findings_count_what_was_seen(self, detector_module: ModuleType, seen: Sequence[Seen]) -> None:
        findings, _ = self._found(detector_module, seen)
        assert findings, "the fixture must show something, or nothing is tested here"
        num_seen = sum(kind_of_example(one.example) in detector_module.KINDS for one in seen)
        for finding in findings:
            assert finding.name in detector_module.NAMES
            assert finding.level in get_args(Level)
            assert 0 < finding.num <= finding.total <= num_seen

    def test_no_name_is_found_twice(self, detector_module: ModuleType, seen: Sequence[Seen]) -> None:
        names = Counter(finding.name for finding in self._found(detector_module, seen)[0])
        assert set(names.values()) == {1}

    def test_rows_are_the_first_ones_in_order(
        self, detector_module: ModuleType, seen: Sequence[Seen]
    ) -> None:
        place = {one.origin: number for number, one in enumerate(seen)}
        for finding in self._found(detector_module, seen)[0]:
            assert len(finding.rows) <= min(SHOWN_ROWS, finding.num)
            places = [place[row.origin] for row in finding.rows]
            assert places == sorted(places), finding.name

    def test_the_same_data_shows_the_same(self, detector_module: ModuleType, seen: Sequence[Seen]) -> None:
        assert self._found(detector_module, seen) == self._found(detector_module, seen)

    def test_findings_speak_both_languages(self, detector_module: ModuleType, seen: Sequence[Seen]) -> None:
        with speaking("en"):
            english, _ = self._found(detector_module, seen)
        with speaking("zh"):
            chinese, _ = self._found(detector_module, seen)
        assert [finding.name for finding in english] == [finding.name for finding in chinese]
        for ours, theirs in zip(english, chinese, strict=True):
            for one, other in ((ours.text, theirs.text), (ours.cure, theirs.cure)):
                assert one.strip()
                assert one != other
                assert _CHINESE.search(other), other

    def test_takes_the_samples_of_all_formats(self, detector_module: ModuleType) -> None:
        """Whatever the shape of a row: no exception."""
        samples = [
            (known, row)
            for known in formats()
            if known.kind in detector_module.KINDS
            for row in known.module.SAMPLE
        ]
        rows = []
        for number, (known, row) in enumerate(samples, start=1):
            with suppress(RowError):  # such as an image that is not here
                rows.append(Seen(known.to_example(row), Origin("sample", number)))
        self._found(detector_module, rows)

    def test_is_found_by_its_name(self, detector_module: ModuleType) -> None:
        assert detector_module in [plugs.find("findings", name) for name in plugs.names("findings")]

    def _found(self, module: ModuleType, seen: Sequence[Seen]) -> tuple[list[Finding], list[Fact]]:
        """As the check does it: of all examples those of the detector's kinds, in order."""
        detector = module.Detector(self.context)
        for one in seen:
            if kind_of_example(one.example) in module.KINDS:
                detector.see(one)
        return list(detector.findings()), list(detector.facts())
