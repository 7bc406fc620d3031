"""The file is the registration: finds ``attune/<room>/<name>.py``, or a stranger's entry point of that name.

An ImportError inside a found file surfaces as itself; two implementations of one name are an error that names
both; an unknown name prints the list and the nearest.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from .errors import RecipeError
from .messages import join, say

_ROOMS = {
    "adapters": "attune.adapters",
    "objectives": "attune.objectives",
    "formats": "attune.data.formats",
    "findings": "attune.data.findings",
    "generators": "attune.inference.backends",
}


def names(room: str) -> list[str]:
    """The names that can be asked for in ``room``, sorted. A file whose name starts with ``_`` is not one."""
    return sorted({*_own(room), *(point.name for point in _foreign(room))})


def find(room: str, name: str) -> ModuleType:
    """The module that implements ``name``. Raises RecipeError for an unknown or an ambiguous name."""
    own = name in _own(room)
    foreign = [point for point in _foreign(room) if point.name == name]
    if own + len(foreign) > 1:
        places = [f"{_ROOMS[room]}.{name}"] * own + [point.value for point in foreign]
        raise RecipeError(
            say(
                "'{name}' is implemented more than once in {room}: {places}. Keep one, uninstall the others.",
                "“{name}”在 {room} 中有多个实现：{places}。请卸载或改名，只留一个。",
                name=name,
                room=room,
                places=join(places),
            )
        )
    if own:
        return importlib.import_module(f"{_ROOMS[room]}.{name}")
    if foreign:
        module = foreign[0].load()
        assert isinstance(module, ModuleType), f"{foreign[0].value} must be a module"
        return module
    raise RecipeError(
        unknown(say("no such name in {room}", "{room} 中没有这个名字", room=room), name, names(room))
    )


def unknown(what: str, got: str, allowed: list[str]) -> str:
    """The standard sentence for a name that is not in a list, with the nearest one."""
    nearest = difflib.get_close_matches(got, allowed, n=1, cutoff=0.5)
    hint = say(" Did you mean '{near}'?", "您是否想写“{near}”？", near=nearest[0]) if nearest else ""
    return say(
        "{what}: '{got}'. Allowed: {allowed}.{hint}",
        "{what}：“{got}”。可用：{allowed}。{hint}",
        what=what,
        got=got,
        allowed=join(allowed),
        hint=hint,
    )


def _own(room: str) -> set[str]:
    package = importlib.import_module(_ROOMS[room])
    shelf = set()
    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.startswith("_") and module.name not in _NOT_PLUGS:
            shelf.add(module.name)
    return shelf


_NOT_PLUGS = {"contract", "method", "targets", "starts", "fused", "advantages"}
"""Files that live in a plug room and serve its plugs without being one."""


@cache  # the installed packages are read once a process
def _foreign(room: str) -> list[EntryPoint]:
    return list(entry_points(group=f"attune.{room}"))
