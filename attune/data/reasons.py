"""The names of the reasons for which a row becomes no example: what reports count by, and pages list."""

# ruff: noqa: E501 (a meaning holds both languages in one line)
from __future__ import annotations

REASONS: dict[str, str] = {
    "unusable_row": "the row cannot be used; the sentence says why | 该行无法使用，原因见说明",
    "empty_row": "the row has no column that holds anything, or is no object | 该行没有任何内容，或不是对象",
    "missing_column": "a column that the format needs is missing or empty | 缺少格式所需的列，或该列为空",
    "not_text": "a cell is a number, a list or an object where text must be | 应为文本的单元格是数字、列表或对象",
    "empty_prompt": "the question is empty | 提问为空",
    "empty_answer": "the answer is empty | 回答为空",
    "empty_text": "the text is empty | 文本为空",
    "half_character": "the text holds half of a character | 文本含有半个字符",
    "unknown_role": "a turn is from a role that is not known (`roles:` says what it is) | 未知角色（可用 `roles:` 说明）",
    "bad_turn": "a turn, or the list of turns, is not built as it must be | 某一轮或轮次列表的结构不对",
    "single_turn": "the row is one turn of a conversation | 该行只是对话中的一轮",
    "turns_out_of_order": "user and assistant do not take turns | user 与 assistant 没有交替",
    "no_answer": "there is no answer to learn from | 没有可学习的回答",
    "nothing_learnt": "the weight of every answer is 0 | 所有回答的权重都是 0",
    "no_question": "the prompt does not end with a question | 提示没有以提问结束",
    "several_questions": "several questions without answers between them | 多个提问之间没有回答",
    "bad_history": "`history` is no list of pairs | `history` 不是问答对的列表",
    "bad_weight": "a weight is neither 0 nor 1 | 权重既不是 0 也不是 1",
    "bad_tools": "`tools` is no list of objects | `tools` 不是对象列表",
    "bad_tool_call": "a tool call has no name or is not written as JSON | 工具调用没有名称，或不是 JSON",
    "media": "the row refers to images, sound or films | 该行引用了图片或音视频",
    "wrong_kind": "the row is preference or verdict data | 该行是偏好或评判数据",
    "one_answer": "one answer only: nothing to compare it with | 只有一个回答，无可比较",
    "equal_answers": "the answers compared are the same | 所比较的回答相同",
    "prompts_differ": "chosen and rejected answer different prompts | chosen 与 rejected 回答的提示不同",
    "not_ranked": "a list of answers without an order | 回答列表没有优劣顺序",
    "tie": "neither answer is better | 回答没有优劣之分",
    "no_label": "the label is missing or no label | 缺少标签，或不是标签",
    "no_image": "the image is missing or not named | 图片不存在或没有给出",
    "called_bad": "`attune convert`: an answer called bad is not to be learnt | `attune convert`：评为差的回答不应学习",
    "does_not_fit": "`attune convert`: the target form has no place for it | `attune convert`：目标格式无法容纳",
}
"""``name``: what it means, in English and Chinese."""
