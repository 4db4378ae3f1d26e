"""A training of fastai that goes on where it was interrupted (lab 4a)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.text.all import (
    Callback,
    CancelEpochException,
    CancelFitException,
    LMDataLoader,
    ParamScheduler,
    to_device,
)

from utils.checkpoints import fill, read_pth
from utils.distributed import Rows
from utils.errors import CourseError
from utils.longrun import replacing
from utils.settings import processes

RECORDS = ("lrs", "iters", "losses", "values")  # what fastai's recorder keeps of each batch or epoch


class Resume(Callback):
    """Lets a training that was interrupted in the middle of an epoch go on where that epoch began (lab 4a).

    Before the first epoch and after each one, `file` takes the weights, the optimizer, the random numbers, the order of
    the texts and the records. The same call after an interruption, `learner.fit_one_cycle(3, 0.01,
    cbs=Resume(file))` say, reads it, trains the interrupted epoch anew, with its part of the schedule, and ends at
    the weights that it would have had undisturbed; where the training is complete, it only reads the weights. Each
    call of `fit` needs a file of its own. Of several processes, in `distributed`, the first one writes. What
    further callbacks remember (early stopping does) is not kept. Raises CourseError for the file of another
    training (sizes, epochs, texts, frozen groups, rates) and for one that is damaged or asks for code.
    """

    order = 80  # after fastai's recorder and schedules, which begin anew with each call

    def __init__(self, file: Path | str):
        self.file = Path(file)
        self.plan: dict[str, Any] = {}
        self.kept: dict[str, Any] = {}

    def __call__(self, event_name: str) -> None:
        try:
            super().__call__(event_name)
        except CourseError as error:  # fastai puts words of its own in front
            raise CourseError(str(error).rpartition("\n\t")[2]) from None

    def before_fit(self) -> None:
        if self._aside():
            return
        self.plan, self.kept = self._planned(), {}
        if not self.file.exists():
            self._write(0)
            return
        self.kept = read_pth(self.file, "delete it to begin anew")
        self._compare()
        if self.kept["done"] == self.n_epoch:
            print(f"{self.file.name}: this training is complete, its weights were read")
            self._restore()
            raise CancelFitException
        print(f"{self.file.name}: going on with epoch {self.kept['done'] + 1} of {self.n_epoch}")

    def before_epoch(self) -> None:
        if self.kept and not self._aside():
            if self.epoch < self.kept["done"]:
                raise CancelEpochException
            self._restore()

    def after_epoch(self) -> None:
        if not self.kept and not self._aside():
            self._write(self.epoch + 1)

    def _aside(self) -> bool:
        """Whether fastai calls without training: to validate, to predict, or to look for a rate."""
        return self.learn.lock.locked() or hasattr(self.learn, "lr_finder")

    def _planned(self) -> dict[str, Any]:
        """What two calls must share to be the same training."""
        texts = self.dls.train_ds
        schedules = [cb.scheds for cb in self.learn.cbs if isinstance(cb, ParamScheduler)]
        rates = [{name: [f(at) for at in (0.0, 0.1, 0.3, 0.8)] for name, f in s.items()} for s in schedules]
        return {
            "processes": self._processes()[1],
            "epochs": self.n_epoch,
            "batches in an epoch": len(self.dls.train),
            "frozen groups": self.opt.frozen_idx,
            "rates": _plain([rates, [hyper["lr"] for hyper in self.opt.hypers]]),
            "texts": [len(texts), repr(texts[0]), repr(texts[len(texts) - 1])],
        }

    def _compare(self) -> None:
        before = self.kept.get("plan")
        if not isinstance(before, dict):
            raise CourseError(f"{self.file} holds no training: give this one a file of its own.")
        for key, now in self.plan.items():
            if before.get(key) != now:
                known = isinstance(before.get(key), int)
                what = f"{before[key]} {key}, and this one has {now}" if known else f"other {key}"
                raise CourseError(
                    f"{self.file} was written by a training with {what}: repeat that call to go on, or give this one a "
                    "file of its own."
                )

    def _processes(self) -> tuple[int, int]:
        """The number of this process, and how many share this training."""
        return processes() if isinstance(self.dls.train, Rows) else (0, 1)

    def _loader(self) -> Any:
        """The training loader, which `distributed` wraps."""
        loader = self.dls.train
        return loader.dl if isinstance(loader, Rows) else loader

    def _module(self) -> torch.nn.Module:
        """The model, which fastai wraps where several processes train it."""
        return getattr(self.model, "module", self.model)

    def _write(self, done: int) -> None:
        process, count = self._processes()
        own = [torch.get_rng_state(), torch.cuda.get_rng_state_all()]
        drawn: list[Any] = [own] * count
        if count > 1:
            torch.distributed.all_gather_object(drawn, own)
        if process:
            return
        loader, recorder = self._loader(), self.learn.recorder
        state = {
            "plan": self.plan,
            "done": done,
            "model": self._module().state_dict(),
            "optimizer": self.opt.state_dict(),
            "gradients": [
                p.grad is not None for p in self.model.parameters()
            ],  # fastai updates all that have one
            "random": [random.getstate(), np.random.get_state(), loader.rng.getstate()],
            "torch": drawn,
            "order": loader.items.idxs if isinstance(loader, LMDataLoader) else [],
            "records": {key: getattr(recorder, key) for key in RECORDS},
            "smooth": [recorder.smooth_loss.count, recorder.smooth_loss.val],
        }
        with replacing(self.file) as part:
            torch.save(_plain(state), part)

    def _restore(self) -> None:
        kept, loader, recorder = self.kept, self._loader(), self.learn.recorder
        fill(self._module(), kept["model"], str(self.file), "give this training a file of its own")
        self.opt.load_state_dict(to_device(kept["optimizer"], next(self.model.parameters()).device))
        for parameter, had in zip(self.model.parameters(), kept["gradients"], strict=True):
            parameter.grad = torch.zeros_like(parameter) if had else None
        python, numpy, own = kept["random"]
        random.setstate((python[0], tuple(python[1]), python[2]))
        np.random.set_state((numpy[0], np.array(numpy[1], dtype=np.uint32), *numpy[2:]))
        loader.rng.setstate((own[0], tuple(own[1]), own[2]))
        cpu, cuda = kept["torch"][self._processes()[0]]
        torch.set_rng_state(cpu)
        if cuda and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(cuda)
        if isinstance(loader, LMDataLoader):  # shuffles what the epoch before has shuffled
            loader.items.reindex(kept["order"])
            loader.lens.reindex(kept["order"])
        for key in RECORDS:
            setattr(recorder, key, kept["records"][key])
        recorder.smooth_loss.count, recorder.smooth_loss.val = kept["smooth"]
        self.learn.train_iter = kept["done"] * len(loader)
        self.kept = {}


def _plain(value: Any) -> Any:
    """`value` made of lists, dicts, numbers, words and tensors only, which `read_pth` takes."""
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value if isinstance(value, str | int | float | None) else [_plain(each) for each in value]
