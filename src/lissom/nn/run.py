"""What surrounds the steps of a training: where it stands, what it keeps, when it ends."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from lissom.arrays import Array
from lissom.code_version import code_version
from lissom.errors import RequestError, RunError
from lissom.factory import digest_of, from_module
from lissom.nn import checkpoint as checkpoints
from lissom.nn.average import Average
from lissom.nn.checkpoint import (
    Checkpoint,
    Tensors,
    copied,
    pack_optimizer,
    tensors_of,
    unpack_optimizer,
)
from lissom.nn.divergence import diverged, first_bad_weight
from lissom.nn.feed import Batch, Feed
from lissom.nn.logs import TRACKERS, Entry, JsonLines, Log
from lissom.nn.place import Place, moved, moved_back
from lissom.nn.progress import Progress, Shown, TrainResult, said
from lissom.nn.schedule import PLATEAU, Schedule, make_optimizer
from lissom.nn.training import Training
from lissom.onnx_file import failing_as_folder_error
from lissom.training_data import TrainingData

Loss = Callable[[nn.Module, dict[str, torch.Tensor], "torch.Tensor | None"], torch.Tensor]
Validate = Callable[[nn.Module], float]


class Run:
    """One training of one module, from its first step or from a checkpoint to its last."""

    def __init__(
        self,
        module: nn.Module,
        data: TrainingData,
        config: Training,
        place: Place,
        seed: int,
        higher_is_better: bool,
        validate: Validate | None,
        folder: Path | None,
        beside: Mapping[str, Array] | None,
    ) -> None:
        _check(config, validate, folder)
        self.config, self.place, self.seed = config, place, seed
        self.higher_is_better, self.validate, self.folder = higher_is_better, validate, folder
        self.home = next((p.device for p in module.parameters()), torch.device("cpu"))
        self.module = moved(module, place.device).train()
        self.feed = Feed(data, config.batch_size, place=place, seed=seed, beside=beside)
        count = self.feed.count
        self.steps_in_epoch = None if count is None else math.ceil(count / config.accumulate)
        self.optimizer = make_optimizer(module, config)
        self.schedule = Schedule(self.optimizer, config, self.steps_in_epoch, higher_is_better)
        self.average = Average(module, config.ema) if config.ema is not None else None
        self.student = place.parallel(module)
        self.progress = Progress()
        self.best: Tensors = {}
        self.good = copied(module)
        self.logs: list[Log] = []
        self.identity: dict[str, str] = {}

    @property
    def kept(self) -> nn.Module:
        """The network whose weights count: the moving average if there is one."""
        return self.module if self.average is None else self.average.module

    @property
    def epochs_left(self) -> int:
        """How many epochs there still are, unless training stops early."""
        return self.config.epochs - self.progress.epoch

    @property
    def steps_left(self) -> int | None:
        """How many steps the present epoch still has, None where that is not known."""
        if self.steps_in_epoch is None:
            return None
        return self.steps_in_epoch - self.progress.batches // self.config.accumulate

    @contextmanager
    def resumed(self, facts: Mapping[str, str]) -> Iterator[None]:
        """Go on from the folder's checkpoint if it has one, and log for the time of the block.

        Raises:
            FolderError: the checkpoint is another run's, or damaged.
        """
        if self.folder is not None:
            self.identity = self._identity(facts)
            with failing_as_folder_error(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            found = checkpoints.load(self.folder, self.identity)
            if found is not None:
                self._restore(found, self.folder)
        if self.config.keep == "best" and self.progress.step == 0:
            # Training must not end worse than it began.
            metric = self._judge()
            if metric is not None and self._is_better(metric):
                self.progress.best, self.best = metric, copied(self.kept)
        self.began = time.monotonic() - self.progress.seconds
        with ExitStack() as stack:
            if self.folder is not None and not self.place.rank:
                checkpoints.sweep(self.folder)
                self._open_logs(self.folder)
                for log in self.logs:
                    stack.callback(log.close)
            yield

    def epochs(self) -> Iterator[Shown]:
        """The epochs that are still to be trained."""
        while self.epochs_left and not self._out_of_patience():
            number = self.progress.epoch
            last = self.progress.history[-1] if self.progress.history else {}
            yield Shown(number, f"epoch {number + 1} of {self.config.epochs}{said(last)}")

    def steps(self) -> Iterator[Shown]:
        """The optimizer steps of the present epoch that are still to be made."""
        at = self.progress
        self.module.train()
        batches = self.feed.epoch(at.epoch, at.batches, at.step)
        while group := tuple(islice(batches, self.config.accumulate)):
            loss = f"loss {at.loss / at.losses:.4g}" if at.losses else ""
            yield Shown(at.step, loss, group)

    def finite(self, value: torch.Tensor, batch: Batch, loss: Loss) -> float:
        """The loss as a number.

        Raises:
            RunError: it is none; the network gets its last good weights back.
        """
        number = float(value.item())
        if math.isfinite(number):
            return number

        def again() -> torch.Tensor:
            with self.place.autocast():
                return loss(self.module, batch.inputs, batch.targets)

        at = self.progress
        error = diverged(
            self.module, batch.inputs, again, loss=number, step=at.step + 1, epoch=at.epoch + 1
        )
        self._back_to_good()
        raise error

    def step(self, loss: float, batches: int) -> None:
        """Apply the gradient that `batches` batches have left, and note their mean loss."""
        at, config = self.progress, self.config
        if config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), config.clip_norm)
        at.lr = self.schedule.step(at.step)
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update(self.module, at.step)
        at.step += 1
        at.batches += batches
        at.loss += loss
        at.losses += 1
        if at.step % config.log_steps == 0:
            self._log({"step": at.step, "epoch": at.epoch + 1, "loss": loss, "lr": at.lr})
        if config.checkpoint_steps is not None and at.step % config.checkpoint_steps == 0:
            self._save()
            self.feed.reseed(at.step)

    def end_epoch(self) -> None:
        """Judge the network, keep it if it is the best so far, and write a checkpoint.

        Raises:
            RunError: a weight is not finite.
            FolderError: the checkpoint cannot be written; the one before it stays.
        """
        self._check_weights()
        at = self.progress
        metric = self._judge()
        self.schedule.end_epoch(metric)
        at.epoch += 1
        if metric is not None and self._is_better(metric):
            at.best, at.best_epoch = metric, at.epoch
            self.best = copied(self.kept) if self.config.keep == "best" else {}
        loss = at.loss / at.losses if at.losses else math.nan
        entry: dict[str, float | int | None] = {
            "step": at.step,
            "epoch": at.epoch,
            "loss": loss,
            "metric": metric,
            "lr": at.lr,
        }
        self._log(entry)
        at.history.append({**entry, "seconds": round(self._seconds(), 3)})
        at.batches, at.loss, at.losses = 0, 0.0, 0
        self._save()

    def result(self) -> TrainResult:
        """Leave the kept weights in the module, and say how it went."""
        at = self.progress
        state = self.best or copied(self.kept)
        self.module.load_state_dict(state, strict=False)
        moved_back(self.module, self.home).eval()
        last = at.history[-1]["metric"] if at.history else None
        metric = at.best if self.best else last
        return TrainResult(tuple(at.history), metric, at.epoch, self._seconds())

    def _judge(self) -> float | None:
        if self.validate is None:
            return None
        value = 0.0 if self.place.rank else float(self.validate(self.kept))
        return self.place.agree(value)

    def _is_better(self, metric: float) -> bool:
        best = self.progress.best
        if best is None or math.isnan(metric):
            return not math.isnan(metric)
        return metric > best if self.higher_is_better else metric < best

    def _out_of_patience(self) -> bool:
        patience, at = self.config.patience, self.progress
        return patience is not None and at.epoch - at.best_epoch >= patience

    def _check_weights(self) -> None:
        """A gradient that is not finite shows in the weights before any loss does."""
        weight = first_bad_weight(self.module)
        if weight is None:
            return
        self._back_to_good()
        raise RunError(
            f"the weight {weight!r} is not finite at step {self.progress.step}: a gradient was not",
            where=f"epoch {self.progress.epoch + 1}",
            fix="lower training.lr, or set training.clip_norm: 1.0; the network has its last good "
            "weights back",
        )

    def _back_to_good(self) -> None:
        self.module.load_state_dict(self.best or self.good, strict=False)
        moved_back(self.module, self.home).eval()

    def _seconds(self) -> float:
        return time.monotonic() - self.began

    def _log(self, entry: Entry) -> None:
        for log in self.logs:
            log.write({"metric": None, **entry, "seconds": round(self._seconds(), 3)})

    def _open_logs(self, folder: Path) -> None:
        at = self.progress
        self.lines = JsonLines(folder, at.log_size)
        self.logs = [self.lines, *(TRACKERS[name](folder, at.step) for name in self.config.log)]

    def _save(self) -> None:
        """Note that this state is good; on disk as well, by the first process."""
        self._check_weights()
        self.good = copied(self.module)
        if self.folder is not None and not self.place.rank:
            self._write(self.folder)
        # Whoever reads the folder next must find this checkpoint there.
        self.place.wait()

    def _write(self, folder: Path) -> None:
        at = self.progress
        at.seconds, at.log_size = self._seconds(), self.lines.size()
        moments, numbers = pack_optimizer(self.optimizer)
        parts = {"model": self.good, "best": self.best, "optimizer": moments}
        if self.average is not None:
            parts["average"] = tensors_of(self.average.module)
        tensors = {f"{part}.{n}": t for part, held in parts.items() for n, t in held.items()}
        state = {
            "progress": asdict(at),
            "optimizer": numbers,
            "schedule": self.schedule.state(),
        }
        checkpoints.save(folder, Checkpoint(tensors, state), self.identity)

    def _identity(self, facts: Mapping[str, str]) -> dict[str, str]:
        """A digest of each thing that decides the bits of the result."""
        settings = self.config.model_dump(mode="json", exclude={"log", "log_steps"})
        return {
            "settings": hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(),
            "training data": self.feed.data.digest(),
            "network": digest_of(from_module(self.module, torch.zeros(1))()),
            "seed": str(self.seed),
            "version of lissom": code_version(),
            "version of torch": torch.__version__,
            "device": str(self.place.device.type),
            "number of processes": str(self.place.world),
            **facts,
        }

    def _restore(self, found: Checkpoint, folder: Path) -> None:
        try:
            self.module.load_state_dict(found.part("model"), strict=False)
            if self.average is not None:
                self.average.module.load_state_dict(found.part("average"), strict=False)
            unpack_optimizer(self.optimizer, found.part("optimizer"), found.state["optimizer"])
            self.schedule.restore(found.state["schedule"])
            self.progress = Progress(**found.state["progress"])
        except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise checkpoints.damaged(folder, error) from None
        self.best = found.part("best")
        self.good = copied(self.module)


def _check(config: Training, validate: Validate | None, folder: Path | None) -> None:
    if validate is None and (config.patience is not None or config.schedule == PLATEAU):
        what = "early stopping (patience)" if config.patience is not None else PLATEAU
        raise RequestError(
            f"{what} needs a metric after every epoch, and there are no validation data",
            where="training",
            fix="give the task validation=(inputs, targets), or leave the setting out",
        )
    if config.log and folder is None:
        raise RequestError(
            f"a log for {config.log[0]} needs a folder", where="training.log", fix="give one"
        )
