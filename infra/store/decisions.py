"""What people decided about the takes of a shot: `decisions/<show>/<shot_id>.json`.

One object per shot, so that two people who look at different shots never meet. It is put if absent, then only if
unchanged. Each change gets the next number (`seq`), and a take's verdict and the selection remember theirs: so a
writer can say which number it had seen, and is told by `Conflict` when somebody else has decided the same thing since.
What does not contradict is merged: nobody's verdict is ever lost.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, get_args

from infra.store import layout
from infra.store.conditional import create_or_read, replace_or_read
from infra.store.errors import Changed, Damaged, NotFound, StoreError, StoreUnavailable
from infra.store.store import Store
from infra.store.strict import is_count, read_json

log = logging.getLogger(__name__)

FORMAT = 1
MOST_HISTORY = 200
"""Changes that a decision remembers; the oldest are dropped."""
MOST_TRIES = 50
Said = Literal["approved", "rejected", "retake"]
State = Literal["todo", "wip", "retake", "approved"]


class Selected(NamedTuple):
    """The take that was chosen, as far as the decision says: by number, of one revision or of any, or by its key."""

    take: int | None
    revision: str | None = None
    spec_key: str | None = None
    seq: int = 0

    def is_of(self, take: int, revision: str, spec_key: str | None) -> bool:
        """Whether it is this one."""
        if self.spec_key is not None:
            return self.spec_key == spec_key
        return self.take == take and self.revision in (None, revision)


@dataclass(frozen=True)
class TakeName:
    """A take, as a verdict names it."""

    show: str
    shot_id: str
    take: int
    revision: str
    spec_key: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> TakeName:
        """From a commit, or a row of a plan or manifest."""
        return cls(row["show"], row["shot_id"], int(row["take"]), row["revision"], row["spec_key"])


@dataclass(frozen=True)
class Decision:
    """What people decided about one shot.

    Attributes:
        state: todo (nobody said anything), wip (takes were turned down, none is chosen), retake (another take was
            asked for), approved (one is chosen).
        takes: verdicts by spec_key: verdict, note, who, when, take, revision, seq.
        retakes: takes asked for again: id, note, who, when, count, seq.
        history: all changes, the newest last.
        seq: number of the last change; 0 where nobody has decided anything.
    """

    show: str
    shot_id: str
    state: State = "todo"
    selected: Selected | None = None
    takes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    retakes: tuple[Mapping[str, Any], ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    who: str = ""
    when: str = ""
    seq: int = 0

    def verdict(self, spec_key: str | None) -> str | None:
        """approved, rejected, retake, or None where nobody said anything of the take."""
        found = self.takes.get(spec_key or "")
        return None if found is None else str(found.get("verdict"))

    @property
    def by(self) -> tuple[str, str]:
        """Who chose the take that is selected, and when; of any other decision who changed it last."""
        for key, said in self.takes.items() if self.selected else ():
            of = int(said.get("take") or 0), str(said.get("revision") or ""), key
            if said.get("verdict") == "approved" and self.selected and self.selected.is_of(*of):
                return str(said.get("who") or ""), str(said.get("when") or "")
        return self.who, self.when

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the store."""
        chosen = self.selected
        return {
            "format": FORMAT,
            "show": self.show,
            "shot_id": self.shot_id,
            "state": self.state,
            "selected": None if chosen is None else chosen._asdict(),
            "takes": {key: dict(said) for key, said in self.takes.items()},
            "retakes": [dict(one) for one in self.retakes],
            "history": [dict(one) for one in self.history],
            "who": self.who,
            "when": self.when,
            "seq": self.seq,
        }


class Conflict(StoreError):
    """Somebody else decided the same thing first. `standing` is what stands now; nothing was written."""

    def __init__(self, message: str, standing: Decision | None = None) -> None:
        super().__init__(message)
        self.standing = standing


def decided(store: Store) -> set[tuple[str, str]]:
    """Shots, as (show, shot_id), that have a decision, from one listing."""
    return {shot for found in store.list(layout.DECISIONS) if (shot := layout.parse_decision_path(found.path))}


def selected_take(store: Store, show: str, shot_id: str) -> Selected | None:
    """The take of a shot that people chose; None where nobody did, or where the decision cannot be read.

    Raises StoreUnavailable.
    """
    try:
        return read_decision(store, show, shot_id).selected
    except Damaged as error:
        log.warning("%s", error)
        return None


def read_decision(store: Store, show: str, shot_id: str) -> Decision:
    """What stands of a shot; an empty decision where nobody decided anything.

    Raises:
        Damaged: the object is no decision. StoreUnavailable.
    """
    return _read_tagged(store, show, shot_id)[0]


