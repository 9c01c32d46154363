"""Each sample once, in training and in evaluation, through other people's loops on 1, 2 and 3 ranks: `make clients`."""

import json

import pytest

BEGIN = """
import json, os
from pathlib import Path
import numpy as np, torch, datastage

N, M = 50, 23  # neither is a multiple of what 1, 2 or 3 ranks take
RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))

def data(n):
    return np.zeros((n, 8, 8, 3), np.uint8), np.arange(n)

def loaders(**options):
    options = {"batch_size": 4, "device": "cpu", "progress": False, **options}
    return datastage.loaders({"train": data(N), "test": data(M)}, **options)

def net():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, N))

def keep(kind, labels):
    with open(f"{kind}.{RANK}", "a") as file:
        for i in labels:
            print(int(i), file=file)
"""


@pytest.fixture
def given(run, tmp_path):
    """Run a script; return which labels it kept of training and evaluation, of all ranks together."""

    def given(script, *clients, **options):
        run(BEGIN + script, *clients, **options)
        return {
            kind: sorted(int(i) for file in tmp_path.glob(f"{kind}.*") for i in file.read_text().split())
            for kind in ("train", "test")
        }

    return given


ONCE = {"train": list(range(50)), "test": list(range(23))}
RANKS = pytest.mark.parametrize("ranks", [1, 2, 3])


@RANKS
def test_torchrun_and_a_plain_gathering(given, ranks):
    script = """
train, test = loaders()
model = net()
if WORLD > 1:
    torch.distributed.init_process_group("gloo")
    model = torch.nn.parallel.DistributedDataParallel(model)
for x, y in train:
    torch.nn.functional.cross_entropy(model(x), y).backward()
    keep("train", y)
for x, y in test:
    pairs = torch.stack([y, test.valid.long()])
    every = [torch.empty_like(pairs) for _ in range(WORLD)]
    torch.distributed.all_gather(every, pairs) if WORLD > 1 else every[0].copy_(pairs)
    if RANK == 0:
        keep("test", [i for part in every for i, valid in part.T.tolist() if valid])
"""
    assert given(script, ranks=ranks) == ONCE


@RANKS
def test_accelerate(given, ranks):
    script = """
from accelerate import Accelerator, skip_first_batches
accelerator = Accelerator()
train, test = loaders(device=accelerator.device)
model = net()
model, optimizer, train, test = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.01), train, test)
whole = []
for x, y in train:
    accelerator.backward(torch.nn.functional.cross_entropy(model(x), y))
    keep("train", y)
for x, y in test:
    every = accelerator.gather_for_metrics(y)
    if RANK == 0:
        keep("test", every)
train.set_epoch(1)
whole = [y.tolist() for _, y in train]
train.set_epoch(1)
rest = [y.tolist() for _, y in skip_first_batches(train, 2)]
assert rest == whole[2:], (rest, whole)
"""
    assert given(script, "accelerate", ranks=ranks) == ONCE


@RANKS
def test_the_hugging_face_trainer(given, ranks):
    script = """
from transformers import Trainer, TrainingArguments

class Numbers(torch.utils.data.Dataset):
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def __getitem__(self, i): return {"x": torch.full((3,), float(i)), "labels": i}

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(3, 2)
    def forward(self, x, labels):
        if self.training:
            keep("train", labels)
        return {"loss": self.net(x).mean(), "logits": x}

class Fed(Trainer):
    def get_train_dataloader(self):
        return datastage.feed(Numbers(N), batch_size=4, device=self.args.device)
    def get_eval_dataloader(self, eval_dataset=None):
        return datastage.feed(torch.utils.data.DataLoader(Numbers(M), batch_size=4), device=self.args.device)

def measured(prediction):
    assert (prediction.predictions[:, 0] == prediction.label_ids).all()
    if RANK == 0:
        keep("test", prediction.label_ids)
    return {}

arguments = TrainingArguments("out", num_train_epochs=1, use_cpu=True, report_to=[], save_strategy="no",
                              disable_tqdm=True)
trainer = Fed(Net(), arguments, compute_metrics=measured)
trainer.train()
trainer.evaluate()
"""
    assert given(script, "transformers", "accelerate", ranks=ranks) == ONCE


