"""Files parted into a training file and a test file: nothing asked in the one is asked in the other."""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ..recipe.errors import DataError, RecipeError
from ..recipe.messages import join, say
from ..recipe.schema import Source
from .dedup import beside, leave_rejected
from .duplicates import plain
from .examples import Example, Labelled, Rejected, prompt_key
from .near import Neighbours, Sample
from .rewrite import form_of, must_be_files, must_be_writable, raw_rows, row_file
from .sources import FileReport, Loaded, Stream
from .split import split_keys, split_strata

OnProgress = Callable[[str, int, int], None]
PROMPT = "prompt"


@dataclass(frozen=True, slots=True)
class Parted:
    """What ``part`` did. ``num_rows`` is the sum of the two sides and the rejected rows."""

    num_rows: int
    num_groups: int
    num_train: int
    num_held_out: int
    num_rejected: int
    labels: dict[str, tuple[int, int]]
    """Rows of each label on the two sides, where they were stratified."""
    train: str
    held_out: str
    rejected: str | None
    """The file of the rows that cannot be used, where there are any."""
    notes: tuple[str, ...]

    def lines(self) -> list[tuple[str, str]]:
        """Labels and values for people."""
        used = max(1, self.num_train + self.num_held_out)
        said = [
            (say("rows", "行数"), f"{self.num_rows:,}"),
            (say("groups kept together", "不拆开的组"), f"{self.num_groups:,}"),
            (say("train", "训练"), f"{self.num_train:,}  → {self.train}"),
            (
                say("held out", "留出"),
                f"{self.num_held_out:,} ({self.num_held_out / used:.1%})  → {self.held_out}",
            ),
        ]
        said += [(f"  {label}", f"{train:,} + {held:,}") for label, (train, held) in self.labels.items()]
        if self.rejected is not None:
            said.append((say("unusable", "无法使用"), f"{self.num_rejected:,}  → {self.rejected}"))
        return said


