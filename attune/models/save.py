"""Saving what was trained, atomically, as an ordinary transformers folder or an ordinary PEFT adapter."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ..data.template import ChatTemplate


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
        if template is not None:
            _stop_where_trained(model, tokenizer, template)
        if hasattr(model, "peft_config") and base is not None:
            # A folder is named in full: the adapter may be asked from anywhere.
            place = str(Path(base).resolve()) if Path(base).exists() else base
            for settings in model.peft_config.values():
                settings.base_model_name_or_path, settings.revision = place, revision
        is_adapter = hasattr(model, "peft_config")
        whole = model.get_base_model() if is_adapter else model
        whole.generation_config = _writable(whole.generation_config)
        # The vocabulary never grows here: PEFT need not ask the hub whether it did, nor keep embeddings.
        options = {"save_embedding_layers": False} if is_adapter else {}
        model.save_pretrained(draft, safe_serialization=True, **options)
        tokenizer.save_pretrained(draft)
        if is_adapter:
            whole.generation_config.save_pretrained(draft)
            # PEFT writes a README of empty headings; ours is the run's report.
            (draft / "README.md").unlink(missing_ok=True)
        replace_folder(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


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
    base = model.get_base_model() if hasattr(model, "peft_config") else model
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
