"""Archives: a reader in, checked members, files out.

Here: sniffing, listing, and unpacking every format through one gate (`safety`). Not here: sources, datasets, where a
folder ends up.
"""

from datastage.archives.extract import unpack
from datastage.archives.formats import not_data, sniff, sniff_head
from datastage.archives.listing import iter_members, list_members
from datastage.archives.packing import Packed, pack
from datastage.archives.records import Member, Unpacked, UnpackedFile

__all__ = [
    "Member",
    "Unpacked",
    "UnpackedFile",
    "Packed",
    "pack",
    "iter_members",
    "list_members",
    "not_data",
    "sniff",
    "sniff_head",
    "unpack",
]
