"""How many connections a download has at once."""

from __future__ import annotations


class ConnectionCount:
    """How many connections to have: a few at first, twice as many while that brings a tenth more, fewer when refused.

    Two doublings must bring nothing before it stops: nginx's ``limit_rate`` lets the first second's bytes of each
    request through at once, so that one step looks worse than it is. A step is judged once every connection has
    brought something: on a far link a new one takes several round trips until then.
    """

    _FIRST = 4
    _JUDGE_S, _JUDGE_BYTES, _LONGEST_JUDGE_S, _LONGEST_START_S = 0.03, 256 << 10, 1.0, 3.0

    def __init__(self, ceiling: int, *, fixed: bool = False) -> None:
        self._ceiling = max(1, ceiling)
        self.target = self._ceiling if fixed else min(self._FIRST, self._ceiling)
        self._is_settled = fixed
        self._best = (0.0, self.target)
        self._misses = 0
        self._stepped = 0.0
        self._since: tuple[float, int] | None = None

    def settle(self, most: int) -> None:
        """Have no more than so many for good, but one at least: the server refused some."""
        self.target = max(1, min(self.target, most))
        self._is_settled = True

    def tick(self, now: float, n_received: int, n_flowing: int) -> bool:
        """Judge the last step by the bytes received so far; return whether another step was taken.

        `n_flowing` connections have brought something since that step.
        """
        if self._is_settled:
            return False
        self._stepped = self._stepped or now
        if self._since is None:
            if n_flowing >= self.target or now - self._stepped >= self._LONGEST_START_S:
                self._since = (now, n_received)
            return False
        took, n = now - self._since[0], n_received - self._since[1]
        if took < self._JUDGE_S or n == 0 or (n < self._JUDGE_BYTES and took < self._LONGEST_JUDGE_S):
            return False
        rate, old = n / took, self.target
        if rate > self._best[0] * 1.1:
            self._best, self._misses = (rate, old), 0
        else:
            self._misses += 1
        self._is_settled = self._misses == 2 or (old == self._ceiling and not self._misses)
        self.target = self._best[1] if self._misses == 2 else min(2 * old, self._ceiling)
        self._stepped, self._since = now, None
        return self.target != old
