"""Work over several processes, in order, and never far ahead of whoever takes the results."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from ..recipe.errors import DataError
from ..recipe.messages import say

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 500
"""Examples that go to a process at a time."""
PARALLEL_FROM = 4000
"""Fewer examples than this are done before a second process has started."""
_AHEAD = 3
"""Items a process that are given out before their results are wanted: more would hold a whole file."""


def run(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """``work(item)`` of each item, in order. ``work`` goes to each process once, at its start; it must not
    rest on state that changes. Raises DataError where the system ends a process.
    """
    if workers == 1:
        yield from map(work, items)
        return
    context = multiprocessing.get_context("fork" if sys.platform.startswith("linux") else "spawn")
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(work,)
    ) as pool:
        under_way: deque[Future[Any]] = deque()
        try:
            for item in items:
                under_way.append(pool.submit(_work, item))
                if len(under_way) > _AHEAD * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        except BrokenProcessPool:
            raise DataError(
                say(
                    "A process that encodes was ended by the system, most likely for lack of memory. "
                    "Encode with fewer: data.workers=1.",
                    "编码进程被系统终止，多半是内存不足。请减少进程数：data.workers=1。",
                )
            ) from None


_WORK: list[Callable[[Any], Any]] = []


def _start_worker(work: Callable[[Any], Any]) -> None:
    # Every core has its process; Ctrl-C is the parent's to answer.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _WORK[:] = [work]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed says nothing; its processes would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(item: Any) -> Any:
    return _WORK[0](item)
