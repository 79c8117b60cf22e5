"""`rushes select`: choose takes, by hand or by rule, and ask for others."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.report import FORMAT, ExitCode
from flows.verbs.console import Output
from flows.verbs.failure import Failure, half_done
from flows.verbs.options import SELECT as WHICH
from flows.verbs.options import Config, Json, Quiet, Verbose, WhichJob
from flows.verbs.options import Store as StoreUrl
from flows.verbs.words import login, plural

if TYPE_CHECKING:
    from flows.review.shots import JobTakes, ShotView, TakeView
    from infra.settings import Settings

ACTIONS = "What to do"
MOST_NAMED = 12
BY_RULE = "the best by what was measured"


def select(
    store: StoreUrl,
    job: WhichJob = None,
    shot: Annotated[
        str | None, typer.Option("--shot", help="The shot.", metavar="[SHOW/]SHOT", rich_help_panel=WHICH)
    ] = None,
    take: Annotated[
        int | None, typer.Option("--take", help="The take's number.", min=1, metavar="N", rich_help_panel=WHICH)
    ] = None,
    approve: Annotated[
        bool, typer.Option("--approve", help="Choose the take; so does --take alone.", rich_help_panel=ACTIONS)
    ] = False,
    reject: Annotated[bool, typer.Option("--reject", help="The take is no good.", rich_help_panel=ACTIONS)] = False,
    retake: Annotated[
        bool, typer.Option("--retake", help="Queue another take of the shot; old ones stay.", rich_help_panel=ACTIONS)
    ] = False,
    count: Annotated[
        int, typer.Option("--count", help="With --retake: how many.", min=1, metavar="N", rich_help_panel=ACTIONS)
    ] = 1,
    priority: Annotated[
        int | None,
        typer.Option(
            "--priority",
            help="Give the shot's takes another priority.",
            min=-(2**31),
            max=2**31 - 1,
            metavar="N",
            rich_help_panel=ACTIONS,
        ),
    ] = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="Take back what was said of the take, or shot.", rich_help_panel=ACTIONS)
    ] = False,
    best: Annotated[
        bool,
        typer.Option("--best", help="Every shot that waits for a choice gets its best take.", rich_help_panel=ACTIONS),
    ] = False,
    listed: Annotated[
        bool, typer.Option("--list", help="Show shots and what was decided.", rich_help_panel=ACTIONS)
    ] = False,
    note: Annotated[
        str, typer.Option("--note", help="Why, for those who read it.", metavar="TEXT", rich_help_panel=ACTIONS)
    ] = "",
    who: Annotated[str | None, typer.Option("--who", help="Whose verdict; you, by your login.", metavar="NAME")] = None,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Choose takes by hand or by rule; says what was decided, and what goes on."""
    from flows.retakes import set_priority
    from flows.review.choosing import queue_forgotten
    from flows.review.shots import JobTakes
    from flows.verbs.target import choose_job, open_for_reading
    from infra.settings import Settings

    asked = _asked(
        shot, take, approve=approve, reject=reject, retake=retake, clear=clear, best=best, listed=listed,
        priority=priority is not None,
    )  # fmt: skip
    if count != 1 and asked != "retake":
        raise typer.BadParameter("--count goes with --retake.")
    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    settings = Settings.load(config)
    opened = open_for_reading(store, settings)
    takes = JobTakes(opened, choose_job(opened, job))
    facts = _facts(takes, settings)
    queued: list[dict[str, Any]] = []
    unread = 0
    with half_done():
        try:
            for mended in queue_forgotten(opened, takes.job_id, facts):
                output.note(f"{mended}: a retake that was asked for and not queued is queued now.")
        except Failure as error:  # the model has changed; that is no reason not to choose
            output.note(f"A retake that was asked for cannot be queued: {error}")
        shots = takes.refresh()
        if asked == "best":
            unread = _choose_best(takes, shots, _whose(who), note, output)
        elif asked == "priority":
            assert shot is not None and priority is not None
            found = _shot(shots, shot)
            changed = set_priority(opened, takes.job_id, found.show, found.shot_id, priority)
            output.note(f"{plural(changed, 'take')} of {_name(found)} now with priority {priority}.")
        elif asked != "list":
            assert shot is not None
            found = _shot(shots, shot)
            meant = _take(found, take, asked)
            numbers = _act(takes, found, meant, asked, _whose(who), note, count, facts, output)
            queued = [{"show": found.show, "shot_id": found.shot_id, "take": number} for number in numbers]
        before, shots = shots, takes.refresh()
    _tell_reopened(takes, before, shots, output)
    code = ExitCode.FAULTS if unread else ExitCode.DONE
    _print(takes, shots if shot is None else [_shot(shots, shot)], queued, output, code, listed=asked == "list")
    if queued:
        again = shlex.join(["rushes", "retry", opened.url, "--job", takes.job_id])
        output.note(f"A job that runs now renders it by itself; else: {again}")
    return code


