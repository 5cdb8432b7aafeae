"""Base class of the recurrent estimators: inputs, training and outputs."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sklearn_seqcrm._columns import (
    ForwardSplit,
    known_horizon,
    split_forward,
    warn_other_order,
)
from sklearn_seqcrm._recurrent import explain
from sklearn_seqcrm._recurrent.data import (
    ALONE,
    Inputs,
    Ranks,
    RowData,
    automatic_batch_size,
    automatic_n_networks,
    read_inputs,
    refuse_untrainable,
    warn_if_all_empty,
)
from sklearn_seqcrm._recurrent.network import (
    HistoryNetwork,
    Pieces,
    isolated_torch_settings,
)
from sklearn_seqcrm._recurrent.objectives import (
    Objective,
    TreatedOutcomes,
    drop_weightless,
    exponent_of,
    in_unit_of,
    mean_weight,
    read_weight,
    scale_to_mean_weight,
)
from sklearn_seqcrm._recurrent.training import (
    CONSTRAINTS,
    HistoryNet,
    Seeds,
    Training,
    copy_pretrained_weights,
    deletes_diverged,
    draw_seeds,
    keep_network_parameters,
    names_of_poolings,
    optimizer_parameters,
    outputs_of_networks,
    refuse_absent_hardware,
    refuse_changes,
    refuse_other_architecture,
    refuse_other_sizes,
    train,
)
from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    CallbackSupportMixin,
    FitTask,
    HasMethods,
    StrOptions,
    clone_with_fitted,
    refuse_no_target,
)
from sklearn_seqcrm.neural_network._ensemble_training import (
    EnsembleTraining,
    FirstTraining,
    NetworkOutputs,
    check_first_training,
    most_epochs,
    run_trainings,
)
from sklearn_seqcrm.neural_network._unsupported_cycles import unsupported_cycles
from sklearn_seqcrm.neural_network._validation import choose_validation

# `fit` of a whole pipeline fits its encoder again.
_CONTINUE = (
    ": to continue in a pipeline, pipeline[-1].fit(pipeline[:-1].transform(X), y). If "
    "pipeline.fit has fitted the encoder again, first load or copy the pipeline as it "
    "was before"
)


class BaseLSTM(CallbackSupportMixin, BaseEstimator, ABC):
    """Inputs, training and outputs of a recurrent estimator.

    Estimators pass a new objective to `_fit` and `_partial_fit`. Networks that are
    trained further keep the objective of the first call.
    """

    nets_: list[HistoryNet]
    _objective: Objective
    _network_parameters: dict[str, Any]
    # Set during a fit of several processes.
    _ranks: Ranks = ALONE
    # Set within `on_first_training`.
    _on_first_training: Callable[[FirstTraining], None] | None = None
    # Whether the first training may censor labels at the first validation cutoff.
    _censors: ClassVar[bool] = False
    # Scorers of skorch distinguish classifiers from regressors by this type.
    _net_class: ClassVar[type[HistoryNet]] = HistoryNet
    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK
    _parameter_constraints: dict[str, Any] = {
        **CONSTRAINTS,
        "validation": [StrOptions({"auto", "forward", "customers"})],
        "horizon": "no_validation",  # depends on the times of the log
        "refit": ["boolean"],
        "select_fields": ["boolean", StrOptions({"auto", "half"})],
        "pretrained": [HasMethods(["fit", "transform"]), None],
    }

    @property
    def net_(self) -> HistoryNet:
        """First of the trained nets."""
        return self._learned("net_", of="nets_")[0]

    @property
    def n_networks_(self) -> int:
        """Number of trained nets."""
        return len(self._learned("n_networks_", of="nets_"))

    @property
    def n_iter_(self) -> int:
        """Number of epochs; the largest of several networks."""
        return max(len(net.history) for net in self._learned("n_iter_", of="nets_"))

    @property
    def _repeats_first_training(self) -> bool:
        """Whether the first training may be repeated without fields."""
        return self.select_fields in (True, "half")

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        objective: Objective,
        treatment: Any = None,
    ) -> Self:
        """Train with early stopping, or continue with `warm_start`."""
        of_rows = {"sample_weight": sample_weight, "treatment": treatment}
        inputs, seeds = self._start(X, y, objective, **of_rows, is_full_data=True)
        split = choose_validation(self, inputs, y, seeds[0].split)
        # With `warm_start`, the next fit would validate on rows it was trained on.
        refits = split is not None and self.refit and not self.warm_start
        check_first_training(self, refits)
        n_fits = (1 + self._repeats_first_training) * refits + len(seeds)
        n_steps = n_fits * most_epochs(self, self.early_stopping is not False)
        task = FitTask(self, X, y, of_rows, n_steps)
        with deletes_diverged(self):
            EnsembleTraining(self, inputs, split, seeds, refits, task).train()
        # On all rows, including those set aside for early stopping.
        self._adjust(inputs.data)
        task.end()
        return self

    def _partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        objective: Objective,
        treatment: Any = None,
    ) -> Self:
        """Train one epoch on all rows.

        Weights are relative to those of the first call. Callbacks of scikit-learn are
        not called, because they observe whole fits.
        """
        inputs, seeds = self._start(
            X, y, objective, sample_weight, treatment, is_full_data=False
        )
        is_continuation = self._is_continuation
        if not is_continuation:
            self.nets_ = [self._build(inputs, *one) for one in enumerate(seeds)]
        # A call whose rows have small weights must make small steps.
        data = scale_to_mean_weight(inputs.data, self._mean_weight)
        self.batch_size_ = self._batch_size_of(data, may_stop=False)
        calls = []
        for net, of_net in zip(self.nets_, seeds, strict=True):
            if not is_continuation:
                net.start_linear_part(data)
            net.batch_size = self.batch_size_
            training = Training(net, of_net, 1, data, continues=True)
            calls.append(partial(train, self, training))
        with deletes_diverged(self):
            run_trainings(self, calls, len(calls))
        return self

    @property
    def n_outputs_(self) -> int:
        """Number of targets of a row."""
        return self._learned("n_outputs_").n_targets

    def _learned(self, attribute: str, of: str = "_objective") -> Any:
        """Return the objective, or the nets, whose properties an attribute shows."""
        if not hasattr(self, of):
            name = type(self).__name__
            raise AttributeError(f"{name!r} object has no attribute {attribute!r}")
        return getattr(self, of)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is set during a fit only, also in copies for callbacks."""
        state: Any = super().__getstate__()
        return {k: v for k, v in state.items() if k != "_on_first_training"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Share the objective with the nets: pickles of skorch hold a copy."""
        super().__setstate__(state)
        if hasattr(self, "nets_"):
            self._objective = self.net_.criterion_

    def __sklearn_clone__(self) -> Self:
        return clone_with_fitted(self, "pretrained")

    # Before training --------------------------------------------------------------

    @property
    def _is_continuation(self) -> bool:
        """Whether a training continues that of existing networks.

        `_start` deletes networks whose training does not continue.
        """
        return hasattr(self, "nets_")

    def _check_parameters(self) -> None:
        """Check parameters, as far as possible without rows."""
        self._validate_params()
        names_of_poolings(self.pooling)
        refuse_other_sizes(self.head_sizes)
        refuse_absent_hardware(self.device, self.precision)
        refuse_other_architecture(self)

    def _start(
        self,
        X: Any,
        y: Any,
        objective: Objective,
        sample_weight: Any,
        treatment: Any,
        is_full_data: bool,
    ) -> tuple[Inputs, list[Seeds]]:
        """Read rows, weights and targets, and learn from the targets of a first call.

        `treatment` is that of each row, or None for networks that estimate no effects.
        `objective` is what the present parameters define; networks whose training
        continues have their own. With `is_full_data` these are all rows, as in `fit`,
        and not a part. Returns the rows with a weight, with encoded targets and weights
        in their unit, and seeds for each network, existing or new.
        """
        refuse_no_target(self, y)
        warn_other_order(X, y)
        warn_other_order(X, treatment, "treatment")
        warn_other_order(X, sample_weight, "sample_weight")
        is_continuation = hasattr(self, "nets_") and (
            self.warm_start or not is_full_data
        )
        keep_network_parameters(self, is_continuation)
        if is_continuation:
            refuse_changes(self._objective.hyperparameters, objective.hyperparameters)
            objective = self._objective
        given = y
        inputs, y = self._read(X, y, treatment, objective)
        weight = self._weight_in_unit(sample_weight, inputs.data, is_full_data)
        # A first call learns scales, classes or bins; a later one is measured by them.
        if is_continuation:
            objective.check(y, weight, is_full_data)
            as_in_fit = partial(self._as_in_fit, inputs, sample_weight, _CONTINUE)
            inputs = self._ranks.attempt(as_in_fit)
        else:
            objective.learn(y, weight)
            self._objective = objective
            self._specs, self._n_static = inputs.specs, inputs.n_columns
            self._learn_offset(inputs, weight)
            with_offset = partial(self._with_offset, inputs, sample_weight)
            inputs = self._ranks.attempt(with_offset)
        weight = self._weigh_targets(y, weight)
        target = objective.encode(y, weight)
        inputs = self._ranks.share(inputs)
        warn_if_all_empty(inputs)
        data = replace(inputs.data, target=target, weight=weight)
        inputs = inputs._replace(data=data, labels=y if self._censors else None)
        # Seeds, initial biases and batch sizes depend on rows with a weight only.
        inputs = drop_weightless(inputs)
        if not is_continuation:
            self._mean_weight = mean_weight(inputs.data)
            self._learn_pieces(inputs)
        seeds = self._draw_seeds(inputs.data, is_full_data)
        if not is_continuation:
            self._uses_sums = any(map(objective.has_linear_part, range(len(seeds))))
            if inputs.data.sums is not None and not self._uses_sums:
                self._n_static -= inputs.data.sums.shape[1]
                inputs = inputs._replace(data=replace(inputs.data, sums=None))
            # Ranks may have targets with other attrs.
            cycles = unsupported_cycles(self, inputs, given)
            self._left_out_cycles = self._ranks.agree(cycles)
        return inputs, seeds

    def _read(
        self, X: Any, y: Any, treatment: Any, objective: Objective
    ) -> tuple[Inputs, Any]:
        """Return the rows of this rank, and the targets of all ranks."""

        def read() -> tuple[Inputs, Any]:
            reset = not self._is_continuation
            # How many new networks there are may depend on the rows.
            n_known = 1 if self.n_networks == 1 else 2
            new = any(map(objective.has_linear_part, range(n_known)))
            sums = new if reset else self._uses_sums
            inputs = read_inputs(self, X, reset=reset, sums=sums)
            refuse_untrainable(self, inputs)
            # Types and missing values first, then lengths: an error names the cause.
            outcomes = y if treatment is None else TreatedOutcomes(y, treatment)
            target = objective.read(outcomes)
            check_consistent_length(inputs.data.static, target)
            return inputs, target

        inputs, target = self._ranks.attempt(read)
        return self._ranks.join_levels(inputs), self._ranks.concatenate(target)

    def _weight_in_unit(
        self, sample_weight: Any, data: RowData, is_full_data: bool
    ) -> np.ndarray | None:
        """Return weights, divided by a power of 2 above the largest weight.

        The largest one is that of this call in `fit`, and that of the first call in
        `partial_fit`.
        """
        weight = read_weight(sample_weight, data, self._ranks)
        exponent = 0 if weight is None else exponent_of(weight)
        if not self._is_continuation:
            self._weight_exponent = exponent
        exponent = exponent if is_full_data else self._weight_exponent
        return in_unit_of(weight, exponent, len(data))

    def _weigh_targets(
        self, y: np.ndarray, weight: np.ndarray | None
    ) -> np.ndarray | None:
        """Return the weights of rows, multiplied by those of their classes if any."""
        return weight

    def _split_forward(
        self, inputs: Inputs, customers: np.ndarray, y: Any
    ) -> ForwardSplit:
        """Return the split at the latest cutoffs, or raise NoForwardSplitError."""
        return split_forward(
            inputs.cutoffs,
            customers,
            known_horizon(y, self.horizon),
            self.validation_fraction,
        )

    def _as_known(self, inputs: Inputs, split: ForwardSplit | None) -> Inputs:
        """Return the rows with the labels that the first training may see."""
        return inputs

    def _refuse_split(self, target: Any, split: ForwardSplit) -> None:
        """Raise NoForwardSplitError if the training rows lack a class."""

    def _learn_offset(self, inputs: Inputs, weight: np.ndarray | None) -> None:
        """Learn which input is the offset of a row, if the estimator has offsets."""

    def _with_offset(self, inputs: Inputs, sample_weight: Any = None) -> Inputs:
        """Return the same rows with their offset in its field."""
        return inputs

    def _learn_pieces(self, inputs: Inputs) -> None:
        """Cut statics at their quantiles in training rows."""
        own = self._ranks.own_rows(inputs.data).static
        # Row features come first, and are not cut. With one piece, nothing is.
        first = sum(spec.n_row_features for spec in inputs.specs)
        last = own.shape[1] if self.static_pieces > 1 else first
        columns = (
            (column, self._ranks.concatenate(own[:, column]))
            for column in range(first, last)
        )
        self._pieces = Pieces.learn(columns, inputs.customers(), self.static_pieces)

    def _n_networks(self, data: RowData, is_full_data: bool) -> int:
        if self.n_networks != "auto":
            return int(self.n_networks)
        # A part of the rows does not show how long an epoch of all rows is. Callbacks
        # of skorch observe one training, and may store its net.
        if self.callbacks or not is_full_data:
            return 1
        fewest = 2 if self.select_fields == "half" else 1
        return max(fewest, automatic_n_networks(data, share=not self.bidirectional))

    def _draw_seeds(self, data: RowData, is_full_data: bool) -> list[Seeds]:
        """Draw seeds for each network, existing or new."""
        if self._is_continuation:
            # Other batches and dropout masks than in the epochs before.
            n_before = [len(net.history) for net in self.nets_]
        else:
            n_before = [0] * self._n_networks(data, is_full_data)
        return self._ranks.agree(draw_seeds(self.random_state, n_before))

    def _batch_size_of(self, data: RowData, may_stop: bool) -> int:
        if self.batch_size == "auto":
            share = not self.bidirectional
            return automatic_batch_size(data, share, self._ranks.size, may_stop)
        return int(self.batch_size)

    # The nets ---------------------------------------------------------------------

    def _build(self, inputs: Inputs, i: int, seeds: Seeds) -> HistoryNet:
        """Create the i-th net for rows like these, with initial weights."""
        objective = self._objective
        net = self._net_class(
            HistoryNetwork,
            criterion=objective,
            predict_nonlinearity=objective.scored,
            module__specs=self._specs,
            module__n_static=inputs.data.static.shape[1],
            module__n_outputs=objective.n_outputs,
            module__offset_outputs=self._offset_outputs(),
            module__cell=self.cell,
            module__hidden_size=int(self.hidden_size),
            module__num_layers=int(self.num_layers),
            module__bidirectional=self.bidirectional,
            module__pooling=names_of_poolings(self.pooling),
            module__dropout=self.dropout,
            module__category_dropout=self.category_dropout,
            module__head_sizes=tuple(int(size) for size in self.head_sizes),
            module__seed=seeds.weights,
            module__n_linear=inputs.n_columns if objective.has_linear_part(i) else 0,
            module__takes_logs=objective.has_log_link,
            module__pieces=self._pieces,
            **optimizer_parameters(self),
            # Read backwards, the outputs of a row depend on where it ends.
            share_sequences=not self.bidirectional,
        )
        net.ranks = self._ranks
        net.left_out_cycles = self._left_out_cycles
        with isolated_torch_settings(self.device):
            net.initialize()
            if self.pretrained is not None:
                copy_pretrained_weights(
                    self.pretrained, net.module_.readers, self._specs
                )
            self._start_outputs(net.module_.head[-1], inputs.data)
        return net

    @torch.no_grad()
    def _start_outputs(self, last: Any, data: RowData) -> None:
        """Set the bias to the best constant prediction, and start weights alike.

        A rare class would otherwise cost the first epochs. Weights of each `n_alike`
        outputs that follow one another get a part in common.
        """
        bias = self._objective.start_bias(data.target, data.weight)
        last.bias.copy_(torch.from_numpy(bias.astype("float32")))
        n_alike = self._objective.n_alike
        if n_alike > 1:
            common = last.weight[::n_alike].repeat_interleave(n_alike, dim=0)
            last.weight.copy_((common + last.weight) / math.sqrt(2))

    def _offset_outputs(self) -> tuple[int, ...]:
        """Outputs to which the network adds the offset of a row."""
        return ()

    def _adjust(self, data: RowData) -> None:
        """Let the objective calibrate its predictions, if it does."""
        if self._objective.adjusts:
            outputs = self._outputs_with_learned_slopes(data)
            self._objective.adjust(outputs, data.target, data.weight)

    def _outputs_with_learned_slopes(self, data: RowData) -> list[np.ndarray]:
        """Return outputs for all rows; subclasses learn slopes over offsets first."""
        return self._outputs_of(data)

    # After training ---------------------------------------------------------------

    def _outputs(self, X: Any) -> list[np.ndarray]:
        """Return the outputs of each network, shape (n, n_outputs), float64.

        X may be `NetworkOutputs`, if networks were run elsewhere, as in streaming.
        """
        if isinstance(X, NetworkOutputs):
            return X.of_each
        return self._outputs_of(self._read_to_predict(X).data)

    @property
    def _fitted_objective(self) -> Any:
        """The objective; a NotFittedError before `fit`."""
        # Not "nets_": the estimator of a scorer has none, and gets outputs as X.
        check_is_fitted(self, "_objective")
        return self._objective

    def _combined(
        self, predict: Callable[..., np.ndarray], X: Any, *args: Any
    ) -> np.ndarray:
        """Return a prediction of the objective, combined over the networks."""
        # The mean of predictions, not of outputs, which are logits or logarithms.
        return self._objective.combine(predict, self._outputs(X), *args)

    def _read_to_predict(self, X: Any) -> Inputs:
        """Read rows, and compare their shapes with `fit`."""
        check_is_fitted(self, "nets_")
        return self._as_in_fit(read_inputs(self, X, reset=False, sums=self._uses_sums))

    def _outputs_of(self, data: RowData) -> list[np.ndarray]:
        """Return the outputs of each network for rows that were read."""
        # float64 for what follows: exponentials, cumulative sums over bins, means.
        found = outputs_of_networks(self.nets_, data)
        return [one.astype("float64", copy=False) for one in found]

    def _as_in_fit(
        self, inputs: Inputs, sample_weight: Any = None, way_out: str = ""
    ) -> Inputs:
        """Compare shapes with `fit`; codes that tensors had not in `fit` become 0."""
        n_static = inputs.n_columns
        both = inputs.specs, self._specs
        now, then = ([one.sizes(inputs.encoded) for one in specs] for specs in both)
        if now != then or n_static != self._n_static:
            raise ValueError(
                f"X has histories of (channels, codes, encoder) {now} and {n_static} "
                f"statics and row features; {type(self).__name__} was fitted on {then} "
                f"and {self._n_static}. Use the encoder that was fitted with it"
                f"{way_out}."
            )
        inputs = inputs if inputs.encoded else inputs.within(self._specs)
        return self._with_offset(inputs, sample_weight)

    # Explanations -----------------------------------------------------------------

    # For `inspection`. ``explained(predictions, rows)`` returns a number for each row,
    # from ensemble predictions: probabilities, or what `predict` returns.

    def _integrated_gradients(
        self,
        X: Any,
        explained: Callable[..., np.ndarray],
        n_steps: int,
        moved: list[np.ndarray] | None,
        n_drawn: int,
        seed: int,
    ) -> explain.PathAttributions:
        """Return integrated gradients of every input, by `n_steps` points on the path.

        `moved`, `n_drawn` and `seed` are those of `Start`; without `moved`, the
        baseline is 0 for all inputs. ``beside["static"]`` of the result has row
        features and statics in the order of X.
        """
        data, of_outputs = self._read_to_predict(X).data, self._explained_by(explained)
        start = explain.Start(moved, n_drawn, seed)
        return explain.integrated_gradients(
            self.nets_, data, of_outputs, n_steps, start
        )

    def _blanked_events(
        self, X: Any, explained: Callable[..., np.ndarray], moved: list[np.ndarray]
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the effects of blanking inputs of each event, and the outputs."""
        data, of_outputs = self._read_to_predict(X).data, self._explained_by(explained)
        return explain.event_blanking(
            self.nets_, data, of_outputs, explain.Start(moved)
        )

    def _gates(self, X: Any, i: int, layer: int, network: int) -> dict[str, np.ndarray]:
        """Return gates and states of a layer of one network after each event."""
        data = self._read_to_predict(X).data
        return explain.gates(self.nets_[network], data, i, layer)

    def _gradient_norms(
        self, X: Any, explained: Callable[..., np.ndarray], i: int, network: int
    ) -> np.ndarray:
        """Return gradient norms of one network over its state after each event."""
        data, of_outputs = self._read_to_predict(X).data, self._explained_by(explained)
        return explain.gradient_norms(self.nets_[network], data, i, of_outputs)

    def _explained_by(self, explained: Callable[..., np.ndarray]) -> explain.Explained:
        """Compose the explained quantity with the ensemble prediction."""
        objective = self._objective

        def of_outputs(outputs: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
            return explained(objective.combine(objective.predict, outputs), rows)

        return of_outputs
