"""The suite that every format joins, ours or a stranger's: subclass, and give the module in one fixture.

class TestMyFormat(FormatContract):
    @pytest.fixture
    def format_module(self):
        return my_format
"""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

from ...recipe import plugs
from ..examples import KINDS, RowError
from ..reasons import REASONS
from ..recognise import Format, formats, recognise
from ..rules import check
from ._row import columns

_TEXTS = ("", " ", "[", "{}")
_LISTS: tuple[list[Any], ...] = ([], [None], [[]], [{}], ["a"])
_ODD: tuple[Any, ...] = (None, 0, 1.5, float("nan"), True, {}, {"role": 1}, *_TEXTS, *_LISTS)


class FormatContract:
    """Every test takes the fixture ``format_module``."""

    def test_says_what_it_is(self, format_module: ModuleType) -> None:
        assert format_module.__doc__, "the docstring describes the format to people"
        assert format_module.KIND in KINDS
        assert all(
            isinstance(group, tuple) and group for group in (*format_module.NEEDS, *format_module.ALSO)
        )
        assert format_module.SAMPLE, "the sample is the example of the documentation"

    def test_sample_is_recognised_as_this_format(self, format_module: ModuleType) -> None:
        name = next(known.name for known in formats() if known.module is format_module)
        for row in format_module.SAMPLE:
            for kind in (format_module.KIND, None):
                assert recognise("sample", [row], kind, formats()).name == name

    def test_sample_becomes_examples_that_need_no_change(self, format_module: ModuleType) -> None:
        for row in format_module.SAMPLE:
            before = copy.deepcopy(row)
            example, change = check(format_module.to_example(row))
            assert isinstance(example, KINDS[format_module.KIND])
            assert change is None
            assert row == before, "the row itself is not changed"

    def test_what_is_written_is_read_back(self, format_module: ModuleType) -> None:
        if not hasattr(format_module, "to_row"):
            return
        for row in format_module.SAMPLE:
            example = format_module.to_example(row)
            written = format_module.to_row(example)
            assert format_module.to_example(written) == example
            assert Format("this", format_module).takes(written, columns(written))

    def test_a_row_without_what_is_needed_does_not_fit(self, format_module: ModuleType) -> None:
        known = Format("this", format_module)
        for row in format_module.SAMPLE:
            found = columns(row)
            for group in format_module.NEEDS:
                assert not known.fits(found - set(group))

    def test_odd_cells_are_refused_with_a_reason_or_read(self, format_module: ModuleType) -> None:
        """Whatever stands in a cell: an example, or a RowError that says something; no other exception."""
        for row in format_module.SAMPLE:
            if not isinstance(row, dict):
                continue
            for key in row:
                for cell in _ODD:
                    assert _outcome(format_module, {**row, key: cell})

    def test_is_found_by_its_name(self, format_module: ModuleType) -> None:
        assert format_module in [plugs.find("formats", name) for name in plugs.names("formats")]


def _outcome(format_module: ModuleType, row: dict[str, Any]) -> str:
    try:
        return repr(check(format_module.to_example(row)))
    except RowError as error:
        return str(error) if error.name in REASONS else ""
