"""How many connections are worth having: a few at first, more while more bring more, fewer when the server says so."""

from __future__ import annotations

FIRST = 4
# A step is judged over so many bytes, but no sooner and no later than this, counted from when every connection has
# brought something: on a far link a new one takes several round trips until then. Those that bring nothing are waited
# for a while.
JUDGE_S = 0.03
JUDGE_BYTES = 256 << 10
LONGEST_JUDGE_S = 1.0
FLOW_S = 3.0
# What did not help is tried again after so long, then after twice as long: the link may have become free.
AGAIN_S = 2.0
LONGEST_AGAIN_S = 30.0


class Pace:
    """The number of connections to have now, `target`.

    It doubles while the throughput grows by a tenth at least; after two doublings that brought nothing it returns to
    the fewest that gave the best rate. Two, because a server that lets the first second's bytes of each request
    through at once (nginx's ``limit_rate``) makes one step look worse than it is. `back_off` lowers the ceiling for
    good: a server that said "too many" meant it.

    Parameters
    ----------
    ceiling : int
        The most there may be.
    fixed : bool
        Begin with all of them, and only ever back off.

    Examples
    --------
    >>> pace = Pace(16)
    >>> received = 0
    >>> for tick in range(8):  # every connection brings 1 MB/s
    ...     _ = pace.tick(tick * 0.1, received, pace.target)
    ...     received += pace.target * 100_000
    >>> pace.target
    16
    """

    def __init__(self, ceiling: int, *, fixed: bool = False) -> None:
        self.ceiling = max(1, ceiling)
        self.target = self.ceiling if fixed else min(FIRST, self.ceiling)
        self._fixed = fixed
        self._stepped: float | None = None
        self._since: tuple[float, int] | None = None
        self._best = (0.0, self.target)
        self._strikes = 0
        self._again_s = AGAIN_S
        self._hold_until: float | None = None

    def back_off(self, n_active: int) -> None:
        """Halve the connections, and never have more again."""
        self.ceiling = max(1, min(self.target, n_active) // 2)
        self.target = self.ceiling

    def tick(self, now: float, n_received: int, n_flowing: int) -> bool:
        """Judge the last step; return whether another was taken.

        Parameters
        ----------
        now : float
            The time in seconds.
        n_received : int
            All bytes that have come so far.
        n_flowing : int
            How many connections have brought something since the last step.
        """
        if self._stepped is None:
            self._stepped = now
        if self._since is None:
            if n_flowing >= self.target or now - self._stepped >= FLOW_S:
                self._since = (now, n_received)
            return False
        since, before = self._since
        took, n = now - since, n_received - before
        if took < JUDGE_S or n == 0 or (n < JUDGE_BYTES and took < LONGEST_JUDGE_S):
            return False
        rate = n / took
        self._since = (now, n_received)
        old = self.target
        # At the ceiling only a last doubling that brought nothing is judged: all is well otherwise.
        if self._fixed or (old >= self.ceiling and (not self._strikes or 2 * self._best[1] >= self.ceiling)):
            return False
        if self._hold_until is not None:
            if now < self._hold_until:
                return False
            self._hold_until = None
            self._best, self._strikes = (rate, old), 1
        elif rate > self._best[0] * 1.1:
            self._best, self._strikes = (rate, old), 0
        else:
            self._strikes += 1
        if self._strikes >= 2:
            self.target = min(self._best[1], self.ceiling)
            self._hold_until = now + self._again_s
            self._again_s = min(2 * self._again_s, LONGEST_AGAIN_S)
        else:
            self.target = min(2 * old, self.ceiling)
        if self.target != old:
            self._stepped, self._since = now, None
        return self.target != old
