"""What a dataset of the catalog is: the facts that are published about it, and the function that reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arrays: TypeAlias = "tuple[NDArray[Any], NDArray[Any]]"
"""Images, uint8 (N, H, W, C) with intensities 0 to 255, or a table, float32 (N, D); and labels, int64 (N,)."""

Read: TypeAlias = "Callable[[Path, str], Arrays]"
"""A function of the staged folder and the name of a split that gives its `Arrays`."""

Lists: TypeAlias = "Callable[[Path], tuple[tuple[str, ...], dict[str, dict[str, Any]]]]"
"""A function of the staged folder that gives the classes in their order and, for each part, pictures and their labels.

A picture is its path in the folder; its label the name of a class, or a row of 0 and 1, one for each class.
"""


@dataclass(frozen=True, slots=True)
class File:
    """A file of the staged folder.

    Attributes
    ----------
    path : str
        Where it lies in the staged folder, with forward slashes: ``"cifar-10-batches-py/data_batch_1"``.
    size : int
        Length in bytes.
    md5 : str or None
        The published digest; None only where none was ever published, and then name and size must do.
    content : bytes or None
        The file itself, where it is short and known: it is written if the others are found and it is not.
    """

    path: str
    size: int
    md5: str | None = None
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Download:
    """A file that the network has. An entry needs all of its downloads.

    Attributes
    ----------
    name : str
        The published name: ``"cifar-10-python.tar.gz"``.
    size : int or None
        Length in bytes; None where the mirrors hold different texts of the same table, told by their content.
    md5 : str or None
        The digest that every mirror must give; None as for `size`.
    urls : tuple of str
        Addresses in the order in which to try them: fast copies first, the publisher last.
    """

    name: str
    size: int | None
    md5: str | None
    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lookalike:
    """What people upload in good faith in place of the right files, so that it can be called by its name."""

    found: str  # "the Matlab version:  data_batch_1.mat ... test_batch.mat"
    needed: str = ""  # empty for the entry's own
    names: tuple[str, ...] = ()  # patterns in small letters for "/NAME OF THE FOLDER/path/in/it"
    sizes: tuple[int, ...] = ()  # that tell it, whatever the file is called
    md5: tuple[str, ...] = ()  # of files of the right size that are of the other set


class Converter(Protocol):
    """What makes the files `gives` of another form of the data, such as a table of pixels, of a size within `sizes`."""

    @property
    def gives(self) -> tuple[str, ...]: ...
    @property
    def sizes(self) -> tuple[int, int]: ...

    def fits(self, head: bytes) -> bool:
        """Say whether a file that begins like this can be the other form."""

    def convert(self, stream: BinaryIO, into: Path) -> tuple[str, ...] | str:
        """Write files under `into` and return their paths; or return, in a person's words, what this is instead."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A dataset of the catalog.

    Attributes
    ----------
    name : str
        The word that users write: ``"cifar10"``.
    title : str
        Its proper name: ``"CIFAR-10"``.
    files : tuple of File
        The files of the staged folder, in the layout that torchvision expects where it knows the dataset.
    read : callable
        Gives the arrays of a split, from the staged folder: ``read(path, "train")``.
    downloads : tuple of Download
        What the network has; empty if it is nowhere to be downloaded.
    converters : tuple of Converter
        Other forms that the files can be made of.
    lookalikes : tuple of Lookalike
        What people upload by mistake.
    package_data : tuple of str
        Folders of installed packages that may hold it: ``"sklearn/datasets/data"``.
    licence, citation, homepage : str
        As published; the licence may be ``"none stated"``.
    shape : tuple of int
        Of one image (height, width, channels), or of one row of a table.
    dtype : str
        Of the images or rows as read: ``"uint8"`` or ``"float32"``.
    classes : tuple of str
        Names of the classes in the order of the labels.
    mean, std : tuple of float
        One for each channel, of the training images divided by 255; or one for each column of a table as it is.
    augment : mapping or None
        What ``augment="auto"`` means for it, as arguments of `datastage.Augment`: ``{"crop": 4, "flip": True}``.
    splits : mapping of str to int
        The splits and their lengths: ``{"train": 50000, "test": 10000}``.
    needed : str
        The files that are needed, as a person would tell them from other versions.
    search_words : str
        What to type into Kaggle's search for it.
    shows : str
        What the files of a right search result are called.
    """

    name: str
    title: str
    files: tuple[File, ...]
    read: Read
    downloads: tuple[Download, ...] = ()
    converters: tuple[Converter, ...] = ()
    lookalikes: tuple[Lookalike, ...] = ()
    package_data: tuple[str, ...] = ()
    licence: str = "none stated"
    citation: str = ""
    homepage: str = ""
    shape: tuple[int, ...] = ()
    dtype: str = "uint8"
    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    augment: Mapping[str, int | bool] | None = None
    splits: Mapping[str, int] = field(default_factory=dict)
    needed: str = ""
    search_words: str = ""
    shows: str = ""

    @property
    def n_bytes(self) -> int:
        """Bytes of the staged files together."""
        return sum(file.size for file in self.files)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The downloads, as an `ArchiveEntry` has its files."""
        return tuple(Part(d.name, d.urls, f"md5:{d.md5}" if d.md5 else None, d.size) for d in self.downloads)

    @property
    def download_bytes(self) -> int | None:
        """Bytes that the downloads have together; None where a size is not known."""
        sizes = [download.size for download in self.downloads]
        return None if not sizes or None in sizes else sum(size for size in sizes if size is not None)


