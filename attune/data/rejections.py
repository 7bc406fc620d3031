"""The rules by which rows are rejected, by name, and what a person does about each."""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

from ..recipe.messages import pick

CURES = {
    "empty_row": "Remove these rows. | 删除这些行。",
    "empty_answer": "Write the answers, or remove these rows. | 补上回答，或删除这些行。",
    "empty_prompt": "Write the questions, or remove these rows. | 补上提问，或删除这些行。",
    "empty_text": "Remove these rows. | 删除这些行。",
    "no_answer": "Add the assistant's turn, or remove these rows. | 补上助手的回答，或删除这些行。",
    "no_question": "End these prompts with a turn of the user. | 让这些提示以用户的话结束。",
    "nothing_learnt": "Give at least one answer of each row the weight 1. | 每行至少有一个回答的权重为 1。",
    "turns_out_of_order": "Put user and assistant in turn; merge_turns: true at the source joins runs of one role, roles: {…} renames roles that are swapped. | 让 user 与 assistant 交替；数据源的 merge_turns: true 合并同一角色的连续轮次，roles: {…} 可改正对调的角色。",
    "unknown_role": "Say which role it is, at the source: roles: {name: user}. | 在数据源中说明角色：roles: {名称: user}。",
    "missing_column": "Correct these rows, or keep rows of one format in a file. | 修正这些行，或让一个文件只含一种格式。",
    "half_character": "These texts were cut inside a character: write them again from their source. | 这些文本在字符中间被截断：请从原始数据重新生成。",
    "stop_token_in_answer": "Take the stop token out of these answers. | 从这些回答中删除停止符。",
    "too_long": "Raise data.max_length, shorten the rows, or data.overlong=cut_answer. | 提高 data.max_length，缩短这些行，或用 data.overlong=cut_answer。",
    "equal_answers": "Remove these pairs: they prefer nothing. | 删除这些对：其中没有偏好。",
    "one_answer": "Give two answers or more. | 给出两个以上的回答。",
    "no_label": "Write the labels, or remove these rows. | 补上标签，或删除这些行。",
    "media": "Remove these rows: a text model sees no media. | 删除这些行：文本模型看不到图片与音视频。",
    "template_differs_from_inference": "Choose another template: model.template=NAME. | 换一个模板：model.template=名称。",
    "template_no_stop_token": "Choose another template: model.template=NAME. | 换一个模板：model.template=名称。",
    "template_alters_answer": "Choose a template that writes answers as they are: model.template=NAME. | 选用原样写出回答的模板：model.template=名称。",
    "template_leaves_out": "Choose a template that writes all parts: model.template=NAME. | 选用能写出全部内容的模板：model.template=名称。",
    "template_takes_no_system": "Put the system text into the first turn of the user, or choose another template: model.template=NAME. | 把系统消息写入用户的第一轮，或换一个模板：model.template=名称。",
    "template_refuses": "Give these rows the form that the template takes, or choose another: model.template=NAME. | 按模板的要求修改这些行，或换一个模板：model.template=名称。",
    "unreadable_file": "Mend or fetch the file again. | 修复或重新获取文件。",
}
"""What to do, ``English | 中文``."""

_ANY = "Correct or remove these rows; data.max_rejected_share allows more. | 修正或删除这些行；data.max_rejected_share 可放宽比例。"


def cure_of(name: str) -> str:
    """What a person does about rows that break the rule ``name``."""
    return pick(CURES.get(name, _ANY))
