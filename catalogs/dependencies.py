"""How shots hang together: chains of shots that start from one another, and scenes that show one subject.

A row names the shot that it starts from in `depends_on`; the two may stand in any order, so this is looked at once all
rows are known, by whole columns. An i2v row of a scene that brings no picture starts from the first frame of the
scene's first row, which so becomes the reference for what the others show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalogs.checker import Checker
from catalogs.convert import Cells
from catalogs.digests import DigestSet
from catalogs.keys import identities
from catalogs.refusal import Refusal, show
from catalogs.schema import NAME_PATTERN
from catalogs.tasks import TASKS
from catalogs.variants import derived_id

ANCHORED: Final = ("i2v",)
"""Tasks whose picture, where a row of a scene names none, is the first frame of the scene's first row."""
FIRST: Final = "first"
"""In `source_frame`: the first frame of the source is taken, not the one that the task takes by itself."""
_NEED_FILMS: Final = tuple(name for name, task in TASKS.items() if task.source == "video_uri" and name != "edit")
_NAMED_MOST: Final = 6
_REFUSED: Final = "a shot that is rendered: the row of the one it names is refused"  # one text for a million rows
_PIECE: Final = 65_536


def check_depends(checker: Checker, values: pa.Array, cells: Cells, shots: Mapping[str, pa.Array]) -> None:
    """Refuses what a row alone shows to be wrong with its `depends_on`.

    Args:
        shots: the columns before it.
    """
    named = np.asarray(values.is_valid())
    if not named.any():
        return
    legal = "the shot_id of another shot of this catalog and show"
    checker.refuse(
        "depends_on", named & ~np.asarray(pc.match_substring_regex(values, NAME_PATTERN).fill_null(True)), cells, legal
    )
    checker.refuse("depends_on", np.asarray(pc.equal(values, shots["shot_id"]).fill_null(False)), cells, legal)
    kinds = shots["task"].dictionary_encode()
    place = kinds.indices.to_numpy()
    able = ", ".join(name for name, task in TASKS.items() if task.source)
    for number, kind in enumerate(kinds.dictionary.to_pylist()):
        source = TASKS[kind].source if kind in TASKS else None
        rows = named & (place == number)
        if source is None:
            checker.refuse(
                "depends_on", rows, cells, f"null for this task, which starts from nothing; it is for {able}"
            )
            continue
        either = next((names for names in TASKS[kind].needs if source in names), (source,))
        for column in either:
            both = rows & np.asarray(shots[column].is_valid())
            checker.refuse("depends_on", both, cells, f"null where {column} is given: one of them is the source")


@dataclass
class Links:
    """Gathers, batch by batch, whether shots of a catalog hang together, and settles it at the end."""

    used: bool = False
    _lost: DigestSet = field(default_factory=DigestSet)

    def add(self, shots: Mapping[str, pa.Array], lost: np.ndarray | None, asked: pa.RecordBatch) -> None:
        """Looks at one batch.

        Args:
            shots: columns of those that the model can render.
            lost: digests of the names of shots refused before, as in `Batch.lost`.
            asked: all shots of the batch, those that the model cannot render too.
        """
        names = ("depends_on", "scene")
        self.used = self.used or any(shots[name].null_count < len(shots[name]) for name in names)
        self.used = self.used or bool(anchored(shots).any())
        if lost is None:
            return
        if len(lost):
            self._lost.add(lost)
        if asked.num_rows > len(shots["row"]):
            every, able = identities(asked["show"], asked["shot_id"]), identities(shots["show"], shots["shot_id"])
            gone = ~DigestSet(able).contains(every)
            self._lost.add(every[gone])
            # A row whose variants are all refused is named by others under its own name.
            rows = asked.filter(pa.array(gone & np.asarray(asked["parent"].is_valid())))
            self._lost.add(identities(rows["show"], rows["parent"]))

    def settle(self, takes: pa.Table, forget: Callable[[], None] = lambda: None) -> Settled:
        """What the links of all shots come to.

        Args:
            takes: of the plan, in the catalog's order; takes of a shot follow one another.
            forget: called once a column has been read: a table in a file need not stay in memory.
        """
        first = np.nonzero(np.asarray(pc.equal(takes["take"], 1)))[0]
        columns: dict[str, pa.Array] = {}
        for name in _LOOKED_AT:
            columns[name] = takes[name].take(pa.array(first)).combine_chunks()
            forget()
        return _Settling(columns, self._lost).run()


