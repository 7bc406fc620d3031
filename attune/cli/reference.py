"""``attune reference``: every field of the recipe, as Markdown; it writes and checks docs/reference*.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..recipe.errors import RecipeError
from ..recipe.messages import join, language, pick, say, speaking

if TYPE_CHECKING:
    from ..recipe.fields import Field

Write = Annotated[
    str | None,
    typer.Option(
        "--write", metavar="DIR", help=pick("Write both languages' pages here. | 把两种语言的页面写到这里。")
    ),
]
Check = Annotated[
    str | None,
    typer.Option(
        "--check", metavar="DIR", help=pick("Fail if the pages there are out of date. | 检查页面是否过期。")
    ),
]
_PAGES = {"reference.md": "en", "reference.zh.md": "zh"}


def reference(write: Write = None, check: Check = None) -> None:
    """Every field of the recipe, with type and default. | 配方的全部字段、类型与默认值。"""
    if write is not None:
        Path(write).mkdir(parents=True, exist_ok=True)
        for name, spoken in _PAGES.items():
            (Path(write) / name).write_text(page(spoken), encoding="utf-8")
    if check is not None:
        stale = [name for name, spoken in _PAGES.items() if _text(Path(check) / name) != page(spoken)]
        if stale:
            raise RecipeError(
                say(
                    "{folder}: out of date: {pages}. Type: attune reference --write {folder}",
                    "{folder}：已过期：{pages}。请运行 attune reference --write {folder}",
                    folder=check,
                    pages=join(stale),
                )
            )
    if write is None and check is None:
        print(page(language()))


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def page(spoken: str) -> str:
    """The reference in one language (``en`` or ``zh``), as Markdown."""
    from ..recipe.fields import field_of, room_of, section_in
    from ..recipe.plugs import names
    from ..recipe.schema import Recipe

    with speaking(spoken):
        parts, alone = [_introduction()], []
        for name, info in Recipe.model_fields.items():
            room, section = room_of(info), section_in(info.annotation)
            heading = f"## {name}\n\n{pick(info.description or '')}\n"
            if room:
                parts += [heading, *(_plug(room, plug, name) for plug in names(room))]
            elif section is not None:
                rows = [field_of(key, below) for key, below in section.model_fields.items()]
                parts += [heading, _table(rows, f"{name}.")]
            else:
                alone.append(field_of(name, info))
        return "\n".join([*parts, say("## Others\n", "## 其他\n"), _table(alone, "")])


def _plug(room: str, plug: str, name: str) -> str:
    from ..recipe.fields import config_of, options

    text = f"### {name}: {plug}\n\n{pick(config_of(room, plug).__doc__ or '')}\n"
    rows = options(room, plug)
    return f"{text}\n{_table(rows, f'{name}.')}" if rows else text


def _introduction() -> str:
    return say(
        """# Reference of the recipe

Written by `attune reference` from the schema; not edited by hand.

Every field can stand in a recipe file, or on the command line as `path=value`. Items of lists are counted
from 1 (`data.train.2.weight=0.5`). The shortest recipe:

```yaml
model: Qwen/Qwen3-0.6B
data: my.json
```
""",
        """# 配方参考

由 `attune reference` 根据定义生成，不手工修改。

每个字段都可以写在配方文件里，也可以在命令行写成 `路径=值`。
列表各项从 1 数起（`data.train.2.weight=0.5`）。最短的配方：

```yaml
model: Qwen/Qwen3-0.6B
data: my.json
```
""",
    )


def _table(rows: list[Field], prefix: str) -> str:
    lines = [
        say("| field | allowed | default | meaning |", "| 字段 | 允许 | 默认 | 含义 |"),
        "|---|---|---|---|",
    ]
    for field in rows:
        default = say("required", "必填") if field.required else shown(field.default)
        cells = (f"`{prefix}{field.path}`", field.type, default, field.help)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def shown(default: object) -> str:
    """A default as it would be typed; empty for null."""
    if default is None:
        return ""
    return f"`{str(default).lower()}`" if isinstance(default, bool) else f"`{default}`"
