"""What the recurrent estimators share: inputs, training and outputs."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sklearn_seqcrm._recurrent.data import (
    HistorySpec,
    Inputs,
    RowData,
    automatic_batch_size,
    read_inputs,
    refuse_untrainable,
    set_customers_aside,
    warn_if_all_empty,
)
from sklearn_seqcrm._recurrent.explain import (
    Explained,
    PathAttributions,
    Start,
    event_blanking,
    gates,
    gradient_norms,
    integrated_gradients,
)
from sklearn_seqcrm._recurrent.network import HistoryNetwork
from sklearn_seqcrm._recurrent.objectives import (
    Objective,
    drop_weightless,
    exponent_of,
    in_unit_of,
    mean_weight,
    read_weight,
    scale_to_mean_weight,
)
from sklearn_seqcrm._recurrent.training import (
    CONSTRAINTS,
    EpochSteps,
    HistoryNet,
    Seeds,
    copy_pretrained_weights,
    draw_seeds,
    isolated_torch_settings,
    names_of_poolings,
    network_parameters,
    optimized_as_asked,
    refuse_absent_device,
    refuse_absent_precision,
    refuse_changes,
    refuse_other_architecture,
    refuse_other_device,
    refuse_other_sizes,
    train_as_asked,
)
from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    CallbackSupportMixin,
    FitTask,
    HasMethods,
    clone_with_fitted,
)

# Passes over the rows, at most: where nothing tells when to stop, networks on few
# customers are best after some eight, and overfit soon; see ``docs/defaults.md``.
_EPOCHS_TO_STOP_AMONG, _EPOCHS_UNSTOPPED = 50, 8


class NetworkOutputs(NamedTuple):
    """Outputs of all networks for some rows; prediction methods take them as X.

    Parameters
    ----------
    of_each : list of ndarray of shape (n, n_outputs), float64
        Outputs of each network.
    """

    of_each: list[np.ndarray]


class BaseLSTM(CallbackSupportMixin, BaseEstimator, ABC):
    """What classifier and regressor share: inputs, training and outputs.

    An estimator brings its objective to `_fit` and `_partial_fit`. Networks that go on
    keep the one that they have.
    """

    nets_: list[HistoryNet]
    _objective: Objective
    _network_parameters: dict[str, Any]

    # What scorers of skorch take the net for.
    _net_class: ClassVar[type[HistoryNet]] = HistoryNet
    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK
    _parameter_constraints: dict[str, list[Any]] = {
        **CONSTRAINTS,
        "pretrained": [HasMethods(["fit", "transform"]), None],
    }

    @property
    def net_(self) -> HistoryNet:
        """The first of `nets_`; the only one, unless `n_networks` says otherwise."""
        return self.nets_[0]

    def _fit(self, X: Any, y: Any, sample_weight: Any, objective: Objective) -> Self:
        """Train to the end, from the start or, with `warm_start`, from where it is."""
        again = self.warm_start and hasattr(self, "nets_")
        inputs = self._start(X, y, sample_weight, objective, again, whole=True)
        seeds = self._draw_seeds(again)
        n_steps = len(seeds) * self._max_epochs(self.early_stopping is not False)
        task = FitTask(self, X, y, sample_weight, n_steps)
        inputs = self._drop_weightless(inputs, again)
        nets = self.nets_ if again else [self._build(inputs, one) for one in seeds]
        batch_size = self._batch_size(inputs.data)
        customers = inputs.customers()
        for n_done, (net, of_net) in enumerate(zip(nets, seeds, strict=True)):
            # What a fit that ends early has trained is a model of fewer networks.
            self.nets_ = nets if again else nets[: n_done + 1]
            data, valid = self._set_customers_aside(
                inputs.data, customers, batch_size, of_net.split
            )
            if not again:
                net.start_linear_part(data)
            max_epochs = self._max_epochs(valid is not None)
            epochs = EpochSteps(task, self.nets_)
            self._train(net, of_net, batch_size, max_epochs, data, valid, epochs)
            if epochs.stop:
                break
        self._adjust(inputs.data)
        task.end()
        return self

    def _partial_fit(
        self, X: Any, y: Any, sample_weight: Any, objective: Objective
    ) -> Self:
        """Train for one epoch on all rows, from where it is if it has begun.

        Weights count beside those of other calls, and no callback of scikit-learn sees
        this: they see whole fits.
        """
        again = hasattr(self, "nets_")
        inputs = self._start(X, y, sample_weight, objective, again, whole=False)
        seeds = self._draw_seeds(again)
        inputs = self._drop_weightless(inputs, again)
        if not again:
            self.nets_ = [self._build(inputs, one) for one in seeds]
        data = scale_to_mean_weight(inputs.data, self._mean_weight)
        batch_size = self._batch_size(data)
        for net, of_net in zip(self.nets_, seeds, strict=True):
            if not again:
                net.start_linear_part(data)
            self._train(net, of_net, batch_size, 1, data)
        return self

    @property
    def n_outputs_(self) -> int:
        """Number of targets of a row."""
        if not hasattr(self, "_objective"):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute 'n_outputs_'"
            )
        return self._objective.n_targets

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A net and the estimator have one objective, which skorch would make two."""
        super().__setstate__(state)
        if hasattr(self, "nets_"):
            self._objective = self.net_.criterion_

    def __sklearn_clone__(self) -> Self:
        return clone_with_fitted(self, "pretrained")

    # Before training --------------------------------------------------------------

    def _check_parameters(self) -> None:
        """Check what can be checked without rows."""
        self._validate_params()
        names_of_poolings(self.pooling)
        refuse_other_sizes(self.head_sizes)
        refuse_absent_device(self.device)
        refuse_absent_precision(self.precision, self.device)
        refuse_other_architecture(self)

    def _start(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        objective: Objective,
        again: bool,
        whole: bool,
    ) -> Inputs:
        """Read rows, weights and targets, and learn from the targets of a first call.

        Parameters
        ----------
        X, y, sample_weight : object
            Arguments of `fit` or `partial_fit`.
        objective : Objective
            What parameters choose now.
        again : bool
            Whether the network goes on.
        whole : bool
            Whether these are all rows, as in `fit`, or some of many.

        Returns
        -------
        Inputs
            All rows, with encoded targets and with weights in their unit.
        """
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None."
            )
        if again:
            self._refuse_changes(objective)
            objective = self._objective
        elif hasattr(self, "nets_"):
            # Should this fit fail, what it sets until then would not go with them.
            del self.nets_
        if not again:
            self._network_parameters = network_parameters(self)
        inputs = read_inputs(self, X, reset=not again, sums=objective.is_linear)
        refuse_untrainable(self, inputs)
        y = objective.read(y)
        check_consistent_length(inputs.data.static, y)
        weight = self._weight_in_unit(sample_weight, inputs.data, again, whole)
        if again:
            objective.check(y, whole)
            inputs = self._as_in_fit(inputs)
        else:
            objective.learn(y, weight)
            self._objective = objective
            self._specs, self._n_static = inputs.specs, _n_columns(inputs)
            self._learn_offset(inputs, weight)
            inputs = self._with_offset(inputs)
        weight = self._weigh_targets(y, weight)
        target = objective.encode(y, weight)
        warn_if_all_empty(inputs)
        return inputs._replace(data=replace(inputs.data, target=target, weight=weight))

    def _refuse_changes(self, objective: Objective) -> None:
        """Raise a ValueError for parameters with which the network cannot go on."""
        refuse_other_device(self.device, self.net_.device)
        # Estimators pickled by version 0.1.0 did not keep them.
        before = getattr(self, "_network_parameters", {})
        refuse_changes(before, network_parameters(self))
        refuse_changes(self._objective.hyperparameters, objective.hyperparameters)

    def _weight_in_unit(
        self, sample_weight: Any, data: RowData, again: bool, whole: bool
    ) -> np.ndarray | None:
        """Weights over the power of 2 that is just larger than the largest one.

        In `partial_fit`: the largest one of the first call.
        """
        weight = read_weight(sample_weight, data)
        exponent = 0 if weight is None else exponent_of(weight)
        if not again:
            self._weight_exponent = exponent
        return in_unit_of(
            weight, exponent if whole else self._weight_exponent, len(data)
        )

    def _weigh_targets(
        self, y: np.ndarray, weight: np.ndarray | None
    ) -> np.ndarray | None:
        """Weights of the rows, if targets have a say in them."""
        return weight

    def _learn_offset(self, inputs: Inputs, weight: np.ndarray | None) -> None:
        """Learn where the offset of a row stands, if the estimator has offsets."""

    def _with_offset(self, inputs: Inputs) -> Inputs:
        """Return the same rows with their offset in its field."""
        return inputs

    def _drop_weightless(self, inputs: Inputs, again: bool) -> Inputs:
        """Leave out rows without weight; the first call says what a weight of 1 is."""
        inputs = drop_weightless(inputs)
        if not again:
            self._mean_weight = mean_weight(inputs.data)
        return inputs

    def _draw_seeds(self, again: bool) -> list[Seeds]:
        """Seeds for each of the networks, those that go on or those to be made."""
        n_before = (
            [len(net.history) for net in self.nets_] if again else [0] * self.n_networks
        )
        return draw_seeds(self.random_state, n_before)

    def _set_customers_aside(
        self, data: RowData, customers: np.ndarray, batch_size: int, seed: int
    ) -> tuple[RowData, RowData | None]:
        """Rows to learn from and rows that say when to stop, if any."""
        data, valid = set_customers_aside(
            data, customers, self.early_stopping, self.validation_fraction, seed
        )
        if valid is not None:
            # Scoring callbacks of skorch see rows in the order of their predictions.
            order = HistoryNet.rows_of_batches(
                valid, batch_size, share=not self.bidirectional
            )
            valid = scale_to_mean_weight(valid.take(order))
        return scale_to_mean_weight(data), valid

    def _batch_size(self, data: RowData) -> int:
        if self.batch_size == "auto":
            return automatic_batch_size(data, share=not self.bidirectional)
        return int(self.batch_size)

    def _max_epochs(self, stops_early: bool) -> int:
        if self.max_epochs == "auto":
            return _EPOCHS_TO_STOP_AMONG if stops_early else _EPOCHS_UNSTOPPED
        return int(self.max_epochs)

    # The nets ---------------------------------------------------------------------

    def _build(self, inputs: Inputs, seeds: Seeds) -> HistoryNet:
        """Make a net for rows like these, with its first weights."""
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
            module__hidden_size=self.hidden_size,
            module__num_layers=self.num_layers,
            module__bidirectional=self.bidirectional,
            module__pooling=names_of_poolings(self.pooling),
            module__bptt_steps=self.bptt_steps,
            module__precision=self.precision,
            module__dropout=self.dropout,
            module__category_dropout=self.category_dropout,
            module__head_sizes=tuple(int(size) for size in self.head_sizes),
            module__seed=seeds.weights,
            module__n_sums=inputs.n_sums,
            module__is_linear=objective.is_linear,
            **optimized_as_asked(self),
            share_sequences=not self.bidirectional,
        )
        target, weight = inputs.data.target, inputs.data.weight
        assert target is not None
        bias = objective.start_bias(target, weight)
        with isolated_torch_settings(self.device):
            net.initialize()
            if self.pretrained is not None:
                copy_pretrained_weights(
                    self.pretrained, net.module_.readers, self._specs
                )
            with torch.no_grad():
                last = net.module_.head[-1]
                last.bias.copy_(torch.from_numpy(bias.astype("float32")))
        return net

    def _offset_outputs(self) -> tuple[int, ...]:
        """Outputs to which the network adds the offset of a row."""
        return ()

    def _train(
        self,
        net: HistoryNet,
        seeds: Seeds,
        batch_size: int,
        max_epochs: int,
        data: RowData,
        valid: RowData | None = None,
        epochs: EpochSteps | None = None,
    ) -> None:
        self.batch_size_ = net.batch_size = batch_size
        train_as_asked(self, net, seeds, max_epochs, data, valid, epochs)

    def _adjust(self, data: RowData) -> None:
        """Let the objective learn from what the networks return, if it wants to."""
        if self._objective.adjusts:
            assert data.target is not None
            outputs = self._outputs_with_learned_slopes(data)
            self._objective.adjust(outputs, data.target, data.weight)

    def _outputs_with_learned_slopes(self, data: RowData) -> list[np.ndarray]:
        """Return the outputs for all rows, once slopes over offsets are learned."""
        return self._outputs_of(data)

    # After training ---------------------------------------------------------------

    def _outputs(self, X: Any) -> list[np.ndarray]:
        """What each network returns for the rows of X, shape (n, n_outputs), float64.

        X may be `NetworkOutputs`, if the networks have been run elsewhere, as in
        streaming.
        """
        if isinstance(X, NetworkOutputs):
            return X.of_each
        return self._outputs_of(self._read_to_predict(X).data)

    def _combined(
        self, predict: Callable[..., np.ndarray], X: Any, *args: Any
    ) -> np.ndarray:
        """Return the ensemble's mean of a prediction that the objective makes."""
        return self._objective.combine(predict, self._outputs(X), *args)

    def _read_to_predict(self, X: Any) -> Inputs:
        """Read rows of the shapes of those in fit."""
        check_is_fitted(self, "nets_")
        sums = self._objective.is_linear
        return self._as_in_fit(read_inputs(self, X, reset=False, sums=sums))

    def _outputs_of(self, data: RowData) -> list[np.ndarray]:
        """What each network returns for rows that were read."""
        return [net.outputs(data).astype("float64", copy=False) for net in self.nets_]

    def _integrated_gradients(
        self,
        X: Any,
        explained: Callable[[np.ndarray, np.ndarray], np.ndarray],
        n_steps: int,
        moved: list[np.ndarray] | None = None,
        n_drawn: int = 0,
        seed: int = 0,
    ) -> PathAttributions:
        """What each number of the events and features of X adds to what is predicted.

        Parameters
        ----------
        X : DataFrame, padded tensors or array, n rows
            As in `predict`.
        explained : callable
            ``explained(predictions, rows)``: one number for each of some rows, from
            the ensemble predictions for these: probabilities of a classifier, and of
            others what `predict` returns.
        n_steps : int
            Points on the path.
        moved, n_drawn, seed : object
            As in `Start`; without `moved`, everything starts from zeros.

        Returns
        -------
        PathAttributions
            ``beside["static"]`` has row features and statics in the order of X.
        """
        inputs = self._read_to_predict(X)
        of_outputs = self._explained_by(explained)
        start = None if moved is None else Start(moved, n_drawn, seed)
        return integrated_gradients(self.nets_, inputs.data, of_outputs, n_steps, start)

    def _blanked_events(
        self,
        X: Any,
        explained: Callable[[np.ndarray, np.ndarray], np.ndarray],
        moved: list[np.ndarray],
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """What goes with some numbers of each event of X, and what is explained."""
        data, said = self._read_to_predict(X).data, self._explained_by(explained)
        return event_blanking(self.nets_, data, said, Start(moved))

    def _explained_by(
        self, explained: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> Explained:
        """Compose the explained quantity with the ensemble prediction."""
        objective = self._objective

        def of_outputs(outputs: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
            return explained(objective.combine(objective.predict, outputs), rows)

        return of_outputs

    def _gates(self, X: Any, i: int, layer: int, network: int) -> dict[str, np.ndarray]:
        """Gates and states of a layer of a network after each event of X."""
        return gates(self.nets_[network], self._read_to_predict(X).data, i, layer)

    def _gradient_norms(
        self,
        X: Any,
        explained: Callable[[np.ndarray, np.ndarray], np.ndarray],
        i: int,
        network: int,
    ) -> np.ndarray:
        """How much what one network says depends on its state after each event of X."""
        data, said = self._read_to_predict(X).data, self._explained_by(explained)
        return gradient_norms(self.nets_[network], data, i, said)

    def _as_in_fit(self, inputs: Inputs) -> Inputs:
        """Compare the shapes of X with those in fit; codes new to tensors become 0."""
        n_static = _n_columns(inputs)
        now, then = (
            _shapes(specs, inputs.encoded) for specs in (inputs.specs, self._specs)
        )
        if now != then or n_static != self._n_static:
            raise ValueError(
                f"X has histories of (channels, codes, encoder) {now} and {n_static} "
                f"statics and row features; {type(self).__name__} was fitted on {then} "
                f"and {self._n_static}. Use the encoder that was fitted with it."
            )
        inputs = inputs if inputs.encoded else inputs.within(self._specs)
        return self._with_offset(inputs)


def _n_columns(inputs: Inputs) -> int:
    """Number of row features, statics and sums as they have been read."""
    return inputs.data.static.shape[1] + inputs.n_sums


def _shapes(specs: Sequence[HistorySpec], encoded: bool) -> list[tuple[Any, ...]]:
    """What has to be equal in two of each; the levels, if an encoder settled them."""
    return [
        (spec.n_channels, spec.n_levels, spec.digest)
        if encoded
        else (spec.n_channels, len(spec.n_levels))
        for spec in specs
    ]