def _asked(shot: str | None, take: int | None, **wanted: bool) -> str:
    names = [name for name, value in wanted.items() if value]
    shown = ["--list" if name == "listed" else f"--{name}" for name in names]
    if len(names) > 1:
        raise typer.BadParameter(f"{' and '.join(shown)} exclude each other.")
    if not names:
        if take is not None and shot is None:
            raise typer.BadParameter("--take needs --shot.")
        return "list" if take is None else "approve"
    if names[0] == "priority" and take is not None:
        raise typer.BadParameter("--priority is for all takes of a shot; leave --take out.")
    if names[0] in ("best", "listed"):
        if take is not None or (shot is not None and names[0] == "best"):
            raise typer.BadParameter(f"{shown[0]} is for all shots; leave --shot and --take out.")
        return "best" if names[0] == "best" else "list"
    if shot is None:
        raise typer.BadParameter(f"{shown[0]} needs --shot.")
    if take is None and names[0] in ("approve", "reject"):
        raise typer.BadParameter(f"{shown[0]} needs --take.")
    return names[0]


def _whose(who: str | None) -> str:
    return (who or login()).strip()


def _facts(takes: JobTakes, settings: Settings) -> Any:
    from functools import cache

    from flows.retakes import facts_of

    return cache(lambda: facts_of(takes.store, takes.job_id, settings))


def _shot(shots: list[ShotView], wanted: str) -> ShotView:
    show, _, shot_id = wanted.rpartition("/")
    found = [one for one in shots if one.shot_id == shot_id and show in ("", one.show)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"{one.show}/{one.shot_id}" for one in found)
        raise Failure(f"{wanted} is a shot of several shows: {names}", hint="Name the show too: --shot SHOW/SHOT.")
    raise Failure(f"the job has no shot {wanted}. It has: {_some([_name(one) for one in shots])}")


def _take(shot: ShotView, number: int | None, asked: str) -> TakeView | None:
    if number is None:
        if asked == "clear":
            return None
        standing = [take for take in shot.takes if take.spec_key is not None]
        if not standing:
            raise Failure(f"{_name(shot)} has no take that has a key yet: it waits for the shot that it starts from")
        return standing[-1]
    numbers = sorted({take.row["take"] for take in shot.takes})
    found = [take for take in shot.takes if take.row["take"] == number]
    if not found:
        raise Failure(f"{_name(shot)} has no take {number}. It has: {_some([str(one) for one in numbers])}")
    if found[-1].commit is None and asked in ("approve", "reject"):
        raise Failure(
            f"take {number} of {_name(shot)} is {found[-1].state}: there is nothing to {asked} yet",
            hint="Render it first, or choose one of: "
            + _some([str(t.row["take"]) for t in shot.takes if t.commit is not None]),
        )
    if found[-1].spec_key is None:
        raise Failure(f"take {number} of {_name(shot)} has no key yet: it waits for the shot that it starts from")
    return found[-1]


