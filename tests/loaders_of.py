"""Loaders of a folder or a zip of class folders, as `loaders` makes them of what it staged; options by their names."""

from __future__ import annotations

from datastage import layouts
from datastage.batches.image_files import FolderImages, ZipImages
from datastage.batches.options import LoaderOptions
from datastage.batches.photos import from_reading


def from_folder(path, **named):
    return _read(FolderImages(str(path)), path, LoaderOptions(**named))


def from_archive(reader, **named):
    images = ZipImages(reader)
    return _read(images, images.tree(), LoaderOptions(**named))


def _read(images, tree, options):
    reading = layouts.read(tree, classes=options.classes or None, val=options.val, test=options.test)
    return from_reading(images, reading, options)
