"""Log probabilities of classes, and their gradients, against torch's own."""

import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sklearn_seqcrm.event_model import _gradients
from sklearn_seqcrm.event_model._gradients import log_softmax_of


@pytest.mark.parametrize(
    ("at_once", "most_kept"), [(2**17, 2**24), (30, 2**24), (30, 0)]
)
def test_values_and_gradients_are_those_of_a_log_softmax(
    monkeypatch, at_once, most_kept
):
    monkeypatch.setattr(_gradients, "_AT_ONCE", at_once)
    monkeypatch.setattr(_gradients, "_MOST_KEPT", most_kept)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(17, 4, generator=generator).requires_grad_()
    constants = (torch.rand(17, 1, generator=generator) < 0.5).float()
    layer = nn.Linear(5, 7)
    with torch.no_grad():
        layer.weight.normal_(generator=generator).mul_(30)  # some are far apart
    classes = torch.randint(0, 7, (17,), generator=generator)
    gradient = torch.randn(17, generator=generator)
    tensors = inputs, layer.weight, layer.bias
    found = log_softmax_of(inputs, constants, *tensors[1:], classes)
    joined = torch.cat([inputs, constants], dim=1)
    expected = layer(joined).log_softmax(dim=1)[torch.arange(17), classes]
    assert_allclose(found.detach(), expected.detach(), rtol=1e-5, atol=1e-5)
    pairs = zip(
        torch.autograd.grad(found, tensors, gradient),
        torch.autograd.grad(expected, tensors, gradient),
        strict=True,
    )
    for one, other in pairs:
        assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    with pytest.raises(AssertionError):  # a gradient that would be missing
        log_softmax_of(inputs, constants.requires_grad_(), *tensors[1:], classes)


def test_no_events_have_no_log_probability():
    nothing = torch.zeros(0, 4), torch.zeros(0, 1)
    layer = torch.zeros(3, 5), torch.zeros(3)
    empty = log_softmax_of(*nothing, *layer, torch.zeros(0).long())
    assert empty.shape == (0,)
