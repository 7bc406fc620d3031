"""Models of images: what they are told apart by, what their trunk is, and adapters on convolutions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from attune.adapters import bitfit, ia3, lora, targets
from attune.data.images import ImageReader
from attune.data.layout import Segments, lay
from attune.models import heads, trunk
from attune.models.images import ImagePolicy, policy_of, statistics
from attune.models.inputs import load_image_reader, plain_processor, reads_images
from attune.models.policy import Policy
from attune.recipe.errors import RecipeError
from attune.recipe.schema import Model

from .tiny_images import FAMILIES, config, draw


def build(family: str) -> Any:
    torch.manual_seed(0)
    model = transformers.AutoModelForImageClassification.from_config(config(family))
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    return model.eval()


PIXELS = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def scores(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(pixel_values=PIXELS).logits
    return found


@pytest.mark.parametrize("family", list(FAMILIES))
def test_trunk_and_head(family: str) -> None:
    model = build(family)
    assert reads_images(model.config)
    assert trunk.reads_images(model)
    assert heads.auto_class(model.config, scores=True) is transformers.AutoModelForImageClassification
    assert list(trunk.head(model)) == ["classifier"]
    assert trunk.num_layers(model) == 2
    assert trunk.blank(model, 2).shape == (2, 3, 16, 16)
    inside = sum(p.numel() for p in trunk.of(model).parameters())
    beside = sum(p.numel() for p in model.classifier.parameters())
    assert inside + beside == sum(p.numel() for p in model.parameters())


def test_texts_are_no_images() -> None:
    assert not reads_images(transformers.LlamaConfig())
    assert not reads_images(transformers.BertConfig())


@pytest.fixture
def reader() -> ImageReader:
    return ImageReader.of(plain_processor(config("ViT")), 4)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_policy_gives_scores_and_states(family: str, reader: ImageReader, tmp_path: Path) -> None:
    model = build(family)
    policy = policy_of(model, reader).eval()
    assert isinstance(policy, ImagePolicy)
    assert (policy.packs, policy.layout, policy.num_layers) == (True, "images", 2)
    paths = sorted(str(path) for path in draw(tmp_path, 1).glob("*/*.png"))
    batch = lay([(place, Segments(reader.ids(path), (), image=path)) for place, path in enumerate(paths)])
    pixels = reader.pixels(paths)
    with torch.no_grad():
        torch.testing.assert_close(policy.scores(batch), model(pixel_values=pixels).logits)
        states = policy.token_states(batch)
    assert [state.ndim for state in states] == [3, 3, 3]
    assert all(len(state) == 3 for state in states)
    assert policy.poolings == (("mean", "cls") if family in ("ViT", "Dinov2") else ("mean",))
    if family == "ConvNext":  # the head reads the norm of the mean
        pooled = model.convnext.layernorm(states[-1].mean(1))
        torch.testing.assert_close(model.classifier(pooled), model(pixel_values=pixels).logits)
    if family == "ViT":  # and that of patches the first token of the last layer
        torch.testing.assert_close(model.classifier(states[-1][:, 0]), model(pixel_values=pixels).logits)


def test_a_tokenizer_makes_a_policy_of_texts() -> None:
    from .test_heads import build as build_text

    assert type(policy_of(build_text("llama"), object())) is Policy


@pytest.mark.parametrize("learns", [True, False])
def test_norms_over_the_batch_follow_their_weights(learns: bool, reader: ImageReader) -> None:
    model = build("ResNet").requires_grad_(learns)
    policy = ImagePolicy(model, reader)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items() if "running" in name}
    policy.train()
    model(pixel_values=PIXELS)
    changed = [name for name, tensor in before.items() if (model.state_dict()[name] != tensor).any()]
    assert changed == (list(before) if learns else [])
    assert {name.rpartition(".")[2] for name in statistics(policy)} == (
        {"running_mean", "running_var", "num_batches_tracked"} if learns else set()
    )


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_shift_is_a_bias(family: str) -> None:
    """Of channels, of places and of what norms give, each where its layer has it."""
    model = bitfit.attach(build(family), bitfit.Config())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in model.parts:
            part.shift.copy_(torch.randn(part.shift.shape, generator=generator))
    shifted = scores(model)
    assert (shifted - scores(build(family))).abs().max() > 1e-3
    torch.testing.assert_close(scores(model.merge_and_unload()), shifted, atol=1e-5, rtol=1e-4)


def test_new_biases_of_convolutions() -> None:
    model = bitfit.attach(build("ResNet"), bitfit.Config(biases="all"))
    assert any("convolution" in place for place in model.places)
    assert not any("classifier" in place for place in model.places)
    torch.testing.assert_close(scores(model), scores(build("ResNet")))


@pytest.mark.parametrize(
    ("family", "kinds"),
    [("ViT", {"q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"}), ("ConvNext", {"pwconv1", "pwconv2"})],
)
def test_all_linear_is_every_matrix_of_the_trunk(family: str, kinds: set[str]) -> None:
    found = targets.matching(build(family), "all-linear")
    assert {name.rpartition(".")[2] for name in found} == kinds


@pytest.mark.parametrize("method", [lora.Config(rank=2), ia3.Config()], ids=lambda one: one.name)
def test_a_trunk_of_convolutions_gets_them_adapted(method: Any) -> None:
    expected = list(targets.matching(build("ResNet"), "all-linear"))
    assert expected
    assert all(name.endswith("convolution") for name in expected)
    module = {"lora": lora, "ia3": ia3}[method.name]
    model = module.attach(build("ResNet"), method)
    found = {name for name, layer in model.get_base_model().named_modules() if hasattr(layer, "base_layer")}
    assert found == set(expected)
    torch.testing.assert_close(scores(model), scores(build("ResNet")))


def test_depthwise_convolutions_can_be_named_only_with_a_rank_for_each_group() -> None:
    with pytest.raises(RecipeError, match=r"PEFT cannot put LORA on .*groups=8 and rank 3"):
        lora.attach(build("ConvNext"), lora.Config(rank=3, target_modules=["dwconv"]))


def test_the_plain_processor(tmp_path: Path) -> None:
    for family, size in (("ViT", (16, 16)), ("Siglip", (16, 16))):
        made = config(family)
        made.save_pretrained(tmp_path / family)
        reader = load_image_reader(Model(path=str(tmp_path / family / "config.json")), made)
        assert (reader.size, reader.num_places, reader.is_own) == (size, 16, False)
    wide = transformers.ViTConfig(image_size=(32, 64), patch_size=16)
    wide.save_pretrained(tmp_path / "wide")
    assert load_image_reader(Model(path=str(tmp_path / "wide")), wide).num_places == 8
    none = transformers.ResNetConfig()
    none.save_pretrained(tmp_path / "none")
    reader = load_image_reader(Model(path=str(tmp_path / "none")), none)
    assert (reader.size, reader.num_places) == ((224, 224), 196)
