"""A run whose model reads images: what its recipe can ask for, and what a person is told of its images."""

from __future__ import annotations

from typing import Any

from ..data.images import ImageReader
from ..models.inputs import load_image_reader
from ..recipe import plugs
from ..recipe.errors import RecipeError
from ..recipe.messages import say
from ..recipe.schema import Recipe
from .attach import method_of


def opened(recipe: Recipe, config: Any, micro_tokens: int) -> tuple[ImageReader, list[tuple[str, str]]]:
    """The reader of the model's images, and notices (level, sentence). ``micro_tokens``: of a pass, where the
    recipe does not say.

    Raises RecipeError for an objective or a method that needs texts.
    """
    _must_fit(recipe, config)
    reader = load_image_reader(recipe.model, config)
    height, width = reader.size
    at_once = max(1, (recipe.train.micro_tokens or micro_tokens) // reader.num_places)
    text = say(
        "Images of {w}×{h}, each counted as {n} tokens: at most {most} a forward pass (train.micro_tokens).",
        "图片尺寸 {w}×{h}，每张按 {n} 个 token 计：每次前向最多 {most} 张（train.micro_tokens）。",
        w=width,
        h=height,
        n=reader.num_places,
        most=at_once,
    )
    notices = [("info", text)]
    if not reader.is_own:
        text = say(
            "The model brings no preprocessor_config.json: images are scaled to that size, and their values "
            "to -1..1; both are saved with the result.",
            "模型没有 preprocessor_config.json：图片将缩放到该尺寸，数值映射到 -1..1；该设置随结果一起保存。",
        )
        notices.append(("info", text))
    return reader, notices


def _must_fit(recipe: Recipe, config: Any) -> None:
    problems = []
    if plugs.find("objectives", recipe.objective.name).EXAMPLES != "labelled":
        problems.append(
            say(
                "{model} reads images ({kind}), and objective={name} trains language models. Use attune "
                "classify.",
                "{model} 读取图片（{kind}），而 objective={name} 训练的是语言模型。请用 attune classify。",
                model=recipe.model.path,
                kind=config.model_type,
                name=recipe.objective.name,
            )
        )
    method = method_of(recipe)
    reason = None
    if method.virtual_tokens:
        reason = say("puts learnt vectors before a text", "在文本之前加入可学习的向量")
    elif method.tokens:
        reason = say("is asked to train tokens", "要求训练词的嵌入")
    elif method.is_quantized:
        reason = say("keeps a language model in 4 bits", "以 4 比特保存语言模型")
    if reason is not None:
        problems.append(
            say(
                "adapter={name} {reason}, and {model} reads images ({kind}). Use lora, dora, ia3, bitfit, "
                "probe, freeze or full.",
                "adapter={name} {reason}，而 {model} 读取图片（{kind}）。请用 lora、dora、ia3、bitfit、"
                "probe、freeze 或 full。",
                name=method.name,
                reason=reason,
                model=recipe.model.path,
                kind=config.model_type,
            )
        )
    if problems:
        raise RecipeError(problems)
