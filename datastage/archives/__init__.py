"""Archives: a reader in, checked members, files out.

Here: sniffing, listing, and unpacking every format through one gate (`safety`). Not here: sources, datasets, where a
folder ends up. What is not unpacked now is not imported: a second call for the same data asks for a name alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datastage.archives.data_files import is_data
    from datastage.archives.extract import unpack
    from datastage.archives.formats import is_one_file, not_data, sniff, stem_of, suffixes
    from datastage.archives.listing import as_file, iter_members, list_members, no_archive, wanted_paths
    from datastage.archives.names import codec_of, is_part
    from datastage.archives.records import Member, Unpacked
    from datastage.archives.split import JoinedReader, comes_alone, joined, part_error
    from datastage.archives.zip_packing import ZipResult, pack

__all__ = [
    "JoinedReader", "Member", "Unpacked", "ZipResult", "as_file", "codec_of", "comes_alone", "is_data", "is_one_file",
    "is_part", "iter_members", "joined", "list_members", "no_archive", "not_data", "pack", "part_error", "sniff",
    "stem_of", "suffixes", "unpack", "wanted_paths",
]  # fmt: skip
_MODULES = {
    "datastage.archives.data_files": "is_data",
    "datastage.archives.extract": "unpack",
    "datastage.archives.formats": "is_one_file not_data sniff stem_of suffixes",
    "datastage.archives.listing": "as_file iter_members list_members no_archive wanted_paths",
    "datastage.archives.names": "codec_of is_part",
    "datastage.archives.zip_packing": "ZipResult pack",
    "datastage.archives.records": "Member Unpacked",
    "datastage.archives.split": "JoinedReader comes_alone joined part_error",
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names.split():
            value = globals()[name] = getattr(importlib.import_module(module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
