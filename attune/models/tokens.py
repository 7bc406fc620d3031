"""Tokens whose embedding rows learn, and new ones: the vocabulary and the rows that go with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..recipe.errors import RecipeError
from ..recipe.messages import join, say


def add(tokenizer: Any, tokens: Sequence[str | int]) -> list[str]:
    """Makes each text that the vocabulary lacks a token of its own, which is never cut and stays in the
    text of answers; returns those, in their order. Raises RecipeError for an empty text.
    """
    if "" in tokens:
        raise RecipeError(
            say(
                "adapter.train_tokens: an empty text is no token. Leave it out.",
                "adapter.train_tokens：空文本不是词。请去掉。",
            )
        )
    known = tokenizer.get_vocab()
    new = [token for token in dict.fromkeys(tokens) if isinstance(token, str) and token not in known]
    if new:
        tokenizer.add_tokens(new)
    return new


def ids(tokenizer: Any, tokens: Sequence[str | int]) -> list[int]:
    """The id of each token, sorted, each once. Raises RecipeError for a number that is none."""
    wrong = [token for token in tokens if isinstance(token, int) and not 0 <= token < len(tokenizer)]
    if wrong:
        raise RecipeError(
            say(
                "adapter.train_tokens={got}: ids of this tokenizer go from 0 to {last}. Give one of those, "
                "or the "
                "token's text.",
                "adapter.train_tokens={got}：该分词器的编号为 0 到 {last}。请给出其中的编号，或写出词的文"
                "本。",
                got=join(wrong),
                last=len(tokenizer) - 1,
            )
        )
    found = {token if isinstance(token, int) else tokenizer.convert_tokens_to_ids(token) for token in tokens}
    return sorted(found)


@torch.no_grad()
def fit(model: Any, num_tokens: int) -> Any:
    """The model with rows for ``num_tokens`` at least: many models have spare ones; where there are too
    few, more come, each the mean of those that there are.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    if num_tokens <= rows:
        return model
    model.resize_token_embeddings(num_tokens, mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        if layer is not None:
            layer.weight[rows:] = layer.weight[:rows].mean(0)
    return model
