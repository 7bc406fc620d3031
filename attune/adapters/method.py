"""What every method says about itself beside its options; the engine asks, and knows no method by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..recipe.schema import Choice

if TYPE_CHECKING:
    from torch import Tensor


class Method(Choice):
    """Base of every method's ``Config``."""

    @property
    def trains_base(self) -> bool:
        """Weights of the base itself learn: it is kept in float32, and half precision is autocast over it."""
        return False

    @property
    def is_quantized(self) -> bool:
        """The base is loaded in 4 bits."""
        return False

    @property
    def virtual_tokens(self) -> int:
        """Positions that trained vectors take from the model's window."""
        return 0

    @property
    def tokens(self) -> tuple[str | int, ...]:
        """Tokens whose embedding rows learn, as the person named them."""
        return ()

    def rate_of(self, name: str) -> float:
        """The step size of the parameter ``name`` as a multiple of the run's."""
        del name
        return 1.0


class Begin(Protocol):
    """How some methods begin from the training data. Such a method has a function ``begin`` of this form in
    its file, which is called after ``attach``, before the first step or the checkpoint that it goes on from.
    """

    def __call__(self, model: Any, config: Any, passes: Iterable[Callable[[], object]]) -> None:
        """``passes``: each runs the model over some of the data when it is called."""


class Companion(Protocol):
    """What some methods do beside the gradient, for the length of a run. A method that needs one has a
    function ``companion(model, num_steps)`` in its file.
    """

    def penalty(self) -> Tensor:
        """A scalar that joins the loss of each step (and is not reported with it)."""

    def after_step(self, step: int) -> None:
        """After the weights have moved for the ``step``-th time (from 1), while their gradients are there."""

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must keep."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Takes it back."""
