"""Work over processes: in order, and none of them outlives whoever asked for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from attune.data import parallel
from attune.recipe.errors import DataError

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def test_results_come_in_order() -> None:
    assert list(parallel.run(_double, range(50), 2)) == [2 * number for number in range(50)]


def test_an_error_of_the_items_is_told_and_ends_the_processes() -> None:
    def items() -> Iterator[int]:
        yield from range(20)
        raise DataError("the file is cut")

    with pytest.raises(DataError, match="the file is cut"):
        list(parallel.run(_double, items(), 2))


def test_a_process_that_the_system_ends_is_told() -> None:
    with pytest.raises(DataError, match=r"ended by the system.*data\.workers=1"):
        list(parallel.run(_die, range(20), 2))


@linux
def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "from tests.data.test_parallel import _name; from attune.data import parallel\n"
        "from pathlib import Path\n"
        f"for _ in parallel.run(_name, [Path({str(tmp_path)!r})] * 100, 2): pass"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2])
    try:
        _wait(lambda: len(list(tmp_path.iterdir())) == 2)
    finally:
        parent.kill()
        parent.wait()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    try:
        _wait(lambda: not any(_is_alive(worker) for worker in workers))
    finally:
        for worker in filter(_is_alive, workers):
            os.kill(worker, signal.SIGKILL)


def _wait(until: object) -> None:
    assert callable(until)
    for _ in range(600):
        if until():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come")


def _is_alive(process: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False


def _double(number: int) -> int:
    return 2 * number


def _die(number: int) -> None:
    os._exit(1)


def _name(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(0.1)
