"""Archives: a reader in, checked members, files out.

Here: sniffing, listing, and unpacking every format through one gate (`safety`). Not here: sources, datasets, where a
folder ends up.
"""

from datastage.archives.extract import unpack
from datastage.archives.listing import iter_members, list_members
from datastage.archives.member import Member, Unpacked, UnpackedFile
from datastage.archives.packing import Packed, pack
from datastage.archives.sniff import not_data, sniff, sniff_head

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
