"""Train on several processes: two T4 on Kaggle, the GPUs of a server, or two processes on a laptop's CPU.

    torchrun --nproc_per_node=2 train_on_ranks.py --data cifar10
    !torchrun --nproc_per_node=2 train_on_ranks.py --data cifar10 --keep train.pt      in a cell, the file beside it

Each process gets its share of the data, in training and in the test. With --keep a run that was stopped goes on with
the next batch.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from small_resnet import small_resnet
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import datastage


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", default="cifar10", help="what datastage.loaders takes: a name, a folder, drive:...")
    options.add_argument("--epochs", type=int, default=4)
    options.add_argument("--batch-size", type=int, default=128, help="samples a batch, on each process")
    options.add_argument("--size", type=int, help="for photos: height and width")
    options.add_argument("--keep", type=Path, help="the file that the training is kept in, every 100 batches")
    options.add_argument("--stop-after", type=int, help="batches after which this run stops, to try --keep")
    chosen = options.parse_args()
    more = {"size": chosen.size} if chosen.size else {}
    train, test = datastage.loaders(chosen.data, batch_size=chosen.batch_size, **more)
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    if ranks > 1:
        torch.distributed.init_process_group("nccl" if train.device.type == "cuda" else "gloo")
    first = int(os.environ.get("RANK", 0)) == 0
    pictures, labels = train.dataset[0][0].shape, train.dataset.targets
    torch.manual_seed(0)  # the same first weights everywhere
    model = small_resnet(pictures[-1], len(train.classes) or int(labels.max()) + 1, 16).to(train.device)
    optimizer = torch.optim.AdamW(model.parameters(), 0.002)
    if chosen.keep and chosen.keep.exists():
        kept = torch.load(chosen.keep, map_location=train.device, weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        train.load_state_dict(kept["train"])
    shared = DistributedDataParallel(model) if ranks > 1 else model
    done = 0
    while train.state_dict()["epoch"] < chosen.epochs:
        for x, y in train:
            optimizer.zero_grad()
            cross_entropy(shared(x), y).backward()
            optimizer.step()
            done += 1
            stops = done == chosen.stop_after
            if first and chosen.keep and (stops or done % 100 == 0):
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "train": train.state_dict()}
                torch.save(state, chosen.keep)
            if stops:
                return
        right, n = evaluate(model, test, ranks)
        if first:
            print(f"epoch {train.state_dict()['epoch']}: {right} of {n} right", flush=True)


@torch.no_grad()
def evaluate(model: torch.nn.Module, test, ranks: int) -> tuple[int, int]:
    """Return how many test samples are told right, and how many there are, over all processes."""
    model.eval()
    counts = torch.zeros(2, device=test.device)
    for x, y in test:
        counts += torch.stack([(model(x).argmax(1) == y)[test.valid].sum(), test.valid.sum()])
    if ranks > 1:
        torch.distributed.all_reduce(counts)
    model.train()
    right, n = counts.long().tolist()
    return right, n


if __name__ == "__main__":
    main()
