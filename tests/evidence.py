"""Which ids the tests have met and how, for the table of `make failures`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from deployer.behaviours import BEHAVIOURS
from deployer.failures import Failure, Kind

REAL, RECORDED = "real", "recorded"
# What no machine of ours can bring about, and why.
IMPOSSIBLE: Mapping[str, str] = {
    "T11": "a test may not set the machine's clock",
}


@dataclass
class Evidence:
    """What was met in this session: id -> how -> where."""

    met: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def note(self, failure_id: str, how: str, where: str) -> None:
        """Remember that `failure_id` was met."""
        self.met.setdefault(failure_id, {}).setdefault(how, []).append(where)

    def lines(self) -> Iterator[str]:
        """The table, and the line that counts."""
        rows = [(row.id, _name(row)) for row in (*Kind, *BEHAVIOURS)]
        ways = [self._way(failure_id) for failure_id, _ in rows]
        for (failure_id, name), (way, where) in zip(rows, ways, strict=True):
            yield f"{failure_id:<5} {name:<38} {way:<10} {where}"
        told = [way for way, _ in ways]
        counts = [f"{told.count(way)} {way}" for way in (REAL, RECORDED, "untested")]
        if "impossible" in told:
            counts.insert(2, f"{told.count('impossible')} impossible")
        yield ", ".join(counts)

    def _way(self, failure_id: str) -> tuple[str, str]:
        met = self.met.get(failure_id, {})
        for how in (REAL, RECORDED):
            if where := met.get(how):
                more = f" and {len(where) - 1} more" if len(where) > 1 else ""
                return how, where[0] + more
        if failure_id in IMPOSSIBLE:
            return "impossible", IMPOSSIBLE[failure_id]
        return "untested", ""


def _name(row: object) -> str:
    return str(getattr(row, "name", "")).lower().replace("_", " ")


def id_of(found: object) -> str | None:
    """The failure id in what an adapter, a library call or a command line gave."""
    match found:
        case Failure():
            return found.id
        case {"failure": {"id": str(failure_id)}} | {"id": str(failure_id)}:
            return failure_id
    failure = getattr(found, "failure", None)
    return failure.id if isinstance(failure, Failure) else None
