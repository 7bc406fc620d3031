"""Loading: a hub id, a model, adapter or run folder, or a config.json; every failure in words."""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from ..data.template import ChatTemplate
from ..recipe import load as recipes
from ..recipe.errors import ModelError
from ..recipe.messages import join, say
from ..recipe.schema import Model
from .hub import only_local

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class Loaded:
    """A model ready to answer."""

    model: Any
    tokenizer: Any
    template: ChatTemplate
    path: str
    base: str | None
    """Where the base model lives, for an adapter; None for a whole model."""


def is_config_file(path: str) -> bool:
    """True for a config.json, which stands for random weights."""
    return path.endswith(".json")


def load_config(model: Model) -> Any:
    """The model's configuration, without any weight."""
    from transformers import AutoConfig

    _check_place(model.path, needs_config=True)
    quiet()
    try:
        config = AutoConfig.from_pretrained(
            model.path,
            revision=model.revision,
            trust_remote_code=model.trust_remote_code,
            local_files_only=only_local(model.path),
        )
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(model.path, error) from None
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            say(
                "{path} is an encoder-decoder ({kind}); attune trains decoder-only causal language models.",
                "{path} 是编码器-解码器模型（{kind}）；attune 训练的是仅解码器的因果语言模型。",
                path=model.path,
                kind=config.model_type,
            )
        )
    return config


def load_tokenizer(model: Model) -> Any:
    """The tokenizer of ``model.tokenizer``, else of the model (or of the folder of its config.json)."""
    from transformers import AutoTokenizer

    place = model.tokenizer or (str(Path(model.path).parent) if is_config_file(model.path) else model.path)
    _check_place(place, needs_config=False)
    quiet()
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            place,
            revision=None if model.tokenizer else model.revision,
            trust_remote_code=model.trust_remote_code,
            local_files_only=only_local(place),
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise ModelError(
            say(
                "No usable tokenizer in {place} ({reason}). A model folder needs tokenizer.json or its own "
                "vocabulary files; name another place with model.tokenizer=<folder or id>.",
                "{place} 中没有可用的分词器（{reason}）。模型文件夹需要 tokenizer.json 或词表文件；"
                "也可用 model.tokenizer=<文件夹或 id> 指定。",
                place=place,
                reason=_first_line(error),
            )
        ) from None
    if not len(tokenizer):
        raise ModelError(
            say(
                "The tokenizer in {place} has no vocabulary. Name another with "
                "model.tokenizer=<folder or id>.",
                "{place} 中的分词器没有词表。请用 model.tokenizer=<文件夹或 id> 指定。",
                place=place,
            )
        )
    return tokenizer


def load_weights(
    model: Model, config: Any, dtype: torch.dtype, device: torch.device | str = "cpu", seed: int = 0
) -> Any:
    """The causal language model in ``dtype``; from a config.json with random weights drawn from ``seed``."""
    from transformers import AutoModelForCausalLM

    if is_config_file(model.path):
        torch.manual_seed(seed)
        # Equal draws whatever precision the configuration names.
        fresh = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, trust_remote_code=model.trust_remote_code
        )
        return cast(fresh, dtype).to(device)
    folder = Path(model.path)
    if folder.is_dir() and not any(any(folder.glob(pattern)) for pattern in WEIGHTS):
        raise ModelError(
            say(
                "{path} has a config.json but no weights (*.safetensors). Download them, or start from "
                "random weights with --model {path}/config.json.",
                "{path} 只有 config.json 而没有权重（*.safetensors）。请下载权重，"
                "或用 --model {path}/config.json 从随机权重开始。",
                path=model.path,
            )
        )
    try:
        loaded, report = AutoModelForCausalLM.from_pretrained(
            model.path,
            config=config,
            revision=model.revision,
            trust_remote_code=model.trust_remote_code,
            dtype=dtype,
            local_files_only=only_local(model.path),
            output_loading_info=True,
        )
    except _unreadable_files() as error:
        raise _unreadable(model.path, error) from None
    _must_be_complete(model.path, report["missing_keys"])
    return loaded.to(device)


