"""Whether a file is still the one that was read: told by its inode, without reading it again."""

import os
import time
from typing import Final, NamedTuple, Self

# A file system's clock ticks every few milliseconds: what changed within one tick looks the same.
_TICK: Final = 50_000_000  # nanoseconds
TICK_SECONDS: Final = _TICK / 1e9


class Stamp(NamedTuple):
    """What changes with each change of a file."""

    device: int
    inode: int
    mode: int
    size: int  # bytes
    mtime: int  # nanoseconds since the epoch
    ctime: int  # nanoseconds since the epoch

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """The stamp of a file with this status."""
        return cls(
            status.st_dev,
            status.st_ino,
            status.st_mode,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )

    def is_settled(self) -> bool:
        """Whether a further change would be seen; by the system's clock, which stamps files, too."""
        return is_settled(self.ctime, time.time_ns() / 1e9)


def is_settled(changed: int, now: float) -> bool:
    """Whether a change after `now` (seconds since the epoch) would be seen.

    `changed`: the last one, in nanoseconds since the epoch.
    """
    return now > _settled_at(changed)


def unsettled_seconds(changed: int, now: float) -> float:
    """For how long after `now` (seconds since the epoch) a change might still go unseen.

    Never longer than a tick: a clock that was set back makes files of the future.
    """
    return min(max(0.0, _settled_at(changed) - now), TICK_SECONDS)


def _settled_at(changed: int) -> float:
    return (changed + _TICK) / 1e9
