"""Texts, reviews and ratings. They are staged whole; `layouts` says how to feed them.

Digests: tensorflow-datasets 4.9.10 (sha256), torchtext (md5), keras and scikit-learn (sha256).
"""

from __future__ import annotations

from datastage.entry import ArchiveEntry, Lookalike, Part

_AG = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv"
_LENS = "https://files.grouplens.org/datasets/movielens"
_LENS_TERMS = "GroupLens: no redistribution without permission"


def _movielens(name: str, title: str, file: str, size: int, sha256: str) -> ArchiveEntry:
    return ArchiveEntry(
        name, title, (f"{_LENS}/{file}",), f"sha256:{sha256}", size, task="recommendation", licence=_LENS_TERMS,
        citation="Harper, Konstan, 2015", homepage="https://grouplens.org/datasets/movielens/", mirror=False,
    )  # fmt: skip


ENTRIES = (
    ArchiveEntry(
        "imdb", "IMDB reviews", ("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",),
        "md5:7c2ac02c03563afcf9b574c7e56c153a", 84125825, task="text", citation="Maas et al., ACL 2011",
        homepage="https://ai.stanford.edu/~amaas/data/sentiment/", splits={"train": 25000, "test": 25000},
        classes=("neg", "pos"),
        lookalikes=(
            Lookalike("one table of 50,000 reviews, not parted", "aclImdb_v1.tar.gz", names=("*/IMDB Dataset.csv",)),
        ),
    ),
    ArchiveEntry(
        "ag_news", "AG News", (f"{_AG}/train.csv",), "md5:b1a00f826fdfbd249f79597b59e1dc12", 29470338, unpack=False,
        more=(Part("test.csv", (f"{_AG}/test.csv",), "md5:d52ea96a97a2d943681189a97654912d", 1857427, unpack=False),),
        task="text", licence="non-commercial", citation="Zhang, Zhao, LeCun, NIPS 2015",
        splits={"train": 120000, "test": 7600}, classes=("World", "Sports", "Business", "Sci/Tech"),
        lookalikes=(
            Lookalike("the tables with a header, which are other bytes", "train.csv and test.csv without a header",
                      names=("*/ag-news-classification-dataset/*.csv",)),
        ),
    ),
    ArchiveEntry(
        "wikitext2", "WikiText-2, raw", ("https://wikitext.smerity.com/wikitext-2-raw-v1.zip",),
        "sha256:ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11", 4721645, task="text",
        licence="CC BY-SA 3.0", citation="Merity et al., arXiv 1609.07843",
    ),
    ArchiveEntry(
        "wikitext2_tokens", "WikiText-2, word tokens", ("https://wikitext.smerity.com/wikitext-2-v1.zip",),
        "md5:542ccefacc6c27f945fb54453812b3cd", 4475746, task="text", licence="CC BY-SA 3.0",
        citation="Merity et al., arXiv 1609.07843",
    ),
    ArchiveEntry(
        "wikitext103", "WikiText-103, word tokens", ("https://wikitext.smerity.com/wikitext-103-v1.zip",),
        "md5:9ddaacaf6af0710eda8c456decff7832", 190229076, task="text", licence="CC BY-SA 3.0",
        citation="Merity et al., arXiv 1609.07843",
    ),
    ArchiveEntry(
        "tiny_shakespeare", "Tiny Shakespeare",
        ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
         "https://storage.googleapis.com/download.tensorflow.org/data/shakespeare.txt"),
        "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed", 1115394, task="text",
        licence="public domain", citation="A. Karpathy, char-rnn, 2015", file="input.txt",
    ),
    ArchiveEntry(
        "newsgroups20", "20 Newsgroups, by date", ("https://ndownloader.figshare.com/files/5975967",),
        "sha256:8f1b2514ca22a5ade8fbb9cfa5727df95fa587f4c87b786e15c759fa66d95610", 14464277, task="text",
        file="20news-bydate.tar.gz",
        homepage="http://qwone.com/~jason/20Newsgroups/",
    ),
    _movielens("movielens_small", "MovieLens, latest small", "ml-latest-small.zip", 978202,
               "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436"),
    _movielens("movielens_100k", "MovieLens 100K", "ml-100k.zip", 4924029,
               "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"),
    _movielens("movielens_1m", "MovieLens 1M", "ml-1m.zip", 5917549,
               "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"),
    _movielens("movielens_20m", "MovieLens 20M", "ml-20m.zip", 198702078,
               "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3"),
)  # fmt: skip
