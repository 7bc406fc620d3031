"""From the recipe's data section to encoded examples: load, check, split, encode in parallel, cache.

The cache's key is the hash of everything that decides the result: the files' bytes, the data section, the
tokenizer, the template and the format of the cache. A second run maps the arrays and reads nothing else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..recipe.errors import DataError
from ..recipe.messages import join, say
from ..recipe.schema import Data, Source
from . import cache, sources, split
from .cache import Store
from .encode import Encoded, Encoder, Policy
from .examples import Conversation, Example, Origin, Rejected
from .places import files_of, is_hub
from .template import ChatTemplate

OnProgress = Callable[[str, int, int], None]

_CHUNK = 500
_PARALLEL_FROM = 4000
"""Fewer examples than this are encoded before a second process has started."""


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
    """The held-out examples in the messages form, for evaluation by generation."""
    from_cache: bool

    @property
    def digest(self) -> str:
        """What the run is trained on, as a hash; order and rows included."""
        return hashlib.sha256((self.train.digest() + self.held_out.digest()).encode()).hexdigest()


def prepare(
    data: Data, kind: str, tokenizer: Any, template: ChatTemplate | None, policy: Policy, seed: int, on_progress: OnProgress | None = None
) -> Prepared:
    """Loads and encodes ``data``. Raises DataError for anything that must stop the run."""
    if not data.train:
        raise DataError(say("No data: name a file with --data my.json.", "没有数据：请用 --data my.json 指定文件。"))
    held_sources = data.held_out if isinstance(data.held_out, list) else []
    fingerprint = _fingerprint([*data.train, *held_sources], kind)
    place = None
    if fingerprint is not None:
        name = cache.key(
            files=fingerprint,
            data=data.model_dump(exclude={"workers", "cache_dir"}),
            kind=kind,
            policy=dataclasses.asdict(policy),
            tokenizer=_tokenizer_digest(tokenizer),
            template=getattr(tokenizer, "chat_template", None),
            seed=seed,
            language=say("en", "zh"),
        )
        place = cache.folder(data.cache_dir) / name
        found = cache.read(place, ("train", "held_out"))
        if found is not None:
            return _from_cache(*found)
    prepared = _encode(data, held_sources, kind, Encoder(tokenizer, template, policy), seed, on_progress)
    if place is not None:
        cache.write(place, {"train": prepared.train, "held_out": prepared.held_out}, _meta(prepared))
    return prepared


def _encode(
    data: Data, held_sources: list[Source], kind: str, encoder: Encoder, seed: int, on_progress: OnProgress | None
) -> Prepared:
    loaded = sources.load(data.train, kind, seed=seed, on_progress=on_progress)
    sources.check_share(loaded, data.max_rejected_share)
    notices = _about_files(loaded)
    files = [dataclasses.asdict(report) for report in loaded.files]
    held, held_origins = [], []
    if held_sources:
        extra = sources.load(held_sources, kind, seed=seed, on_progress=on_progress)
        sources.check_share(extra, data.max_rejected_share)
        held, held_origins = extra.examples, extra.origins
        files += [{**dataclasses.asdict(report), "role": "held_out"} for report in extra.files]
        train, train_origins = loaded.examples, loaded.origins
        notices += _leaks(train, held, held_origins)
    else:
        share = data.held_out if isinstance(data.held_out, float) else 0.0
        learn_at, held_at = split.split(loaded.examples, share, seed)
        train, train_origins = [loaded.examples[i] for i in learn_at], [loaded.origins[i] for i in learn_at]
        held, held_origins = [loaded.examples[i] for i in held_at], [loaded.origins[i] for i in held_at]
    names = tuple(dict.fromkeys(origin.path for origin in (*train_origins, *held_origins)))
    workers = data.workers or os.cpu_count() or 1
    train_store, train_done = encode(train, train_origins, encoder, names, workers, on_progress)
    held_store, held_done = encode(held, held_origins, encoder, names, workers, None)
    rejected = [*loaded.rejected, *_rejected(train, train_origins, train_done), *_rejected(held, held_origins, held_done)]
    _stop_where_told(data, train_done, train_origins, len(loaded.examples), sum(len(e.segments) for e in train_done))
    notices += _what_happened(train_done)
    rows = [_as_messages(example) for example, done in zip(held, held_done, strict=True) if done.segments]
    return Prepared(train_store, held_store, files, rejected, notices, rows, from_cache=False)


def encode(
    examples: Sequence[Example],
    origins: Sequence[Origin],
    encoder: Encoder,
    names: tuple[str, ...],
    workers: int = 1,
    on_progress: OnProgress | None = None,
) -> tuple[Store, list[Encoded]]:
    """Encodes in order, over ``workers`` processes where that pays. The second value tells, example by example,
    what became of it (its segments lie in the store)."""
    file_of = {name: index for index, name in enumerate(names)}
    chunks = [examples[start : start + _CHUNK] for start in range(0, len(examples), _CHUNK)]
    what = say("encoding", "编码")
    done: list[Encoded] = []
    stores = []
    for part in _run(chunks, encoder, workers if len(examples) >= _PARALLEL_FROM else 1):
        places = [
            (file_of[origin.path], origin.row)
            for encoded, origin in zip(part, origins[len(done) : len(done) + len(part)], strict=True)
            for _ in encoded.segments
        ]
        segments = [piece for encoded in part for piece in encoded.segments]
        if segments:
            stores.append(Store.build(segments, places))
        done += part
        if on_progress is not None:
            on_progress(what, len(done), len(examples))
    return dataclasses.replace(Store.join(stores), files=names), done


def _run(chunks: Sequence[Sequence[Example]], encoder: Encoder, workers: int) -> Iterator[list[Encoded]]:
    if workers == 1:
        for chunk in chunks:
            yield [encoder.encode(example) for example in chunk]
        return
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    context = multiprocessing.get_context("fork" if sys.platform.startswith("linux") else "spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(encoder,)) as pool:
        yield from pool.map(_work, chunks)


_ENCODER: list[Encoder] = []


def _start_worker(encoder: Encoder) -> None:
    _ENCODER[:] = [encoder]


def _work(chunk: Sequence[Example]) -> list[Encoded]:
    return [_ENCODER[0].encode(example) for example in chunk]


def _rejected(examples: Sequence[Example], origins: Sequence[Origin], done: Sequence[Encoded]) -> list[Rejected]:
    return [
        Rejected(origin, encoded.rejected, str(example)[:200])
        for example, origin, encoded in zip(examples, origins, done, strict=True)
        if encoded.rejected is not None
    ]


def _stop_where_told(
    data: Data, done: Sequence[Encoded], origins: Sequence[Origin], num_examples: int, num_left: int
) -> None:
    """Raises DataError where overlong rows must stop the run, too many rows are unusable, or none is left."""
    bad = [
        (origin, encoded.rejected)
        for origin, encoded in zip(origins, done, strict=True)
        if encoded.rejected is not None and not encoded.dropped
    ]
    shown = "".join(f"\n  {origin.path}:{origin.row}: {reason}" for origin, reason in bad[:5])
    is_over = bad and (data.overlong == "stop" or len(bad) > data.max_rejected_share * max(1, num_examples))
    if is_over or not num_left:
        raise DataError(
            say(
                "{num} of {total} examples cannot be encoded, {left} are left (data.max_rejected_share={share}):{shown}",
                "{total} 个样例中有 {num} 个无法编码，剩余 {left} 个（data.max_rejected_share={share}）：{shown}",
                num=len(bad),
                total=num_examples,
                left=num_left,
                share=data.max_rejected_share,
                shown=shown,
            )
        )


def _fingerprint(wanted: list[Source], kind: str) -> list[list[str]] | None:
    """Path and content hash of every file, or None where a source is not a file and may change unseen."""
    found = []
    for source in wanted:
        if is_hub(source.path):
            return None
        for path in files_of(source, kind, []):
            with open(path, "rb") as file:
                digest = hashlib.sha256()
                while block := file.read(2**20):
                    digest.update(block)
            found.append([path, digest.hexdigest()])
    return found


def _about_files(loaded: sources.Loaded) -> list[tuple[str, str]]:
    """What was read, as which format, and what was left out, as notices."""
    notices = []
    for report in loaded.files:
        text = say(
            "{path}: {rows:,} rows, format {format} ({container}{encoding})",
            "{path}：{rows:,} 行，格式 {format}（{container}{encoding}）",
            path=report.path,
            rows=report.num_rows,
            format=report.format,
            container=report.container,
            encoding=f", {report.encoding}" if report.encoding else "",
        )
        if report.ignored:
            text += say("; columns not used: {names}", "；未使用的列：{names}", names=join(report.ignored))
        notices.append(("info", text))
    notices += [("info", note) for note in loaded.notes]
    if loaded.changed:
        first = loaded.changed[0]
        notices.append(
            (
                "warning",
                say(
                    "{n} rows are used with a change, first {path}:{row}: {change}",
                    "{n} 行经修改后使用，首个是 {path}:{row}：{change}",
                    n=len(loaded.changed),
                    path=first.origin.path,
                    row=first.origin.row,
                    change=first.change,
                ),
            )
        )
    if loaded.rejected:
        row = loaded.rejected[0]
        notices.append(
            (
                "warning",
                say(
                    "{n} of {total:,} rows cannot be used (see rejected.jsonl), first {path}:{row}: {reason}",
                    "{total:,} 行中有 {n} 行无法使用（见 rejected.jsonl），首个是 {path}:{row}：{reason}",
                    n=len(loaded.rejected),
                    total=loaded.num_rows,
                    path=row.origin.path,
                    row=row.origin.row,
                    reason=row.reason,
                ),
            )
        )
    return notices


def _what_happened(done: Sequence[Encoded]) -> list[tuple[str, str]]:
    """Counts of all that was done to examples, as notices."""
    notices = []
    cut = [encoded.prompt_cut for encoded in done if encoded.prompt_cut]
    answers = sum(encoded.answers_cut for encoded in done)
    dropped = sum(encoded.dropped for encoded in done)
    by_turn = sum(encoded.by_turn for encoded in done)
    refused = sum(encoded.rejected is not None and not encoded.dropped for encoded in done)
    if refused:
        notices.append(("warning", say("{n} examples could not be encoded: see rejected.jsonl", "{n} 个样例无法编码：见 rejected.jsonl", n=refused)))
    if cut:
        notices.append(("warning", say("{n} prompts lost their beginning ({t} tokens in all) to fit data.max_length", "{n} 条提示为满足 data.max_length 被截去开头（共 {t} 个 token）", n=len(cut), t=sum(cut))))
    if answers:
        notices.append(("warning", say("{n} answers were cut at data.max_length; their stop token is not learnt", "{n} 个回答在 data.max_length 处截断；不学习其停止符", n=answers)))
    if dropped:
        notices.append(("warning", say("{n} overlong examples were dropped, as data.overlong=drop asks", "按 data.overlong=drop 丢弃了 {n} 个超长样例", n=dropped)))
    if by_turn:
        notices.append(("info", say("{n} conversations are laid one answer at a time: too long as a whole, or rendered otherwise as history", "{n} 段对话按回答逐条编排：整体过长，或模板对历史的渲染不同", n=by_turn)))
    return notices


def _leaks(train: Sequence[Example], held: Sequence[Example], origins: Sequence[Origin]) -> list[tuple[str, str]]:
    found = split.leaks(train, held)
    if not found:
        return []
    rows = ", ".join(f"{origins[i].path}:{origins[i].row}" for i in found[:5])
    return [
        ("warning", say("{n} held-out prompts are also in training ({rows} …): their scores say nothing about new questions", "{n} 条留出提示也在训练集中（{rows} …）：其得分不能说明新问题上的表现", n=len(found), rows=rows))
    ]


def _as_messages(example: Example) -> dict[str, Any]:
    if isinstance(example, Conversation):
        tools = {"tools": list(example.tools)} if example.tools else {}
        return {"messages": [message.as_dict() for message in example.messages], **tools}
    return {"text": example.text}


def _tokenizer_digest(tokenizer: Any) -> str:
    fast = getattr(tokenizer, "backend_tokenizer", None)
    text = fast.to_str() if fast is not None else repr(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _meta(prepared: Prepared) -> dict[str, Any]:
    return {
        "files": prepared.files,
        "names": list(prepared.train.files),
        "rejected": [dataclasses.asdict(item) for item in prepared.rejected],
        "notices": prepared.notices,
        "held_out_rows": prepared.held_out_rows,
    }


def _from_cache(stores: dict[str, Store], meta: dict[str, Any]) -> Prepared:
    names = tuple(meta["names"])
    return Prepared(
        dataclasses.replace(stores["train"], files=names),
        dataclasses.replace(stores["held_out"], files=names),
        meta["files"],
        [Rejected(Origin(**item["origin"]), item["reason"], item["value"]) for item in meta["rejected"]],
        [(level, text) for level, text in meta["notices"]],
        meta["held_out_rows"],
        from_cache=True,
    )
