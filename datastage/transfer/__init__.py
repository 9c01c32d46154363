"""Bring the bytes of a reader to this machine: in parallel, retried, hashed, resumed; or ahead of who unpacks them.

Here: `fetch` (a file), `ahead` (a reader that is fetched while it is read), `copy_tree` (a folder), and when a failed
read is tried again.
Not here: what the bytes are (`archives`), where they come from (`sources`), where they end up (`staging`).
"""

from datastage.transfer.partial import Transferred, compare_digests
from datastage.transfer.pool import Pool
from datastage.transfer.prefetch import Ahead as ahead
from datastage.transfer.prefetch import fetch
from datastage.transfer.retry import SLOW_BYTES_S, Interrupted, Kind, Limits, TooSlow, patiently
from datastage.transfer.tree_copy import Copied, copy_tree, narrow

__all__ = [
    "SLOW_BYTES_S", "Copied", "Interrupted", "Kind", "Limits", "Pool", "TooSlow", "Transferred", "ahead",
    "compare_digests", "copy_tree", "fetch", "narrow", "patiently",
]  # fmt: skip
