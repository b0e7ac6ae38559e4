"""Objectives in Hugging Face's ``Trainer``: a loss function, and a collator for groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback
from typing_extensions import override

from lightning_gft.checks import check_kind
from lightning_gft.errors import GFTValueError
from lightning_gft.functional import label_entropy, label_logprobs
from lightning_gft.losses import GFTLoss, GroupLoss
from lightning_gft.metrics import CoefficientsBySource
from lightning_gft.types import GroupBatch, Need, Source
from lightning_gft.types.sequences import IGNORED

_KNOWN: frozenset[Need] = frozenset({"advantages", "entropy"})
"""Needs of a loss that a model's outputs and a collated batch meet."""


class TrainerLoss(TrainerCallback):
    """The ``compute_loss_func`` of Hugging Face's ``Trainer`` and of TRL's ``SFTTrainer``.

    With labels alone, every sequence is a demonstration of advantage 1: ``TrainerLoss()`` is then supervised
    fine-tuning whose token weights are rectified, and ``TrainerLoss(SFTLoss())`` is the trainer's own loss. A
    :class:`GroupCollator` adds advantages and sources.

    ``Z`` is the number of labels that the trainer counts, over accumulated batches and ranks. A trainer that also gets
    the object among its ``callbacks`` logs the token weights before and after rectification, such as
    ``rectified_fraction``, with its own figures: in ``trainer.state.log_history``, and to callbacks that come later.

    Args:
        loss: The objective; default :class:`~lightning_gft.GFTLoss`.

    Raises:
        TypeError: If ``loss`` is no :class:`~lightning_gft.GroupLoss`.
        ValueError: If the loss needs what the trainer does not provide: log-probabilities of another policy, another
            reduction than ``"token-mean"``, or state that its checkpoints do not hold.

    Example:
        >>> from types import SimpleNamespace
        >>> from lightning_gft import SFTLoss
        >>> outputs, labels = SimpleNamespace(logits=torch.zeros(1, 3, 16)), torch.tensor([[-100, 2, 3]])
        >>> TrainerLoss(SFTLoss())(outputs, labels, num_items_in_batch=2)  # log 16
        tensor(2.7726)
        >>> TrainerLoss()(outputs, labels, num_items_in_batch=2)  # p = 1/16 is below the threshold
        tensor(0.1733)
    """

    def __init__(self, loss: GroupLoss | None = None) -> None:
        self.loss = GFTLoss() if loss is None else loss
        check_kind("loss", self.loss, GroupLoss, "GFTLoss()")
        _check_loss(self.loss)
        self._statistics: CoefficientsBySource | None = None  # set when training begins, if a callback

    def __call__(
        self, outputs: Any, labels: Tensor | GroupLabels, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Return the scalar loss of a batch.

        Args:
            outputs: What the model returned, with ``logits`` ``[N, T, V]``.
            labels: ``[N, T]`` token ids with -100, or those of a :class:`GroupCollator`.
            num_items_in_batch: ``Z``, as the trainer counts it; by default the labels of this batch.

        Raises:
            ValueError: If the logits or the labels are missing, or the loss does not train on plain labels.
        """
        groups, logits = _groups(labels), outputs["logits"] if isinstance(outputs, dict) else outputs.logits
        if logits is None:
            raise GFTValueError(
                "`outputs`: expected logits, got none; set use_liger_kernel=False, whose fused loss leaves them out"
            )
        if isinstance(labels, Tensor) and not self.loss.takes_part(groups).all():
            raise GFTValueError(
                f"`labels`: expected a GroupCollator's, as {type(self.loss).__name__} does not train on plain "
                f"demonstrations; give the trainer data_collator=GroupCollator(collator, loss)"
            )
        ids = labels if isinstance(labels, Tensor) else labels.labels
        logprobs = label_logprobs(logits, ids)
        self.loss.to(logprobs.device)  # its counts and thresholds; the trainer moves the model alone
        known = {"entropy": label_entropy(logits.detach(), ids)} if "entropy" in self.loss.needs() else {}
        if self._statistics is not None and torch.is_grad_enabled():
            self._count(self._statistics.to(logprobs.device), groups, logprobs, known)
        loss: Tensor = self.loss(logprobs, groups, **known)
        if num_items_in_batch is None:
            return loss
        total = torch.as_tensor(num_items_in_batch, device=loss.device).flatten()[:1].clamp(min=1).squeeze()
        return loss * (groups.response_mask.sum().clamp(min=1) / total)

    @override
    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.loss.reset()
        self._statistics = CoefficientsBySource()

    @override
    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Add the figures since the last row, on all ranks together."""
        if self._statistics is None or logs is None or "loss" not in logs:  # evaluations, and the summary at the end
            return
        figures = {
            name: float(figure) for name, figure in {**self._statistics.compute(), **self.loss.compute()}.items()
        }
        self._statistics.reset()
        self.loss.reset()
        logs.update(figures)
        state.log_history[-1].update(figures)

    def _count(
        self, statistics: CoefficientsBySource, groups: GroupBatch, logprobs: Tensor, known: Mapping[str, Tensor]
    ) -> None:
        mask = groups.response_mask
        tokens = groups.tokens(logprobs.detach()[mask])
        if "entropy" in known:
            tokens.entropy = known["entropy"][mask]
        coefficients = self.loss.coefficients(tokens)
        self.loss.update(tokens, coefficients)
        factors = self.loss.factors(tokens, coefficients)
        statistics.update(tokens, factors, signed="advantages" in self.loss.needs())


class GroupLabels(Mapping[str, Tensor]):
    """Labels with the advantage, source and reward of each sequence, which the trainer passes on as ``labels``.

    The trainer moves it to its device as a mapping, and counts its labels as those of a tensor.

    Args:
        tensors: ``labels`` ``[N, T]``, and ``advantages``, ``source`` and ``rewards`` ``[N]``.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)

    @property
    def labels(self) -> Tensor:
        """``[N, T]`` token ids, -100 on tokens that are not trained on."""
        return self.tensors["labels"]

    def ne(self, other: int) -> Tensor:
        """Return the labels that differ, as :meth:`torch.Tensor.ne` does."""
        return self.labels.ne(other)

    @override
    def __getitem__(self, key: Any) -> Tensor:
        return self.tensors[key] if isinstance(key, str) else self.labels[key]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    @override
    def __len__(self) -> int:
        return len(self.tensors)


class GroupCollator:
    """Collates rows of groups: advantages, sources and rewards travel beside the labels to a :class:`TrainerLoss`.

    Rows have the columns of another collator and ``advantage`` (a number), ``source`` (``"expert"``, ``"teacher"`` or
    ``"self"``) and ``reward``, as stored groups have them. A column that all rows lack has the default of
    :meth:`GroupBatch.from_labels`. Set ``TrainingArguments(remove_unused_columns=False)``, or the trainer drops them.

    Args:
        collator: Collates the other columns to a batch with ``labels``, such as ``DataCollatorForSeq2Seq``.
        loss: The objective. Sequences that do not take part in it have no labels, so that ``Z`` does not count them.

    Raises:
        ValueError: On a batch without ``labels``, with a column in some rows alone, or with an unknown source.

    Example:
        >>> def collator(rows):
        ...     return {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}
        >>> rows = [{"input_ids": [5, 6], "labels": [-100, 6], "advantage": -1.0, "source": "self"}]
        >>> batch = GroupCollator(collator, GFTLoss())(rows)
        >>> sorted(batch), batch["labels"]["advantages"]
        (['input_ids', 'labels'], tensor([-1.]))
    """

    def __init__(self, collator: Callable[[list[dict[str, Any]]], Any], loss: GroupLoss) -> None:
        self.collator, self.loss = collator, loss

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        """Return the batch of the other collator, with :class:`GroupLabels` as its labels."""
        needed = {"advantage"} if "advantages" in self.loss.needs() else set()
        if missing := sorted(needed - {name for row in rows for name in row}):
            raise GFTValueError(
                f"`data_collator`: expected rows with {', '.join(missing)}, got {', '.join(sorted(rows[0]))}; add the "
                "column, and set TrainingArguments(remove_unused_columns=False)"
            )
        columns = {name: _column(name, rows) for name in ("advantage", "source", "reward")}
        batch = self.collator([{name: value for name, value in row.items() if name not in columns} for row in rows])
        if "labels" not in batch:
            raise GFTValueError(
                f"`collator`: expected a batch with labels, got {', '.join(sorted(batch))}; use one that returns labels"
            )
        of_groups = dict(zip(("advantages", "source", "rewards"), columns.values(), strict=True))
        groups = GroupBatch.from_labels(batch["labels"], **of_groups)
        labels = batch["labels"].masked_fill(~self.loss.takes_part(groups)[:, None], IGNORED)
        batch["labels"] = GroupLabels(
            {"labels": labels, **{name: getattr(groups, name) for name in ("advantages", "source", "rewards")}}
        )
        return batch


def _groups(labels: Tensor | GroupLabels | None) -> GroupBatch:
    if labels is None:
        raise GFTValueError("`labels`: expected token ids [N, T], got None; use a collator that gives labels")
    if isinstance(labels, Tensor):
        return GroupBatch.from_labels(labels)
    return GroupBatch.from_labels(**labels)


def _column(name: str, rows: Sequence[Mapping[str, Any]]) -> Tensor | None:
    present = [row[name] for row in rows if name in row]
    if not present:
        return None
    if len(present) < len(rows):
        raise GFTValueError(
            f"`{name}`: expected it in all rows of a batch or in none, got {len(present)} of {len(rows)}; fill the "
            "column"
        )
    if name != "source":
        return torch.tensor(present, dtype=torch.float32)
    names = {source.name.lower(): int(source) for source in Source}
    if unknown := sorted({str(value) for value in present} - names.keys()):
        raise GFTValueError(f"`source`: expected {', '.join(names)}, got {', '.join(unknown)}; correct the column")
    return torch.tensor([names[value] for value in present])


def _check_loss(loss: GroupLoss) -> None:
    kind = type(loss).__name__
    if beyond := sorted(loss.needs() - _KNOWN):
        raise GFTValueError(
            f"`loss`: expected one that needs only log-probabilities, advantages and entropy, got {kind}, which needs "
            f"{', '.join(beyond)}; train it by GFTLitModule"
        )
    one = GroupBatch.from_labels(torch.ones(1, 2, dtype=torch.long))
    if loss.reduction != "token-mean" or len(loss.shares(one)) > 1:
        raise GFTValueError(
            f"`loss`: expected the mean over all tokens, which the trainer counts, got {kind} with reduction="
            f"{loss.reduction!r} and {len(loss.shares(one))} shares; set reduction='token-mean', or train it by "
            "GFTLitModule"
        )
    if state := sorted(loss.state_dict()):
        raise GFTValueError(
            f"`loss`: expected one without state, which the trainer's checkpoints would lose, got {kind} with "
            f"{', '.join(state)}; use a fixed threshold or weight, or train it by GFTLitModule"
        )
