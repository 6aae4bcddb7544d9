"""How to train: the settings of the one loop, by torch's names."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from lissom.errors import unknown
from lissom.technique import Config

Tracker = Literal["tensorboard", "mlflow", "wandb"]
Option = bool | int | float | str | tuple[float, ...] | None


class Training(Config):
    """Settings of the training loop (`lissom.nn.train.train`).

    Attributes:
        epochs: passes over the training data.
        batch_size: rows of a batch and process, where the data are whole arrays; a DataLoader
            has its own. Rows that fill no batch are left out of an epoch, others each time.
        optimizer: a class of torch.optim, "SGD" or "AdamW" for example.
        lr, weight_decay: given to it.
        optimizer_options: what else it is given: {"momentum": 0.9}.
        schedule: a class of torch.optim.lr_scheduler, or None for a constant learning rate.
        schedule_options: given to it. Those that end with the run (CosineAnnealingLR, LinearLR,
            PolynomialLR, OneCycleLR) are told its length unless you do.
        schedule_every: what the schedule counts; "auto" is steps for those that end with the
            run, and epochs for the others.
        warmup_steps: optimizer steps over which the learning rate first rises from 0.
        accumulate: batches whose mean gradient makes one optimizer step.
        clip_norm: largest Euclidean norm of the gradient, or None.
        precision: "float32", "bfloat16" (autocast), or "auto": bfloat16 on a CUDA device that
            computes in it, float32 elsewhere.
        device: "cuda", "mps", "cpu", or "auto": the first of them that is there.
        patience: epochs without a better metric after which training stops, or None.
        ema: decay of the moving average of the weights that is kept instead of them, or None.
        keep: the epoch whose weights are kept: the best by the metric, or the last.
        checkpoint_steps: optimizer steps between checkpoints, besides one after each epoch.
        log_steps: optimizer steps between lines of the log.
        log: where the log goes besides log.jsonl.
    """

    epochs: PositiveInt = 10
    batch_size: PositiveInt = 64
    optimizer: str = "AdamW"
    lr: PositiveFloat = 1e-3
    weight_decay: float = Field(default=0.0, ge=0)
    optimizer_options: dict[str, Option] = Field(default_factory=dict)
    schedule: str | None = "CosineAnnealingLR"
    schedule_options: dict[str, Option] = Field(default_factory=dict)
    schedule_every: Literal["auto", "step", "epoch"] = "auto"
    warmup_steps: int = Field(default=0, ge=0)
    accumulate: PositiveInt = 1
    clip_norm: PositiveFloat | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    patience: PositiveInt | None = None
    ema: float | None = Field(default=None, gt=0, lt=1)
    keep: Literal["best", "last"] = "best"
    checkpoint_steps: PositiveInt | None = None
    log_steps: PositiveInt = 50
    log: tuple[Tracker, ...] = ()

    def check(self) -> None:
        """Refuse an optimizer or a schedule that torch does not have.

        Raises:
            RequestError: no such name; the nearest one is offered.
        """
        from lissom.nn.schedule import optimizers, schedules

        if self.optimizer not in optimizers():
            raise unknown("optimizer", self.optimizer, optimizers())
        if self.schedule is not None and self.schedule not in schedules():
            raise unknown("schedule", self.schedule, schedules())
