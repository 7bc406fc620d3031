"""Saving what was trained, atomically, as an ordinary transformers folder or an ordinary PEFT adapter."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

from ..data.template import ChatTemplate
from . import heads, quantize
from .adapted import Adapted, inner, is_adapter


def save(
    model: Any,
    tokenizer: Any,
    template: ChatTemplate | None,
    folder: Path,
    base: str | None = None,
    revision: str | None = None,
) -> None:
    """Writes ``folder`` beside its place and renames it. ``base`` and ``revision``: where the adapter's base
    model lives.
    """
    draft = folder.with_name(f".writing-{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        if template is not None and not heads.is_scoring(model):
            _stop_where_trained(model, tokenizer, template)
        if is_adapter(model) and base is not None:
            _name_base(model, base, revision)
        whole = inner(model)
        speaks = not heads.is_scoring(model)
        if speaks:
            whole.generation_config = _writable(whole.generation_config)
        # The vocabulary never grows here: PEFT need not ask the hub whether it did, nor keep embeddings.
        options = {"save_embedding_layers": False} if is_adapter(model) else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT's are for its developers
            model.save_pretrained(draft, safe_serialization=True, **options)
        tokenizer.save_pretrained(draft)
        if quantize.is_quantized(whole):
            quantize.mark(draft)
        if is_adapter(model) and not speaks:
            heads.note(draft, whole.config)
        if is_adapter(model):
            if speaks:
                whole.generation_config.save_pretrained(draft)
            # PEFT writes a README of empty headings; ours is the run's report.
            (draft / "README.md").unlink(missing_ok=True)
        replace_folder(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _name_base(model: Any, base: str, revision: str | None) -> None:
    """Writes into the adapter's settings where its base lives, a folder in full: it may be asked from
    anywhere.
    """
    place = str(Path(base).resolve()) if Path(base).exists() else base
    if isinstance(model, Adapted):
        model.base_path, model.revision = place, revision
        return
    for settings in model.peft_config.values():
        settings.base_model_name_or_path, settings.revision = place, revision


def replace_folder(draft: Path, folder: Path) -> None:
    """``draft`` takes the place of ``folder``; at each moment one of the two is whole."""
    if folder.exists():
        old = folder.with_name(f".old-{folder.name}")
        shutil.rmtree(old, ignore_errors=True)
        os.rename(folder, old)
        os.rename(draft, folder)
        shutil.rmtree(old)
    else:
        os.rename(draft, folder)


def _stop_where_trained(model: Any, tokenizer: Any, template: ChatTemplate) -> None:
    """Generation must stop at the token that was learnt as the stop, in whatever tool loads the folder."""
    base = inner(model)
    base.generation_config.eos_token_id = sorted(template.stop_ids)
    if base.generation_config.pad_token_id is None:
        pad = tokenizer.pad_token_id
        base.generation_config.pad_token_id = pad if pad is not None else tokenizer.eos_token_id


def _writable(settings: Any) -> Any:
    """transformers reads a generation configuration with sampling options and no ``do_sample`` (many models
    have one) and refuses to write it once a stop token has changed. Such options have no effect: they go, and
    the tokens stay.
    """
    from transformers import GenerationConfig

    try:
        settings.validate(strict=True)
    except ValueError:
        names = ("bos_token_id", "eos_token_id", "pad_token_id")
        return GenerationConfig(**{name: getattr(settings, name) for name in names})
    return settings
