"""The two sides of ``sft_vs_trl.py``: one measurement of attune or of TRL, in the process that asks."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from measure import SEED, Clock

EXAMPLES_A_STEP = 8
MAX_LENGTH = 1024
RANK = 8
TARGETS = ["q_proj", "v_proj"]
LEARNING_RATE = 1e-4


def recipe_of(folder: Path, job: dict[str, Any], output: str) -> Any:
    """The recipe that an attune user would write for this comparison."""
    from attune.recipe.schema import Recipe

    lora = {"name": "lora", "rank": RANK, "alpha": 2.0 * RANK, "target_modules": TARGETS}
    return Recipe.model_validate(
        {
            "model": str(folder / "model"),
            "data": {
                "train": [str(folder / "rows.json")],
                "held_out": 0.0,
                "max_length": MAX_LENGTH,
                "workers": 1,
                "cache_dir": str(folder / "cache"),
            },
            "adapter": lora if job["adapter"] == "lora" else "full",
            "train": {
                "max_steps": job["warmup"] + job["steps"],
                "learning_rate": LEARNING_RATE,
                "schedule": "constant",
                "warmup_steps": 0.0,
                "global_batch_size": EXAMPLES_A_STEP,
                "precision": job["precision"],
                "activation_checkpointing": "off",
                "threads": 1,
                "seed": SEED,
            },
            "output": output,
        }
    )


def write_ids(folder: Path, num_steps: int) -> None:
    """The rows of the steps in attune's order, as attune encodes them: TRL trains on the very same ids."""
    from attune.data import pack
    from attune.engine.parts import open_model, prepare_data

    job = {"adapter": "lora", "precision": "fp32", "warmup": 0, "steps": num_steps}
    recipe, tokenizer, template, config, _ = open_model(recipe_of(folder, job, str(folder / "unused")))
    store = prepare_data(recipe, tokenizer, template, config, ()).train
    rows = []
    for at in range(num_steps):
        for index in pack.step_examples(at, len(store), EXAMPLES_A_STEP, SEED):
            example = store[index]
            ((answer, learn),) = example.branches
            rows.append(
                {
                    "input_ids": [int(token) for token in (*example.prompt, *answer)],
                    "completion_mask": [0] * len(example.prompt) + [int(is_learnt) for is_learnt in learn],
                }
            )
    (folder / "ids.json").write_text(json.dumps(rows))


# One measurement: a process of its own


def work(job: dict[str, Any], output: str) -> dict[str, Any]:
    """Runs one job in this process and gives its numbers."""
    folder = Path(job["folder"])
    if job["what"] == "gradients":
        gradients = attune_gradients if job["side"] == "attune" else trl_gradients
        return gradients(folder, job, output)
    run = run_attune if job["side"] == "attune" else run_trl
    return run(folder, job, output).numbers(job["warmup"])


def run_attune(folder: Path, job: dict[str, Any], output: str) -> Clock:
    """The whole of ``attune.train``, watched through its events."""
    import torch

    from attune.engine.estimate import Shape
    from attune.engine.events import RunStarted, StepEnd
    from attune.engine.train import train
    from attune.models.load import load_config

    clock = Clock()
    profiler = torch.profiler.profile() if job.get("profile") else None

    def listen(event: Any) -> None:
        if isinstance(event, RunStarted):
            clock.begin()
        elif isinstance(event, StepEnd):
            clock.step(event.num_tokens, event.num_learnt_tokens)
            if profiler and event.step == job["warmup"]:
                profiler.start()

    recipe = recipe_of(folder, job, output)
    train(recipe, fresh=True, listeners=[listen])
    if profiler:
        profiler.stop()
        table = profiler.key_averages().table(
            sort_by="self_cpu_time_total", row_limit=10, max_name_column_width=45
        )
        clock.more["profile"] = "\n".join(line[:110] for line in table.splitlines())
    numbers = clock.numbers(job["warmup"])
    shape = Shape.of(load_config(recipe.model))
    flops = shape.step_flops(numbers["num_tokens"], numbers["num_learnt"], full=job["adapter"] == "full")
    spent = numbers["num_tokens"] / numbers["tokens_per_second"]
    clock.more["ceiling_gflops"] = ceiling() / 1e9
    clock.more["share_of_ceiling"] = flops / spent / 1e9 / clock.more["ceiling_gflops"]
    return clock


def ceiling() -> float:
    """Float operations a second of a 1024 x 1024 x 1024 product, best of 10, as ``attune.models.precision``
    measures them, but in CPU time like everything here: a wall clock would see other people's work.
    """
    import torch

    square = torch.ones(1024, 1024)
    times = []
    for _ in range(10):
        begun = time.process_time()
        square @ square
        times.append(time.process_time() - begun)
    return 2 * 1024**3 / min(times)