@RANKS
def test_lightning(given, ranks):
    script = """
import lightning

class Data(lightning.LightningDataModule):
    def setup(self, stage):
        self.train, self.test = loaders()
    def train_dataloader(self): return self.train
    def val_dataloader(self): return self.test
    def test_dataloader(self): return self.test
    def predict_dataloader(self): return self.test

class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net()
    def training_step(self, batch, i):
        keep("train", batch[1])
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
    def validation_step(self, batch, i):
        pass
    def test_step(self, batch, i):
        keep("test", batch[1][self.trainer.datamodule.test.valid])
    def predict_step(self, batch, i):
        return batch[1]
    def configure_optimizers(self): return torch.optim.SGD(self.parameters(), 0.01)

quiet = dict.fromkeys(["enable_progress_bar", "enable_model_summary", "enable_checkpointing", "logger"], False)
trainer = lightning.Trainer(accelerator="cpu", devices=WORLD, strategy="ddp" if WORLD > 1 else "auto", max_epochs=1,
                            **quiet)
model, module = Model(), Data()
trainer.fit(model, datamodule=module)
trainer.test(model, datamodule=module, verbose=False)
found = torch.cat(trainer.predict(model, datamodule=module))
assert len(found) >= -(-M // WORLD)
"""
    assert given(script, "lightning", ranks=ranks) == ONCE


@RANKS
def test_lightnings_fabric(given, ranks):
    script = """
import lightning
fabric = lightning.Fabric(accelerator="cpu", devices=WORLD, strategy="ddp" if WORLD > 1 else "auto")
fabric.launch()
train, test = loaders()
model = net()
model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), 0.01))
running, rest = iter(train), []
for i in range(len(train)):
    x, y = next(running)
    fabric.backward(torch.nn.functional.cross_entropy(model(x), y))
    keep("train", y)
    if i == 2:
        fabric.save(f"kept{RANK}", {"loader": train})  # its state goes along by itself
    elif i > 2:
        rest.append(y.tolist())
for x, y in test:
    pairs = fabric.all_gather(torch.stack([y, test.valid.long()]))
    if RANK == 0:
        keep("test", [i for part in pairs.reshape(WORLD, 2, -1) for i, valid in part.T.tolist() if valid])
again, _ = loaders()
again.load_state_dict(torch.load("kept0")["loader"])  # written by rank 0
assert [y.tolist() for _, y in again] == rest
"""
    assert given(script, "lightning", ranks=ranks) == ONCE


@RANKS
def test_torchmetrics_and_ignite(given, ranks):
    script = """
import torchmetrics
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.metrics import Accuracy, Average
if WORLD > 1:
    torch.distributed.init_process_group("gloo")
train, test = loaders()
model = net()
trainer = create_supervised_trainer(model, torch.optim.SGD(model.parameters(), 0.01), torch.nn.functional.cross_entropy)
trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: keep("train", engine.state.batch[1]))
trainer.run(train, max_epochs=1)

total, kept = torchmetrics.SumMetric(), []
def measure(engine, batch):
    x, y = batch
    total.update(y[test.valid].float())
    keep("test", y[test.valid])
    scores = torch.nn.functional.one_hot(y.clamp(0), N).float()
    scores[:, 0] += 2.0 * (y % 2)  # half of the guesses are wrong
    return scores[test.valid], y[test.valid]
evaluator = Engine(measure)
Accuracy().attach(evaluator, "accuracy")
right = evaluator.run(test).metrics["accuracy"]
assert total.compute() == M * (M - 1) / 2, total.compute()
assert right == 12 / 23, right  # of 0 to 22 twelve are even
"""
    assert given(script, "torchmetrics", "ignite", ranks=ranks) == ONCE


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_ray_train(run, workers, tmp_path):
    script = """
import ray.train.torch
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer

def work(options):
    import numpy as np, torch, datastage
    made = {name: (np.zeros((n, 8, 8, 3), np.uint8), np.arange(n)) for name, n in (("train", 50), ("test", 23))}
    train, test = datastage.loaders(made, batch_size=4, device="cpu", progress=False)
    train = ray.train.torch.prepare_data_loader(train)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 50))
    model = ray.train.torch.prepare_model(net)
    rank = ray.train.get_context().get_world_rank()
    with open(f"{options['to']}/train.{rank}", "w") as file:
        for x, y in train:
            torch.nn.functional.cross_entropy(model(x), y).backward()
            print(*y.tolist(), file=file)
    with open(f"{options['to']}/test.{rank}", "w") as file:
        for x, y in test:
            print(*y[test.valid].tolist(), file=file)
    with open(f"{options['to']}/prepared.{rank}", "w") as file:
        for x, y in ray.train.torch.prepare_data_loader(test):  # whose wrapper has no `valid`
            print(*y[y >= 0].tolist(), file=file)

if __name__ == "__main__":
    import os
    ray.init(num_cpus=4, include_dashboard=False)  # a worker waits for a core of its own, as Ray counts them
    TorchTrainer(work, train_loop_config={"to": os.getcwd()}, scaling_config=ScalingConfig(num_workers=WORKERS)).fit()
"""
    run(script.replace("WORKERS", str(workers)), "ray")
    for kind, n in (("train", 50), ("test", 23), ("prepared", 23)):
        kept = [int(i) for file in tmp_path.glob(f"{kind}.*") for i in file.read_text().split()]
        assert sorted(kept) == list(range(n)), kind


