"""What does a small model of images bring to classes that it has not seen? Probe, LoRA and full fine-tuning.

    python studies/images.py cifar10/ --out /tmp/images

The argument is a folder with ``train/`` and ``test/``, each with a folder of images a class. Every other
class (in the order of names) is in the first half, the rest in the second. A small ViT and a small ResNet
learn the first half in full, from random weights. Each method then learns the second half twice: from that
model, and from random weights; what is between the two is what the first half has taught. The test images
are in no training folder. The table gives the accuracy on them with its 95 % interval over images
(bootstrap), beside that of always giving the most frequent class; one seed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from attune.engine.train import train
from attune.evaluation.evaluate import evaluate
from attune.evaluation.metrics import Interval
from attune.evaluation.probe import probe
from attune.recipe.schema import Data, Recipe

SHAPES: dict[str, dict[str, Any]] = {
    "vit": {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        "image_size": 32,
        "patch_size": 4,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
    },
    "resnet": {
        "architectures": ["ResNetForImageClassification"],
        "model_type": "resnet",
        "image_size": 32,
        "embedding_size": 32,
        "hidden_sizes": [32, 64, 128],
        "depths": [1, 1, 1],
        "layer_type": "basic",
    },
}
METHODS: dict[str, tuple[Any, float]] = {
    "adapter=probe": ("probe", 1e-2),
    "adapter=lora": ({"name": "lora", "rank": 8}, 3e-3),
    "adapter=full": ("full", 1e-3),
}
"""The recipe's adapter, and its step size."""


def halves(data: Path, out: Path) -> dict[str, tuple[Path, Path]]:
    """Folders of links to every other class, for training and test."""
    found = {}
    for number, half in enumerate(("first", "second")):
        for part in ("train", "test"):
            folder = out / half / part
            folder.mkdir(parents=True, exist_ok=True)
            for place in sorted(item for item in (data / part).iterdir() if item.is_dir())[number::2]:
                if not (folder / place.name).exists():
                    os.symlink(place.resolve(), folder / place.name)
        found[half] = out / half / "train", out / half / "test"
    return found


def learn(
    model: Path, half: tuple[Path, Path], output: Path, adapter: Any, rate: float, epochs: int
) -> tuple[Interval, dict[str, Any]]:
    """Accuracy on the half's test images, and what run.json says."""
    learnt, tested = half
    asked = {
        "objective": "classify",
        "model": str(model),
        "data": {"train": str(learnt), "held_out": str(tested)},
        "adapter": adapter,
        "train": {
            "learning_rate": rate,
            "epochs": epochs,
            "global_batch_size": 32,
            "precision": "fp32",
            "threads": 1,
            "eval_steps": 10_000,
        },
        "output": str(output),
    }
    state = train(Recipe.model_validate(asked)).state
    scores = evaluate(output, tested).models[0]["scores"]["accuracy"]
    return Interval(**scores), state


def shown(interval: Interval) -> str:
    return f"{interval.mean:.1%} [{interval.low:.1%}, {interval.high:.1%}]"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("/tmp/images"))
    parser.add_argument("--models", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--first-epochs", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=3)
    asked = parser.parse_args()
    begun = time.monotonic()
    parts = halves(asked.data, asked.out)
    print(
        "| Model | Start | Method | Parameters that learn | Accuracy | Seconds |\n|---|---|---|---|---|---|"
    )

    def row(*cells: Any) -> None:
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)

    for name in asked.models:
        config = asked.out / name / "config.json"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(json.dumps(SHAPES[name]), encoding="utf-8")
        first = asked.out / "runs" / f"{name}-first"
        found, state = learn(config, parts["first"], first, "full", 1e-3, asked.first_epochs)
        of = f"{state['num_trained_parameters']:,} of {state['num_parameters']:,}"
        row(name, "random, first half", "adapter=full", of, shown(found), f"{state['seconds']:.0f}")
        for start, base in (("first half", first), ("random", config)):
            learnt, tested = (str(path) for path in parts["second"])
            fitted = probe(base, Data.model_validate({"train": learnt, "held_out": tested}))
            row(name, start, "attune probe", "–", shown(fitted.scores["accuracy"]), f"{fitted.seconds:.0f}")
            for method, (adapter, rate) in METHODS.items():
                short = f"{name}-{method.partition('=')[2]}-from-{start.partition(' ')[0]}"
                output = asked.out / "runs" / short
                found, state = learn(base, parts["second"], output, adapter, rate, asked.epochs)
                of = f"{state['num_trained_parameters']:,} of {state['num_parameters']:,}"
                row(name, start, method, of, shown(found), f"{state['seconds']:.0f}")
    print(
        f"\nMost frequent class: {fitted.baseline['accuracy']:.1%}. {time.monotonic() - begun:.0f} s in all."
    )


if __name__ == "__main__":
    main()
