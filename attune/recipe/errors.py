"""Errors for people: what was got, what is allowed, what to type instead; all of them at once."""

from __future__ import annotations

from collections.abc import Sequence


class AttuneError(Exception):
    """Something a person can mend. The command line prints it without a traceback and exits with code 2.

    ``problems`` holds one line (or short block) a problem, already in the person's language.
    """

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class RecipeError(AttuneError):
    """The recipe, an override or a command-line value is wrong."""


class DataError(AttuneError):
    """A file or its rows cannot be used."""


class ModelError(AttuneError):
    """A model folder, a tokenizer or a chat template cannot be used."""


class RunError(AttuneError):
    """A run folder, a checkpoint or the disk is not what it must be."""


class Interrupted(AttuneError):  # noqa: N818 (it is no error of anybody)
    """The person pressed Ctrl-C; what could be saved has been saved."""

    exit_code = 130
