"""Models of images from a folder of files to an ordinary folder that transformers and PEFT read alike."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel
from PIL import Image
from tiny_engine import MakeRecipe, curve, events, weights_digest

from attune.data.examples import Labelled
from attune.engine import checkpoint, inspect
from attune.engine.methods import methods
from attune.engine.plan import plan
from attune.engine.train import train
from attune.evaluation.evaluate import evaluate
from attune.evaluation.predict import predict
from attune.evaluation.probe import probe
from attune.evaluation.scorer import Classifier
from attune.models.load import load_for_inference, load_for_scoring
from attune.recipe.errors import DataError, Interrupted, ModelError, RecipeError
from attune.recipe.schema import Data, Model, Recipe
from tests.models.tiny_images import COLORS, FAMILIES, draw, save_model


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("images") / "set", 8)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    here = tmp_path_factory.mktemp("models")

    def model(family: str) -> Path:
        return here / family if (here / family).is_dir() else save_model(here / family, family)

    return model


@pytest.fixture
def classify(recipe: MakeRecipe, images: Path, models: Callable[[str], Path]) -> MakeRecipe:
    def make(name: str = "run", *, family: str = "ViT", data: Any = images, held_out: Any = 0.2, **more: Any):
        asked = recipe(
            name,
            model=models(family),
            data={"train": str(data), "held_out": held_out, "check": "off"},
            **{"max_steps": 3, **more},
        )
        return Recipe.model_validate({**asked.model_dump(), "objective": "classify"})

    return make


def theirs(run: Path, base: Path, paths: list[str]) -> torch.Tensor:
    """Probabilities by transformers (and PEFT) alone."""
    folder = run / "final"
    auto = transformers.AutoModelForImageClassification
    if (folder / "adapter_config.json").is_file():
        model = auto.from_pretrained(base, num_labels=len(COLORS), ignore_mismatched_sizes=True)
        model = PeftModel.from_pretrained(model, folder)
    else:
        model = auto.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    batch = processor([Image.open(path) for path in paths], return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**batch).logits.softmax(1)


SOME = {"name": "lora", "rank": 2}


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("adapter", ["full", SOME], ids=["full", "lora"])
def test_the_result_is_an_ordinary_folder(
    adapter: Any, family: str, classify: MakeRecipe, images: Path, models: Callable[[str], Path]
) -> None:
    result = train(classify(adapter=adapter, family=family))
    assert (result.state["layout"], result.state["labels"]["names"]) == ("images", list(COLORS))
    paths = [str(images / color / "0.png") for color in COLORS]
    model = Classifier(str(result.output))
    ours = model.predict([Labelled("", image=path) for path in paths])
    torch.testing.assert_close(ours, theirs(result.output, models(family), paths), atol=1e-6, rtol=1e-5)
    one_by_one = torch.cat([model.predict([Labelled("", image=path)]) for path in paths])
    torch.testing.assert_close(one_by_one, ours, atol=1e-6, rtol=1e-5)
    if adapter is SOME:
        names = {name for name, module in model.policy.model.named_modules() if hasattr(module, "lora_A")}
        assert names, "something besides the head learns"
        assert not any("classifier" in name for name in names)


def test_it_learns_from_nothing_and_is_scored_and_asked(
    classify: MakeRecipe, images: Path, models: Callable[[str], Path], tmp_path: Path
) -> None:
    """From a config.json alone, with a processor that is saved with the result."""
    asked = classify(family="ConvNext", max_steps=30)
    path = str(models("ConvNext") / "config.json")
    result = train(asked.model_copy(update={"model": Model(path=path)}))
    assert (result.output / "final" / "preprocessor_config.json").is_file()
    found = evaluate(result.output)
    assert found.models[0]["scores"]["accuracy"]["mean"] >= 0.75
    assert found.rows[0]["prompt"].endswith(".png")
    fresh = draw(tmp_path / "fresh", 2, seed=1)
    tested = evaluate(result.output, fresh).models[0]["scores"]
    assert (tested["accuracy"]["n"], tested["accuracy"]["mean"] >= 0.75) == (6, True)

    num, unread = predict(str(result.output), str(fresh), tmp_path / "p.csv")
    assert (num, unread) == (6, [])
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert list(rows[0]) == ["image_path", "label", "prediction", *(f"p({color})" for color in COLORS)]
    assert sum(row["prediction"] == row["label"] for row in rows) >= 5
    assert rows[0]["image_path"] == "blue/0.png"


def test_a_folder_of_images_without_labels_is_predicted(classify: MakeRecipe, tmp_path: Path) -> None:
    result = train(classify(max_steps=1))
    folder = draw(tmp_path / "new", 2) / "red"
    (folder / "x.png").write_bytes(b"<html>")
    num, unread = predict(str(result.output), str(folder), tmp_path / "p.csv")
    assert num == 2
    assert [row.origin.row for row in unread] == [3]
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert [row["image_path"] for row in rows] == ["0.png", "1.png", "x.png"]
    assert rows[2]["error"].endswith("red/x.png: no image: the file begins with b'<html>'")


LOHA = {"name": "peft", "method": "loha", "options": {"r": 2, "target_modules": r".*fc1|.*convolution"}}
FREEZE = {"name": "freeze", "num_layers": 1}
METHODS = [FREEZE, {"name": "probe"}, {"name": "bitfit"}, {"name": "ia3"}, {"name": "dora", "rank": 2}, LOHA]
EVERY = [(family, method) for family in ("ViT", "ResNet") for method in METHODS]
EVERY += [(family, method) for family in ("ConvNext", "Swin") for method in METHODS[:4]]


@pytest.mark.parametrize(
    ("family", "adapter"), EVERY, ids=lambda one: one if isinstance(one, str) else one["name"]
)
def test_every_method_learns_only_its_own_and_is_read_back(
    family: str, adapter: dict[str, Any], classify: MakeRecipe
) -> None:
    """What was evaluated in the run is what the folder gives: nothing besides what is saved has changed."""
    result = train(classify(adapter=adapter, family=family, max_steps=2))
    assert result.state["num_trained_parameters"] < result.state["num_parameters"]
    last = events(result.output, "eval_end")[-1]
    found = evaluate(result.output).models[0]["scores"]
    assert found["log_loss"]["mean"] == pytest.approx(last["loss"], abs=1e-5)


@pytest.mark.parametrize("family", ["ViT", "ResNet"])
def test_a_frozen_trunk_stays_what_it_was(
    family: str, classify: MakeRecipe, models: Callable[[str], Path]
) -> None:
    """Also the running means of norms over the batch."""
    result = train(classify(adapter="probe", family=family))
    before, after = (
        transformers.AutoModelForImageClassification.from_pretrained(folder).base_model.state_dict()
        for folder in (models(family), result.output / "final")
    )
    assert all((before[name] == after[name]).all() for name in before)


def test_norms_over_the_batch_learn_with_their_weights(
    classify: MakeRecipe, models: Callable[[str], Path]
) -> None:
    result = train(classify(adapter="full", family="ResNet"))
    before, after = (
        transformers.AutoModelForImageClassification.from_pretrained(folder).state_dict()
        for folder in (models("ResNet"), result.output / "final")
    )
    means = [name for name in before if name.endswith("running_mean")]
    assert means
    assert all((before[name] != after[name]).any() for name in means)


@pytest.mark.parametrize(("family", "adapter"), [("ViT", SOME), ("ViT", "full"), ("ResNet", "full")], ids=str)
def test_a_run_that_goes_on_ends_in_the_same_bits(
    family: str, adapter: Any, classify: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(name: str) -> Recipe:
        return classify(name, adapter=adapter, family=family, max_steps=4, save_steps=2)

    whole = train(asked("whole"))
    write_checkpoint = checkpoint.write

    def stop_after_one(*args: Any, **kwargs: Any) -> Path:
        write_checkpoint(*args, **kwargs)
        raise Interrupted("here")

    monkeypatch.setattr(checkpoint, "write", stop_after_one)
    with pytest.raises(Interrupted):
        train(asked("parts"))
    monkeypatch.undo()
    parts = train(asked("parts"))
    assert curve(parts.output) == curve(whole.output)
    assert weights_digest(parts.output) == weights_digest(whole.output)


def test_small_passes_equal_a_large_one(classify: MakeRecipe) -> None:
    large, small = (
        train(classify(str(size), max_steps=2, micro_tokens=size, family="ConvNext")) for size in (4096, 8)
    )
    for one, other in zip(curve(large.output), curve(small.output), strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_recomputed_activations_change_nothing(classify: MakeRecipe) -> None:
    kept, again = (train(classify(how, max_steps=2, activation_checkpointing=how)) for how in ("off", "on"))
    assert curve(kept.output) == curve(again.output)


def test_numbers_and_several_classes(classify: MakeRecipe, images: Path, tmp_path: Path) -> None:
    rows = [
        {"image_path": str(path), "label": len(path.parent.name) + 0.5} for path in images.glob("*/*.png")
    ]
    file = tmp_path / "n.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    number = train(classify("number", data=file, max_steps=1))
    assert set(evaluate(number.output).models[0]["scores"]) == {"mse", "r2", "pearson", "spearman"}
    file.write_text(
        "".join(json.dumps({**row, "label": ["a", row["image_path"][-5]]}) + "\n" for row in rows)
    )
    several = train(classify("several", data=file, max_steps=1))
    assert several.state["labels"]["names"] == [*"01234567", "a"]
    assert "micro_f1" in evaluate(several.output).models[0]["scores"]


@pytest.mark.parametrize("family", ["ViT", "ConvNext"])
def test_the_probe_sweeps_stages_and_reads_each_image_once(
    family: str, images: Path, models: Callable[[str], Path], tmp_path: Path
) -> None:
    data = Data.model_validate(
        {"train": str(images), "held_out": 0.3, "check": "off", "cache_dir": str(tmp_path / "cache")}
    )
    told: list[str] = []

    def again(**options: Any) -> Any:
        told.clear()
        return probe(
            models(family),
            data,
            layers="0,2",
            folds=2,
            on_progress=lambda what, *_: told.append(what),
            **options,
        )

    found = again()
    poolings = {"mean", "cls"} if family == "ViT" else {"mean"}
    assert {(one.layer, one.pooling) for one in found.settings} == {
        (at, by) for at in (0, 2) for by in poolings
    }
    assert found.layout == "images"
    assert found.scores["accuracy"].mean > found.baseline["accuracy"]
    assert "reading the inputs" in told
    assert again().settings == found.settings
    assert "reading the inputs" not in told
    if family == "ConvNext":
        with pytest.raises(RecipeError, match=r"no such name: 'cls'. Allowed: mean"):
            again(pooling="cls")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"adapter": "prefix"},
            "adapter=prefix puts learnt vectors before a text, and .* reads images .vit.",
        ),
        ({"adapter": "qlora"}, "adapter=qlora keeps a language model in 4 bits, and .* Use lora, dora"),
        ({"adapter": {**SOME, "train_tokens": ["x"]}}, "adapter=lora is asked to train tokens, and"),
        ({"adapter": {**SOME, "target_modules": ["query"]}}, "matches no layer of this model. Layers"),
        (
            {"adapter": "bottleneck", "family": "ResNet"},
            "No feed-forward module was found in the layers of this",
        ),
        ({"family": "ResNet", "activation_checkpointing": "on"}, "transformers has none for resnet. Lower"),
        ({"adapter": {"name": "freeze", "num_layers": 9}}, "more than the model's 2 layers"),
    ],
)
def test_what_a_model_of_images_has_not(more: dict[str, Any], message: str, classify: MakeRecipe) -> None:
    with pytest.raises(RecipeError, match=message):
        train(classify(**more))


def test_bottlenecks_fit_where_there_are_attention_and_feed_forward(classify: MakeRecipe) -> None:
    result = train(classify(adapter={"name": "bottleneck", "size": 4}, max_steps=1))
    assert load_for_scoring(str(result.output))[0].places == (
        "vit.layers.0.attention", "vit.layers.0.mlp", "vit.layers.1.attention", "vit.layers.1.mlp",
    )  # fmt: skip


def test_images_and_texts_do_not_mix(
    classify: MakeRecipe, recipe: MakeRecipe, images: Path, rows_path: Path, tmp_path: Path, model_dir: Path
) -> None:
    labelled = tmp_path / "t.jsonl"
    labelled.write_text("".join(json.dumps({"text": f"t {n}", "label": n % 2}) + "\n" for n in range(9)))
    with pytest.raises(
        DataError, match="a text, and this model reads images: name a model of texts, or the col"
    ):
        train(classify(data=labelled))
    asked = recipe(data={"train": str(images), "held_out": 0.2, "check": "off"})
    with pytest.raises(
        DataError, match="an image, and this model reads texts: name a model of images, such as"
    ):
        train(Recipe.model_validate({**asked.model_dump(), "objective": "classify"}))
    with pytest.raises(RecipeError, match=r"objective=sft trains language models. Use attune classify."):
        train(recipe(model=Path(classify().model.path)))
    model = Model(path=classify().model.path)
    with pytest.raises(RecipeError, match="reads images, and the data is of the kind conversation"):
        inspect.check(Data.model_validate({"train": str(rows_path)}), model)
    report = inspect.check(
        Data.model_validate({"train": str(images)}), Model(path=str(model_dir)), "labelled"
    )
    assert [finding.name for finding in report.stopping] == ["image_in_text_data"]
    run = str(train(classify(max_steps=1)).output)
    with pytest.raises(ModelError, match="gives scores, no answers"):
        load_for_inference(run)
    with pytest.raises(DataError, match="this model reads images"):
        Classifier(run).predict([Labelled("", "hello")])


def test_the_check_looks_at_the_images(images: Path, models: Callable[[str], Path], tmp_path: Path) -> None:
    folder = draw(tmp_path / "set", 4)
    (folder / "red" / "1.png").write_bytes(b"<html>")
    data = Data.model_validate({"train": str(folder)})
    for model in (None, Model(path=str(models("ViT")))):
        (found,) = inspect.check(data, model).stopping
        assert (found.name, found.num, found.rows[0].origin.row) == ("image_unreadable", 1, 10)
    (shown,) = inspect.show(data, model, num=1)
    assert shown.parts[0].pieces[0][0].endswith("blue/0.png")


def test_labels_that_training_lacks_and_a_single_class(classify: MakeRecipe, tmp_path: Path) -> None:
    held = draw(tmp_path / "held", 1)
    (held / "red").rename(held / "violet")
    with pytest.raises(DataError, match="held:3: the label 'violet' is not among the 3 of the training data"):
        train(classify(held_out=str(held)))
    for color in ("blue", "green"):
        for path in (held / color).iterdir():
            path.rename(held / "violet" / f"{color}.png")
        (held / color).rmdir()
    with pytest.raises(DataError, match="All 3 rows have the label 'violet': there is nothing to tell apart"):
        train(classify(data=held))


def test_the_run_says_how_images_are_read(classify: MakeRecipe, models: Callable[[str], Path]) -> None:
    result = train(classify(max_steps=1, micro_tokens=64))
    said = [event["text"] for event in events(result.output, "notice")]
    assert (
        "Images of 16×16, each counted as 16 tokens: at most 4 a forward pass (train.micro_tokens)." in said
    )
    assert any(
        text.startswith("The model brings no preprocessor_config.json: images are scaled") for text in said
    )
    again = train(classify("again", max_steps=1).model_copy(update={"model": Model(path=str(result.output))}))
    assert not any("brings no" in event["text"] for event in events(again.output, "notice"))


def test_images_of_one_channel_are_refused(
    classify: MakeRecipe, models: Callable[[str], Path], tmp_path: Path
) -> None:
    config = json.loads((models("ViT") / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_channels": 1}))
    with pytest.raises(ModelError, match="takes images of 1 channels; attune gives models colour images"):
        train(classify().model_copy(update={"model": Model(path=str(tmp_path / "config.json"))}))


def test_a_processor_that_is_none(
    classify: MakeRecipe, models: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text((models("ViT") / "config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text("[]")
    with pytest.raises(
        ModelError, match=r"No usable image processor in .* It is described by preprocessor_config"
    ):
        train(classify().model_copy(update={"model": Model(path=str(tmp_path / "config.json"))}))


@pytest.mark.parametrize("family", ["ViT", "ConvNext", "ResNet"])
def test_the_plan_counts_what_learns(family: str, classify: MakeRecipe) -> None:
    asked = classify(adapter=SOME, family=family, max_steps=1)
    planned = plan(asked)
    assert planned.num_tokens == planned.num_examples * (16 if family == "ViT" else 4)
    assert planned.num_trained_parameters == train(asked).state["num_trained_parameters"]


def test_the_table_of_methods_is_of_language_models(models: Callable[[str], Path]) -> None:
    with pytest.raises(
        ModelError, match=r"reads images \(vit\), and this table is of language models\. What"
    ):
        methods(str(models("ViT")))
