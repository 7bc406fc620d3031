"""What some objectives add to their data before the first step: weights, mismatched answers, and the
log-probabilities of the reference.

The reference's numbers are computed once, in the packs and the arithmetic of training, when the policy has
not learnt yet: with an adapter it is switched off, and a policy that learns whole still is its own reference.
So no second model is needed, unless another one is named. They are kept beside the encoded data under the
hash of all that decides their bits; a run that goes on reads them, or computes the same again from the base.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import cache, durable, pack
from ..data.cache import Store
from ..data.mismatch import mismatched, prompt_keys
from ..data.prepare import Prepared
from ..models import merge
from ..models.fingerprint import fingerprint
from ..models.folders import is_config_file
from ..models.inputs import load_tokenizer
from ..models.load import load_config, load_weights, resolve_run
from ..models.policy import Policy
from ..models.reference import as_reference
from ..recipe import plugs
from ..recipe.errors import RecipeError
from ..recipe.messages import say
from ..recipe.schema import Model, Recipe
from .events import Progress
from .run import versions
from .step import Micro, any_process, share_of_packs

if TYPE_CHECKING:
    from .setup import Setup

_AT_ONCE = 512
"""Examples that are packed together, as in the held-out evaluation."""


def arranged(recipe: Recipe, data: Prepared, max_length: int) -> Prepared:
    """``data`` with the weights and the mismatched answers that the objective asks for.

    Raises DataError where there are no answers to other prompts. (A held-out part of one prompt has none, and
    does without.)
    """
    objective, config = plugs.find("objectives", recipe.objective.name), recipe.objective

    def whole(store: Store, must_cross: bool) -> Store:
        if hasattr(objective, "arrange"):
            store = objective.arrange(store, config)
        if getattr(config, "needs_mismatched", False) and (must_cross or len(set(prompt_keys(store))) > 1):
            crossed = mismatched(store, recipe.train.seed, max_length)
            store = dataclasses.replace(store, mismatched=crossed)
        return store

    train, held_out = whole(data.train, True), whole(data.held_out, False)
    return dataclasses.replace(data, train=train, held_out=held_out)


def add_reference(setup: Setup) -> None:
    """Gives the run's data the reference's log-probabilities, where its objective asks for them.

    Raises RecipeError where the reference that is named has another tokenizer.
    """
    config = setup.recipe.objective
    if not getattr(config, "needs_reference", False):
        return
    named = getattr(config, "reference", None)
    with contextlib.ExitStack() as stack:
        other = None if named is None else _other(setup, named)
        opened: list[Policy] = []

        def logps(store: Store) -> NDArray[np.float32]:
            place = _place(setup, store, other)
            kept = _read(place, store)
            if any_process(kept is None, setup.policy, setup.accelerator) or kept is None:
                if not opened:
                    opened.append(stack.enter_context(_reference_of(setup, other)))
                    stack.enter_context(setup.autocast())
                kept = logps_of(opened[0], store, setup.micro, setup.accelerator, _teller(setup))
                _keep(setup, place, kept)
            return kept

        train, held_out = _with(logps, setup.data.train), _with(logps, setup.data.held_out)
    setup.data = dataclasses.replace(setup.data, train=train, held_out=held_out)


def _with(logps: Callable[[Store], NDArray[np.float32]], store: Store) -> Store:
    """``store``, and its mismatched twin, with their reference."""
    if not len(store):
        return store
    twin = store.mismatched
    return dataclasses.replace(
        store, reference=logps(store), mismatched=None if twin is None else _with(logps, twin)
    )


def logps_of(
    reference: Policy,
    store: Store,
    micro: Micro,
    accelerator: Any = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Log-probabilities of all learnt tokens of ``store`` in its order, ``[learnt]``; each process computes
    its share, and all get the whole.
    """
    found = np.zeros(int(store.num_learnt.sum()), np.float32)
    num_done = 0
    for start in range(0, len(store), _AT_ONCE):
        examples = range(start, min(start + _AT_ONCE, len(store)))
        for indices in share_of_packs(store, examples, micro):
            logps = reference(pack.batch(store, indices)).float().cpu()
            sizes = [int(store.num_learnt[index]) for index in indices]
            for index, part in zip(indices, logps.split(sizes), strict=True):
                found[store.learnt_from[index] : store.learnt_from[index + 1]] = part.numpy()
            num_done += len(indices) * micro.world
            if on_progress is not None and num_done < len(store):
                on_progress(num_done, len(store))
    if on_progress is not None:
        on_progress(len(store), len(store))
    if micro.world > 1:
        whole = torch.from_numpy(found).to(reference.device)
        found = accelerator.reduce(whole, reduction="sum").cpu().numpy()
    return found


