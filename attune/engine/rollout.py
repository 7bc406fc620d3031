"""Answers sampled from the policy, scored, and laid as examples: a prompt once, its answers as branches.

What is sampled depends on the weights, the run's seed, the step, the prompt's place in it and the sample's
number only. So a run that goes on samples the same answers, and a checkpoint needs none of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import pack
from ..data.cache import Store
from ..data.examples import Origin, Prompt
from ..data.layout import Segments
from ..data.sources import load
from ..evaluation.rewards import Answer, Rewards
from ..inference.backends._generator import Generator
from ..inference.sampling import Sample
from ..models.policy import Policy
from ..objectives._online import Online
from ..recipe.errors import DataError
from ..recipe.messages import join, say
from ..recipe.schema import Data, Generation
from .step import Micro, share_of_packs

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Group:
    """The answers to one prompt. ``scores``: each reward's own numbers by name; ``rewards``: their sum."""

    place: int
    """The prompt's place in the step."""
    index: int
    """Its index in the store."""
    samples: list[Sample]
    answers: list[Answer]
    rewards: list[float]
    scores: dict[str, list[float]]


@dataclass(frozen=True)
class Prompts:
    """Encoded prompts, and what rewards may read of their rows."""

    store: Store
    rows: Mapping[Origin, Prompt]

    def ids(self, index: int) -> list[int]:
        """The tokens of a prompt."""
        return list(self.store[index].prompt)

    def origin(self, index: int) -> Origin:
        """Where it stands."""
        file, row = self.store.origins[index].tolist()
        return Origin(self.store.files[file], row)

    def answer(self, index: int, text: str) -> Answer:
        """An answer to it, as rewards take it."""
        origin = self.origin(index)
        row = self.rows[origin]
        return Answer(row.messages, text, row.reference, row.extra, origin)

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt; 0 without any."""
        return int(self.store.lengths.max(initial=0))

    def references(self) -> list[tuple[Origin, str | None]]:
        """Each row with its right answer."""
        origins = [self.origin(index) for index in range(len(self.store))]
        return [(origin, self.rows[origin].reference) for origin in origins]


def read_rows(data: Data, seed: int) -> dict[Origin, Prompt]:
    """The rows of all prompts, by their places: the encoded data holds tokens only."""
    held_out = data.held_out if isinstance(data.held_out, list) else []
    found: dict[Origin, Prompt] = {}
    for sources in (data.train, held_out):
        if sources:
            loaded = load(sources, "prompt", seed=seed)
            for example, origin in zip(loaded.examples, loaded.origins, strict=True):
                assert isinstance(example, Prompt)
                found[origin] = example
    return found


def check_room(prompts: Prompts, max_new_tokens: int, window: int | None) -> None:
    """Raises DataError where the model's window cannot hold a prompt and a whole answer."""
    if window is None:
        return
    long = [
        index for index in range(len(prompts.store)) if prompts.store.lengths[index] + max_new_tokens > window
    ]
    if not long:
        return
    places = [f"{one.path}:{one.row}" for one in map(prompts.origin, long[:5])]
    raise DataError(
        say(
            "{num} prompts and {new} tokens of an answer do not fit the model's window of {window} ({places}"
            "{more}). Give data.max_length={fit} (longer prompts lose their beginning, or are dropped with "
            "data.overlong=drop), or a smaller objective.max_new_tokens.",
            "{num} 个提示加上 {new} 个 token 的回答超出模型窗口 {window}（{places}{more}）。请设 "
            "data.max_length={fit}（更长的提示会截去开头，或用 data.overlong=drop 丢弃），"
            "或减小 objective.max_new_tokens。",
            num=len(long),
            new=max_new_tokens,
            window=window,
            places=join(places),
            more=" …" if len(long) > 5 else "",
            fit=max(8, window - max_new_tokens),
        )
    )


def seed_of(run_seed: int, step: int) -> int:
    """The seed of a step's sampling; the prompt's place and the sample's number join it in ``sampling``."""
    digest = hashlib.blake2b(f"rollout/{run_seed}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def roll_out(
    generator: Generator,
    prompts: Prompts,
    asked: Sequence[tuple[int, int]],
    generation: Generation,
    num_samples: int,
    tokenizer: Any,
    stop_ids: frozenset[int],
    rewards: Rewards,
    on_progress: OnProgress | None = None,
) -> list[Group]:
    """Samples and scores answers to the prompts ``asked``: (place in the step, index in the store)."""
    found = generator.generate(
        [prompts.ids(index) for _, index in asked],
        generation,
        stop_ids,
        num_samples=num_samples,
        places=[place for place, _ in asked],
        on_progress=on_progress,
    )
    answers = [
        [prompts.answer(index, _text(tokenizer, sample)) for sample in samples]
        for (_, index), samples in zip(asked, found, strict=True)
    ]
    totals, parts = rewards.score(list(chain.from_iterable(answers)))
    groups = []
    for number, ((place, index), samples) in enumerate(zip(asked, found, strict=True)):
        own = slice(number * num_samples, (number + 1) * num_samples)
        scores = {name: numbers[own] for name, numbers in parts.items()}
        groups.append(Group(place, index, samples, answers[number], totals[own], scores))
    return groups