def give_verdict(
    store: Store,
    take: TakeName,
    verdict: Said | None,
    *,
    who: str,
    note: str = "",
    count: int = 1,
    retake_id: str | None = None,
    seen: int | None = None,
) -> Decision:
    """Says of a take that it is approved (and so selected), rejected, or to be made again; None takes a verdict back.

    Several takes may be approved; the last one is the selected one. A take that is rejected, asked for again or
    cleared is selected no more.

    Args:
        who: whose verdict it is.
        count: of a retake: how many new takes are asked for.
        retake_id: of a retake: under which id they are queued; a new one if None.
        seen: number (`seq`) of the decision that this person had before their eyes; None does not ask.

    Raises:
        Conflict: since `seen`, somebody gave this take a verdict, or, where one is to be selected, chose one.
        Damaged: what stands there is no decision. StoreUnavailable. ValueError: no such verdict.
    """
    if verdict is not None and verdict not in get_args(Said):
        raise ValueError(f"verdict is {verdict!r}; it must be one of {', '.join(get_args(Said))}")
    if not who.strip():
        raise ValueError("a verdict needs to say whose it is")
    again = {"id": retake_id or uuid.uuid4().hex, "note": note, "count": count, "of": take.spec_key}

    def change(standing: Decision) -> Decision:
        _refuse_clash(standing, take, verdict, seen)
        when, seq = _now(), standing.seq + 1
        by = {"who": who, "when": when, "seq": seq}
        takes = {key: said for key, said in standing.takes.items() if key != take.spec_key}
        if verdict is not None:
            takes[take.spec_key] = {
                "verdict": verdict, "note": note, "take": take.take, "revision": take.revision, **by,
            }  # fmt: skip
        selected = standing.selected
        if verdict == "approved":
            selected = Selected(take.take, take.revision, take.spec_key, seq)
        elif selected is not None and selected.is_of(take.take, take.revision, take.spec_key):
            selected = None
        said = {"take": take.take, "spec_key": take.spec_key, "verdict": verdict or "cleared", "note": note, **by}
        changed = replace(
            standing,
            selected=selected,
            takes=takes,
            retakes=(*standing.retakes, {**again, **by}) if verdict == "retake" else standing.retakes,
            history=(*standing.history, said)[-MOST_HISTORY:],
            who=who,
            when=when,
            seq=seq,
        )
        return replace(changed, state=_state(changed))

    return change_decision(store, take.show, take.shot_id, change)


def change_decision(store: Store, show: str, shot_id: str, change: Callable[[Decision], Decision]) -> Decision:
    """Reads, changes and writes a decision, again and again until nobody came between.

    Args:
        change: from what stands to what is to stand; called anew whenever somebody else was quicker. It must raise
            `seq`. Whatever it raises is raised, and nothing is written.
    """
    path = layout.decision_path(show, shot_id)
    for _ in range(MOST_TRIES):
        standing, tag = _read_tagged(store, show, shot_id)
        wanted = change(standing)
        data = json.dumps(wanted.as_dict(), indent=1, ensure_ascii=False).encode()
        try:
            settled = create_or_read(store, path, data) if tag is None else replace_or_read(store, path, data, tag)
        except Changed:  # it has been deleted
            continue
        if settled.ours:
            return wanted
    raise StoreUnavailable(f"{path}: others keep writing it")


def parse_decision(data: bytes, show: str, shot_id: str) -> Decision:
    """A decision's content. Optional fields may be missing; `selected` may be a take's number alone.

    Raises:
        Damaged: it is no decision.
    """
    path = layout.decision_path(show, shot_id)
    try:
        found = read_json(data)
        if not isinstance(found, dict):
            raise ValueError("no object")
        if found.get("format", FORMAT) != FORMAT:
            raise ValueError(f"format {found['format']!r}, not {FORMAT}: use a newer rushes")
        takes = {key: _counted(said) for key, said in (found.get("takes") or {}).items()}
        retakes, history = (tuple(map(_counted, found.get(name) or ())) for name in ("retakes", "history"))
        decision = Decision(
            show, shot_id, "todo", _selected(found.get("selected")), takes, retakes, history,
            str(found.get("who") or ""), str(found.get("when") or ""), _counted(found).get("seq") or 0,
        )  # fmt: skip
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{path} is no decision: {error}") from error
    return replace(decision, state=_state(decision))


def _counted(said: Any) -> dict[str, Any]:
    """An entry as it stands; ValueError where a number in it, which others reckon with, is none."""
    entry = dict(said)
    for name in ("take", "seq", "count"):
        if entry.get(name) is not None and not is_count(entry[name]):
            raise ValueError(f"{name} is {entry[name]!r}, no whole number from 0 on")
    return entry


def _selected(chosen: Any) -> Selected | None:
    if chosen is None:
        return None
    found = chosen if isinstance(chosen, dict) else {"take": chosen}
    take, revision, key, seq = (found.get(name) for name in ("take", "revision", "spec_key", "seq"))
    if type(take) is not int and not isinstance(key, str):
        raise ValueError(f"it selects no take: {chosen!r}")
    return Selected(
        take if type(take) is int else None,
        revision if isinstance(revision, str) else None,
        key if isinstance(key, str) else None,
        seq if type(seq) is int else 0,
    )


def _read_tagged(store: Store, show: str, shot_id: str) -> tuple[Decision, str | None]:
    try:
        data, tag = store.read_tagged(layout.decision_path(show, shot_id))
    except NotFound:
        return Decision(show, shot_id), None
    return parse_decision(data, show, shot_id), tag


def _state(decision: Decision) -> State:
    if decision.selected is not None:
        return "approved"
    said = [one for one in decision.takes.values() if isinstance(one.get("verdict"), str)]
    if not said:
        return "todo"
    newest = max(said, key=lambda one: int(one.get("seq") or 0))
    return "retake" if newest["verdict"] == "retake" else "wip"


def _refuse_clash(standing: Decision, take: TakeName, verdict: Said | None, seen: int | None) -> None:
    if seen is None or standing.seq == seen:
        return
    if standing.seq < seen:
        raise Conflict(f"the decision about {take.shot_id} was removed meanwhile; look at it again", standing)
    own = standing.takes.get(take.spec_key)
    if own is not None and int(own.get("seq") or 0) > seen:
        raise Conflict(
            f"{own.get('who')} has {_WORDS.get(str(own.get('verdict')), 'decided about')} take {take.take} of "
            f"{take.shot_id} meanwhile ({own.get('when')})",
            standing,
        )
    chosen = standing.selected
    if verdict == "approved" and chosen is not None and chosen.seq > seen:
        raise Conflict(f"{standing.by[0]} has chosen take {chosen.take} of {take.shot_id} meanwhile", standing)


_WORDS = {"approved": "approved", "rejected": "rejected", "retake": "asked for a retake of"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
