"""The peers of feed.py that have ways of their own: webdataset, tf.data, spdl and FFCV, for CIFAR shapes and photos.

Each function makes what the peer reads, outside of what is timed, and returns a function that runs a share of an epoch
and returns that share. Which are here: `present`. A peer whose package is there but does not work is named with its
error and left out.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SHARDS = 4
Run = Callable[[], float | None]


def present(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def tried(name: str, make: Callable[[], Run]) -> dict[str, Run]:
    """Return {name: run} of a peer after one short run, or nothing and say why."""
    try:
        run = make()
        run()  # what is compiled or imported at first is not timed
        return {name: run}
    except Exception as error:
        print(f"{name} is left out: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        return {}


def part_of(batches, stop: int, whole: int) -> float:
    """Run through `stop` of an epoch's `whole` batches; return the share."""
    n = 0
    for n, _ in enumerate(batches, 1):
        if n == stop:
            break
    return min(1.0, n / whole)


# --- CIFAR-10 shapes


def cifar(images: np.ndarray, labels: np.ndarray, batch: int, share: float, scratch: Path) -> dict[str, Run]:
    """Return the peers that are here: crop 4, flip, normalise, float32."""
    found: dict[str, Run] = {}
    if present("webdataset"):
        for workers in (0, 2):
            found |= tried(
                f"webdataset of raw pixels, {workers} workers",
                lambda workers=workers: webdataset_cifar(images, labels, batch, workers, share, scratch),
            )
    if present("tensorflow-cpu") or present("tensorflow"):
        found |= tried("tf.data", lambda: tf_cifar(images, labels, batch, share))
    if present("ffcv"):
        found |= tried("FFCV, zero padding", lambda: ffcv_cifar(images, labels, batch, scratch))
    return found


def shards(folder: Path, samples: Iterator[dict[str, bytes]]) -> list[str]:
    """Write webdataset's tars, samples dealt out in turn."""
    folder.mkdir(exist_ok=True)
    names = [str(folder / f"{i}.tar") for i in range(SHARDS)]
    tars = [tarfile.open(name, "w") for name in names]
    for number, sample in enumerate(samples):
        for suffix, data in sample.items():
            info = tarfile.TarInfo(f"{number:07}.{suffix}")
            info.size = len(data)
            tars[number % SHARDS].addfile(info, io.BytesIO(data))
    for tar in tars:
        tar.close()
    return names


