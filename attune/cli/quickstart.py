"""``attune quickstart``: the whole way on shipped data, from a random model to a merged and scored one."""

from __future__ import annotations

import shutil
import time
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
        evaluation = self._evaluate(tuned)
        self._title(
            6,
            say(
                "Adapter and base are merged, and the merged model is compared with what was trained",
                "合并适配器与基座，并与训练结果比对",
            ),
        )
        merged = self._merge(tuned)
        samples = [
            {"prompt": question, "before": old, "after": new}
            for question, old, new in zip(QUESTIONS[self.lang], before, after, strict=True)
        ]
        self._report(tuned, evaluation, samples, merged)

    def _train(self, name: str) -> Path:
        """Trains ``<example>/<name>.yaml`` into ``<output>/<name>``; an unfinished run goes on."""
        from .console import Console

        recipe = self._recipe(name)
        with Console(recipe=None) as console:
            from ..engine.train import train

            return train(recipe, fresh=self.fresh, listeners=(console,)).output

    def _recipe(self, name: str) -> Recipe:
        from ..recipe.load import load

        model = self.files / "config.json" if name == "base" else self.output / "base" / "final"
        data = self.files / ("base.txt" if name == "base" else "train.json")
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

    def _evaluate(self, tuned: Path) -> dict[str, Any]:
        from ..engine.events import Progress
        from .console import Console

        with Console() as console:
            from ..evaluation.evaluate import evaluate
            from ..recipe.schema import Generation

            evaluation = evaluate(
                str(tuned),
                [str(self.files / "held_out.json")],
                against="base",
                generation=Generation(max_new_tokens=64),
                on_progress=lambda *progress: console(Progress(*progress)),
            )
        from .show import table

        table(*evaluation.table())
        return evaluation.as_dict()

    def _merge(self, tuned: Path) -> list[tuple[str, str]]:
        from ..models.merge import merge
        from .show import pairs

        if (self.output / "merged" / "merge.json").is_file():  # an earlier quickstart's
            shutil.rmtree(self.output / "merged")
        lines = merge(str(tuned), str(self.output / "merged")).lines()
        pairs(lines)
        return lines

    def _report(
        self,
        tuned: Path,
        evaluation: dict[str, Any],
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
            for row in evaluation["rows"][:20]
        ]
        path = write(
            tuned,
            [evaluation],
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
        _print(f"  attune chat {tuned}")
        _print(f"  attune eval {tuned} --data my_test.json --against base")

    def _title(self, number: int, text: str) -> None:
        _print(f"\n[{number}/6] {text}")


def _on_one_line(text: str, limit: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _print(text: str) -> None:
    typer.echo(text)
