"""Buffers that are used again once nobody holds them.

Here: `Pool`. A batch from it is as good as a fresh one: memory comes back only when the tensor, and every view and
graph that holds its storage, is gone. It saves asking the system for new pages for each batch, which costs more than
filling them (6 MB a batch at CIFAR size: 1,500 page faults).
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Pool:
    """Arrays of one shape and dtype, handed out fresh or used again.

    Parameters
    ----------
    shape : tuple of int
        Shape of each array.
    dtype : dtype
        Its element type.
    keep : int
        How many idle arrays are kept. The others are freed when their last holder lets go.
    always : bool
        Give the same `keep` arrays in turn, whether held or not. Else one that is held is never given again.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any] | type, *, keep: int = 2, always: bool = False
    ) -> None:
        self.shape, self._dtype, self._keep, self._always = shape, dtype, keep, always
        self._arrays: list[NDArray[Any]] = []  # the one given out last stands last
        self._idle = 0
        self._lock = threading.Lock()

    def _holders(self, i: int) -> int:
        return sys.getrefcount(self._arrays[i])

    def take(self) -> NDArray[Any]:
        """Return an array with any content."""
        with self._lock:
            return self._take()

    def _take(self) -> NDArray[Any]:
        import numpy as np

        full = len(self._arrays) == self._keep
        # The latest of those let go of lies in the processor's cache still.
        idle = (i for i in reversed(range(len(self._arrays))) if self._holders(i) <= self._idle)
        again = (0 if full else None) if self._always else next(idle, None)
        if again is not None:
            self._arrays.append(self._arrays.pop(again))
            return self._arrays[-1]
        if full:
            del self._arrays[0]  # held the longest, and from now on its holder's alone
        self._arrays.append(np.empty(self.shape, self._dtype))
        # The count of an array that only we hold differs between Python versions, so it is asked for, not assumed.
        self._idle = self._holders(len(self._arrays) - 1)
        return self._arrays[-1]
