"""Which version is champion by the table of promotions: a stack that promotions push and rollbacks pop.

Rows in, versions out. The table is the record and MLflow's aliases follow it; where both are kept is not here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Action = Literal["promote", "rollback", "revoke"]


@dataclass(frozen=True)
class Turn:
    """A row of the table of promotions: what was done with which version, by whom, when and why."""

    number: int
    version: str
    action: Action
    previous: str | None
    run_id: str
    at: str
    reason: str
    document: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Turn":
        """The turn that a row of the table says."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class History:
    """All turns, oldest first. `before` is a champion from before the first turn, which no row tells of."""

    turns: tuple[Turn, ...]
    before: str | None = None

    @classmethod
    def of(cls, turns: Iterable[Turn], *, before: str | None = None) -> "History":
        """The history of these turns, in any order; `before` counts only while there is no turn."""
        ordered = tuple(sorted(turns, key=lambda turn: turn.number))
        first = next((turn for turn in ordered if turn.action != "revoke"), None)
        return cls(ordered, before if first is None else first.previous)

    @property
    def last(self) -> Turn | None:
        """The last turn that made a champion, None before the first."""
        return next((turn for turn in reversed(self.turns) if turn.action != "revoke"), None)

    @property
    def revoked(self) -> frozenset[str]:
        """Versions that may never be champion again."""
        return frozenset(turn.version for turn in self.turns if turn.action == "revoke")

    @property
    def stack(self) -> tuple[str, ...]:
        """Champions that a rollback can reach, the present one last; a revoked one is passed over."""
        stack = [] if self.before is None else [self.before]
        for turn in self.turns:
            if turn.action == "promote":
                stack = [version for version in stack if version != turn.version] + [turn.version]
            elif turn.action == "rollback":
                left = stack[:-1]
                stack = left[: left.index(turn.version) + 1] if turn.version in left else [*left, turn.version]
        return tuple(version for version in stack if version not in self.revoked)

    @property
    def champion(self) -> str | None:
        """The champion by the record."""
        return self.stack[-1] if self.stack else None

    @property
    def previous(self) -> str | None:
        """The version that a rollback goes to."""
        return self.stack[-2] if len(self.stack) > 1 else None

    def previous_after(self, version: str) -> str | None:
        """The version that a rollback goes to once `version` was promoted."""
        return next((other for other in reversed(self.stack) if other != version and other not in self.revoked), None)

    def promoted(self, version: str) -> Turn | None:
        """The last promotion of a version, None for one that was never champion by this record."""
        return next((t for t in reversed(self.turns) if t.version == version and t.action == "promote"), None)

    def left_by_rollback(self, version: str) -> Turn | None:
        """The rollback that took a version down, None for one that was not, or that was promoted again since."""
        found = None
        for i, turn in enumerate(self.turns):
            if turn.action == "rollback" and History(self.turns[:i], self.before).champion == version:
                found = turn
            elif turn.action != "revoke" and turn.version == version:
                found = None
        return found
