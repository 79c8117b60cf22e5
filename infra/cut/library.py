"""Which take a timeline means: names, numbers, media and keys looked up among the commits of a store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from infra.cut.asked import Ref
from infra.cut.errors import TakeMissing
from infra.store.selection import Selection

Commit = Mapping[str, Any]


class Library:
    """The takes of a store, and those of them that go on."""

    def __init__(self, commits: Iterable[Commit], selection: Selection) -> None:
        """Args: all commits that may be named, and which of them was chosen for each shot."""
        self._of_shot: dict[tuple[str, str], list[Commit]] = defaultdict(list)
        for commit in commits:
            self._of_shot[commit["show"], commit["shot_id"]].append(commit)
        self._chosen = {(one.show, one.shot_id): one.commit for one in selection.chosen}
        self._why = {(one.show, one.shot_id): one.why for one in selection.missing}
        for shot, commit in self._chosen.items():
            if all(known["spec_key"] != commit["spec_key"] for known in self._of_shot[shot]):
                self._of_shot[shot].append(commit)

    def find(self, ref: Ref, where: str) -> Commit:
        """The take that `ref` names: by its key or film, else by shot and number, else the chosen take of the shot.

        TakeMissing says what the store has in its place.
        """
        exact = self._exact(ref)
        if exact is not None:
            return exact
        if ref.shot_id is None:
            raise TakeMissing(
                f"{where} names {ref.name!r}, which is no take of this store",
                "Clips name takes as show/shot_id, with .take-002 behind for a certain one, or by their film's path.",
            )
        shot = self._shot(ref, where)
        return self._numbered(ref, shot, where) if ref.take is not None else self._going_on(shot, where)

    def _exact(self, ref: Ref) -> Commit | None:
        """By film or key, unless the clip's name says something else: people rename clips and leave the rest."""
        for commits in self._of_shot.values():
            for commit in commits:
                by_film = ref.media is not None and commit["media"]["path"] == ref.media
                by_key = ref.spec_key is not None and commit["spec_key"].startswith(ref.spec_key)
                if (by_film or by_key) and _may_be(ref, commit):
                    return commit
        return None

    def _shot(self, ref: Ref, where: str) -> tuple[str, str]:
        known = self._of_shot.keys() | self._why.keys()
        if ref.show is not None and ref.shot_id is not None:
            found = [(ref.show, ref.shot_id)] if (ref.show, ref.shot_id) in known else []
        else:
            found = sorted(shot for shot in known if shot[1] == ref.shot_id)
        if len(found) > 1:
            names = ", ".join("/".join(shot) for shot in found[:5])
            raise TakeMissing(f"{where} names {ref.name!r}, and several shows have it: {names}", "Write show/shot_id.")
        if not found:
            called = "/".join(name for name in (ref.show, ref.shot_id) if name is not None)
            near = get_close_matches(called, ["/".join(shot) for shot in known], n=3, cutoff=0.4)
            raise TakeMissing(
                f"{where} names {ref.name!r}, and the store has no take of such a shot",
                f"Near it: {', '.join(near)}." if near else "`rushes status` shows what the store has.",
            )
        return found[0]

    def _numbered(self, ref: Ref, shot: tuple[str, str], where: str) -> Commit:
        found = [commit for commit in self._of_shot[shot] if commit["take"] == ref.take]
        chosen = self._chosen.get(shot)
        same = [commit for commit in found if chosen is not None and commit["revision"] == chosen["revision"]]
        if len(same) == 1:
            return same[0]
        if len(found) == 1:
            return found[0]
        name = "/".join(shot)
        if found:
            revisions = ", ".join(sorted({commit["revision"] for commit in found}))
            raise TakeMissing(
                f"{where} names take {ref.take} of {name}, and there are several: of revisions {revisions}",
                "Name it by its film's path, or select a take of the revision that is meant.",
            )
        have = ", ".join(str(number) for number in sorted({commit["take"] for commit in self._of_shot[shot]}))
        raise TakeMissing(f"{where} names take {ref.take} of {name}, which has {f'takes {have}' if have else 'none'}")

    def _going_on(self, shot: tuple[str, str], where: str) -> Commit:
        chosen = self._chosen.get(shot)
        if chosen is not None:
            return chosen
        why = self._why.get(shot, "no take of it is chosen")
        raise TakeMissing(
            f"{where} names {'/'.join(shot)}, and no take of it goes on: {why}",
            "Choose one (`rushes select`), or name a take: show/shot_id.take-001.",
        )


def _may_be(ref: Ref, commit: Commit) -> bool:
    said = {"show": ref.show, "shot_id": ref.shot_id, "take": ref.take}
    return ref.take is None or all(value is None or commit[name] == value for name, value in said.items())
