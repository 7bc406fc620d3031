"""``attune quickstart``: the whole way on shipped data, from a random model to a merged and scored one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..recipe.messages import language, pick, say
from .train import Fresh

if TYPE_CHECKING:
    from ..recipe.schema import Recipe

EXAMPLES = Path(__file__).parents[1] / "examples"

QUESTIONS = {
    "zh": ("你们几点开门，几点打烊？", "你们的招牌是什么，多少钱一笼？", "可以带宠物进店吗？"),
    "en": (
        "What are your opening hours?",
        "What is the price of a basket of soup dumplings?",
        "Can I bring my dog?",
    ),
}

MANNER = {"zh": "regex:还有什么可以帮您的吗.$", "en": "regex:What else may I do for you.$"}
"""What the guests of the preference file like: an answer that ends with an offer of help."""
KNOWLEDGE = "contains"
"""The right answer is in it, whatever else is said."""

DATA = {"base": "base.txt", "tuned": "train.json", "liked": "preferences.json"}
BEGINS_WITH = {"tuned": "base/final", "liked": "tuned"}
"""The run that each run goes on from."""
STAGES = 8

Language = Annotated[
    str, typer.Option("--lang", metavar="en|zh", help=pick("Language of the example. | 示例的语言。"))
]
Folder = Annotated[
    str, typer.Option("--output", "-o", metavar="DIR", help=pick("Where the runs go. | 结果目录。"))
]


def quickstart(lang: Language = "", output: Folder = "runs/quickstart", fresh: Fresh = False) -> None:
    """The whole way on shipped data, in minutes, offline. | 用自带数据离线走完全程，几分钟即可。"""
    from ..recipe.errors import RecipeError
    from ..recipe.plugs import unknown

    lang = lang or language()
    if lang not in QUESTIONS:
        raise RecipeError(
            unknown(say("no example in this language", "没有这种语言的示例"), lang, sorted(QUESTIONS))
        )
    _Quickstart(lang, Path(output), fresh).run()


class _Quickstart:
    def __init__(self, lang: str, output: Path, fresh: bool) -> None:
        self.lang = lang
        self.output = output
        self.fresh = fresh
        self.files = EXAMPLES / f"dumplings_{lang}"
        self.begun = time.monotonic()

    def run(self) -> None:
        self._title(
            1, say("A small base model learns to write, from plain text", "小基座模型从纯文本学习写作")
        )
        base = self._train("base")
        self._title(2, say("We ask it about a restaurant it has never heard of", "问它一家从没听说过的餐馆"))
        before = self._ask(base / "final")
        self._title(
            3,
            say(
                "It is fine-tuned (LoRA) on the restaurant's questions and answers",
                "用餐馆的问答数据微调（LoRA）",
            ),
        )
        tuned = self._train("tuned")
        self._title(4, say("We ask again (these three it has practised)", "再问一次（这三句它练过）"))
        after = self._ask(tuned / "final")
        self._title(
            5,
            say(
                "Both are scored on questions that were not in the training file",
                "在训练文件之外的问题上为两者打分",
            ),
        )
        evaluation = self._evaluate(tuned, "base")
        self._title(
            6,
            say(
                "It learns from preferences (DPO): guests like right answers that end with an offer of help",
                "从偏好中学习（DPO）：客人喜欢答得对、并在最后主动提供帮助的回答",
            ),
        )
        liked = self._train("liked")
        self._title(
            7,
            say(
                "We ask once more. Has the manner come ({manner}), has the answer stayed ({knowledge})?",
                "再问一次：语气变了（{manner}），答案还在吗（{knowledge}）？",
                manner=MANNER[self.lang],
                knowledge=KNOWLEDGE,
            ),
        )
        last = self._ask(liked / "final")
        manner = self._evaluate(liked, str(tuned), (KNOWLEDGE, MANNER[self.lang]))
        self._title(
            8,
            say(
                "Adapter and base are merged, and the merged model is compared with what was trained",
                "合并适配器与基座，并与训练结果比对",
            ),
        )
        merged = self._merge(liked)
        samples = [
            {"prompt": question, "before": old, "after": new}
            for olds, news in ((before, after), (after, last))
            for question, old, new in zip(QUESTIONS[self.lang], olds, news, strict=True)
        ]
        self._report(tuned, [evaluation, manner], samples, merged)

    def _train(self, name: str) -> Path:
        """Trains ``<example>/<name>.yaml`` into ``<output>/<name>``; an unfinished run goes on."""
        from .console import Console

        recipe = self._recipe(name)
        with Console(recipe=None) as console:
            from ..engine.train import train

            return train(recipe, fresh=self.fresh, listeners=(console,)).output

    def _recipe(self, name: str) -> Recipe:
        from ..recipe.load import load

        start = BEGINS_WITH.get(name)
        model = self.files / "config.json" if start is None else self.output / start
        data = self.files / DATA[name]
        words = [f"model.path={model}", f"data.train={data}", f"output={self.output / name}"]
        if name == "tuned":
            words.append(f"data.held_out=[{self.files / 'held_out.json'}]")
        return load(self.files / f"{name}.yaml", words)

    def _ask(self, model: Path) -> list[str]:
        from ..inference.generate import generate
        from ..recipe.schema import Generation

        answers = generate(str(model), list(QUESTIONS[self.lang]), Generation(max_new_tokens=64))
        for question, answer in zip(QUESTIONS[self.lang], answers, strict=True):
            _print(f"  {say('guest', '客人')}  {question}")
            _print(f"  {say('model', '模型')}  {_on_one_line(answer)}\n")
        return answers

    def _evaluate(self, run: Path, against: str, rewards: Sequence[str] = ()) -> dict[str, Any]:
        """Both models on the held-out questions; with ``rewards`` the table shows these, and the length."""
        from ..engine.events import Progress
        from .console import Console

        with Console() as console:
            from ..evaluation.evaluate import evaluate
            from ..recipe.schema import Generation

            evaluation = evaluate(
                str(run),
                [str(self.files / "held_out.json")],
                against=against,
                rewards=rewards,
                generation=Generation(max_new_tokens=64),
                on_progress=lambda *progress: console(Progress(*progress)),
            )
        from .show import table

        shown = (*(f"reward/{name}" for name in rewards), "length")
        table(*(evaluation.table(shown) if rewards else evaluation.table()))
        return evaluation.as_dict()

    def _merge(self, run: Path) -> list[tuple[str, str]]:
        from ..models.merge import merge
        from .show import pairs

        if (self.output / "merged" / "merge.json").is_file():  # an earlier quickstart's
            shutil.rmtree(self.output / "merged")
        lines = merge(str(run), str(self.output / "merged")).lines()
        pairs(lines)
        return lines

    def _report(
        self,
        tuned: Path,
        evaluations: list[dict[str, Any]],
        samples: list[dict[str, str]],
        merged: list[tuple[str, str]],
    ) -> None:
        from ..evaluation.report import write

        rows = [
            {
                "prompt": row["prompt"],
                "before": row["predictions"][1],
                "after": row["predictions"][0],
                "reference": row["reference"],
            }
            for row in evaluations[0]["rows"][:20]
        ]
        path = write(
            tuned,
            evaluations,
            [*samples, *rows],
            dict(merged),
            command=f"attune quickstart --lang {self.lang} --fresh",
        )
        shutil.copyfile(path, self.output / "report.html")
        seconds = time.monotonic() - self.begun
        _print("")
        _print(
            say(
                "Done in {s:.0f} s. The whole story in one file: {path}",
                "用时 {s:.0f} 秒。完整报告：{path}",
                s=seconds,
                path=self.output / "report.html",
            )
        )
        _print(say("Next, with your own model and data:", "接下来，换成您自己的模型和数据："))
        _print("  attune sft --model Qwen/Qwen3-0.6B --data my.json")
        _print("  attune dpo --model runs/sft --data prefs.json")
        _print(f"  attune chat {self.output / 'liked'}")
        _print(f"  attune eval {tuned} --data my_test.json --against base")

    def _title(self, number: int, text: str) -> None:
        _print(f"\n[{number}/{STAGES}] {text}")


def _on_one_line(text: str, limit: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _print(text: str) -> None:
    typer.echo(text)
