"""Scores: transformers' own numbers, packed and padded, decoders and encoders; heads drawn and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from attune.data.labels import Labels
from attune.data.layout import Segments, lay
from attune.models import heads
from attune.models.load import load_config, load_weights
from attune.models.policy import Policy
from attune.recipe.errors import ModelError
from attune.recipe.schema import Model

from .test_attention import examples
from .tiny import FAMILIES, SIZES

CLASSES = Labels("classes", ("bad", "good", "so so"))
DECODERS = [name for name in FAMILIES if name not in ("granite", "cohere", "gemma3")]
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {**SIZES, "type_vocab_size": 2}),
    "roberta": ("Roberta", {**SIZES, "pad_token_id": 1}),
    "distilbert": (
        "DistilBert",
        {"vocab_size": 97, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4},
    ),
    "modernbert": ("ModernBert", {**SIZES, "global_attn_every_n_layers": 2, "local_attention": 4}),
}
BATCH = lay(list(enumerate([*examples(), Segments([5, 6, 7, 8, 9], ())])))


def config_of(family: str, labels: Labels = CLASSES, pad: int | None = 0) -> Any:
    name, sizes = (FAMILIES | ENCODERS)[family]
    config = getattr(transformers, f"{name}Config")(**sizes)
    heads.describe(config, labels, 1 if family == "roberta" else pad, None)
    return config


def build(family: str, labels: Labels = CLASSES, pad: int | None = 0) -> Any:
    torch.manual_seed(0)
    model = heads.auto_class(config := config_of(family, labels, pad), scores=True).from_config(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@torch.no_grad()
def plain_scores(model: Any) -> Tensor:
    """By transformers alone: each branch in a row of its own."""
    rows = []
    for example in [*examples(), Segments([5, 6, 7, 8, 9], ())]:
        for ids, _ in example.branches or [((), ())]:
            rows.append(model(torch.tensor([[*example.prompt, *ids]])).logits[0].float())
    return torch.stack(rows)


@pytest.mark.parametrize("family", DECODERS)
def test_packed_padded_and_transformers_own_scores_are_equal(family: str) -> None:
    expected = plain_scores(build(family))
    packed, padded = Policy(build(family)), Policy(build(family), packing=False)
    assert packed.packs, packed.reason
    for policy in (packed, padded):
        got = policy.scores(BATCH)
        assert got.shape == (BATCH.num_branches, 3)
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ENCODERS)
def test_encoders_run_padded_with_their_own_head(family: str) -> None:
    policy = Policy(build(family))
    assert not policy.packs
    torch.testing.assert_close(policy.scores(BATCH), plain_scores(build(family)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_gradients_of_packed_and_padded_are_equal(family: str) -> None:
    grads = []
    for packing in (True, False):
        policy = Policy(build(family), packing=packing)
        policy.scores(BATCH).square().sum().backward()
        grads.append({name: p.grad for name, p in policy.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[1].items():
        size = max(1.0, float(grad.abs().max()))
        torch.testing.assert_close(grads[0][name] / size, grad / size, atol=5e-4, rtol=0)


@pytest.mark.parametrize("packing", [True, False])
def test_a_row_that_ends_in_padding_is_read_where_transformers_reads_it(packing: bool) -> None:
    rows = [[5, 6, 7, 9, 9], [8, 6, 9], [4, 3]]
    model = build("llama", pad=9)
    ids = torch.tensor([row + [9] * (5 - len(row)) for row in rows])
    expected = model(ids).logits
    batch = lay([(n, Segments(row, ())) for n, row in enumerate(rows)])
    got = Policy(model, packing=packing).scores(batch)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_without_a_padding_token_rows_run_alone() -> None:
    expected = plain_scores(build("llama", pad=None))
    got = Policy(build("llama", pad=None), packing=False).scores(BATCH)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_the_second_text_of_a_pair_is_told_apart_where_the_model_knows_two_kinds() -> None:
    model = build("bert")
    model.config.sep_token_id = 4
    ids, kinds = [3, 11, 12, 4, 13, 14, 4], [0, 0, 0, 0, 1, 1, 1]
    expected = model(torch.tensor([ids]), token_type_ids=torch.tensor([kinds])).logits
    assert not torch.allclose(model(torch.tensor([ids])).logits, expected, atol=1e-3)
    got = Policy(model).scores(lay([(0, Segments(ids, ()))]))
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_padding_is_a_token_that_ends_no_example() -> None:
    class Tokenizer:
        pad_token_id, unk_token_id, bos_token_id, all_special_ids = 2, None, 1, [2, 1, 5]

        def __len__(self) -> int:
            return 8

    assert heads.padding(Tokenizer(), []) == 2
    assert heads.padding(Tokenizer(), [2]) == 1
    assert heads.padding(Tokenizer(), [2, 1, 5]) == 0
    assert heads.padding(Tokenizer(), range(8)) == 2


def saved(family: str, folder: Path, *, scores: bool = False) -> Model:
    """A model of two layers on the disk: a causal one, or a classifier of ``CLASSES``."""
    if scores:
        build(family).save_pretrained(folder)
    else:
        torch.manual_seed(0)
        name, sizes = FAMILIES[family]
        transformers.AutoModelForCausalLM.from_config(
            getattr(transformers, f"{name}Config")(**sizes)
        ).save_pretrained(folder)
    return Model(path=str(folder))


def loaded(model: Model, labels: Labels, seed: int = 0) -> Any:
    config = load_config(model)
    heads.describe(config, labels, 0, None)
    return load_weights(model, config, torch.float32, seed=seed, scores=True)


def test_a_language_model_gets_a_head_drawn_from_the_seed(tmp_path: Path) -> None:
    place = saved("llama", tmp_path / "m")
    first = loaded(place, CLASSES, 1).score.weight
    torch.manual_seed(99)
    assert torch.equal(loaded(place, CLASSES, 1).score.weight, first)
    assert not torch.equal(loaded(place, CLASSES, 2).score.weight, first)
    assert first.shape == (3, 32)
    assert 0.01 < float(first.detach().std()) < 0.04


@pytest.mark.parametrize(
    ("labels", "is_kept"),
    [
        (CLASSES, True),
        (Labels("classes", ("a", "b", "c")), False),
        (Labels("classes", ("bad", "good")), False),
        (heads.REWARD, False),
    ],
)
def test_a_head_is_kept_where_it_is_for_the_same_classes(
    labels: Labels, is_kept: bool, tmp_path: Path
) -> None:
    place = saved("llama", tmp_path / "m", scores=True)
    before, after = build("llama").score.weight, loaded(place, labels).score.weight
    assert (before.shape == after.shape and torch.equal(before, after)) == is_kept
    assert after.shape == (len(labels.names), 32)


def test_what_else_is_missing_is_an_error(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    place = saved("llama", tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.norm.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 that .* needs: model\.norm\.weight"):
        loaded(place, CLASSES)


def test_the_table_comes_back_from_the_configuration(tmp_path: Path) -> None:
    for labels in (CLASSES, Labels("several", ("x", "y")), heads.REWARD):
        config = config_of("llama", labels)
        config.save_pretrained(tmp_path)
        again = load_config(Model(path=str(tmp_path / "config.json")))
        assert heads.gives_scores(again)
        assert heads.labels_of(again) == labels
        bare = config_of("llama", heads.REWARD)
        heads.note(tmp_path, config)
        heads.from_note(tmp_path, bare)
        assert heads.labels_of(bare) == labels
    assert heads.is_noted(tmp_path)


def test_the_head_learns_in_float32_over_a_trunk_in_half_precision() -> None:
    model = build("llama").bfloat16().requires_grad_(False)
    heads.learn(model)
    policy = Policy(model)
    policy.scores(BATCH).sum().backward()
    learnt = {name: p for name, p in policy.named_parameters() if p.grad is not None}
    assert [p.dtype for p in learnt.values()] == [torch.float32]
    assert all(name.endswith("score.weight") for name in learnt)
    encoder = build("bert").bfloat16().requires_grad_(False)
    heads.learn(encoder)
    assert Policy(encoder).scores(BATCH).isfinite().all()
    assert {n for n, p in encoder.named_parameters() if p.requires_grad} == {
        "bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias",
    }  # fmt: skip