def cast(model: Any, dtype: torch.dtype) -> Any:
    """The model with its weights in ``dtype``. Buffers stay as they are: rotary frequencies in half precision
    would be other positions.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def _unreadable_files() -> tuple[type[Exception], ...]:
    """What the readers of weight files raise, besides what transformers makes of it."""
    from safetensors import SafetensorError

    return (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        EOFError,
        ImportError,
        UnpicklingError,
        SafetensorError,
    )


def _must_be_complete(path: str, missing: Iterable[str]) -> None:
    """transformers draws missing weights at random and goes on; nobody has asked for that."""
    names = sorted(missing)
    if names:
        raise ModelError(
            say(
                "The weights in {path} lack {n} that a causal language model needs: {names}{more}. "
                "They are "
                "another kind of model's, or a file is missing.",
                "{path} 的权重缺少因果语言模型所需的 {n} 项：{names}{more}。它们属于另一种模型，或缺少文件。",
                path=path,
                n=len(names),
                names=join(names[:5]),
                more=" …" if len(names) > 5 else "",
            )
        )


def load_for_inference(
    path: str, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> Loaded:
    """A run, adapter or model folder or a hub id, ready to answer (evaluation mode, no gradient)."""
    place = resolve_run(path)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    adapter_config = Path(place) / "adapter_config.json"
    own = Model(path=place, trust_remote_code=_is_trusted(Path(path)))
    if adapter_config.is_file():
        base = base_of(adapter_config).model_copy(update={"trust_remote_code": own.trust_remote_code})
        model = _with_adapter(base, place, dtype, device)
    else:
        base, model = None, _whole(own, dtype, device)
    has_tokenizer = (Path(place) / "tokenizer_config.json").is_file() or not Path(place).is_dir()
    tokenizer = load_tokenizer(own if has_tokenizer or base is None else base)
    stops = getattr(model.generation_config, "eos_token_id", None)
    stops = [] if stops is None else stops if isinstance(stops, list) else [stops]
    template = ChatTemplate.load(tokenizer, extra_stop_ids=stops)
    model.eval().requires_grad_(False)
    return Loaded(model, tokenizer, template, place, base.path if base else None)


def _is_trusted(run: Path) -> bool:
    """Code that the person let a run's model bring may run when the result is asked, too."""
    recipe = run / "recipe.yaml"
    return recipe.is_file() and recipes.load(recipe).model.trust_remote_code


def resolve_run(path: str) -> str:
    """``runs/x`` means ``runs/x/final``; any other folder or id is itself.

    Raises ModelError for a run that is not finished.
    """
    folder = Path(path)
    if (folder / "final").is_dir():
        return str(folder / "final")
    if (folder / "run.json").is_file():
        raise ModelError(
            say(
                "The run {path} is not finished: run its command again to go on with it.",
                "训练 {path} 尚未完成：再次运行原命令即可继续。",
                path=path,
            )
        )
    return path


