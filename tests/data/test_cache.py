"""The store of encoded examples, on disk and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.data import cache
from attune.data.cache import Store
from attune.data.layout import Segments, lay

IDS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5)
BRANCH = IDS.flatmap(
    lambda ids: st.tuples(st.just(ids), st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
)
EXAMPLE = st.builds(
    Segments, st.lists(st.integers(0, 99), max_size=4), st.lists(BRANCH, min_size=1, max_size=3).map(tuple)
)
EXAMPLES = st.lists(EXAMPLE, max_size=6)


def small() -> Store:
    return Store.build(
        [Segments([1, 2], (([3, 4], [True, False]),)), Segments([], (([5, 6], [True, True]),))],
        [(0, 1), (0, 3)],
    )


@settings(deadline=None)
@given(EXAMPLES)
def test_a_store_gives_back_what_was_laid(examples: list[Segments]) -> None:
    store = Store.build(examples)
    assert len(store) == len(examples)
    assert [store[place] for place in range(len(store))] == examples
    assert store.lengths.tolist() == [example.num_tokens for example in examples]
    assert store.num_learnt.tolist() == [lay([(0, example)]).num_learnt for example in examples]
    assert store.origins.tolist() == [[0, row] for row in range(1, len(examples) + 1)]


@settings(deadline=None, max_examples=20)
@given(st.lists(EXAMPLES, max_size=3))
def test_joined_stores_equal_one(parts: list[list[Segments]]) -> None:
    joined = Store.join([Store.build(part) for part in parts])
    whole = Store.build([example for part in parts for example in part])
    assert joined.digest() == whole.digest()
    assert joined.examples.dtype == np.int64


def test_digest_sees_every_token_mark_and_border() -> None:
    base = Segments([1, 2], (([3, 4], [True, False]),))
    others = [
        Segments([1, 9], (([3, 4], [True, False]),)),
        Segments([1, 2], (([3, 4], [True, True]),)),
        Segments([1], (([2, 3, 4], [False, True, False]),)),
        Segments([1, 2], (([3], [True]), ([4], [False]))),
    ]
    digests = {Store.build([example]).digest() for example in (base, *others)}
    assert len(digests) == 5


def test_where() -> None:
    store = Store.build([Segments([1], (([2], [True]),))] * 3, [(0, 4), (1, 2), (0, 4)])
    named = Store(store.ids, store.learn, store.segments, store.examples, store.origins, ("a.json", "b.json"))
    assert named.where([0, 1, 2]) == ["a.json:4", "b.json:2"]


def test_write_and_read(tmp_path: Path) -> None:
    place = tmp_path / "cache" / "entry"
    assert cache.read(place, ("train",)) is None
    cache.write(place, {"train": small(), "held_out": Store.build(())}, {"notices": ["半\ud83d"]})
    found = cache.read(place, ("train", "held_out"))
    assert found is not None
    stores, meta = found
    assert stores["train"].digest() == small().digest()
    assert isinstance(stores["train"].ids, np.memmap)
    assert len(stores["held_out"]) == 0
    assert stores["train"].where([1]) == [":3"]
    assert meta == {"notices": ["半\ud83d"]}
    cache.write(place, {"train": small(), "held_out": Store.build(())}, {"notices": ["again"]})
    assert [child.name for child in place.parent.iterdir()] == ["entry"]


@pytest.mark.parametrize("name", ["train.ids.npy", "train.segments.npy", "train.learn.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["empty", "cut", "gone", "noise"])
def test_a_damaged_entry_is_none_and_is_replaced(tmp_path: Path, name: str, damage: str) -> None:
    place = tmp_path / "entry"
    cache.write(place, {"train": small()}, {"a": 1})
    file = place / name
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "cut": whole[:-1], "noise": b"\xff" * 40}[damage])
    assert cache.read(place, ("train",)) is None
    cache.write(place, {"train": small()}, {"a": 2})
    found = cache.read(place, ("train",))
    assert found is not None
    assert found[1] == {"a": 2}


def test_arrays_that_do_not_fit_each_other_are_damage(tmp_path: Path) -> None:
    place = tmp_path / "entry"
    cache.write(place, {"train": small()}, {})
    np.save(place / "train.ids.npy", np.arange(3, dtype=np.int32))
    assert cache.read(place, ("train",)) is None


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space"):
        cache.write(tmp_path / "entry", {"train": small()}, {})
    assert list(tmp_path.iterdir()) == []


def test_key_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.key(a=1, b=2) == cache.key(b=2, a=1)
    assert cache.key(a=1) != cache.key(a=2)
    before = cache.key(a=1)
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    assert cache.key(a=1) != before
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder(None) == tmp_path / "attune"
    assert cache.folder(str(tmp_path / "x")) == tmp_path / "x"
