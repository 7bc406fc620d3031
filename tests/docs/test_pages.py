"""The pages are true: their commands, recipes and Python run on a tiny model, and their links lead somewhere.

A page's blocks run in order in one folder that holds ``base/`` (a tiny Llama), ``my.json``, ``more.json``,
``test.json``, ``data/``, ``texts/``, ``photos/``, ``eye/`` (a tiny ViT) and ``config.json``. A ``yaml``
block is the file that its first line names, as is a ``python`` block that begins with one
(``# my_rewards.py``). Commands run in this process, with small numbers put behind theirs (the last override
wins).
"""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from attune.cli.main import app, run
from attune.data.template import ChatTemplate
from attune.data.tokenizer import train_tokenizer
from attune.recipe import plugs
from attune.recipe.load import load
from tests.models.tiny_images import draw
from tests.models.tiny_images import save_model as save_image_model

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = ["README.md", "docs/tour.md", "docs/data.md", "docs/check.md", "docs/templates.md", "docs/recipes.md"]
RUN += ["docs/alignment.md", "docs/clean.md", "docs/resume.md", "docs/python.md"]
RUN += ["docs/online.md", "docs/classify.md", "docs/methods.md"]
TWINS = [
    ("README.md", "README.zh.md"),
    ("docs/tour.md", "docs/tour.zh.md"),
    ("docs/data.md", "docs/data.zh.md"),
    ("docs/check.md", "docs/check.zh.md"),
    ("docs/clean.md", "docs/clean.zh.md"),
    ("docs/alignment.md", "docs/alignment.zh.md"),
    ("docs/templates.md", "docs/templates.zh.md"),
    ("docs/online.md", "docs/online.zh.md"),
    ("docs/classify.md", "docs/classify.zh.md"),
    ("docs/methods.md", "docs/methods.zh.md"),
    ("docs/plan.md", "docs/plan.zh.md"),
]

_TRAINING = ["train.max_steps=2", "train.precision=fp32"]
_GENERATING = ["max_new_tokens=4"]
_SAMPLING = (*_TRAINING, "objective.max_new_tokens=4", "objective.group_size=2")
SMALL = {
    "sft": _TRAINING,
    "pretrain": _TRAINING,
    "train": _TRAINING,
    "plan": _TRAINING,
    "eval": _GENERATING,
    "prefer": _GENERATING,
    **dict.fromkeys(("grpo", "rloo"), _SAMPLING),
    **dict.fromkeys(("dpo", "kto", "orpo", "simpo", "classify", "reward"), _TRAINING),
    "chat": _GENERATING,
}
ELSEWHERE = ("git", "make", "cd", ".", "echo", "python")
"""Words that begin a command of the machine."""


class Block(NamedTuple):
    kind: str
    text: str


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)]


def commands(block: Block) -> Iterator[list[str]]:
    """The words of each simple command, without comments and ``NAME=value`` before it."""
    for line in block.text.splitlines():
        command: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word in ("&&", "|"):
                if command:
                    yield command
                command = []
            else:
                command.append(word)


def attune_words(words: list[str]) -> list[str] | None:
    """What follows ``attune`` in a command, also behind a launcher; None for another program."""
    if words[0] == "attune":
        return words[1:]
    return words[words.index("attune") + 1 :] if words[0] == "accelerate" else None


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of one layer with random weights, its tokenizer and the ChatML template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("pages") / "base"
    tokenizer = train_tokenizer((json.dumps(row) for row in rows(40)), 300)
    ChatTemplate.load(tokenizer, "chatml")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rows(count: int, start: int = 0) -> list[dict[str, str]]:
    return [
        {"instruction": f"What is table {number} having?", "input": "", "output": f"{number % 7} baskets."}
        for number in range(start, start + count)
    ]


def pairs(count: int) -> list[dict[str, str]]:
    """The better answer knows; it is the longer one in every other row."""
    rest = ("", " Ask at table {} or at the door, they will know.")
    return [
        {
            "prompt": row["instruction"],
            "chosen": f"{row['output']} Enjoy!",
            "rejected": f"No idea {place}." + rest[place % 2].format(place),
        }
        for place, row in enumerate(rows(count))
    ]


def verdicts(count: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": row["prompt"],
            "completion": row["chosen" if place % 2 else "rejected"],
            "label": bool(place % 2),
        }
        for place, row in enumerate(pairs(count))
    ]