def shared_out(asked: Sequence[int], micro: Micro) -> list[tuple[int, int]]:
    """This process's prompts of a step: (place in the step, index in the store)."""
    return list(enumerate(asked))[micro.rank :: micro.world]


def gathered(groups: list[Group], micro: Micro) -> list[Group]:
    """The groups of all processes, by their places; every process gets all."""
    if micro.world == 1:
        return groups
    from accelerate.utils import gather_object

    return sorted(gather_object(groups), key=lambda group: int(group.place))


def _text(tokenizer: Any, sample: Sample) -> str:
    return str(tokenizer.decode(sample.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def laid(
    groups: Sequence[Group], prompts: Prompts, config: Online, micro_tokens: int
) -> tuple[Store, list[int]]:
    """The groups as examples, in their order, and the learnt tokens of each answer.

    A finished answer is learnt with its stop token. One that was cut has none, so it never teaches to end
    where it was cut; ``truncated=mask`` leaves it out (0 learnt tokens). A group that is larger than a pass
    is laid as several examples.
    """
    pieces: list[Segments] = []
    origins: list[tuple[int, int]] = []
    lengths: list[int] = []
    for group in groups:
        prompt = prompts.ids(group.index)
        file, row = prompts.store.origins[group.index].tolist()
        branches = [_learnt(sample, config) for sample in group.samples]
        lengths += map(len, branches)
        for run in cut([ids for ids in branches if ids], micro_tokens - len(prompt)):
            pieces.append(Segments(prompt, tuple((ids, [True] * len(ids)) for ids in run)))
            origins.append((file, row))
    return replace(Store.build(pieces, origins), files=prompts.store.files), lengths


def _learnt(sample: Sample, config: Online) -> list[int]:
    """The tokens of an answer that are learnt."""
    if sample.stop is not None:
        return [*sample.ids, sample.stop]
    return [] if config.truncated == "mask" else sample.ids


def sampled(groups: Sequence[Group], config: Online) -> torch.Tensor:
    """Log-probabilities of all learnt tokens as the generator gave them, ``[learnt]``, in the order of
    ``laid``.
    """
    samples = chain.from_iterable(group.samples for group in groups)
    return torch.tensor([logp for one in samples for logp in one.logps[: len(_learnt(one, config))]])


def cut(branches: list[list[int]], room: int) -> list[list[list[int]]]:
    """Runs of branches of at most ``room`` tokens; one branch at least."""
    runs: list[list[list[int]]] = []
    left = 0
    for ids in branches:
        if not runs or len(ids) > left:
            runs.append([])
            left = room
        runs[-1].append(ids)
        left -= len(ids)
    return runs


@torch.no_grad()
def measured(
    policy: Policy,
    store: Store,
    parts: Sequence[Sequence[int]],
    micro: Micro,
    also: Sequence[str],
    accelerator: Any,
) -> dict[str, NDArray[np.float32]]:
    """``logps`` and what ``also`` names of all learnt tokens of ``store``, ``[learnt]`` each, in the packs in
    which ``parts`` will be learnt: the first update's ratio is then 1 to the last bit.
    """
    found = {name: np.zeros(int(store.num_learnt.sum()), np.float32) for name in ("logps", *also)}
    for examples in parts:
        for indices in share_of_packs(store, examples, micro):
            got = policy.measure(pack.batch(store, indices), also)
            sizes = [int(store.num_learnt[index]) for index in indices]
            for name, numbers in found.items():
                for index, part in zip(indices, torch.split(got[name].float().cpu(), sizes), strict=True):
                    numbers[store.learnt_from[index] : store.learnt_from[index + 1]] = part.numpy()
    if micro.world > 1:
        for name, numbers in found.items():
            whole = torch.from_numpy(numbers).to(policy.device)
            found[name] = accelerator.reduce(whole, reduction="sum").cpu().numpy()
    return found