@dataclass(frozen=True, slots=True)
class Part:
    """A further file of an `ArchiveEntry`: where it is had, its digest and size, and the folder for what is in it."""

    name: str
    places: tuple[str, ...]
    expect: str | None = None
    size: int | None = None
    into: str = ""
    unpack: bool = True


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """A dataset of the catalog that is an archive or a few files, known by their digests alone; its layout is read.

    Attributes
    ----------
    name : str
        The word that users write: ``"birds"``.
    title : str
        Its proper name.
    places : tuple of str
        Specs of the archive, such as addresses or ``"drive:birds.zip"``, in the order in which to try them.
    expect : str or None
        ``"md5:..."`` or ``"sha256:..."`` of the archive; None where nobody published one. Then its size must do.
    size : int or None
        Bytes of the archive, where they are known.
    licence, citation, homepage : str
        As published; the licence may be ``"none stated"``.
    file : str
        The archive's published name; empty for that of its first address.
    into : str
        The folder, in the staged one, for what is in the archive; empty for the staged folder itself.
    unpack, nested : bool
        Whether it is unpacked, and whether archives in it are, too.
    more : tuple of Part
        Further files.
    task : str
        What it is for: ``"classification"``, ``"regression"``, ``"multi-label"``, ``"detection"``, ``"text"``, ...
    labels : str
        What `datastage.loaders` takes as ``labels=`` for it; empty where its layout tells.
    read : callable or None
        Gives the arrays of a split, where they lie in a form of the publisher's own; `splits` names the splits.
    lists : callable or None
        Gives the parts and labels of pictures, where lists of the publisher's own form say them.
    names : mapping of str to str
        What folders mean: the names of classes by their codes.
    classes : tuple of str
        Names of the classes; empty where the files tell them.
    splits : mapping of str to int
        The published splits and their lengths.
    mean, std : tuple of float
        One for each channel, of the training images divided by 255.
    augment : mapping or None
        What ``augment="auto"`` means for it, as arguments of `datastage.Augment`.
    lookalikes : tuple of Lookalike
        What people upload in its place.
    search_words : str
        What to type into Kaggle's search for it.
    mirror : bool
        Whether copies may be published: False where the licence forbids it, or people must agree to terms first.
    """

    name: str
    title: str
    places: tuple[str, ...]
    expect: str | None = None
    size: int | None = None
    licence: str = "none stated"
    citation: str = ""
    homepage: str = ""
    file: str = ""
    into: str = ""
    unpack: bool = True
    nested: bool = False
    more: tuple[Part, ...] = ()
    task: str = "classification"
    labels: str = ""
    read: Read | None = None
    lists: Lists | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    splits: Mapping[str, int] = field(default_factory=dict)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    augment: Mapping[str, int | bool] | None = None
    lookalikes: tuple[Lookalike, ...] = ()
    search_words: str = ""
    mirror: bool = True

    @property
    def parts(self) -> tuple[Part, ...]:
        """All its files: the archive, then `more`."""
        from urllib.parse import unquote

        name = self.file or (unquote(self.places[0].partition("?")[0].rpartition("/")[2]) if self.places else self.name)
        return (Part(name, self.places, self.expect, self.size, self.into, self.unpack), *self.more)

    @property
    def download_bytes(self) -> int | None:
        """Bytes of all its files; None where they are not known."""
        sizes = [part.size for part in self.parts]
        return None if None in sizes else sum(size or 0 for size in sizes)

    @property
    def n_bytes(self) -> int:
        """Bytes of all its files; 0 where they are not known."""
        return self.download_bytes or 0
