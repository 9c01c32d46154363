"""Going on in the middle of an epoch, and starting processes, through other people's trainers: `make clients`."""

from pathlib import Path

import numpy as np
import pytest
import torch

from datastage.batches.any_dataset import feed
from datastage.batches.arrays import from_arrays


def test_the_trainer_goes_on_in_the_middle_of_an_epoch_with_the_batches_that_were_left(run):
    said = run(
        """
        import torch, datastage
        from transformers import Trainer, TrainingArguments

        class Noisy(torch.utils.data.Dataset):
            def __len__(self): return 52
            def __getitem__(self, i): return {"x": torch.rand(3), "labels": i}

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.net, self.seen = torch.nn.Linear(3, 1), []
            def forward(self, x, labels):
                self.seen.append((labels.tolist(), x.sum().item()))
                return {"loss": self.net(x).mean()}

        class Fed(Trainer):
            def get_train_dataloader(self):
                return datastage.feed(Noisy(), batch_size=4, device="cpu", seed=2)

        def trained(**more):
            arguments = TrainingArguments("out", num_train_epochs=2, use_cpu=True, report_to=[], disable_tqdm=True,
                                          save_steps=5, save_only_model=False, **more)
            net = Net()
            Fed(net, arguments).train(resume_from_checkpoint=more.pop("resume_from_checkpoint", None))
            return net.seen

        whole = trained()
        rest = trained(resume_from_checkpoint="out/checkpoint-5")
        assert len(whole) == 26, len(whole)
        assert sorted(i for labels, _ in whole[:13] for i in labels) == list(range(52))
        assert rest == whole[5:], (rest[:2], whole[5:7])
        print("right")
        """,
        "transformers", "accelerate",
    )  # fmt: skip
    assert "right" in said


def test_lightning_starts_processes_and_goes_on_in_the_middle_of_an_epoch(run):
    said = run(
        """
        import lightning, numpy as np, torch, datastage
        from pathlib import Path

        class Model(lightning.LightningModule):
            def __init__(self, loader, name):
                super().__init__()
                self.net, self.loader, self.name = torch.nn.Linear(192, 3), loader, name
            def train_dataloader(self): return self.loader
            def training_step(self, batch, i):
                x, y = batch
                with open(f"{self.name}{self.global_rank}", "a") as file: file.write(f"{y.tolist()}\\n")
                return self.net(x.flatten(1)).mean()
            def configure_optimizers(self): return torch.optim.SGD(self.parameters(), 0.01)

        def loader():
            images = np.zeros((40, 8, 8, 3), np.uint8)
            return datastage.loaders((images, np.arange(40)), batch_size=4, device="cpu", progress=False).train

        def trained(name, checkpoint=None, **more):
            trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False,
                                        enable_model_summary=False, **more)
            trainer.fit(Model(loader(), name), ckpt_path=checkpoint)
            return trainer

        if __name__ == "__main__":
            keep = lightning.pytorch.callbacks.ModelCheckpoint(".", "{step}", every_n_train_steps=6, save_top_k=-1)
            trained("whole", max_epochs=2, callbacks=[keep])
            trained("part", checkpoint="step=6.ckpt", max_epochs=2, enable_checkpointing=False)
            whole, part = (Path(f"{name}0").read_text().splitlines() for name in ("whole", "part"))
            assert part == whole[6:], (part, whole)
            used = loader()
            next(iter(used))
            quiet = ["enable_progress_bar", "enable_model_summary", "enable_checkpointing", "logger"]
            trainer = lightning.Trainer(accelerator="cpu", devices=2, strategy="ddp_spawn", max_epochs=1,
                                        **dict.fromkeys(quiet, False))
            trainer.fit(Model(used, "spawned"))
            given = [i for rank in "01" for line in Path(f"spawned{rank}").read_text().splitlines() for i in eval(line)]
            assert sorted(given) == list(range(40)), given
            print("right")
        """,
        "lightning",
    )
    assert "right" in said


def total(rank, loader, folder):
    Path(folder, str(rank)).write_text(str(sum(int(y.sum()) for _, y in loader)))


@pytest.mark.parametrize("used", [False, True])
def test_a_loader_is_sent_to_processes_that_start_fresh(used, tmp_path):
    (train,) = from_arrays({"train": (np.zeros((20, 8, 8, 3), np.uint8), np.arange(20))}, batch_size=4, device="cpu")
    if used:
        next(iter(train))
    torch.multiprocessing.spawn(total, (train, str(tmp_path)), nprocs=2)
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["190", "190"]


def test_the_state_of_torchdatas_loader_goes_along():
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader

    def made(workers):
        return feed(stateful(list(range(40)), batch_size=4, shuffle=True, num_workers=workers), device="cpu")

    for workers in (0, 2):
        loader = made(workers)
        running = iter(loader)
        next(running), next(running)
        again = made(workers)
        again.load_state_dict(loader.state_dict())
        assert [batch.tolist() for batch in again] == [batch.tolist() for batch in running]


def test_graphs_are_moved_and_counted():
    geometric = pytest.importorskip("torch_geometric")
    graphs = [geometric.data.Data(x=torch.ones(i + 1, 3)) for i in range(10)]
    loader = feed(geometric.loader.DataLoader(graphs, batch_size=4), device="cpu")
    assert [batch.num_graphs for batch in loader] == [4, 4, 2]
    assert loader.stats.images == 10
