"""Bring the bytes of a reader to this machine: in parallel, retried, hashed, resumed; or ahead of who unpacks them.

Here: `fetch` (a file), `ahead` (a reader that is fetched while it is read), `copy_tree` (a folder).
Not here: what the bytes are (`archives`), where they come from (`sources`), where they end up (`staging`).
"""

from datastage.transfer.faults import Interrupted, Limits, TooSlow, patiently
from datastage.transfer.read_ahead import Ahead, ahead
from datastage.transfer.tree import Copied, CopiedFile, copy_tree
from datastage.transfer.whole import Transferred, fetch

__all__ = [
    "Ahead",
    "Copied",
    "CopiedFile",
    "Interrupted",
    "Limits",
    "TooSlow",
    "Transferred",
    "ahead",
    "copy_tree",
    "fetch",
    "patiently",
]
