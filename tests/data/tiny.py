"""Tiny tokenizers for tests: byte-level BPE, so that any text can be written, without any file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "What is the capital of France? The capital of France is Paris.",
    "请问你们几点开门？我们早上十点开门，晚上九点关门。",
    "system user assistant\n\n\n 1 + 1 = 2  \n\n",
]
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
CHATML += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def tokenizer(
    special: Sequence[str] = ("<|im_start|>", "<|im_end|>"),
    template: str | None = CHATML,
    *,
    size: int = 340,
    bos: bool = False,
    eos: str | None = "</s>",
) -> Any:
    """A byte-level BPE with some merges, newlines and spaces among them, as in real ones.

    ``bos``: texts begin with ``<s>``.
    """
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    inner.train_from_iterator(TEXTS, trainer)
    tokens = dict.fromkeys(["<s>", "</s>", *special])
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
    if bos:
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", inner.token_to_id("<s>"))]
        )
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>" if bos else None, eos_token=eos)
    made.chat_template = template
    return made


def stand_in(template: str) -> Any:
    """A tokenizer that has every token which a template writes, for a template without its own tokenizer."""
    tokens = re.findall(r"<[|｜/]?[^\s<>'\"{}()=]{1,40}?>|\[/?[A-Z_]{2,30}\]", template)
    made = tokenizer(sorted(set(tokens)), template, size=256)
    made.bos_token = "<s>"
    return made
