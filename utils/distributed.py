"""Several processes that train one learner of fastai (lab 4a): `learner.distrib_ctx()`, with batches shared by row."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fastai.distributed import DistributedDL
from fastai.imports import chunked
from fastai.text.data import LMDataLoader
from fastai.torch_core import to_detach

from utils.errors import CourseError
from utils.settings import processes

if TYPE_CHECKING:
    from fastai.learner import Learner


@contextmanager
def distributed(learner: Learner) -> Iterator[Learner]:
    """Train with all processes that `accelerate launch` started, and do what one process would do; alone, do nothing.

    fastai's own sharing gives each process batches of full size, a half of the stream or of the texts, and repeats some
    texts so that all get equally many. Here the processes share the rows of each batch instead: number of updates,
    schedule and rates stay those of one process, and of a language model's stream each row stays with one process,
    which carries its states on. Validation is read whole by each. Order of texts and weights are those of the first
    process; each drops other units. Raises CourseError where the rows of a batch can't be shared evenly.
    """
    process, count = processes()
    if count == 1:
        yield learner
        return
    from accelerate.utils import DistributedDataParallelKwargs

    whole = list(learner.dls.loaders)
    train = whole[0]
    if train.bs % count or not (train.drop_last or train.n % train.bs == 0):
        raise CourseError(
            f"Batches of {train.bs} rows cannot be shared evenly by {count} processes: use batches of a multiple of "
            f"{count} rows, and drop_last=True."
        )
    gpu = torch.cuda.is_available()
    thawing = DistributedDataParallelKwargs(find_unused_parameters=True)  # groups may thaw during a fit
    try:
        with learner.distrib_ctx(sync_bn=gpu, cpu=not gpu, kwargs_handlers=[thawing]):
            _follow_the_first(train)
            if process:
                torch.manual_seed(int(torch.randint(2**31, ())) + process)
            learner.dls.loaders = [Rows(train, process, count), *(Rows(loader, 0, 1) for loader in whole[1:])]
            yield learner
    finally:
        learner.dls.loaders = whole


def _follow_the_first(loader: Any) -> None:
    """Give all processes the random numbers of the first one, and the order into which it has shuffled a stream."""
    stream = (
        loader if isinstance(loader, LMDataLoader) else None
    )  # shuffles what the epoch before has shuffled
    order = list(stream.items.idxs) if stream else []
    states = [random.getstate(), np.random.get_state(), loader.rng.getstate(), order]
    torch.distributed.broadcast_object_list(states)
    random.setstate(states[0])
    np.random.set_state(states[1])
    loader.rng.setstate(states[2])
    if stream:
        stream.items.reindex(states[3])
        stream.lens.reindex(states[3])


class Rows(DistributedDL):
    """The rows k, k + n, ... of each batch of a loader for process k of n; what one reads whole is not gathered."""

    def __init__(self, loader: Any, process: int, count: int) -> None:
        super().__init__(loader, process, count)
        self.bs = loader.bs // count

    def __len__(self) -> int:
        return len(self.dl)

    def get_idxs(self) -> list[int]:
        numbers = [int(i) for i in self.dl.get_idxs()]
        self.n = len(self.dl) * self.dl.bs if self.drop_last else len(numbers)
        return numbers[: self.n][self.rank :: self.world_size]

    def create_batches(self, samps: Iterator[int]) -> Iterator[Any]:
        return map(self.dl.do_batch, chunked(map(self.dl.do_item, samps), self.bs))

    def to_detach(self, b: Any, cpu: bool = True, gather: bool = True) -> Any:
        return to_detach(b, cpu, gather and self.world_size > 1)
