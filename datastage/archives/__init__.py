"""Archives: a reader in, checked members, files out.

Here: sniffing, listing, and unpacking every format through one gate (`safety`). Not here: sources, datasets, where a
folder ends up.
"""

from datastage.archives.data_files import is_data
from datastage.archives.extract import unpack
from datastage.archives.formats import is_one_file, not_data, sniff, stem_of, suffixes
from datastage.archives.listing import iter_members, list_members, wanted_paths
from datastage.archives.names import codec_of
from datastage.archives.packing import ZipResult, pack
from datastage.archives.records import Member, Unpacked
from datastage.archives.split import JoinedReader, is_part, joined, part_error

__all__ = [
    "JoinedReader",
    "Member",
    "Unpacked",
    "ZipResult",
    "pack",
    "part_error",
    "codec_of",
    "is_data",
    "is_one_file",
    "is_part",
    "iter_members",
    "joined",
    "list_members",
    "not_data",
    "sniff",
    "stem_of",
    "suffixes",
    "unpack",
    "wanted_paths",
]
