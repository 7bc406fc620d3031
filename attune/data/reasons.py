"""The rules by which a row, a template or a file is rejected: what each means, and what a person does about it.

A rejected row breaks one of them by its name; reports count by it, ``data.accept`` names it, pages list it.
"""

# ruff: noqa: E501 (a sentence holds both languages in one line)
from __future__ import annotations

from typing import NamedTuple

from ..recipe.messages import pick


class Reason(NamedTuple):
    """Both as ``English | 中文``; the meaning follows “cannot be used:” and ends without a stop."""

    meaning: str
    cure: str


_ROWS = "Correct or remove these rows. | 修正或删除这些行。"
_REMOVE = "Remove these rows. | 删除这些行。"
_TEMPLATE = "Choose another template: model.template=NAME. | 换一个模板：model.template=名称。"

REASONS: dict[str, Reason] = {
    "unusable_row": Reason("the row cannot be used; the sentence says why | 该行无法使用，原因见说明", _ROWS),
    "empty_row": Reason(
        "the row has no column that holds anything, or is no object | 该行没有任何内容，或不是对象", _REMOVE
    ),
    "missing_column": Reason(
        "a column that the format needs is missing or empty | 缺少格式所需的列，或该列为空",
        "Correct these rows, or keep rows of one format in a file. | 修正这些行，或让一个文件只含一种格式。",
    ),
    "not_text": Reason(
        "a cell is a number, a list or an object where text must be | 应为文本的单元格是数字、列表或对象",
        "Write these cells as text, or name another column: --columns NAME=COLUMN. | 请将这些单元格写成文本，或指定其他列：--columns 名称=列。",
    ),
    "empty_prompt": Reason(
        "the question is empty | 提问为空",
        "Write the questions, or remove these rows. | 补上提问，或删除这些行。",
    ),
    "empty_answer": Reason(
        "the answer is empty | 回答为空",
        "Write the answers, or remove these rows. | 补上回答，或删除这些行。",
    ),
    "empty_text": Reason("the text is empty | 文本为空", _REMOVE),
    "half_character": Reason(
        "the text holds half of a character | 文本含有半个字符",
        "These texts were cut inside a character: write them again from their source. | 这些文本在字符中间被截断：请从原始数据重新生成。",
    ),
    "unknown_role": Reason(
        "a turn is from a role that is not known | 某一轮的角色未知",
        "Say which role it is: --roles NAME=user (roles: {NAME: user} at the source in a recipe). | 说明是哪个角色：--roles 名称=user（配方中写在数据源下：roles: {名称: user}）。",
    ),
    "bad_turn": Reason(
        "a turn, or the list of turns, is not built as it must be | 某一轮或轮次列表的结构不对", _ROWS
    ),
    "single_turn": Reason(
        "the row is one turn of a conversation | 该行只是对话中的一轮",
        "Put the turns of a conversation into one row. | 请把一段对话的各轮放在同一行。",
    ),
    "turns_out_of_order": Reason(
        "user and assistant do not take turns | user 与 assistant 没有交替",
        "Put them in turn; data.train.1.merge_turns=true joins runs of one role in the first source, --roles renames roles that are swapped. | 让两者交替；data.train.1.merge_turns=true 合并第一个数据源中同一角色的连续轮次，--roles 可改正对调的角色。",
    ),
    "no_answer": Reason(
        "there is no answer to learn from | 没有可学习的回答",
        "Add the assistant's turn, or remove these rows. | 补上助手的回答，或删除这些行。",
    ),
    "nothing_learnt": Reason(
        "the weight of every answer is 0 | 所有回答的权重都是 0",
        "Give at least one answer of each row the weight 1. | 每行至少有一个回答的权重为 1。",
    ),
    "no_question": Reason(
        "the prompt does not end with a question | 提示没有以提问结束",
        "End these prompts with a turn of the user. | 让这些提示以用户的话结束。",
    ),
    "several_questions": Reason(
        "several questions without answers between them | 多个提问之间没有回答",
        "Write the answers between them, or join the questions. | 补上其间的回答，或合并这些提问。",
    ),
    "bad_history": Reason(
        "`history` is no list of pairs | `history` 不是问答对的列表",
        "Write it as [[question, answer], …]. | 请写成 [[提问, 回答], …]。",
    ),
    "bad_weight": Reason(
        "a weight is neither 0 nor 1 | 权重既不是 0 也不是 1", "Write 0 or 1. | 请写 0 或 1。"
    ),
    "bad_tools": Reason(
        "`tools` is no list of objects | `tools` 不是对象列表",
        "Write it as a list of objects, as OpenAI has it. | 请按 OpenAI 的格式写成对象列表。",
    ),
    "bad_tool_call": Reason(
        "a tool call has no name or is not written as JSON | 工具调用没有名称，或不是 JSON",
        'Write calls as {"name": …, "arguments": {…}}. | 请写成 {"name": …, "arguments": {…}}。',
    ),
    "media": Reason(
        "the row refers to images, sound or films | 该行引用了图片或音视频",
        "Remove these rows: a text model sees no media. | 删除这些行：文本模型看不到图片与音视频。",
    ),
    "wrong_kind": Reason(
        "the row is preference or verdict data | 该行是偏好或评判数据",
        "Keep rows of one kind in a file. | 请让一个文件只含一种数据。",
    ),
    "one_answer": Reason(
        "one answer only: nothing to compare it with | 只有一个回答，无可比较",
        "Give two answers or more. | 给出两个以上的回答。",
    ),
    "equal_answers": Reason(
        "the answers compared are the same | 所比较的回答相同",
        "Remove these pairs: they prefer nothing. | 删除这些对：其中没有偏好。",
    ),
    "prompts_differ": Reason(
        "chosen and rejected answer different prompts | chosen 与 rejected 回答的提示不同",
        "Give both the same prompt, or remove these rows. | 让两者的提示相同，或删除这些行。",
    ),
    "not_ranked": Reason(
        "a list of answers without an order | 回答列表没有优劣顺序",
        "Say the order, or remove these rows. | 说明优劣顺序，或删除这些行。",
    ),
    "tie": Reason("neither answer is better | 回答没有优劣之分", _REMOVE),
    "no_label": Reason(
        "the label is missing or no label | 缺少标签，或不是标签",
        "Write the labels, or remove these rows. | 补上标签，或删除这些行。",
    ),
    "unknown_label": Reason(
        "the label is none of those in training | 训练数据中没有该标签",
        "Add rows of these classes to the training data, or remove these. | 在训练数据中补充这些类别，或删除这些行。",
    ),
    "label_of_another_kind": Reason(
        "the label is a class, a number or a list, and the others are another | 标签的种类（类别、数值、列表）与其他行不同",
        "Write all labels alike. | 请统一标签的写法。",
    ),
    "no_image": Reason(
        "the image is missing or not named | 图片不存在或没有给出",
        "Fetch the images, or remove these rows; paths hold from the folder of the file. | 获取这些图片，或删除这些行；路径以文件所在文件夹为准。",
    ),
    "image_in_text_data": Reason(
        "the row is an image, and the model reads texts | 该行是图片，而模型读取文本",
        "Name a model of images, or remove these rows. | 换用图片模型，或删除这些行。",
    ),
    "text_in_image_data": Reason(
        "the row is a text, and the model reads images | 该行是文本，而模型读取图片",
        "Name a model of texts, or remove these rows. | 换用文本模型，或删除这些行。",
    ),
    "image_unreadable": Reason(
        "the file cannot be read as an image | 文件无法作为图片读取",
        "Fetch the files again, or remove these rows. | 请重新下载这些文件，或删除这些行。",
    ),
    "called_bad": Reason(
        "`attune convert`: an answer called bad is not to be learnt | `attune convert`：评为差的回答不应学习",
        _REMOVE,
    ),
    "does_not_fit": Reason(
        "`attune convert`: the target form has no place for it | `attune convert`：目标格式无法容纳",
        "Choose another form: --to NAME. | 换一种格式：--to 名称。",
    ),
    "too_long": Reason(
        "it is longer than data.max_length | 超过 data.max_length",
        "Raise data.max_length, shorten the rows, or data.overlong=cut_answer. | 提高 data.max_length，缩短这些行，或用 data.overlong=cut_answer。",
    ),
    "stop_token_in_answer": Reason(
        "the answer holds the stop token | 回答中含有停止符",
        "Take the stop token out of these answers. | 从这些回答中删除停止符。",
    ),
    "history_rewritten": Reason(
        "the chat template writes earlier turns of an answer otherwise than inference sees them | 对话模板改写了回答中较早的轮次，与推理时不同",
        "Compare single answers. | 请只比较单轮回答。",
    ),
    "answer_not_separable": Reason(
        "the tokenizer cannot write the answer apart from its prompt | 分词器无法将回答与其提示分开编码",
        _ROWS,
    ),
    "template_alters_answer": Reason(
        "the chat template does not write the answer as it is | 对话模板没有原样写出回答",
        "Choose a template that writes answers as they are: model.template=NAME. | 选用原样写出回答的模板：model.template=名称。",
    ),
    "template_differs_from_inference": Reason(
        "the chat template renders an answer otherwise than inference would | 对话模板对回答的渲染与推理时不同",
        _TEMPLATE,
    ),
    "template_no_stop_token": Reason(
        "the chat template writes no stop token after an answer | 对话模板在回答之后没有停止符", _TEMPLATE
    ),
    "template_leaves_out": Reason(
        "the chat template would leave something out | 对话模板会略去部分内容",
        "Choose a template that writes all parts: model.template=NAME. | 选用能写出全部内容的模板：model.template=名称。",
    ),
    "template_takes_no_system": Reason(
        "the chat template takes no system message | 对话模板不接受系统消息",
        "Put the system text into the first turn of the user, or choose another template: model.template=NAME. | 把系统消息写入用户的第一轮，或换一个模板：model.template=名称。",
    ),
    "template_refuses": Reason(
        "the chat template refuses the row | 对话模板拒绝该行",
        "Give these rows the form that the template takes, or choose another: model.template=NAME. | 按模板的要求修改这些行，或换一个模板：model.template=名称。",
    ),
    "template_ids_differ": Reason(
        "the chat template's text becomes other tokens than those of inference | 对话模板的文本与推理时编码不同",
        _TEMPLATE,
    ),
    "template_double_bos": Reason(
        "the chat template writes the beginning token twice | 对话模板写了两次起始符", _TEMPLATE
    ),
    "template_fails": Reason("the chat template cannot be run | 对话模板无法运行", _TEMPLATE),
}
"""Of rows; ``template_…`` of rows and of a template as a whole."""


def meaning_of(name: str) -> str:
    """What the rule is; "" where only the row's own sentence says it (and for a name of another package)."""
    return "" if name == "unusable_row" or name not in REASONS else pick(REASONS[name].meaning)


def cure_of(name: str) -> str:
    """What a person does about rows that break the rule ``name``."""
    return pick(REASONS.get(name, REASONS["unusable_row"]).cure)
