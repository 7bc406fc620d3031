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
from ..check import check
from ..examples import Conversation, RowError, Text
from ..recognise import Format, formats, recognise
from ._row import columns

_TEXTS = ("", " ", "[", "{}")
_LISTS: tuple[list[Any], ...] = ([], [None], [[]], [{}], ["a"])
_ODD: tuple[Any, ...] = (None, 0, 1.5, float("nan"), True, {}, {"role": 1}, *_TEXTS, *_LISTS)
_KINDS = {"conversation": Conversation, "text": Text}


class FormatContract:
    """Every test takes the fixture ``format_module``."""

    def test_says_what_it_is(self, format_module: ModuleType) -> None:
        assert format_module.__doc__, "the docstring describes the format to people"
        assert format_module.KIND
        assert all(
            isinstance(group, tuple) and group for group in (*format_module.NEEDS, *format_module.ALSO)
        )
        assert format_module.SAMPLE, "the sample is the example of the documentation"

    def test_sample_is_recognised_as_this_format(self, format_module: ModuleType) -> None:
        name = next(known.name for known in formats() if known.module is format_module)
        for row in format_module.SAMPLE:
            assert recognise("sample", [row], format_module.KIND, formats()).name == name

    def test_sample_becomes_examples_that_need_no_change(self, format_module: ModuleType) -> None:
        for row in format_module.SAMPLE:
            before = copy.deepcopy(row)
            example, change = check(format_module.to_example(row))
            assert isinstance(example, _KINDS.get(format_module.KIND, object))
            assert change is None
            assert row == before, "the row itself is not changed"

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
        return str(error)