def _act(
    takes: JobTakes, shot: ShotView, take: TakeView | None, asked: str, who: str, note: str, count: int, facts: Any,
    output: Output,
) -> list[int]:  # fmt: skip
    from flows.review.choosing import decide
    from infra.store.decisions import Said, TakeName

    words: dict[str, Said | None] = {"approve": "approved", "reject": "rejected", "retake": "retake", "clear": None}
    before = standing = shot.decision
    if take is None:  # clear all that was said of the shot
        for key, said in before.takes.items():
            name = TakeName(shot.show, shot.shot_id, int(said.get("take") or 0), str(said.get("revision") or ""), key)
            standing = decide(takes.store, takes.job_id, name, None, who=who, note=note, facts=facts).decision
        chosen = before.selected
        if chosen is not None and standing.selected == chosen:  # written by hand, it may stand without a verdict
            name = TakeName(shot.show, shot.shot_id, chosen.take or 0, chosen.revision or "", chosen.spec_key or "")
            decide(takes.store, takes.job_id, name, None, who=who, note=note, facts=facts)
        return []
    earlier = before.takes.get(take.spec_key or "")
    if earlier is not None and earlier.get("who") != who:
        output.note(f"before: {earlier.get('verdict')} by {earlier.get('who')}, {earlier.get('when')}")
    done = decide(
        takes.store, takes.job_id, take.name, words[asked], who=who, note=note, count=count, seen=before.seq,
        facts=facts,
    )  # fmt: skip
    if done.queued:
        output.note(f"{_name(shot)}: queued take {_some([str(number) for number in done.queued])}")
    return done.queued


def _choose_best(takes: JobTakes, shots: list[ShotView], who: str, note: str, output: Output) -> int:
    """Chooses where nobody did. A shot of which another take was asked for still waits.

    Returns how many shots have a decision that cannot be read: it is left as it is, and costs no other shot.
    """
    from flows.review.choosing import decide
    from infra.store.decisions import Conflict, TakeName
    from infra.store.errors import Damaged

    chosen = unread = 0
    for shot in shots:
        found = shot.goes_on
        if found is None or found.by == "people" or shot.state == "retake":
            continue
        take = TakeName.of(found.commit)
        try:
            decide(
                takes.store, takes.job_id, take, "approved", who=who, note=note or BY_RULE, seen=shot.decision.seq,
                facts=dict,
            )  # fmt: skip
            chosen += 1
        except Conflict as error:  # somebody has chosen by hand meanwhile, which is as good
            output.note(str(error))
        except Damaged as error:
            output.error(str(error))
            unread += 1
    output.note(f"{plural(chosen, 'shot')} got their best take.")
    return unread


def _tell_reopened(takes: JobTakes, before: list[ShotView], after: list[ShotView], output: Output) -> None:
    """Takes that were not needed, and are again, since one that counted towards `keep` was rejected."""
    spared = {take.name for shot in before for take in shot.takes if take.state == "skipped"}
    for shot in after:
        numbers = [take.row["take"] for take in shot.takes if take.state == "pending" and take.name in spared]
        if numbers:
            again = shlex.join(["rushes", "retry", takes.store.url, "--job", takes.job_id])
            output.note(
                f"{_name(shot)} is short of takes that pass; from take {numbers[0]} on it is rendered by {again}"
            )


def _print(
    takes: JobTakes, shots: list[ShotView], queued: list[dict[str, Any]], output: Output, code: ExitCode, *,
    listed: bool,
) -> None:  # fmt: skip
    from flows.review.shots import counts

    output.result(
        {
            "format": FORMAT, "job_id": takes.job_id, "store": takes.store.url, "exit": int(code),
            "counts": counts(shots), "queued": queued, "shots": [shot.as_dict() for shot in shots],
        }
    )  # fmt: skip
    rows = []
    for shot in shots:
        found = shot.goes_on
        chosen = "" if found is None else f"{found.commit['take']}" + (" (rule)" if found.by == "rule" else "")
        films = sum(take.commit is not None for take in shot.takes)
        said = [take.said for take in shot.takes if take.said]
        newest = max(said, key=lambda one: int(one.get("seq") or 0), default={})
        rows.append(
            (_name(shot), shot.state, chosen, f"{films}/{len(shot.takes)}", newest.get("who"), newest.get("note"))
        )
    output.table(("shot", "state", "goes on", ">takes", "who", "note"), rows)
    if listed:
        states = counts(shots)["shots"]
        output.line(f"{takes.job_id}: " + ", ".join(f"{number} {state}" for state, number in states.items()))


def _name(shot: ShotView) -> str:
    return shot.shot_id if shot.show == "default" else f"{shot.show}/{shot.shot_id}"


def _some(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "") if names else "none"