_LOOKED_AT: Final = (
    "row", "show", "shot_id", "task", "image_uri", "depends_on", "scene", "identity", "parent", "variant", "locale",
    "picture_of",
)  # fmt: skip


@dataclass(frozen=True)
class Settled:
    """How the shots of a catalog hang together; arrays have an entry for each shot, (n,).

    Attributes:
        bad: shots that are refused after all.
        refused: why, one entry for each of them.
        source_shot: the shot that each starts from, null for most.
        source_frame: `FIRST` for one that starts from the first frame of it.
        identity: as the catalog says, and where it says nothing, as the scene's other rows do.
    """

    bad: np.ndarray
    refused: list[Refusal]
    source_shot: pa.Array
    source_frame: pa.Array
    identity: pa.Array


def anchored(shots: Mapping[str, pa.Array]) -> np.ndarray:
    """Rows whose picture is the first frame of their scene's first row, (n,) bool."""
    tasks = np.asarray(pc.is_in(shots["task"], pa.array(ANCHORED)))
    if not tasks.any():
        return tasks
    alone = pc.and_(shots["image_uri"].is_null(), shots["depends_on"].is_null())
    return tasks & np.asarray(alone)


def group_of(shots: Mapping[str, pa.Array]) -> pa.Array:
    """What an anchored row stands with: its scene, or without one its identity; it is in its revision too, (n,)."""
    scene = pc.binary_join_element_wise("scene", shots["scene"], ":")
    identity = pc.binary_join_element_wise("identity", shots["identity"], ":")
    return pc.coalesce(scene, identity)