@pytest.fixture
def folder(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a page is read; no network, a cache of its own."""
    here = tmp_path / "here"
    (here / "data").mkdir(parents=True)
    (here / "texts").mkdir()
    for name, content in {
        "my.json": rows(24),
        "more.json": rows(8, 100),
        "test.json": rows(4, 200),
        "prefs.json": pairs(24),
        "verdicts.json": verdicts(24),
        "sums.json": [{"prompt": f"{n} + 1 = ?", "reference": str(n + 1)} for n in range(24)],
        "questions.json": [{"prompt": row["instruction"]} for row in rows(2, 400)],
        "data/a.json": rows(8, 300),
    }.items():
        (here / name).write_text(json.dumps(content), encoding="utf-8")
    moods = [(f"Table {n} was {('warm', 'cold')[n % 2]}.", ("good", "bad")[n % 2]) for n in range(60)]
    for name, lines in {
        "labelled.csv": ["text,label", *(f"{text},{label}" for text, label in moods)],
        "new.csv": ["id,text", *(f"{n},{text}" for n, (text, _) in enumerate(moods[:4]))],
    }.items():
        (here / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (here / "texts" / "a.txt").write_text("Tea is hot.\n\nBuns are baked.\n\nThe shop is small.\n")
    draw(here / "photos", 8)
    save_image_model(here / "eye", "ViT")
    shutil.copytree(base, here / "base")
    shutil.copy(base / "config.json", here / "config.json")
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return here


def localised(text: str) -> str:
    """The tiny models in the place of the hub's."""
    return text.replace("Qwen/Qwen3-0.6B", "base").replace("google/vit-base-patch16-224", "eye")


def run_words(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    name = words[0]
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n"))
    assert run([*words, *SMALL.get(name, [])]) == 0, shlex.join(words)


def parse_words(words: list[str]) -> None:
    """The command exists and takes these options; raises RecipeError otherwise."""
    group = typer.main.get_command(app)
    context = group.make_context("attune", list(words[:1]), resilient_parsing=True)
    command = group.get_command(context, words[0])  # type: ignore[attr-defined]
    assert command is not None, words
    command.make_context(words[0], list(words[1:]), parent=context)


@pytest.mark.parametrize("name", RUN)
def test_a_page_runs(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, Any] = {}
    num_run = 0
    for block in blocks(localised(page(name))):
        if block.kind == "yaml":
            named = re.match(r"# (\S+\.yaml)\n", block.text)
            path = folder / (named[1] if named else "shortest.yaml")
            path.write_text(block.text, encoding="utf-8")
            load(path)
        elif block.kind == "python" and (named := re.match(r"# (\S+\.py)\n", block.text)):
            (folder / named[1]).write_text(block.text, encoding="utf-8")
        elif block.kind == "python":
            exec(compile(block.text, name, "exec"), known)
            num_run += 1
        elif block.kind == "bash":
            for words in commands(block):
                ours = attune_words(words)
                if ours is None:
                    assert words[0] in ELSEWHERE, words
                elif ours[0] == "quickstart" or words[0] != "attune":
                    parse_words(ours)
                else:
                    run_words(ours, monkeypatch)
                    num_run += 1
    assert num_run


def test_a_wrong_option_would_be_found(folder: Path) -> None:
    from attune.recipe.errors import RecipeError

    with pytest.raises(RecipeError, match="no option --langue"):
        parse_words(["quickstart", "--langue", "zh"])
    assert run(["sft", "--model", "base", "--data", "my.json", "train.step=2"]) == 2


@pytest.mark.parametrize(("english", "chinese"), TWINS)
def test_twins_have_the_same_blocks_and_headings(english: str, chinese: str) -> None:
    ours, theirs = page(english), page(chinese)
    assert [bare(block) for block in blocks(ours)] == [bare(block) for block in blocks(theirs)]
    assert levels(ours) == levels(theirs)
    assert ours.count("\n|") == theirs.count("\n|"), "rows of tables"
    assert proofs(ours) == proofs(theirs)


def proofs(text: str) -> list[str]:
    """The tests and commands that are named."""
    return re.findall(r"`(tests/[\w/.]+|attune \w+)`", text)


def bare(block: Block) -> Block:
    """Without comments, which may be in another language."""
    lines = [re.sub(r"\s+# .*", "", line) for line in block.text.splitlines()]
    return Block(block.kind, "\n".join(lines))


def levels(text: str) -> list[str]:
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    return re.findall(r"^(#+) ", outside, re.M)


@pytest.mark.parametrize("name", ["docs/data.md", "docs/data.zh.md"])
def test_the_samples_are_those_of_the_formats(name: str) -> None:
    sections = dict(re.findall(r"^### (\w+)\n\n```json\n(.*?)^```$", page(name), re.M | re.S))
    assert sorted(sections) == plugs.names("formats")
    for plug, text in sections.items():
        assert json.loads(text) == plugs.find("formats", plug).SAMPLE, plug


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_and_named_files_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (path.parent / link).exists(), link
    for named in re.findall(r"`((?:tests|attune|bench|docs)/[\w/.]+)`", text):
        assert (ROOT / named).exists(), named
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        headings = [heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.M)]
        assert anchor in headings, anchor


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_fields_named_in_the_text_exist(path: Path) -> None:
    from attune.recipe.fields import fields

    known = {field.path for field in fields(rooms=("adapters", "objectives"))}
    prose = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for named in re.findall(r"`((?:train|data|model|adapter|generation)\.\w+)(?:=[^`]*)?`", prose):
        assert named in known, named


def test_targets_and_extras_exist() -> None:
    makefile, project = page("Makefile"), page("pyproject.toml")
    for name in ("README.md", "docs/data.md"):
        for target in re.findall(r"(?:^|`|&& )make (\w+)", page(name), re.M):
            assert re.search(rf"^{target}:", makefile, re.M), target
        for extra in re.findall(r"attune\[(\w+)\]", page(name)):
            assert re.search(rf"^{extra} = \[", project, re.M), extra
