"""Hand-written gradients of likelihoods, against plain formulas in float64."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import special, stats
from torch import nn

from sklearn_seqcrm.event_model._copy_mechanism import _LEAST_PROB, _LogGated
from sklearn_seqcrm.event_model._gradients import joint_linear, log_softmax_of
from sklearn_seqcrm.event_model._mixtures import (
    LEAST_LOG_STD,
    log_mixture,
    log_normal_cells,
)

N, N_ATOMS, N_COMPONENTS = 60, 3, 4


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def plain_mixture(outputs, atom, upper, width, has_cell):
    """Return what `log_mixture` does, row by row, with differences of ndtr."""
    found = []
    for i, row in enumerate(outputs):
        logits, mean, raw = row.split([N_ATOMS + N_COMPONENTS, *[N_COMPONENTS] * 2])
        share = logits.softmax(dim=0)
        std = (nn.functional.softplus(raw - LEAST_LOG_STD) + LEAST_LOG_STD).exp()
        total = share[atom[i]] if atom[i] >= 0 else 0.0
        if has_cell[i]:
            lower = upper[i] - width[i].clamp(max=1e4)  # gradients at -inf are nan
            high, low = (upper[i] - mean) / std, (lower - mean) / std
            # By symmetry, on the side where both tails are small.
            high, low = torch.where(
                high + low > 0, torch.stack([-low, -high]), torch.stack([high, low])
            )
            inside = torch.special.ndtr(high) - torch.special.ndtr(low)
            total = total + (share[N_ATOMS:] * inside).sum()
        found.append(total.log())
    return torch.stack(found)


def cells(kind):
    upper = 2 * numbers(N, seed=1)
    width = {
        "narrow": 1e-4 * torch.ones_like(upper),
        "wide": numbers(N, seed=2).abs() + 0.5,
        "open": torch.full_like(upper, torch.inf),
    }
    width["mixed"] = torch.stack([*width.values()])[
        torch.arange(N) % 3, torch.arange(N)
    ]
    return upper, width[kind]


@pytest.mark.parametrize("ties", ["none", "some", "all"])
@pytest.mark.parametrize("kind", ["narrow", "wide", "open", "mixed"])
@pytest.mark.parametrize("n_further", [0, 2])
def test_mixtures_are_those_of_a_loop(kind, ties, n_further):
    n_outputs = N_ATOMS + 3 * N_COMPONENTS
    outputs = numbers(N, n_outputs).requires_grad_()
    upper, width = cells(kind)
    atom = torch.randint(0, N_ATOMS, (N,), generator=generator(3))
    has_cell = (
        torch.rand(N, generator=generator(4)) < {"none": 2, "some": 0.5, "all": 0}[ties]
    )
    atom[has_cell & (torch.arange(N) % 2 == 0)] = -1  # an atom, a cell, or both
    padded = nn.functional.pad(outputs, (0, n_further), value=9.0)
    found = log_mixture(padded, N_ATOMS, N_COMPONENTS, atom, upper, width, has_cell)
    expected = plain_mixture(outputs, atom, upper, width, has_cell)
    # A narrow cell has the density at its middle.
    assert_allclose(found.detach(), expected.detach(), rtol=1e-6, atol=1e-6)
    weights = numbers(N, seed=5)
    own, other = (
        torch.autograd.grad(one, outputs, weights)[0] for one in (found, expected)
    )
    assert_allclose(own, other, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        again = log_mixture(padded, N_ATOMS, N_COMPONENTS, atom, upper, width, has_cell)
    assert torch.equal(again, found)


def test_cells_are_differences_of_distribution_functions():
    upper = np.array([-3.0, 0.0, 0.5, 4.0, 9.0, 2.0])
    width = np.array([1e-5, 0.01, 0.3, 2.0, 3.0, np.inf])
    mean, std = np.array([[0.0], [1.5]]), np.array([[0.7], [2.0]])
    tensors = [torch.tensor(x, dtype=torch.float32) for x in (upper, width)]
    components = [
        torch.tensor(x, dtype=torch.float32).expand(2, 6).clone() for x in (mean, std)
    ]
    found, *_ = log_normal_cells(*tensors, *components)
    high, low = (upper - mean) / std, (upper - width - mean) / std
    # The side where both tails are small, in float64.
    upper_tails = stats.norm.sf(low) - stats.norm.sf(high)
    lower_tails = stats.norm.cdf(high) - stats.norm.cdf(low)
    expected = np.log(np.where(high + low > 0, upper_tails, lower_tails))
    assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def density_over_cell(z, upper, width):
    """Return f(z) / C from logarithms in float64, and log C."""
    turned = 2 * upper > width
    near = np.where(turned, width - upper, upper)
    far = np.where(turned, -upper, upper - width)
    near, far = special.log_ndtr(near), special.log_ndtr(far)
    log_prob = near + np.log(-np.expm1(far - near))
    return np.exp(stats.norm.logpdf(z) - log_prob), log_prob


@pytest.mark.parametrize("width", [0.031, 0.5, 7.0, 70.0, 1e4, np.inf])
def test_derivatives_of_far_cells_keep_their_digits(width):
    """In float32, whose squares of such numbers have no digit after the point."""
    ends = np.concatenate([np.linspace(0, 9, 40), np.logspace(1, 4.5, 300)])
    upper = np.concatenate([-ends, ends]).astype("float32").astype("float64")
    zero, one = torch.zeros(1, len(upper)), torch.ones(1, len(upper))
    ends = torch.tensor(upper, dtype=torch.float32)
    found = log_normal_cells(ends, torch.full_like(ends, width), zero, one)
    found_log_prob, of_mean, of_log_std = (part[0] for part in found)
    of_high, log_prob = density_over_cell(upper, upper, width)
    lower = np.maximum(upper - width, -1e5)  # 0 times infinity
    of_low, _ = density_over_cell(lower, upper, width)
    assert_allclose(found_log_prob, log_prob, rtol=2e-5, atol=2e-5)
    assert_allclose(of_mean, of_low - of_high, rtol=2e-5, atol=2e-5)
    expected = of_low * lower - of_high * upper
    assert_allclose(of_log_std, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("width", [1e-6, 3.05e-4, 0.7, torch.inf])
def test_extreme_cells_have_finite_gradients(width):
    """Numbers a million times as large and as small as a narrow component expects."""
    ends = torch.cat([torch.zeros(1), torch.logspace(-2, 6, 500)])
    upper = torch.cat([-ends, ends])
    outputs = torch.tensor([[0.0, 0.0, 0.0, -20.0]]).repeat(len(upper), 1)
    none, width = torch.full((len(upper),), -1), torch.full_like(upper, width)
    found = log_mixture(outputs.requires_grad_(), 1, 1, none, upper, width, none < 0)
    found.sum().backward()
    assert found.isfinite().all()
    assert outputs.grad.isfinite().all()


def test_no_event_has_no_likelihood():
    outputs = torch.zeros(0, N_ATOMS + 3 * N_COMPONENTS, requires_grad=True)
    nothing = outputs[:, 0].detach()
    found = log_mixture(
        outputs, N_ATOMS, N_COMPONENTS, nothing.long(), nothing, nothing, nothing > 0
    )
    found.sum().backward()
    assert found.shape == (0,)


# The other functions ------------------------------------------------------------------


def test_gates_have_the_gradient_of_their_formula():
    logits = numbers(30, 5)
    logits[::3, 3] = -torch.inf  # a source with nothing
    log_generated = numbers(30, seed=1) - 3
    log_generated[4:6] = -torch.inf  # new levels
    shares = torch.rand(30, 4, generator=generator(2), dtype=torch.float64)
    shares[::4] = 0.0  # no copy gives the level
    shares[5] *= 1e-32  # nor does any by more than 1e-30: no gradient
    tensors = logits.requires_grad_(), log_generated.requires_grad_()
    found = _LogGated.apply(*tensors, shares)
    gates = logits.softmax(dim=1)
    copied = (gates[:, 1:] * shares).sum(dim=1).clamp(min=_LEAST_PROB)
    expected = (gates[:, 0] * log_generated.exp() + copied).log()
    assert_allclose(found.detach(), expected.detach(), rtol=1e-12)
    weights = numbers(30, seed=3)
    pairs = zip(
        torch.autograd.grad(found, tensors, weights),
        torch.autograd.grad(expected, tensors, weights),
        strict=True,
    )
    for own, other in pairs:
        assert own.isfinite().all()
        assert_allclose(own, other, rtol=1e-9, atol=1e-12)


def test_second_derivatives_raise_instead_of_being_wrong():
    """Backward passes hold constants that depend on the inputs."""
    ends, none = torch.zeros(3), torch.full((3,), -1)
    outputs = torch.zeros(3, 4, requires_grad=True)
    weight = torch.zeros(3, 5, requires_grad=True)
    logits, bias = torch.zeros(3, 2, requires_grad=True), torch.zeros(3)
    some = torch.ones(3, 1)
    found = [
        (log_mixture(outputs, 1, 1, none, ends, ends + 1, none < 0), outputs),
        (_LogGated.apply(logits, ends, some), logits),
        (log_softmax_of(torch.zeros(3, 4), some, weight, bias, none + 1), weight),
    ]
    for log_prob, of in found:
        with pytest.raises(RuntimeError, match="has first derivatives only"):
            torch.autograd.grad(log_prob.sum(), of, create_graph=True)


@pytest.mark.parametrize("n", [0, 7])
@pytest.mark.parametrize("n_constants", [0, 3])
def test_joint_linear_layers_have_the_gradient_of_a_linear_layer(n, n_constants):
    constants = numbers(n, n_constants, seed=1)
    tensors = [
        one.requires_grad_()
        for one in (
            numbers(n, 4),
            numbers(5, 4 + n_constants, seed=2),
            numbers(5, seed=3),
        )
    ]
    inputs, weight, bias = tensors
    assert torch.autograd.gradcheck(joint_linear, (inputs, constants, weight, bias))
    found = joint_linear(inputs, constants, weight, bias)
    expected = nn.functional.linear(torch.cat([inputs, constants], dim=1), weight, bias)
    assert_allclose(found.detach(), expected.detach(), rtol=1e-12)
    with pytest.raises(AssertionError):  # a gradient that would be missing
        joint_linear(inputs, constants.requires_grad_(), weight, bias)
