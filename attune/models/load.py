"""Loading: a hub id, a model, adapter or run folder, or a config.json; every failure in words."""

from __future__ import annotations

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
from . import adapted, heads, inputs, quantize, tokens
from .folders import base_of, check_place, is_config_file
from .hub import only_local
from .inputs import first_line, quiet

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class Opened:
    """A model ready to be asked."""

    model: Any
    tokenizer: Any
    template: ChatTemplate | None
    """None where the model gives scores."""
    path: str
    base: str | None
    """Where the base model lives, for an adapter; None for a whole model."""


@dataclass(frozen=True)
class Loaded(Opened):
    """A model ready to answer."""

    template: ChatTemplate


def load_config(model: Model) -> Any:
    """The model's configuration, without any weight."""
    from transformers import AutoConfig

    check_place(model.path, needs_config=True)
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


def load_weights(
    model: Model,
    config: Any,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    seed: int = 0,
    *,
    quantized: bool = False,
    scores: bool = False,
) -> Any:
    """The causal language model in ``dtype``; from a config.json with random weights drawn from ``seed``.

    ``scores``: the model with a head that scores, as ``config`` describes it. It keeps the head in the
    files where that is for the same classes; else it gets one drawn from ``seed``. ``quantized``: its
    matrices in 4 bits, ``dtype`` for the arithmetic and all else. The codes are made from the numbers in
    the files, so the weights are read in their own precision first, on the CPU.
    """
    if quantized:
        own = getattr(config, "dtype", None) or torch.float32
        return quantize.quantize(_read(model, config, own, seed, scores), dtype, device)
    return _read(model, config, dtype, seed, scores).to(device)


def _read(model: Model, config: Any, dtype: torch.dtype, seed: int, scores: bool) -> Any:
    kind = heads.auto_class(config, scores)
    if is_config_file(model.path):
        torch.manual_seed(seed)
        # Equal draws whatever precision the configuration names.
        fresh = kind.from_config(config, dtype=torch.float32, trust_remote_code=model.trust_remote_code)
        return cast(fresh, dtype)
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
        loaded, report = kind.from_pretrained(
            model.path,
            config=config,
            revision=model.revision,
            trust_remote_code=model.trust_remote_code,
            dtype=dtype,
            local_files_only=only_local(model.path),
            output_loading_info=True,
            ignore_mismatched_sizes=scores,
        )
    except _unreadable_files() as error:
        raise _unreadable(model.path, error) from None
    missing = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    if scores:
        missing -= heads.complete(loaded, missing, seed, is_other=heads.is_other(load_config(model), config))
    _must_be_complete(model.path, missing)
    return loaded


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
    path: str,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    *,
    dequantized: bool = False,
) -> Loaded:
    """A run, adapter or model folder or a hub id, ready to answer (evaluation mode, no gradient).

    ``dequantized``: a base in 4 bits is given as ordinary matrices of the same values.
    """
    opened = load_any(path, device, dtype, dequantized=dequantized)
    if opened.template is None:
        raise ModelError(
            say(
                "{path} gives scores, no answers: it is a classifier or a reward model. Ask it with attune "
                "predict, or score it with attune eval.",
                "{path} 输出的是分数而非回答：它是分类模型或奖励模型。"
                "请用 attune predict 预测，或用 attune eval 评测。",
                path=path,
            )
        )
    return Loaded(opened.model, opened.tokenizer, opened.template, opened.path, opened.base)


def load_for_scoring(
    path: str, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> tuple[Any, Any]:
    """The model and the tokenizer of a run, adapter or model folder or a hub id that gives scores, ready to
    score.

    Raises ModelError for a model that gives none.
    """
    opened = load_any(path, device, dtype)
    if opened.template is not None:
        raise ModelError(
            say(
                "{path} is a language model: it gives answers, no scores. Train a classifier (attune "
                "classify) or a reward model (attune reward) from it.",
                "{path} 是语言模型：输出回答而非分数。请先用它训练分类模型（attune classify）或奖励模型"
                "（attune reward）。",
                path=path,
            )
        )
    return opened.model, opened.tokenizer


def load_any(
    path: str,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    *,
    dequantized: bool = False,
) -> Opened:
    """A run, adapter or model folder or a hub id, whether it answers or scores."""
    place = resolve_run(path)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    adapter_config = Path(place) / "adapter_config.json"
    own = Model(path=place, trust_remote_code=_is_trusted(Path(path)))
    base = None
    if adapter_config.is_file():
        base = base_of(adapter_config).model_copy(update={"trust_remote_code": own.trust_remote_code})
        _must_be_there(base, place)
    kept = any((Path(place) / name).is_file() for name in ("tokenizer_config.json", inputs.PROCESSOR))
    with_input = own if kept or base is None or not Path(place).is_dir() else base
    tokenizer = inputs.load_input(with_input, load_config(base or own))
    if base is not None:
        model = _with_adapter(base, place, dtype, device, tokenizer, dequantized=dequantized)
    else:
        model = _whole(own, dtype, device)
    template = None
    if heads.is_scoring(model):
        heads.learn(model)  # its head in float32, whatever the trunk is in
    else:
        stops = getattr(model.generation_config, "eos_token_id", None)
        stops = [] if stops is None else stops if isinstance(stops, list) else [stops]
        template = ChatTemplate.load(tokenizer, extra_stop_ids=stops)
    model.eval().requires_grad_(False)
    return Opened(model, tokenizer, template, place, base.path if base else None)


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


def _whole(
    model: Model,
    dtype: torch.dtype | None,
    device: torch.device | str,
    *,
    quantized: bool = False,
    note: str | None = None,
) -> Any:
    """``note``: the folder of an adapter that says what the scores of its head mean."""
    config = load_config(model)
    if note is not None:
        heads.from_note(note, config)
    own = getattr(config, "dtype", None)
    # Emulated half precision is slow on most CPUs: there, answers are computed in float32.
    wanted = dtype or (torch.float32 if str(device).startswith("cpu") else own or torch.float32)
    scores = note is not None or heads.gives_scores(config)
    return load_weights(model, config, wanted, device, quantized=quantized, scores=scores)


def _must_be_there(base: Model, place: str) -> None:
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


def _with_adapter(
    base: Model,
    place: str,
    dtype: torch.dtype | None,
    device: torch.device | str,
    tokenizer: Any,
    *,
    dequantized: bool,
) -> Any:
    """``tokenizer``: the adapter's, which may have new tokens; that of images has none."""
    from peft import PeftModel

    is_marked = quantize.is_marked(place)
    whole = _whole(base, dtype, device, quantized=is_marked, note=place if heads.is_noted(place) else None)
    if is_marked and dequantized:
        whole = quantize.dequantize(whole)
    if not inputs.reads_images(whole.config) and hasattr(whole, "get_input_embeddings"):
        tokens.fit(whole, len(tokenizer))
    try:
        if adapted.is_ours(place):
            return adapted.load(whole, place)
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
                reason=first_line(error),
            )
        ) from None


def _unreadable(path: str, error: Exception) -> ModelError:
    return ModelError(
        say(
            "The model {path} cannot be loaded: {reason} Give a folder with config.json and weights, or a "
            "hub id that this machine can reach (HF_ENDPOINT sets a mirror).",
            "无法加载模型 {path}：{reason} 请给出含 config.json 与权重的文件夹，或本机可访问的模型 id"
            "（可用 HF_ENDPOINT 设置镜像）。",
            path=path,
            reason=first_line(error),
        )
    )