class _Settling:
    """The work of `Links.settle`, on the columns of all shots."""

    def __init__(self, shots: Mapping[str, pa.Array], lost: DigestSet) -> None:
        self._shots, self._lost = shots, lost
        self._count = len(shots["row"])
        self._bad = np.zeros(self._count, bool)
        self._refused: list[Refusal] = []
        self._names: tuple[np.ndarray, np.ndarray] | None = None

    def run(self) -> Settled:
        identity = self._scenes()
        up = np.full(self._count, -1, np.int64)
        anchors = anchored(self._shots)
        self._find_sources(up)
        self._find_anchors(up, anchors, identity)
        self._names = None
        self._refuse_stills(up)
        self._refuse_rings(up)
        self._refuse_after_refused(up, anchors)
        up[self._bad] = -1  # what is refused starts from nothing
        source = self._shots["shot_id"].take(pa.array(up, mask=up < 0))
        first = anchors & (up >= 0)
        frame = pa.array([FIRST]).take(pa.array(np.zeros(self._count, np.int32), mask=~first))
        return Settled(self._bad, self._refused, source, frame, identity)

    # Scenes

    def _scenes(self) -> pa.Array:
        """Identities, shared within each scene; a row that says another than the rows before it is refused."""
        shots, identity = self._shots, self._shots["identity"]
        scene = shots["scene"]
        if scene.null_count == self._count:
            return identity
        staged = np.asarray(scene.is_valid())
        scenes, code = np.unique(_words_of(shots["show"], scene), return_inverse=True)
        who = identity.dictionary_encode().indices.fill_null(-1).to_numpy()
        says = np.nonzero(staged & (who >= 0))[0]
        first = np.full(len(scenes), -1, np.int64)
        scenes, places = np.unique(code[says], return_index=True)
        first[scenes] = says[places]
        leader = np.where(staged, first[code], -1)
        other = staged & (who >= 0) & (who != who[np.maximum(leader, 0)])
        for index in np.nonzero(other)[0].tolist():
            says_it = int(leader[index])
            legal = f"null, or {self._text('identity', says_it)} as row {self._row(says_it)} of its scene says"
            self._refuse(index, "identity", legal)
        filled = pc.if_else(pa.array(leader >= 0), identity.take(pa.array(np.maximum(leader, 0))), None)
        return pc.coalesce(identity, filled)

    # Sources

    def _find_sources(self, up: np.ndarray) -> None:
        """The shots that `depends_on` names. Variants of a shot depend on the same variants of another."""
        depends = self._shots["depends_on"]
        asking = np.nonzero(np.asarray(depends.is_valid()))[0]
        if not len(asking):
            return
        for start in range(0, len(asking), _PIECE):
            part = asking[start : start + _PIECE]
            up[part] = self._places(self._shots["show"].take(pa.array(part)), depends.take(pa.array(part)))
        open_ = asking[up[asking] < 0]
        open_ = open_[np.asarray(self._shots["variant"].take(pa.array(open_)).is_valid())]
        for whole in (False, True):
            open_ = open_[up[open_] < 0]
            if len(open_):
                wanted = [derived_id(self._text("depends_on", index), self._variant(index, whole)) for index in open_]
                up[open_] = self._places(self._shots["show"].take(pa.array(open_)), pa.array(wanted, pa.string()))
        self._share_sources(up, asking)
        unknown = asking[up[asking] < 0]
        if len(unknown):
            self._refuse_unknown(unknown)

    def _variant(self, index: int, whole: bool) -> str:
        """What a variant's shot_id has beyond its parent's, with or without its locale."""
        name, locale = str(self._shots["variant"][index]), self._shots["locale"][index].as_py()
        return name if whole or locale is None else name[: -len(locale)].rstrip(".")

    def _refuse_unknown(self, unknown: np.ndarray) -> None:
        chosen = pa.array(unknown)
        shows, names = self._shots["show"].take(chosen), self._shots["depends_on"].take(chosen)
        lost = np.zeros(len(unknown), bool)
        for start in range(0, len(unknown) if len(self._lost) else 0, _PIECE):
            part = slice(start, start + _PIECE)
            lost[part] = self._lost.contains(identities(shows[part], names[part]))
        made = self._shots["parent"].is_valid()
        parents = _words_of(self._shots["show"].filter(made), self._shots["parent"].filter(made))
        varied = np.isin(_words_of(shows, names), parents)
        absent: dict[str, str] = {}  # one text for all rows of a show
        for index, gone, several in zip(_each(unknown), _each(lost), _each(varied), strict=True):
            name, where = self._text("depends_on", index), self._text("show", index)
            if several:
                legal = f"a shot that is rendered: {name} has variants, name one of them"
            elif gone:
                legal = _REFUSED
            else:
                legal = absent.setdefault(where, f"a shot_id of this catalog in the show {where}")
            self._refuse(index, "depends_on", legal)

    def _share_sources(self, up: np.ndarray, asking: np.ndarray) -> None:
        """Rows of one picture start from one shot: the first that one of them names and that is there."""
        copies = np.nonzero(np.asarray(self._shots["picture_of"].is_valid()))[0]
        if not len(copies):
            return
        chosen, original = pa.array(copies), np.arange(self._count)
        original[copies] = self._places(self._shots["show"].take(chosen), self._shots["picture_of"].take(chosen))
        found = asking[up[asking] >= 0]
        originals, first = np.unique(original[found], return_index=True)
        shared = np.full(self._count, -1, np.int64)
        shared[originals] = up[found[first]]
        up[asking] = shared[original[asking]]

    def _find_anchors(self, up: np.ndarray, anchors: np.ndarray, identity: pa.Array) -> None:
        """The first row of each scene that has a picture of its own; where it has none, the first of its identity."""
        if not anchors.any():
            return
        waiting = np.nonzero(anchors & ~self._bad)[0]
        for group in (group_of(self._shots), identity):
            open_ = waiting[up[waiting] < 0]
            open_ = open_[np.asarray(group.take(pa.array(open_)).is_valid())]
            if len(open_):
                groups, code = np.unique(_words_of(self._shots["show"], group), return_inverse=True)
                leaders = np.nonzero(~anchors & ~self._bad & np.asarray(group.is_valid()))[0]
                first = np.full(len(groups), -1, np.int64)
                found, places = np.unique(code[leaders], return_index=True)
                first[found] = leaders[places]
                up[open_] = first[code[open_]]
        for index in waiting[up[waiting] < 0].tolist():
            where = "scene" if self._shots["scene"][index].is_valid else "identity"
            self._refuse(index, "image_uri", f"a picture: no other row of its {where} has one of its own to start from")

    # What cannot be

    def _refuse_stills(self, up: np.ndarray) -> None:
        task = self._shots["task"]
        still = np.asarray(pc.equal(task, "still"))
        if still.any():
            wants = np.asarray(pc.is_in(task, pa.array(_NEED_FILMS)))
            for index in np.nonzero((up >= 0) & wants & still[np.maximum(up, 0)])[0].tolist():
                self._refuse(
                    index, "depends_on", f"a film for this task; {self._text('shot_id', int(up[index]))} is a still"
                )

    def _refuse_rings(self, up: np.ndarray) -> None:
        """Shots that wait for one another: whoever is still under way after as many steps as there are shots."""
        end = self._count
        jump = np.append(np.where(up < 0, end, up), end)
        for _ in range(end.bit_length() + 1):
            jump = jump[jump]
        in_rings = np.unique(jump[jump < end])
        del jump
        for start in _each(in_rings):
            if self._bad[start]:  # told with the rest of its ring
                continue
            if up[start] == start:
                self._refuse(start, "depends_on", "another shot")
                continue
            walk = [start]
            while len(walk) < _NAMED_MOST and up[walk[-1]] != start:
                walk.append(int(up[walk[-1]]))
            chain = [self._text("shot_id", place) for place in walk]
            chain += ["…"] if up[walk[-1]] != start else []
            legal = f"a shot that does not wait for this one: {' → '.join([*chain, chain[0]])}"
            index = start
            while True:  # one text for all of the ring
                column = "depends_on" if self._shots["depends_on"][index].is_valid else "image_uri"
                self._refuse(index, column, legal)
                index = int(up[index])
                if index == start:
                    break

    def _refuse_after_refused(self, up: np.ndarray, anchors: np.ndarray) -> None:
        """Whatever starts from a refused shot, over any number of shots between."""
        if not self._bad.any():
            return
        end = self._count
        hop = np.append(np.where(up < 0, end, up), end)
        reach = np.append(self._bad, False)
        for _ in range(end.bit_length() + 1):
            reach |= reach[hop]
            hop = hop[hop]
        after = np.nonzero(reach[:end] & ~self._bad)[0]
        del hop, reach
        for index in _each(after):
            name = self._text("shot_id", int(up[index]))
            if anchors[index]:
                legal = f"a picture: {name}, whose first frame this one starts from, is refused"
                self._refuse(index, "image_uri", legal)
            elif name == self._text("depends_on", index):
                self._refuse(index, "depends_on", _REFUSED)
            else:
                self._refuse(index, "depends_on", f"a shot that is rendered: the row of {name} is refused")

    # Helpers

    def _places(self, shows: pa.Array, names: pa.Array) -> np.ndarray:
        """Where the shots of these names stand, -1 where there is none."""
        if self._names is None:
            own = _words_of(self._shots["show"], self._shots["shot_id"])
            order = np.argsort(own)
            self._names = own[order], order
        known, order = self._names
        wanted = _words_of(shows, names)
        near = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where(known[near] == wanted, order[near], -1)

    def _refuse(self, index: int, column: str, legal: str) -> None:
        if not self._bad[index]:
            self._bad[index] = True
            self._refused.append(Refusal(self._row(index), column, show(self._shots[column][index].as_py()), legal))

    def _text(self, column: str, index: int) -> str:
        return str(self._shots[column][index].as_py())

    def _row(self, index: int) -> int:
        return int(self._shots["row"][index].as_py())


def _each(values: np.ndarray) -> Iterator[Any]:
    """The values one by one, as Python's own, of which a million are never there at once."""
    for start in range(0, len(values), _PIECE):
        yield from values[start : start + _PIECE].tolist()


def _words_of(shows: pa.Array, names: pa.Array) -> np.ndarray:
    """The first 8 bytes of SHA-256("show/name") as one number, (n,) uint64; piece by piece, in little memory.

    Of a million names, two agree once in 10^7 catalogs. A null name has some number.
    """
    found = np.empty(len(shows), np.uint64)
    for start in range(0, len(found), _PIECE):
        part = slice(start, start + _PIECE)
        digests = identities(shows[part], names[part].fill_null(""))
        found[part] = np.ascontiguousarray(digests[:, :8]).view(">u8").reshape(len(digests))
    return found


def first_of_each_row(refused: Sequence[Refusal]) -> list[Refusal]:
    """One entry for each row, its first, in the order of the rows; a row with variants may have broken several."""
    ordered = sorted(refused, key=lambda refusal: refusal.row)  # stable: the first of a row stays first
    return [found for place, found in enumerate(ordered) if not place or found.row != ordered[place - 1].row]