def webdataset_run(urls: list[str], decode: Callable, batch: int, workers: int, n: int, share: float) -> Run:
    import webdataset as wds

    made = wds.WebDataset(urls, shardshuffle=SHARDS, nodesplitter=wds.split_by_node).shuffle(1000).map(decode)
    loader = wds.WebLoader(made.batched(batch), batch_size=None, num_workers=workers)
    whole = -(-n // batch)
    return lambda: part_of(loader, max(2 * max(workers, 1), int(share * whole)), whole)


def webdataset_cifar(images, labels, batch: int, workers: int, share: float, scratch: Path) -> Run:
    from PIL import Image
    from torchvision import transforms as t

    steps = t.Compose([t.RandomCrop(32, padding=4), t.RandomHorizontalFlip(), t.ToTensor(), t.Normalize(MEAN, STD)])
    urls = shards(scratch / "webdataset", ({"raw": x.tobytes(), "cls": b"%d" % y} for x, y in zip(images, labels)))

    def decode(sample):
        pixels = np.frombuffer(sample["raw"], np.uint8).reshape(32, 32, 3)
        return steps(Image.fromarray(pixels)), int(sample["cls"])

    return webdataset_run(urls, decode, batch, workers, len(images), share)


def tf_cifar(images, labels, batch: int, share: float) -> Run:
    import tensorflow as tf

    mean, std = tf.constant(MEAN), tf.constant(STD)

    def augmented(image, label):
        padded = tf.pad(image, [[4, 4], [4, 4], [0, 0]], "REFLECT")
        image = tf.image.random_flip_left_right(tf.image.random_crop(padded, [32, 32, 3]))
        return (tf.cast(image, tf.float32) / 255 - mean) / std, label

    whole = tf.data.Dataset.from_tensor_slices((np.ascontiguousarray(images), labels)).shuffle(10_000)
    dataset = whole.map(augmented, tf.data.AUTOTUNE).batch(batch).prefetch(tf.data.AUTOTUNE)
    count = -(-len(images) // batch)
    return lambda: part_of(dataset, max(4, int(share * count)), count)


def ffcv_cifar(images, labels, batch: int, scratch: Path) -> Run:
    import torch
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import Convert, RandomHorizontalFlip, RandomTranslate, ToTensor, ToTorchImage
    from ffcv.writer import DatasetWriter
    from torchvision import transforms as t

    beton = scratch / "cifar.beton"

    class Pictures:
        def __len__(self):
            return len(images)

        def __getitem__(self, i):
            return np.ascontiguousarray(images[i]), int(labels[i])

    writer = DatasetWriter(str(beton), {"image": RGBImageField(), "label": IntField()}, num_workers=1)
    writer.from_indexed_dataset(Pictures())
    mean, std = ([255 * v for v in values] for values in (MEAN, STD))
    pixels = [SimpleRGBImageDecoder(), RandomHorizontalFlip(), RandomTranslate(padding=4), ToTensor(), ToTorchImage()]
    pixels += [Convert(torch.float32), t.Normalize(mean, std)]
    loader = Loader(
        str(beton), batch_size=batch, num_workers=CORES, order=OrderOption.RANDOM, drop_last=False,
        pipelines={"image": pixels, "label": [IntDecoder(), ToTensor()]},
    )  # fmt: skip
    return lambda: part_of(loader, len(loader), len(loader))


# --- photos


def photos(files: list[Path], size: int, scale: tuple[float, float], share: float, scratch: Path) -> dict[str, Run]:
    """Return the peers that are here: random-resized crop and flip, uint8 out where the peer lets one choose."""
    found: dict[str, Run] = {}
    if present("webdataset"):
        found |= tried(
            "webdataset, torchvision's transforms, 2 workers",
            lambda: webdataset_photos(files, size, scale, share, scratch),
        )
    if present("tensorflow-cpu") or present("tensorflow"):
        found |= tried("tf.data, uint8", lambda: tf_photos(files, size, scale))
    if present("spdl"):
        found |= tried("spdl, OpenCV in threads, uint8", lambda: spdl_photos(files, size, scale))
    if present("ffcv"):
        for mode in ("jpg", "raw"):
            found |= tried(
                f"FFCV of 256 pixels, {mode}, uint8", lambda mode=mode: ffcv_photos(files, size, scale, mode, scratch)
            )
    return found


def webdataset_photos(files: list[Path], size: int, scale, share: float, scratch: Path) -> Run:
    from PIL import Image
    from torchvision import transforms as t

    steps = t.Compose(
        [t.RandomResizedCrop(size, scale), t.RandomHorizontalFlip(), t.ToTensor(), t.Normalize(MEAN, STD)]
    )
    urls = shards(scratch / "webdataset photos", ({"jpg": file.read_bytes(), "cls": b"0"} for file in files))

    def decode(sample):
        return steps(Image.open(io.BytesIO(sample["jpg"])).convert("RGB")), int(sample["cls"])

    return webdataset_run(urls, decode, 64, 2, len(files), share)


def tf_photos(files: list[Path], size: int, scale) -> Run:
    import tensorflow as tf

    def decoded(name):
        data = tf.io.read_file(name)
        shape = tf.image.extract_jpeg_shape(data)
        box = tf.zeros([1, 0, 4])
        begin, extent, _ = tf.image.sample_distorted_bounding_box(
            shape, box, area_range=scale, aspect_ratio_range=(3 / 4, 4 / 3), use_image_if_no_bounding_boxes=True
        )
        window = tf.stack([begin[0], begin[1], extent[0], extent[1]])
        image = tf.image.resize(tf.image.decode_and_crop_jpeg(data, window, channels=3), [size, size])
        return tf.cast(tf.image.random_flip_left_right(image), tf.uint8)

    names = tf.data.Dataset.from_tensor_slices([str(file) for file in files]).shuffle(len(files))
    dataset = names.map(decoded, tf.data.AUTOTUNE).batch(64).prefetch(tf.data.AUTOTUNE)
    count = -(-len(files) // 64)
    return lambda: part_of(dataset, count, count)


def tf_first(files: list[Path], size: int, batch: int) -> None:
    """Make tf.data's first batch of photos whose middle is cut out."""
    import tensorflow as tf

    def decoded(name):
        image = tf.image.decode_jpeg(tf.io.read_file(name), channels=3)
        shape = tf.shape(image)
        least = tf.minimum(shape[0], shape[1])
        top, left = (shape[0] - least) // 2, (shape[1] - least) // 2
        image = tf.image.resize(image[top : top + least, left : left + least], [size, size])
        return tf.cast(image, tf.uint8)

    names = tf.data.Dataset.from_tensor_slices([str(file) for file in files]).shuffle(len(files))
    next(iter(names.map(decoded, tf.data.AUTOTUNE).batch(batch)))


def spdl_photos(files: list[Path], size: int, scale) -> Run:
    """Run spdl's threads; its own decoders want FFmpeg's libraries installed, so OpenCV does the pixels."""
    import cv2
    import torch
    from spdl.pipeline import PipelineBuilder
    from torchvision import transforms as t

    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)

    def decode(file: Path) -> np.ndarray:
        pixels = cv2.cvtColor(cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        shape = torch.empty((3, *pixels.shape[:2]), device="meta")
        top, left, height, width = t.RandomResizedCrop.get_params(shape, list(scale), [3 / 4, 4 / 3])
        out = cv2.resize(pixels[top : top + height, left : left + width], (size, size))
        return cv2.flip(out, 1) if rng.random() < 0.5 else out

    def run() -> float:
        source = [files[i] for i in rng.permutation(len(files))]
        made = PipelineBuilder().add_source(source).pipe(decode, concurrency=CORES).aggregate(64).pipe(np.stack)
        pipeline = made.add_sink(2).build(num_threads=CORES)
        count = -(-len(files) // 64)
        with pipeline.auto_stop():
            return part_of(pipeline.get_iterator(timeout=60), count, count)

    return run


def ffcv_photos(files: list[Path], size: int, scale, mode: str, scratch: Path) -> Run:
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import RandomHorizontalFlip, ToTensor, ToTorchImage
    from ffcv.writer import DatasetWriter
    from PIL import Image

    beton = scratch / f"photos-{mode}.beton"

    class Pictures:
        def __len__(self):
            return len(files)

        def __getitem__(self, i):
            return Image.open(files[i]).convert("RGB"), 0

    field = RGBImageField(write_mode=mode, max_resolution=None if mode == "jpg" else 256)
    DatasetWriter(str(beton), {"image": field, "label": IntField()}, num_workers=1).from_indexed_dataset(Pictures())
    crop = RandomResizedCropRGBImageDecoder((size, size), scale=scale)
    loader = Loader(
        str(beton), batch_size=64, num_workers=CORES, order=OrderOption.RANDOM, drop_last=False,
        pipelines={
            "image": [crop, RandomHorizontalFlip(), ToTensor(), ToTorchImage()], "label": [IntDecoder(), ToTensor()],
        },
    )  # fmt: skip
    return lambda: part_of(loader, len(loader), len(loader))
