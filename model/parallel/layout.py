"""How the ranks of a gang share one take.

A gang is a mesh of three axes, from outer to inner: cfg, ring, ulysses. Neighbouring ranks, which mostly sit in one
node, therefore do the all-to-all of Ulysses, the most talkative exchange, and the cfg halves speak once a step.
"""

from __future__ import annotations

from dataclasses import dataclass

AXES = ("cfg", "ring", "ulysses")


class LayoutError(ValueError):
    """A layout that is not legal. The message lists those that are."""


@dataclass(frozen=True)
class Layout:
    """How many ranks do what; the product is the gang's size.

    Attributes:
        cfg: 2 when the conditional and the unconditional forward run side by side, else 1.
        ring: ranks among which keys and values travel, each keeping its queries.
        ulysses: ranks that trade tokens for heads around attention. Any number: heads need not divide by it.
    """

    cfg: int = 1
    ring: int = 1
    ulysses: int = 1

    def __post_init__(self) -> None:
        for axis in AXES:
            value = getattr(self, axis)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise LayoutError(f"layout: {axis}={value!r} must be a whole number of at least 1")
        if self.cfg > 2:
            raise LayoutError(f"layout: cfg={self.cfg} must be 1 or 2: guidance has two forwards")

    @property
    def size(self) -> int:
        """Ranks in the gang."""
        return self.cfg * self.ring * self.ulysses

    @property
    def sequence_size(self) -> int:
        """Ranks among which the tokens of one forward are spread."""
        return self.ring * self.ulysses

    def __str__(self) -> str:
        named = [f"{axis}={getattr(self, axis)}" for axis in AXES if getattr(self, axis) > 1]
        return ",".join(named) or "single"

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Reads "cfg=2,ulysses=2", in any order, or "single". Raises LayoutError that says what is wrong."""
        if text.strip() == "single":
            return cls()
        sizes: dict[str, int] = {}
        for part in text.split(","):
            axis, equals, value = (piece.strip() for piece in part.partition("="))
            if axis not in AXES or not equals:
                raise LayoutError(
                    f"layout {text!r}: found {part.strip()!r}, wanted AXIS=N with an axis of {', '.join(AXES)}, "
                    'for example "cfg=2,ulysses=2"'
                )
            if axis in sizes:
                raise LayoutError(f"layout {text!r}: {axis} stands there twice")
            if not (value.isascii() and value.isdigit()):
                raise LayoutError(f"layout {text!r}: {axis}={value!r} must be a whole number of at least 1")
            sizes[axis] = int(value)
        return cls(**sizes)

    @classmethod
    def legal(cls, gang_size: int) -> list[Layout]:
        """Every layout of that many ranks, the one that `choose` prefers for many heads first."""
        found = [
            cls(cfg, ring, gang_size // (cfg * ring))
            for cfg in (2, 1)
            for ring in range(1, gang_size + 1)
            if gang_size % (cfg * ring) == 0
        ]
        return found

    def check(self, gang_size: int) -> Layout:
        """Returns itself if it fits a gang of that many ranks, else raises LayoutError with the layouts that do."""
        if self.size != gang_size:
            legal = "; ".join(str(layout) for layout in self.legal(gang_size))
            raise LayoutError(
                f"layout {self} is for {self.size} rank{'s' if self.size > 1 else ''} but the gang has {gang_size}: "
                f"cfg x ring x ulysses must equal {gang_size}. Legal: {legal}"
            )
        return self

    @classmethod
    def choose(cls, gang_size: int, heads: int, *, guidance: bool = True) -> Layout:
        """The layout that is expected to be quickest.

        cfg first (it exchanges nothing inside a forward), then Ulysses as far as the heads divide, then ring.

        Args:
            gang_size: ranks in the gang, at least 1.
            heads: attention heads of the transformer.
            guidance: whether there is an unconditional forward at all.
        """
        if gang_size < 1 or heads < 1:
            raise LayoutError(f"a gang of {gang_size} ranks and a model of {heads} heads: both must be at least 1")
        cfg = 2 if guidance and gang_size % 2 == 0 else 1
        rest = gang_size // cfg
        ulysses = max(u for u in range(1, rest + 1) if rest % u == 0 and heads % u == 0)
        return cls(cfg, rest // ulysses, ulysses)
