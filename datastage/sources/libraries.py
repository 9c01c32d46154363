"""Libraries that fetch files themselves: each is watched while it works, and what it raises is told in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from datastage.errors import UnavailableError
from datastage.own_files import bytes_in
from datastage.progress import SILENT, Reporter
from datastage.timeouts import start

T = TypeVar("T")
_POLL_S = 0.1
_LEAVE_S = 1.0


class Watch:
    """Counts the bytes of a download: as its library tells them, or by the size of what it writes."""

    def __init__(self, reporter: Reporter = SILENT) -> None:
        self.reporter = reporter
        self.done = 0
        self.is_told = False

    def told(self, done: int, total: int | None) -> None:
        if not self.is_told and total is not None:
            self.reporter.phase("copying the shared file", total)
        self.is_told = True
        self._seen(done)

    def _seen(self, done: int) -> None:
        if done > self.done:
            self.reporter.advance(done - self.done)
            self.done = done

    def run(self, work: Callable[[], T], folder: Path | None, stall_s: float, stop: Callable[[], object]) -> T:
        """Do `work` in a thread, and `stop` it with the user, or by `TimeoutError` if `folder` grows no more."""
        thread, outcome = start(work, "datastage-library")
        last, seen_at = 0, time.monotonic()
        try:
            while thread.is_alive():
                thread.join(_POLL_S)
                size = bytes_in(folder) if folder is not None else 0
                if not self.is_told:
                    self._seen(size)
                if size != last:
                    last, seen_at = size, time.monotonic()
                elif time.monotonic() - seen_at > stall_s:
                    raise TimeoutError
        except BaseException:
            stop()  # one that cannot be stopped ends with the program
            thread.join(_LEAVE_S)
            raise
        return outcome()


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of a library, whose classes differ from version to version: their names, its text, a server's status."""

    names: tuple[str, ...]  # its own first; behind them there may be a word for what was asked of the library
    text: str = ""
    status: int | None = None

    @classmethod
    def of(cls, error: Exception) -> Failure:
        names = tuple(one.__name__ for one in type(error).__mro__)
        status = getattr(getattr(error, "response", None), "status_code", None)
        return cls(names, " ".join(str(error).split()), status)

    def says(self, *words: str) -> bool:
        return any(word in self.text for word in words)

    def is_a(self, *names: str) -> bool:
        return any(name in self.names for name in names)


Answers: TypeAlias = Sequence[tuple[Callable[[Failure], bool], tuple[str, ...]]]
"""What an error is, and what to say: of the first that fits, the lines are filled with facts."""


def answered(answers: Answers, failure: Failure, **facts: object) -> UnavailableError:
    """Say what an error means; a fact of several lines makes several steps."""
    facts = {"kind": failure.names[0], "text": failure.text[:200], "status": failure.status, **facts}
    first, *steps = next(lines for fits, lines in answers if fits(failure))
    said = [part for step in steps for part in step.format(**facts).split("\n")]
    return UnavailableError(first.format(**facts), *said)
