"""From the recipe's data section to encoded examples: load, check, split, encode in parallel, cache.

The cache's key is the hash of everything that decides the result: the files' bytes, the data section, the
tokenizer, the template and the format of the cache. A second run maps the arrays and reads nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np

from ..recipe import plugs
from ..recipe.errors import DataError
from ..recipe.messages import say
from ..recipe.schema import Data, Source
from . import cache, images, notices, parallel, sources, split
from .cache import Store
from .check import SAMPLE, examine, must_be_known
from .encode import Encoded, Encoder, Policy
from .examples import Example, Origin, Rejected
from .findings._finding import Context, Seen
from .kept import as_row, as_rows
from .labels import Labels
from .layout import Segments
from .parallel import CHUNK, PARALLEL_FROM
from .places import fingerprint
from .template import ChatTemplate

OnProgress = Callable[[str, int, int], None]

_WRITERS = ("transformers", "tokenizers", "jinja2")
"""Packages whose version may change what is written."""


@dataclass(frozen=True)
class Prepared:
    """Encoded data and what a person must know about it."""

    train: Store
    held_out: Store
    files: list[dict[str, Any]]
    rejected: list[Rejected]
    notices: list[tuple[str, str]]
    """Level (``info`` or ``warning``) and sentence."""
    held_out_rows: list[dict[str, Any]]
    """The held-out examples as rows, for evaluation."""
    from_cache: bool
    labels: Labels | None = None
    """What labels mean, of labelled examples."""

    @property
    def digest(self) -> str:
        """What the run is trained on, as a hash; order and rows included."""
        return hashlib.sha256((self.train.digest() + self.held_out.digest()).encode()).hexdigest()


def prepare(
    data: Data,
    kind: str,
    tokenizer: Any,
    template: ChatTemplate | None,
    policy: Policy,
    seed: int,
    on_progress: OnProgress | None = None,
) -> Prepared:
    """Loads and encodes ``data``. Raises DataError for anything that must stop the run."""
    if not data.train:
        raise DataError(
            say("No data: name a file with --data my.json.", "没有数据：请用 --data my.json 指定文件。")
        )
    held_sources = data.held_out if isinstance(data.held_out, list) else []
    files = _fingerprint([*data.train, *held_sources], kind)
    place = None
    if files is not None:
        name = cache.key(
            files=files,
            data=data.model_dump(exclude={"workers", "cache_dir"}),
            kind=kind,
            policy=dataclasses.asdict(policy),
            tokenizer=_tokenizer_digest(tokenizer),
            template=getattr(tokenizer, "chat_template", None) if template is not None else None,
            versions=[f"{package} {metadata.version(package)}" for package in _WRITERS],
            seed=seed,
            language=say("en", "zh"),
        )
        place = cache.folder(data.cache_dir) / name
        found = cache.read(place, ("train", "held_out"))
        if found is not None and _is_of_these_images(found[1]):
            return _from_cache(*found)
        if found is not None:
            shutil.rmtree(place)
    prepared = _encode(data, held_sources, kind, Encoder(tokenizer, template, policy), seed, on_progress)
    if place is not None:
        try:
            cache.write(place, {"train": prepared.train, "held_out": prepared.held_out}, _meta(prepared))
        except OSError as error:
            text = say(
                "The encoded data could not be kept in {place} ({reason}): the next run encodes again. "
                "data.cache_dir names another place.",
                "无法将编码结果保存到 {place}（{reason}）：下次运行将重新编码。"
                "可用 data.cache_dir 指定其他位置。",
                place=place.parent,
                reason=error.strerror or error,
            )
            prepared.notices.append(("warning", text))
    return prepared


def _encode(
    data: Data,
    held_sources: list[Source],
    kind: str,
    encoder: Encoder,
    seed: int,
    on_progress: OnProgress | None,
) -> Prepared:
    loaded = sources.load(data.train, kind, seed=seed, on_progress=on_progress)
    sources.check_share(loaded, data.max_rejected_share, data.accept)
    told = notices.about_files(loaded)
    files = [dataclasses.asdict(report) for report in loaded.files]
    rejected = list(loaded.rejected)
    train, train_origins = loaded.examples, loaded.origins
    held: list[Example]
    held_origins: list[Origin]
    if held_sources:
        extra = sources.load(held_sources, kind, seed=seed, on_progress=on_progress)
        sources.check_share(extra, data.max_rejected_share, data.accept)
        told += notices.about_files(extra)
        held, held_origins = extra.examples, extra.origins
        rejected += extra.rejected
        files += [{**dataclasses.asdict(report), "role": "held_out"} for report in extra.files]
    else:
        share = data.held_out if isinstance(data.held_out, float) else 0.0
        learn_at, held_at = split.split(loaded.examples, share, seed)
        # A row that its source's weight takes twice is asked once: intervals count independent questions.
        is_new = _Once().is_new
        held_at = [at for at in held_at if is_new(loaded.origins[at], loaded.examples[at])]
        told += notices.nothing_held_out(share, len(held_at), loaded.num_rows)
        train, train_origins = [loaded.examples[i] for i in learn_at], [loaded.origins[i] for i in learn_at]
        held, held_origins = [loaded.examples[i] for i in held_at], [loaded.origins[i] for i in held_at]
    if kind == "labelled":
        labels = Labels.of(loaded.examples, loaded.origins, encoder.policy.task)
        labels.must_know(held, held_origins)
        encoder = dataclasses.replace(encoder, labels=labels)
    names = tuple(dict.fromkeys(origin.path for origin in (*train_origins, *held_origins)))
    workers = data.workers or os.cpu_count() or 1
    train_store, train_done = encode(train, train_origins, encoder, names, workers, on_progress)
    held_store, held_done = encode(held, held_origins, encoder, names, workers, None)
    examples, origins, done = [*train, *held], [*train_origins, *held_origins], [*train_done, *held_done]
    _stop_where_told(data, done, origins, len(train_store))
    # A row that its source's weight takes twice is still one row.
    refused = sorted(
        set(_rejected(examples, origins, done)), key=lambda row: (row.origin.path, row.origin.row)
    )
    rejected += refused
    files = [_counted(file, refused) for file in files]
    told += notices.what_happened(done, origins, drops=data.overlong == "drop")
    if kind == "verdict":
        told += notices.about_verdicts(train_store.values[:, 0].tolist())
    told += _checked(data, kind, encoder, seed, zip(examples, origins, done, strict=True), len(train))
    rows = as_rows([one for one, what in zip(held, held_done, strict=True) if what.rejected is None])
    known = None if encoder.labels is None else encoder.labels.counted(train_store.values.tolist())
    return Prepared(train_store, held_store, files, rejected, told, rows, from_cache=False, labels=known)


def _checked(
    data: Data,
    kind: str,
    encoder: Encoder,
    seed: int,
    rows: Iterable[tuple[Example, Origin, Encoded]],
    num_train: int,
) -> list[tuple[str, str]]:
    """The check's findings as notices. Raises DataError for those that would make training wrong, unless they
    are accepted by name.
    """
    must_be_known(data.accept)
    sample = None if data.check == "full" else SAMPLE
    context = Context(kind, encoder.template, encoder.tokenizer, encoder.policy, seed, sample)
    # What is cut is told in any case; what the template is, the run tells itself.
    families = {"lengths"} if data.check == "off" else set(plugs.names("findings")) - {"template"}
    report = examine(_once(rows, num_train), context, data, families)
    if report.stopping:
        raise DataError(notices.stopped(report.stopping))
    return notices.about_findings(report.findings)


class _Once:
    """Remembers what each row gave; a row may give several examples (two verdicts), and each of them once."""

    def __init__(self) -> None:
        self._given: dict[Origin, list[Example]] = {}

    def is_new(self, origin: Origin, example: Example) -> bool:
        given = self._given.setdefault(origin, [])
        if example in given:
            return False
        given.append(example)
        return True


def _once(rows: Iterable[tuple[Example, Origin, Encoded]], num_train: int) -> Iterator[Seen]:
    """The rows that can be used. One that its source's weight takes twice is still one row; one that is in
    training and held out, because both name its file, is two.
    """
    of = {False: _Once(), True: _Once()}
    for place, (example, origin, encoded) in enumerate(rows):
        is_held_out = place >= num_train
        if encoded.rejected is None and of[is_held_out].is_new(origin, example):
            yield Seen(example, origin, encoded, is_held_out)


def _counted(file: dict[str, Any], refused: Sequence[Rejected]) -> dict[str, Any]:
    """A file's report with the rows that could be read but not encoded."""
    num = sum(row.origin.path == file["path"] for row in refused)
    return {**file, "num_used": file["num_used"] - num, "num_rejected": file["num_rejected"] + num}