def trl_trainer(folder: Path, job: dict[str, Any], output: str, callbacks: list[Any]) -> Any:
    """TRL's trainer on the same rows in the same order."""
    import torch
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    packed = job["side"] == "trl-packed"
    rows = json.loads((folder / "ids.json").read_text())[: EXAMPLES_A_STEP * (job["warmup"] + job["steps"])]
    bf16 = job["precision"] == "bf16"
    # Frozen weights may be stored in bf16; weights that learn stay fp32 and are cast by autocast.
    dtype = torch.bfloat16 if bf16 and job["adapter"] == "lora" else torch.float32
    settings = SFTConfig(
        output_dir=output,
        num_train_epochs=1,
        per_device_train_batch_size=1 if packed else EXAMPLES_A_STEP,
        gradient_accumulation_steps=2 if packed else 1,
        packing=packed,
        max_length=MAX_LENGTH,
        completion_only_loss=True,
        gradient_checkpointing=job["side"] == "trl-default",
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        max_grad_norm=0.0 if job["what"] == "gradients" else 1.0,
        train_sampling_strategy="sequential",
        seed=SEED,
        bf16=bf16,
        use_cpu=True,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        model_init_kwargs={"dtype": dtype},
    )
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=TARGETS, task_type="CAUSAL_LM")
    return SFTTrainer(
        model=str(folder / "model"),
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
        peft_config=lora if job["adapter"] == "lora" else None,
        callbacks=callbacks,
    )


def run_trl(folder: Path, job: dict[str, Any], output: str) -> Clock:
    """The whole of ``SFTTrainer.train``, watched through its callbacks."""
    from transformers import TrainerCallback

    clock = Clock()

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.step()

    trainer = trl_trainer(folder, job, output, [Watch()])
    trainer.train()
    data = trainer.train_dataset
    a_step = trainer.args.per_device_train_batch_size * trainer.args.gradient_accumulation_steps
    for at in range(len(clock.times)):
        rows = data[at * a_step : (at + 1) * a_step]
        clock.tokens[at] = sum(map(len, rows["input_ids"]))
        clock.learnt[at] = sum(label != -100 for labels in rows["labels"] for label in labels)
    return clock


# The first step's gradient


def same_adapter(model: Any) -> None:
    """Fills A and B with the same small numbers on both sides: PEFT's zero B would leave A no gradient."""
    import torch

    torch.manual_seed(SEED)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_" in name:
            parameter.data.normal_(0.0, 0.02)


def save_gradients(model: Any, place: str) -> None:
    """All gradients in one file, by the parameter's name."""
    from safetensors.torch import save_file

    save_file(
        {name: p.grad.float().clone() for name, p in model.named_parameters() if p.grad is not None}, place
    )


def attune_gradients(folder: Path, job: dict[str, Any], output: str) -> dict[str, Any]:
    """The engine's own set-up and accumulation, without the move."""
    import contextlib

    from attune.data import pack
    from attune.engine import step
    from attune.engine.setup import set_up

    with contextlib.ExitStack() as stack:
        setup = set_up(recipe_of(folder, job, output), stack, (), fresh=True, accept_changes=False)
        assert not isinstance(setup, dict)
        same_adapter(setup.policy.model)
        setup.policy.train()
        store = setup.data.train
        examples = pack.step_examples(0, len(store), EXAMPLES_A_STEP, SEED)
        with setup.autocast():
            done = step.accumulate(
                setup.policy, store, examples, setup.micro, setup.objective, setup.recipe.objective, None
            )
        save_gradients(setup.policy.model, job["gradients"])
    return {"loss": done.loss, "num_learnt": done.num_learnt, "num_tokens": done.num_tokens}


def trl_gradients(folder: Path, job: dict[str, Any], output: str) -> dict[str, Any]:
    """The gradient that TRL's optimizer would see in its first step."""
    from transformers import TrainerCallback

    class Catch(TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
            save_gradients(model, job["gradients"])

    trainer = trl_trainer(folder, {**job, "warmup": 1, "steps": 0}, output, [Catch()])
    same_adapter(trainer.model)
    loss = trainer.train().training_loss
    rows = trainer.train_dataset[:]
    learnt = sum(label != -100 for labels in rows["labels"] for label in labels)
    return {"loss": loss, "num_learnt": learnt, "num_tokens": sum(map(len, rows["input_ids"]))}
