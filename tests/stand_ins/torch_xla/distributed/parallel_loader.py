"""As torch_xla.distributed.parallel_loader 2.9: reads ahead in a thread, and takes an error there for the end."""

import queue
import threading

import torch

import torch_xla

shapes = set()
"""Every shape that was given to a device: each new one would be compiled for."""


class MpDeviceLoader:
    def __init__(self, loader, device, **kwargs):
        self._loader, self._device = loader, device

    def __len__(self):
        return len(self._loader)

    def __iter__(self):
        ready = queue.Queue(16 + 8)
        end = object()

        def work():
            try:
                for batch in self._loader:
                    ready.put(batch)
            except Exception:
                pass  # PerDeviceLoader's reader only closes its queue
            ready.put(end)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        while (batch := ready.get()) is not end:
            assert all(isinstance(part, torch.Tensor) and part.device.type == "cpu" for part in batch)
            shapes.add(tuple(tuple(part.shape) for part in batch))
            torch_xla.sync()
            yield batch
        thread.join()