def encode(
    examples: Sequence[Example],
    origins: Sequence[Origin],
    encoder: Encoder,
    names: tuple[str, ...],
    workers: int = 1,
    on_progress: OnProgress | None = None,
) -> tuple[Store, list[Encoded]]:
    """Encodes in order, over ``workers`` processes where that pays. The second value tells, example by
    example, what became of it, without its segments: these lie in the store.
    """
    file_of = {name: index for index, name in enumerate(names)}
    chunks = [examples[start : start + CHUNK] for start in range(0, len(examples), CHUNK)]
    what = say("encoding", "编码")
    done: list[Encoded] = []
    stores = []
    workers = workers if len(examples) >= PARALLEL_FROM else 1
    for store, part in parallel.run(functools.partial(_encode_chunk, encoder), chunks, workers):
        here_from = origins[len(done) : len(done) + len(part)]
        places = [(file_of[origin.path], origin.row) for origin in here_from]
        # A worker knows the place of an example in its chunk only.
        here = np.asarray(places, np.int64)[store.origins[:, 1]]
        stores.append(dataclasses.replace(store, origins=here))
        done += part
        if on_progress is not None:
            on_progress(what, len(done), len(examples))
    return dataclasses.replace(Store.join(stores), files=names), done


_Part = tuple[Store, list[Encoded]]
"""A chunk's store, and what became of each example, without its segments."""