def _other(setup: Setup, named: str) -> Model:
    """The model that is named; an adapter is merged into its base, as where training begins with one."""
    first = contextlib.nullcontext() if setup.accelerator is None else setup.accelerator.main_process_first()
    with first:
        return Model(path=merge.whole(resolve_run(named)))


@contextlib.contextmanager
def _reference_of(setup: Setup, other: Model | None) -> Iterator[Policy]:
    """The policy itself, or the model that is named, which leaves the memory afterwards."""
    if other is None:
        with as_reference(setup.policy) as reference:
            yield reference
        return
    if load_tokenizer(other).get_vocab() != setup.tokenizer.get_vocab():
        raise RecipeError(
            say(
                "objective.reference={path} has another tokenizer than the model: their log-probabilities "
                "are of different tokens. Name a model of the same family, or leave it out (the model before "
                "training).",
                "objective.reference={path} 与模型的分词器不同：对数概率针对不同的 token。"
                "请用同一系列的模型，或去掉该项（默认为训练前的模型）。",
                path=other.path,
            )
        )
    dtype = next(setup.policy.base.parameters()).dtype
    weights = load_weights(other, load_config(other), dtype, setup.device)
    with as_reference(Policy(weights, packing=setup.policy.packs)) as reference:
        yield reference


def _place(setup: Setup, store: Store, other: Model | None) -> Path:
    """Where the numbers of ``store`` are kept: the name is a hash of all that decides their bits."""
    recipe, micro = setup.recipe, setup.micro
    model = recipe.model if other is None else other
    name = cache.key(
        kind="reference",
        data=store.digest(),
        model=setup.model_digest if other is None else fingerprint(other, load_config(other)),
        seed=recipe.train.seed if is_config_file(model.path) else None,
        dtype=str(next(setup.policy.base.parameters()).dtype),
        precision=setup.precision,
        is_quantized=getattr(recipe.adapter, "is_quantized", False) and other is None,
        micro=[micro.tokens, micro.world, micro.padded],
        packing=setup.policy.packs,
        threads=torch.get_num_threads(),
        device=setup.device.type,
        versions=versions(),
    )
    return cache.folder(recipe.data.cache_dir) / f"reference-{name}.npy"


def _read(place: Path, store: Store) -> NDArray[np.float32] | None:
    """What is kept there, or None where there is nothing (or something damaged)."""
    try:
        kept = np.load(place, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return kept if kept.shape == (int(store.num_learnt.sum()),) and kept.dtype == np.float32 else None


def _keep(setup: Setup, place: Path, logps: NDArray[np.float32]) -> None:
    """Writes atomically; a disk that does not take it costs the next run the same work, and that is said."""
    if not setup.is_main:
        return
    try:
        with durable.writing(place) as file:
            np.save(file.buffer, logps, allow_pickle=False)
    except OSError as error:
        text = say(
            "The reference's log-probabilities could not be kept in {place} ({reason}): a run that goes on "
            "computes them again. data.cache_dir names another place.",
            "无法将参考模型的对数概率保存到 {place}（{reason}）：续跑时将重新计算。"
            "可用 data.cache_dir 指定其他位置。",
            place=place.parent,
            reason=error.strerror or error,
        )
        if ("warning", text) not in setup.notices:
            setup.notices.append(("warning", text))


def _teller(setup: Setup) -> Callable[[int, int], None]:
    what = say("log-probabilities of the reference", "参考模型的对数概率")

    def tell(done: int, total: int) -> None:
        for listener in setup.bus_listeners:
            listener(Progress(what, done, total))

    return tell