def base_of(adapter_config: Path) -> Model:
    """Where the base model of an adapter lives. Raises ModelError where the file does not say."""
    try:
        settings = json.loads(adapter_config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = None
    base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    if not isinstance(base, str) or not base:
        raise ModelError(
            say(
                "{path} names no base model. It must be PEFT's file, with base_model_name_or_path.",
                "{path} 没有写明基座模型。它应为 PEFT 的文件，含 base_model_name_or_path。",
                path=adapter_config,
            )
        )
    revision = settings.get("revision")
    return Model(path=base, revision=revision if isinstance(revision, str) else None)


def _whole(model: Model, dtype: torch.dtype | None, device: torch.device | str) -> Any:
    config = load_config(model)
    own = getattr(config, "dtype", None)
    # Emulated half precision is slow on most CPUs: there, answers are computed in float32.
    wanted = dtype or (torch.float32 if str(device).startswith("cpu") else own or torch.float32)
    return load_weights(model, config, wanted, device)


def _with_adapter(base: Model, place: str, dtype: torch.dtype | None, device: torch.device | str) -> Any:
    from peft import PeftModel

    if Path(base.path).is_absolute() and not Path(base.path).exists():
        raise ModelError(
            say(
                "The base {base} of the adapter {place} is not there any more. Put it back, or write "
                "its new place "
                "into {place}/adapter_config.json (base_model_name_or_path).",
                "适配器 {place} 的基座 {base} 已不在原处。请放回原处，或在 {place}/adapter_config.json 的 "
                "base_model_name_or_path 中写明新位置。",
                base=base.path,
                place=place,
            )
        )
    whole = _whole(base, dtype, device)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT's deprecations are for its developers
            return PeftModel.from_pretrained(whole, place)
    except _unreadable_files() as error:
        raise ModelError(
            say(
                "The adapter {place} does not fit its base {base}: {reason}",
                "适配器 {place} 与其基座 {base} 不匹配：{reason}",
                place=place,
                base=base.path,
                reason=_first_line(error),
            )
        ) from None


def quiet() -> None:
    """transformers' own notices are for its developers; ours say what a person needs."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _check_place(path: str, *, needs_config: bool) -> None:
    """A path that looks local must exist; a folder must hold a model (or at least a tokenizer)."""
    place = Path(path)
    if place.is_file() and not is_config_file(path):
        raise ModelError(
            say(
                "{path} is a file. A model is a folder (with config.json), a hub id, or a config.json for "
                "random weights.",
                "{path} 是文件。模型应为文件夹（含 config.json）、模型 id，或用于随机权重的 config.json。",
                path=path,
            )
        )
    if place.is_dir() and not (place / "config.json").is_file():
        _refuse_folder(place, needs_config)
    # owner/name is a hub id unless a folder of the owner's name lies here
    is_beside = place.parent != Path() and place.parent.is_dir()
    looks_local = path.startswith((".", "/", "~")) or path.count("/") > 1 or is_config_file(path) or is_beside
    if not place.exists() and looks_local:
        siblings = [str(child) for child in place.parent.iterdir()] if place.parent.is_dir() else []
        near = difflib.get_close_matches(path, siblings, n=1)
        raise ModelError(
            say(
                "No model at {path}.{hint}",
                "{path} 处没有模型。{hint}",
                path=path,
                hint=say(" Did you mean {near}?", "您是否想写 {near}？", near=near[0]) if near else "",
            )
        )


def _refuse_folder(place: Path, needs_config: bool) -> None:
    """A folder without config.json: an adapter is told apart; a tokenizer needs no configuration."""
    adapter = place / "adapter_config.json"
    if needs_config and adapter.is_file():
        raise ModelError(
            say(
                "{path} is an adapter, not a whole model. Its base is {base}; merge the two first "
                "(attune merge {path} --output <folder>), or give the base.",
                "{path} 是适配器而非完整模型，其基座是 {base}。请先合并"
                "（attune merge {path} --output <文件夹>），或直接给出基座。",
                path=place,
                base=base_of(adapter).path,
            )
        )
    if not needs_config and (any(place.glob("tokenizer*")) or any(place.glob("vocab*"))):
        return
    raise ModelError(
        say(
            "{path} holds no config.json: it is no model folder. It holds: {names}.",
            "{path} 中没有 config.json，不是模型文件夹。其中有：{names}。",
            path=place,
            names=join(sorted(child.name for child in place.iterdir())[:8]) or "-",
        )
    )


def _unreadable(path: str, error: Exception) -> ModelError:
    return ModelError(
        say(
            "The model {path} cannot be loaded: {reason} Give a folder with config.json and weights, or a "
            "hub id that this machine can reach (HF_ENDPOINT sets a mirror).",
            "无法加载模型 {path}：{reason} 请给出含 config.json 与权重的文件夹，或本机可访问的模型 id"
            "（可用 HF_ENDPOINT 设置镜像）。",
            path=path,
            reason=_first_line(error),
        )
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
