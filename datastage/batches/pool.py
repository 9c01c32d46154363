"""Buffers that are used again once nobody holds them.

Here: `Pool`. A batch from it is as good as a fresh one: memory comes back only when the tensor, and every view and
graph that holds its storage, is gone. It saves asking the system for new pages for each batch, which costs more than
filling them (6 MB a batch at CIFAR size: 1,500 page faults).
"""

from __future__ import annotations

import sys
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
        Give the same `keep` arrays in turn, whether held or not.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any] | type, *, keep: int = 2, always: bool = False
    ) -> None:
        self._shape, self._dtype, self._keep, self._always = shape, dtype, keep, always
        self._arrays: list[NDArray[Any]] = []
        self._turn = 0
        self._idle = 0

    def _holders(self, i: int) -> int:
        return sys.getrefcount(self._arrays[i])

    def take(self) -> NDArray[Any]:
        """Return an array with any content."""
        import numpy as np

        if not self._always:
            for i in range(len(self._arrays)):
                if self._holders(i) <= self._idle:
                    return self._arrays[i]
        if len(self._arrays) < self._keep:
            self._arrays.append(np.empty(self._shape, self._dtype))
            # The count of an array that only we hold differs between Python versions, so it is asked for, not assumed.
            self._idle = self._holders(len(self._arrays) - 1)
            return self._arrays[-1]
        self._turn = (self._turn + 1) % self._keep
        if not self._always:
            # All are held: hand out a new one in the place of the oldest, which its holder keeps alive.
            self._arrays[self._turn] = np.empty(self._shape, self._dtype)
        return self._arrays[self._turn]