KERAS = (
    "import keras\n"
    + BEGIN.replace("net()", "net_()")
    + """
class Seen(keras.metrics.Metric):
    '''The samples that count: how many, and their sum and squares, which tell each once from some twice.'''
    def __init__(self):
        super().__init__(name="seen")
        self.n, self.sum, self.squares = (self.add_weight(name=name, initializer="zeros") for name in "nsq")
    def update_state(self, y, guessed, sample_weight=None):
        y = keras.ops.cast(keras.ops.reshape(y, (-1,)), "float32")
        weight = keras.ops.ones_like(y)
        if sample_weight is not None:
            weight = keras.ops.cast(keras.ops.reshape(sample_weight, (-1,)), "float32")
        self.n.assign_add(keras.ops.sum(weight))
        self.sum.assign_add(keras.ops.sum(weight * y))
        self.squares.assign_add(keras.ops.sum(weight * y * y))
    def result(self):
        return keras.ops.stack([one + 0 for one in (self.n, self.sum, self.squares)])

def expected(n):
    return [n, n * (n - 1) // 2, sum(i * i for i in range(n))]
"""
)


@pytest.mark.parametrize("way", ["the loader", "as_tf", "as_tf, padded"])
@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
def test_keras(run, backend, way):
    if way != "the loader" and backend != "tensorflow":
        pytest.skip("tf.data is TensorFlow's")
    script = """
train, test = loaders()
next(iter(train)), next(iter(test))  # as people do to see a batch
if WAY != "the loader":
    from datastage.batches.frameworks import as_tf
    train, test = (as_tf(one, pad="padded" in WAY) for one in (train, test))
model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(N)])
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), weighted_metrics=[Seen()])

for epoch in range(2):
    seen = model.fit(train, epochs=1, verbose=0).history["seen"][0]
    assert np.asarray(seen).tolist() == expected(N), seen
seen = model.evaluate(test, verbose=0, return_dict=True)["seen"]
assert np.asarray(seen).tolist() == expected(M), seen
if "padded" not in WAY:
    assert model.predict(test, verbose=0).shape == (M, N)
"""
    run(KERAS + script.replace("WAY", json.dumps(way)), "keras", backend, KERAS_BACKEND=backend)


@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
def test_keras_takes_a_feed_in_the_form_that_its_dataset_gives(run, backend):
    script = """
class Pairs(torch.utils.data.Dataset):
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def __getitem__(self, i):
        return {"a": np.zeros((4, 4, 3), np.float32), "b": np.ones(2, np.float32)}, i, np.float32(1)

train = datastage.feed(Pairs(N), batch_size=4, device="cpu", progress=False)
test = datastage.feed(torch.utils.data.DataLoader(Pairs(M), 4), device="cpu", progress=False)
a, b = keras.Input((4, 4, 3)), keras.Input((2,))
both = keras.layers.Concatenate()([keras.layers.Flatten()(a), b])
model = keras.Model({"a": a, "b": b}, keras.layers.Dense(N)(both))
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), weighted_metrics=[Seen()])
for epoch in range(2):
    seen = model.fit(train, verbose=0).history["seen"][0]
    assert np.asarray(seen).tolist() == expected(N), seen
assert np.asarray(model.evaluate(test, verbose=0, return_dict=True)["seen"]).tolist() == expected(M)
assert model.predict(test, verbose=0).shape == (M, N)
"""
    run(KERAS + script, "keras", backend, KERAS_BACKEND=backend)


def test_skorch(given):
    script = """
import skorch.helper
train, test = loaders()

class Loss(torch.nn.CrossEntropyLoss):
    def forward(self, logits, y):
        keep("train" if logits.requires_grad else "test", y)
        return super().forward(logits, y)

model = skorch.NeuralNetClassifier(
    net(), criterion=Loss, max_epochs=1, verbose=0, classes=list(range(N)),
    train_split=skorch.helper.predefined_split(test.dataset),
    iterator_train=lambda dataset, **options: train, iterator_valid=lambda dataset, **options: test)
model.fit(train.dataset, y=None)
"""
    assert given(script, "skorch") == ONCE


def test_fastai(given):
    script = """
from fastai.basics import DataLoaders, Learner
import fastai.callback.progress  # Learner.no_bar
train, test = loaders()

evaluation = "test"

def loss(logits, y):
    keep("train" if logits.requires_grad else evaluation, y)
    return torch.nn.functional.cross_entropy(logits, y)

learner = Learner(DataLoaders(train, test), net(), loss_func=loss)
with learner.no_logging(), learner.no_bar():
    learner.fit(1, 0.01)
    evaluation = "prediction"
    guessed, labels = learner.get_preds(dl=test)
assert labels.tolist() == list(range(M)) and len(guessed) == M
"""
    found = given(script, "fastai")
    assert found == ONCE