def part(
    sources: Sequence[Source],
    share: float,
    *,
    seed: int = 42,
    by: str = PROMPT,
    near: bool = False,
    stratify: bool = False,
    output: Path | None = None,
    train: Path | None = None,
    held_out: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Parted:
    """Writes each row of ``sources`` as it stands to one of two files: ``train`` and ``held_out``, or ``train``
    and ``test`` in the folder ``output``. Weights are not applied: a row is written once.

    ``share`` and ``seed`` choose as ``split.split`` does for a training run. ``by``: ``prompt``, or a column
    whose values are kept together. ``near``: so are prompts that are nearly the same. ``stratify``: the same
    share of each label.

    Raises RecipeError for options that are wrong or do not go together, DataError for files that cannot be
    read, written or parted.
    """
    _must_be_right(share, output, train, held_out)
    loaded, is_used, stream = _load(sources, on_progress)
    train, held_out, rejected = _outputs(output, train, held_out, form_of(stream.files))
    must_be_writable([train, held_out, rejected], [file.path for file in stream.files])
    examples = loaded.examples
    if by == PROMPT:
        keys = [prompt_key(example) for example in examples]
    else:
        keys = _column(by, stream.files, is_used)
    if near:
        keys = _clustered(keys, examples)
    if stratify:
        labels = _labels(examples)
        chosen = split_strata(keys, labels, share, seed)[1]
    else:
        labels, chosen = [], split_keys(keys, share, seed, enough=2)[1]
        if len(chosen) > math.ceil(2 * share * len(keys)):  # even the smallest group is too large
            chosen = []
    if not chosen:
        raise DataError(_nothing_held_out(share, len(set(keys)), len(keys)))
    held = set(chosen)
    _write(train, held_out, stream.files, is_used, held, on_progress)
    return Parted(
        num_rows=loaded.num_rows,
        num_groups=len(set(keys)),
        num_train=len(examples) - len(held),
        num_held_out=len(held),
        num_rejected=len(loaded.rejected),
        labels=_by_label(labels, held),
        train=str(train),
        held_out=str(held_out),
        rejected=leave_rejected(loaded.rejected, rejected),
        notes=(*loaded.notes, *_of_images(examples, [train, held_out], stream.files)),
    )


def _outputs(
    output: Path | None, train: Path | None, held_out: Path | None, form: str
) -> tuple[Path, Path, Path]:
    """The files for training, held-out and rejected rows; ``_must_be_right`` has seen to one of the two ways."""
    if train is not None and held_out is not None:
        return train, held_out, beside(train, "rejected")
    folder = output or Path()
    return folder / f"train{form}", folder / f"test{form}", folder / "rejected.jsonl"


def _load(sources: Sequence[Source], on_progress: OnProgress | None) -> tuple[Loaded, list[bool], Stream]:
    stream = Stream(sources, None, on_progress=on_progress)
    loaded = Loaded()
    is_used = []
    for taken in stream:
        loaded.take(taken)
        is_used.append(taken.example is not None)
    if stream.problems:
        raise DataError(stream.problems)
    must_be_files(stream.files)
    loaded.files, loaded.notes = stream.files, stream.notes
    if not loaded.examples:
        raise DataError(_none_used(loaded.rejected))
    return loaded, is_used, stream


def _column(name: str, files: Sequence[FileReport], is_used: Sequence[bool]) -> list[str]:
    """The values of a column in the rows that are used. Raises DataError where rows lack it."""
    keys: list[str] = []
    lacking = []
    columns: set[str] = set()
    for used, raw in zip(is_used, raw_rows(files), strict=True):
        value = raw.value if used else {}
        if not used:
            continue
        if isinstance(value, dict) and value.get(name) is not None:
            keys.append(json.dumps(value[name], ensure_ascii=False, sort_keys=True, default=str))
        else:
            lacking.append(raw.origin)
            columns |= set(value) if isinstance(value, dict) else set()
    if lacking:
        raise DataError(
            say(
                "--by {name}: rows without a value in this column: {num:,}; the first is row {row} of {path}. Such "
                "rows have: {columns}.",
                "--by {name}：有 {num:,} 行没有该列的值；首例是 {path} 第 {row} 行。这些行有：{columns}。",
                name=name,
                num=len(lacking),
                row=lacking[0].row,
                path=lacking[0].path,
                columns=join(sorted(columns)) or say("no columns", "没有列"),
            )
        )
    return keys


def _clustered(keys: Sequence[str], examples: Sequence[Example]) -> list[str]:
    """One key for all groups that are linked by prompts that are nearly the same: the least of theirs, so
    that it does not depend on the order of the rows.
    """
    groups = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    sample = Sample()
    for number, example in enumerate(examples):
        is_image = isinstance(example, Labelled) and example.image is not None
        sample.add(0, number, "" if is_image else plain(prompt_key(example)))
    parent = list(range(len(groups)))

    def root(group: int) -> int:
        while parent[group] != group:
            parent[group] = group = parent[parent[group]]
        return group

    for row, first in enumerate(Neighbours(sample.taken()[1], own_only=True).clusters()):
        parent[root(groups[keys[row]])] = root(groups[keys[first]])
    least: dict[int, str] = {}
    for key, group in groups.items():
        least[root(group)] = min(key, least.get(root(group), key))
    return [least[root(groups[key])] for key in keys]


def _labels(examples: Sequence[Example]) -> list[str]:
    """The class of each row. Raises RecipeError where they have none."""
    labels = []
    for example in examples:
        if not isinstance(example, Labelled) or isinstance(example.label, float):
            raise RecipeError(
                say(
                    "--stratify: needs rows with a class (text or image and label); these have none. Leave "
                    "--stratify out.",
                    "--stratify：需要带类别的行（文本或图片，加标签）；这些行没有类别。请去掉 --stratify。",
                )
            )
        label = example.label
        labels.append(", ".join(sorted(label)) if isinstance(label, tuple) else label)
    return labels


def _by_label(labels: Sequence[str], held: set[int]) -> dict[str, tuple[int, int]]:
    total = Counter(labels)
    held_out = Counter(label for row, label in enumerate(labels) if row in held)
    return {label: (num - held_out[label], held_out[label]) for label, num in sorted(total.items())}


def _write(
    train: Path,
    held_out: Path,
    files: Sequence[FileReport],
    is_used: Sequence[bool],
    held: set[int],
    on_progress: OnProgress | None,
) -> None:
    number = 0
    with ExitStack() as stack:
        to_train = stack.enter_context(row_file(train))
        to_held_out = stack.enter_context(row_file(held_out))
        for index, raw in enumerate(raw_rows(files), start=1):
            if on_progress and (index % 1000 == 0 or index == len(is_used)):
                on_progress(say("writing rows", "写出各行"), index, len(is_used))
            if is_used[index - 1]:
                (to_held_out if number in held else to_train)(raw)
                number += 1


def _of_images(
    examples: Sequence[Example], outputs: Sequence[Path], files: Sequence[FileReport]
) -> list[str]:
    """Paths of images are relative to the file that names them."""
    has_images = any(isinstance(example, Labelled) and example.image for example in examples)
    homes = {Path(file.path).resolve().parent for file in files}
    if not has_images or homes == {path.resolve().parent for path in outputs}:
        return []
    return [
        say(
            "Paths of images that are not absolute hold from the folder of the file: put the new files into "
            "{folder}.",
            "相对的图片路径以文件所在文件夹为准：请把新文件放到 {folder}。",
            folder=join(sorted(str(home) for home in homes)),
        )
    ]


def _none_used(rejected: Sequence[Rejected]) -> str:
    first = rejected[0]
    return say(
        "No row can be used. The first ({path}, row {row}): {reason} All of them: attune check {path}",
        "没有一行可以使用。首例（{path} 第 {row} 行）：{reason}全部情况：attune check {path}",
        path=first.origin.path,
        row=first.origin.row,
        reason=first.reason,
    )


def _nothing_held_out(share: float, num_groups: int, num_rows: int) -> str:
    return say(
        "Nothing can be held out: {rows:,} rows are {groups:,} groups that stay together, and none of them fits into a "
        "share of {share:g}. Raise --held-out, or give more rows.",
        "没有可留出的行：{rows:,} 行分为 {groups:,} 个不能拆开的组，没有一组放得进 {share:g} 的比例。请提高 --held-out，"
        "或增加数据。",
        rows=num_rows,
        groups=num_groups,
        share=share,
    )


def _must_be_right(share: float, output: Path | None, train: Path | None, held_out: Path | None) -> None:
    problems = []
    if not 0 < share < 1:
        problems.append(
            say(
                "--held-out {share:g}: a share of the rows, above 0 and below 1. Write for example --held-out 0.1.",
                "--held-out {share:g}：应为大于 0、小于 1 的比例。例如 --held-out 0.1。",
                share=share,
            )
        )
    if (output is None) == (train is None and held_out is None) or (train is None) != (held_out is None):
        problems.append(
            say(
                "Say where to write: either --output DIR, or both --train FILE and --test FILE.",
                "请说明写到哪里：--output 文件夹，或同时给出 --train 文件 与 --test 文件。",
            )
        )
    if problems:
        raise RecipeError(problems)
