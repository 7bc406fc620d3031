"""What a person must hear of while a policy learns from rewards; each alarm has a name and rings once a run.

The numbers of the first step are what later ones are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..recipe.messages import say

KL_LIMIT = 0.5
"""Nats a token from the reference beyond which a policy without a target of its own is far from home."""

SAMPLING_LIMIT = 0.1
"""Nats a token between what sampled and the policy: other kernels and rounding give a hundredth of that."""

_FIRST = "first."
_RUNG = "alarm."


def ring(
    step: int, metrics: Mapping[str, float], kept: dict[str, float], kl_target: float | None
) -> list[str]:
    """The sentences of the alarms that ring for the first time at ``step``. ``kept`` remembers the first
    step's numbers and which alarms have rung; it belongs to the checkpoint.
    """
    for name in ("entropy", "reward", "reward_std", "answer_length"):
        kept.setdefault(_FIRST + name, metrics[name])
    found = _found(
        metrics, {name: kept[_FIRST + name] for name in metrics if _FIRST + name in kept}, kl_target
    )
    new = {name: text for name, text in found.items() if _RUNG + name not in kept}
    kept.update({_RUNG + name: float(step) for name in new})
    return [say("Step {step}: {text}", "第 {step} 步：{text}", step=step, text=text) for text in new.values()]


def _found(now: Mapping[str, float], first: Mapping[str, float], kl_target: float | None) -> dict[str, str]:
    limit = KL_LIMIT if kl_target is None else 2 * kl_target
    drift = now["answer_length"] / max(1.0, first["answer_length"])
    found = {}
    if now["no_signal_share"] == 1.0:
        found["no_signal"] = say(
            "no signal: to every prompt all answers earned the same, so nothing can be learnt from them. Use "
            "easier prompts, a reward with steps in between, or a larger objective.group_size.",
            "没有信号：每个提示的所有回答得分都相同，无从学习。请换更容易的提示、更有层次的奖励，"
            "或增大 objective.group_size。",
        )
    if now["entropy"] < 0.1 * first["entropy"]:
        found["entropy"] = say(
            "entropy collapse: {now:.3g} nats a token, {first:.3g} at the start; the answers to a "
            "prompt become all alike. Lower train.learning_rate, raise objective.beta or "
            "objective.clip_high.",
            "熵坍缩：每 token {now:.3g} nat，开始时为 {first:.3g}；同一提示的回答趋于雷同。"
            "请降低 train.learning_rate，或提高 objective.beta 或 objective.clip_high。",
            now=now["entropy"],
            first=first["entropy"],
        )
    if now.get("kl", 0.0) > limit:
        found["kl"] = say(
            "the policy is {kl:.3g} nats a token from the reference (limit {limit:.3g}). Raise "
            "objective.beta, or lower train.learning_rate.",
            "策略与参考模型的 KL 为每 token {kl:.3g} nat（上限 {limit:.3g}）。"
            "请提高 objective.beta，或降低 train.learning_rate。",
            kl=now["kl"],
            limit=limit,
        )
    if now["reward"] > first["reward"] + first["reward_std"] and not 0.5 <= drift <= 2.0:
        found["length"] = say(
            "the reward rose to {reward:.3g}, and the answers went from {first:.0f} to {now:.0f} tokens: the "
            "reward may pay for length. Read samples.jsonl; a reward like length:200*0.2 holds it.",
            "奖励升到 {reward:.3g}，而回答长度从 {first:.0f} 变为 {now:.0f} 个 token：奖励可能偏向长度。"
            "请查看 samples.jsonl；可加 length:200*0.2 之类的奖励加以约束。",
            reward=now["reward"],
            first=first["answer_length"],
            now=now["answer_length"],
        )
    if now.get("sampling_kl", 0.0) > SAMPLING_LIMIT:
        found["sampling"] = say(
            "what samples is {kl:.3g} nats a token from the policy (limit {limit:.3g}): these are hardly its "
            "answers, as if the generator had other weights. Leave objective.generator out to compare.",
            "采样所用的分布与策略相差每 token {kl:.3g} nat（上限 {limit:.3g}）：这些几乎不是策略的回答，"
            "生成器的权重可能不同。可去掉 objective.generator 对比。",
            kl=now["sampling_kl"],
            limit=SAMPLING_LIMIT,
        )
    if now["truncated_share"] > 0.5:
        found["truncated"] = say(
            "{share:.0%} of the answers were cut at objective.max_new_tokens. Give them more room, "
            "or teach the model to stop first (attune sft).",
            "{share:.0%} 的回答在 objective.max_new_tokens 处被截断。请放宽上限，"
            "或先用 attune sft 教会模型停止。",
            share=now["truncated_share"],
        )
    return found
