"""What turns inputs into what a model reads: a tokenizer, or the processor of a model of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.images import ImageReader, need_pillow
from ..recipe.errors import ModelError
from ..recipe.messages import say
from ..recipe.schema import Model
from .folders import check_place, is_config_file
from .hub import only_local

PROCESSOR = "preprocessor_config.json"
_SIDE = 224
"""Of images, where neither a processor nor the configuration says another."""
_PATCH = 16
"""What counts as one place where the model's own patches are not what its layers work on."""


def quiet() -> None:
    """transformers' own notices are for its developers; ours say what a person needs."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def first_line(error: Exception) -> str:
    """What an error of a library says, in short."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def reads_images(config: Any) -> bool:
    """True for the configuration of a model that transformers can make a classifier of images of, and none of
    texts.
    """
    from transformers.models.auto import modeling_auto as known

    texts = (
        known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        known.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    )
    kind = config.model_type
    return kind in known.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES and not any(
        kind in one for one in texts
    )


def load_input(model: Model, config: Any) -> Any:
    """The tokenizer, or an ``ImageReader`` for a model of images, of ``model`` with this configuration."""
    return load_image_reader(model, config) if reads_images(config) else load_tokenizer(model)


def load_tokenizer(model: Model) -> Any:
    """The tokenizer of ``model.tokenizer``, else of the model (or of the folder of its config.json)."""
    from transformers import AutoTokenizer

    place = model.tokenizer or (str(Path(model.path).parent) if is_config_file(model.path) else model.path)
    check_place(place, needs_config=False)
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
                reason=first_line(error),
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


def load_image_reader(model: Model, config: Any) -> ImageReader:
    """With the processor of ``model.tokenizer``, else of the model (or of the folder of its config.json); a
    folder that has none gets the plain one of ``plain_processor``.

    The Pillow implementations are used wherever they run: torchvision's give other pixels.
    Raises ModelError where the processor cannot be read, and without Pillow.
    """
    from transformers import AutoImageProcessor

    need_pillow()
    quiet()
    own = getattr(config, "vision_config", config)
    if getattr(own, "num_channels", 3) != 3:
        raise ModelError(
            say(
                "{path} takes images of {n} channels; attune gives models colour images. Set num_channels to "
                "3 in a config.json that starts from nothing, or name another model.",
                "{path} 的输入为 {n} 通道；attune 提供彩色图片。若从零开始训练，请将 config.json 的 "
                "num_channels 设为 3，或换用其他模型。",
                path=model.path,
                n=own.num_channels,
            )
        )
    place = model.tokenizer or (str(Path(model.path).parent) if is_config_file(model.path) else model.path)
    if not has_processor(place):
        return ImageReader.of(plain_processor(own), _patch(own), is_own=False)
    try:
        processor = AutoImageProcessor.from_pretrained(
            place,
            backend="pil",
            revision=None if model.tokenizer else model.revision,
            trust_remote_code=model.trust_remote_code,
            local_files_only=only_local(place),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise ModelError(
            say(
                "No usable image processor in {place} ({reason}). It is described by {file}; without that "
                "file images are scaled to the model's size.",
                "{place} 中没有可用的图片处理器（{reason}）。它由 {file} 描述；"
                "没有该文件时图片会缩放到模型的尺寸。",
                place=place,
                reason=first_line(error),
                file=PROCESSOR,
            )
        ) from None
    return ImageReader.of(processor, _patch(own))


def has_processor(place: str) -> bool:
    """Whether there is a file that says how images are made ready; of a hub model it is taken for granted."""
    folder = Path(place)
    return not folder.is_dir() or any(
        (folder / name).is_file() for name in (PROCESSOR, "processor_config.json")
    )


def plain_processor(config: Any) -> Any:
    """Scales to the size of the configuration (224 where it has none), and from 0..255 to -1..1."""
    from transformers import ViTImageProcessorPil

    side = getattr(config, "image_size", None) or _SIDE
    height, width = side if isinstance(side, list | tuple) else (side, side)
    return ViTImageProcessorPil(size={"height": height, "width": width})


def _patch(config: Any) -> int:
    """The side of a patch where every layer works on the same patches; else what ViT-B/16 has."""
    side = getattr(config, "patch_size", None)
    if not isinstance(side, int) or hasattr(config, "depths"):
        return _PATCH
    return side
