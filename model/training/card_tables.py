"""Tables of a model's card, as Markdown, and what is short of its goal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# What a single take of a prompt is to reach; a score below its goal is what the next weights are for.
GOALS = {
    "color": 0.97, "shape": 0.92, "size": 0.95, "count": 0.85, "direction": 0.97, "position": 0.98, "binding": 0.75,
    "background": 0.97, "camera": 0.85, "order": 0.75,
}  # fmt: skip
# What the worst clip of a task is to reach: at least, or at most where less is better.
TASK_GOALS = {
    "i2v": 30.0, "flf2v": 30.0, "extend": 30.0, "extend_back": 30.0, "infill": 30.0, "loop": 1.0, "background": 0.8,
}  # fmt: skip
AT_MOST = frozenset({"loop"})
SEAM_GOAL, DRIFT_GOAL = 1.5, 3.0
AUTOENCODER_GOALS = {"psnr": 32.0, "psnr_foreground": 28.0}


def obedience_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown of what `model.quality.tally.summarise` found."""
    lines = [
        "| | score | goal | 95 % interval | clips | baseline | check: right, wrong, soft |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        by_chance = row.get("baseline")
        checker = row.get("checker")
        goal = f"{GOALS[name]:.0%}" if name in GOALS else ""
        lines.append(
            f"| {name} | {row['score']:.0%} | {goal} | {row['low']:.0%} to {row['high']:.0%} | {row['n']} "
            f"| {'' if by_chance is None else f'{by_chance:.0%}'} "
            f"| {', '.join(f'{checker[kind]:.1%}' for kind in ('right', 'wrong', 'soft')) if checker else ''} |"
        )
    return "\n".join(lines)


def faults_text(rows: Mapping[str, Mapping[str, Any]] | None) -> str:
    """How many clips are free of the faults that any clip may have."""
    if not rows:
        return ""
    return "\n".join(
        [
            "",
            "Clips of all these prompts that are free of a fault that any clip may have:",
            "",
            obedience_table(rows),
            "",
        ]
    )


def best_of_text(found: Mapping[str, Any] | None) -> str:
    """What the best of several takes has over one."""
    if not found or "all" not in found:
        return ""
    lines = [
        "",
        f"The best of {found['takes']} takes, chosen by the score that the farm ranks with, of {found['prompts']} "
        "prompts. What chooses also judges here, so that its own errors stay in.",
        "",
        "| | one take | best |",
        "|---|---|---|",
    ]
    for name, words in (("measures_passed", "measures passed"), ("all", "clips that pass all")):
        cells = [f"{row['score']:.0%} ({row['low']:.0%} to {row['high']:.0%})" for row in found[name].values()]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


CURVE_COLUMNS = ("color", "shape", "direction", "binding", "all")


def curve_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Quality against compute, a row for each evaluation, in the order in which they are given."""
    if not rows:
        return ""
    lines = [
        "",
        "Quality against compute:",
        "",
        f"| run | parameters | sampler steps | s a clip | clips | {' | '.join(CURVE_COLUMNS)} |",
        f"|{'---|' * (5 + len(CURVE_COLUMNS))}",
    ]
    for row in rows:
        scores = [
            f"{row['obedience'][name]['score']:.0%}" if name in row["obedience"] else "" for name in CURVE_COLUMNS
        ]
        lines.append(
            f"| {row['label']} | {row['parameters'] / 1e6:.1f} M | {row['steps']} "
            f"| {row['seconds_per_clip']:.1f} | {row['clips']} | {' | '.join(scores)} |"
        )
    return "\n".join(lines) + "\n"


def _task_goal(name: str) -> str:
    if name not in TASK_GOALS:
        return ""
    return f"at {'most' if name in AT_MOST else 'least'} {TASK_GOALS[name]:g}"


def tasks_text(found: Mapping[str, Any] | None) -> str:
    """What the other tasks keep of what they are given, and how a minute holds together."""
    if not found:
        return ""
    lines = [
        "",
        "Other tasks, on drawn sources of one thing that moves; of given frames the worst one of each clip counts:",
        "",
        "| task | measure | clips | median | worst | goal |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {row['what']} | {row['clips']} | {row['median']:.2f} | {row['worst']:.2f} | {_task_goal(name)} |"
        for name, row in found.items()
        if name != "minute"
    ]
    minutes = found.get("minute", {})
    if minutes:
        lines += [
            "",
            f"A minute by each method; steps over joins (goal: the widest at most {SEAM_GOAL:g}), and the widest of",
            f"the others, in median steps; drift from the first to the last second (goal: at most {DRIFT_GOAL:g}). Of",
            "several films the worst is told, and of the widest seam the median film's too:",
            "",
        ]
        lines += [
            "| method | films | widest seam | of the median film | median seam | widest elsewhere "
            "| median step, of 255 | drift, CIEDE2000 |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for method, row in minutes.items():
            columns = [
                f"{row[name]:.2f}" if name in row else "no joins"
                for name in ("seam", "usual_seam", "median_seam", "elsewhere")
            ]
            lines.append(
                f"| {method} | {row['films']} | {' | '.join(columns)} | {row['median_step']:.2f} | {row['drift']:.2f} |"
            )
    return "\n".join(lines) + "\n"


def history_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """How the weights came about, in order."""
    if not rows:
        return ""
    lines = [
        "The first command makes such a model from nothing; these weights came about in several runs of its stages:",
        "",
        "| part | steps | hours | how |",
        "|---|---|---|---|",
    ]
    for row in rows:
        steps = f"{row['steps']:,}" if "steps" in row else ""
        lines.append(f"| {row.get('part', '')} | {steps} | {row.get('hours', '')} | {row.get('how', '')} |")
    return "\n".join(lines) + "\n"


def short_text(evaluation: Mapping[str, Any], autoencoder: Mapping[str, Any], tasks: Mapping[str, Any] | None) -> str:
    """What is below its goal, as a list, or that nothing measured is."""
    found = [f"- {line}" for line in _short(evaluation, autoencoder, tasks or {})]
    return "\n".join(found) if found else "Nothing that was measured is short of its goal."


def _short(evaluation: Mapping[str, Any], autoencoder: Mapping[str, Any], tasks: Mapping[str, Any]) -> Iterator[str]:
    for group, words in (("obedience", ""), ("held_out", ", of held-out combinations")):
        for name, row in evaluation[group].items():
            if name in GOALS and row["score"] < GOALS[name]:
                passed = round(row["score"] * row["n"])
                yield f"{name}{words}: {row['score']:.0%} of {GOALS[name]:.0%} ({passed} of {row['n']} clips)"
    for name, goal in TASK_GOALS.items():
        worst = tasks.get(name, {}).get("worst")
        if worst is not None and (worst > goal if name in AT_MOST else worst < goal):
            both = f"{worst:.2f} in the worst clip, {tasks[name]['median']:.2f} in the median"
            yield f"{name}, {tasks[name]['what']}: {both}, of {goal:g}"
    for method, row in tasks.get("minute", {}).items():
        if row.get("seam", 0.0) > SEAM_GOAL:
            both = f"{row['seam']:.2f} median steps in the worst film, {row['usual_seam']:.2f} in the median one"
            yield f"a minute, {method}: the widest seam is {both}, of at most {SEAM_GOAL:g}"
        if row["drift"] > DRIFT_GOAL:
            yield f"a minute, {method}: drift {row['drift']:.1f} of at most {DRIFT_GOAL:g}"
    for name, goal in AUTOENCODER_GOALS.items():
        if autoencoder[name] < goal:
            where = "on the things alone" if name == "psnr_foreground" else "on whole clips"
            yield f"autoencoder, {where}: {autoencoder[name]:.1f} dB of {goal:g} dB"