def _encode_chunk(encoder: Encoder, chunk: Sequence[Example]) -> _Part:
    segments: list[Segments] = []
    places: list[tuple[int, int]] = []
    done = []
    for place, example in enumerate(chunk):
        encoded = encoder.encode(example)
        segments += encoded.segments
        places += [(0, place)] * len(encoded.segments)
        done.append(dataclasses.replace(encoded, segments=()))
    return Store.build(segments, places), done


def _rejected(
    examples: Sequence[Example], origins: Sequence[Origin], done: Sequence[Encoded]
) -> Iterator[Rejected]:
    for example, origin, encoded in zip(examples, origins, done, strict=True):
        if encoded.rejected is not None:
            shown = json.dumps(as_row(example), ensure_ascii=False, default=str)
            value = shown if len(shown) <= 200 else shown[:200] + "…"
            yield Rejected(origin, encoded.rejected, value, encoded.broken or "unusable_row")


def _stop_where_told(data: Data, done: Sequence[Encoded], origins: Sequence[Origin], num_left: int) -> None:
    """Raises DataError where overlong rows must stop the run, too many rows are unusable, or none is left."""
    bad = [
        (origin, encoded)
        for origin, encoded in zip(origins, done, strict=True)
        if encoded.rejected is not None
        and not (encoded.too_long and data.overlong == "drop")
        and encoded.broken not in data.accept
    ]
    must_stop = data.overlong == "stop" and any(encoded.too_long for _, encoded in bad)
    if num_left and not must_stop and len(bad) <= data.max_rejected_share * len(done):
        return
    if must_stop:
        bad = [(origin, encoded) for origin, encoded in bad if encoded.too_long]
        head = say(
            "{num} of {total} examples are too long, and data.overlong=stop says to stop:",
            "{total} 个样例中有 {num} 个超长，按 data.overlong=stop 停止：",
            num=len(bad),
            total=len(done),
        )
    else:
        if not bad:  # all that there was, was dropped for its length
            bad = [(o, encoded) for o, encoded in zip(origins, done, strict=True) if encoded.rejected]
        head = say(
            "{num} of {total} examples cannot be encoded, {left} are left to train on "
            "(data.max_rejected_share={share}):",
            "{total} 个样例中有 {num} 个无法编码，剩余 {left} 个可训练（data.max_rejected_share={share}）：",
            num=len(bad),
            total=len(done),
            left=num_left,
            share=data.max_rejected_share,
        )
    bad.sort(key=lambda one: (one[0].path, one[0].row))
    lines = [f"  {origin.path}:{origin.row}: {encoded.rejected}" for origin, encoded in bad[:5]]
    more = [say("  and {n} more", "  另有 {n} 个", n=len(bad) - 5)] if len(bad) > 5 else []
    cure = [] if must_stop or not num_left else [sources.allow_more(len(bad), len(done))]
    raise DataError("\n".join([head, *lines, *more, *cure]))


def _fingerprint(wanted: list[Source], kind: str) -> list[list[str]] | None:
    """Path and content hash of every file, or None where a source is not a file and may change unseen."""
    found = [fingerprint(source, kind) for source in wanted]
    return None if None in found else [entry for one in found for entry in one or ()]


def _tokenizer_digest(tokenizer: Any) -> str:
    if isinstance(tokenizer, images.ImageReader):
        return tokenizer.digest
    fast = getattr(tokenizer, "backend_tokenizer", None)
    text = fast.to_str() if fast is not None else repr(sorted(tokenizer.get_vocab().items()))
    # The special tokens are the template's words, and the end token ends every text.
    names = repr((type(tokenizer).__name__, sorted(tokenizer.special_tokens_map.items())))
    return hashlib.sha256((text + names).encode("utf-8", "surrogatepass")).hexdigest()


def _meta(prepared: Prepared) -> dict[str, Any]:
    return {
        "files": prepared.files,
        "names": list(prepared.train.files),
        "rejected": [dataclasses.asdict(item) for item in prepared.rejected],
        "notices": prepared.notices,
        "held_out_rows": prepared.held_out_rows,
        "labels": None if prepared.labels is None else prepared.labels.as_dict(),
        "images": [prepared.train.images, prepared.held_out.images],
        "images_stamp": images.stamp((*prepared.train.images, *prepared.held_out.images)),
    }


def _is_of_these_images(meta: dict[str, Any]) -> bool:
    """The files' bytes were hashed for the cache's key, but not those of the images that they name."""
    return bool(meta["images_stamp"] == images.stamp(itertools.chain(*meta["images"])))


def _from_cache(stores: dict[str, Store], meta: dict[str, Any]) -> Prepared:
    names = tuple(meta["names"])
    train, held_out = (tuple(paths) for paths in meta["images"])
    return Prepared(
        dataclasses.replace(stores["train"], files=names, images=train),
        dataclasses.replace(stores["held_out"], files=names, images=held_out),
        meta["files"],
        [Rejected(**{**item, "origin": Origin(**item["origin"])}) for item in meta["rejected"]],
        [(level, text) for level, text in meta["notices"]],
        meta["held_out_rows"],
        from_cache=True,
        labels=None if meta["labels"] is None else Labels.from_dict(meta["labels"]),
    )
