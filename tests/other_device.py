"""A device with numbers, other than the CPU, on any machine.

Within `other_device()` tensors on the device ``"meta"`` have numbers, which they keep
in a tensor on the CPU. torch believes that they are elsewhere: an operation on tensors
of both devices is an error, as are ``.numpy()`` and a draw from a generator of the CPU.
So estimators with ``device="meta"`` take the paths that they take on a GPU, and their
results can be compared with those on the CPU.
"""

from contextlib import contextmanager

import numpy as np
import torch
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from sklearn_seqcrm._recurrent.training import _training

OTHER = torch.device("meta")
_ATEN = torch.ops.aten
# Tensors of two devices are usual in these, and only in these.
_COPIES = {_ATEN.copy_.default, _ATEN._to_copy.default}


# Generators of the other device by address: operators get another Python object.
_GENERATORS = {}


class OtherTensor(torch.Tensor):
    """A tensor that is on the other device for torch."""

    @staticmethod
    def __new__(cls, numbers, requires_grad=False):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            layout=numbers.layout,
            device=OTHER,
            requires_grad=requires_grad,
        )

    def __init__(self, numbers, requires_grad=False):
        self.numbers = numbers

    # Results stay what `_run` returns: those of `cpu` are no tensors of this class.
    __torch_function__ = torch._C._disabled_torch_function_impl

    def __getitem__(self, index):
        return super().__getitem__(_with_tensors(index))

    def __setitem__(self, index, value):
        super().__setitem__(_with_tensors(index), value)

    def __reduce_ex__(self, protocol):
        # In a file: what torch loads on a machine without the device.
        kind = torch.nn.Parameter if getattr(self, "_is_param", False) else torch.Tensor
        return _load, (self.numbers, kind, self.requires_grad)

    def tolist(self):
        return self.numbers.tolist()

    def __repr__(self):
        return f"OtherTensor({self.numbers!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _OtherDevice(TorchDispatchMode):
    """Makes new tensors on the other device as well, which have no arguments there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _run(func, args, kwargs):
    """Compute on the CPU, and put the results where torch would have them."""
    flat, _ = tree_flatten((args, kwargs))
    tensors = [one for one in flat if isinstance(one, torch.Tensor)]
    is_other = any(isinstance(one, OtherTensor) for one in tensors)
    if is_other and func not in _COPIES:
        # Numbers of Python become tensors on the CPU without an axis.
        mixed = [
            one for one in tensors if not isinstance(one, OtherTensor) and one.dim()
        ]
        if mixed:
            raise RuntimeError(
                f"{func}: tensors on two devices, {[one.device for one in mixed]}"
            )
    generator = kwargs.get("generator")
    if generator is not None and (generator._cdata in _GENERATORS) != is_other:
        raise RuntimeError(f"{func}: the generator is on another device")
    device = kwargs.get("device")
    if device is not None:
        is_other = torch.device(device).type == OTHER.type
        kwargs = {**kwargs, "device": "cpu"}
        if func is _ATEN._to_copy.default and not is_other:
            kwargs["dtype"] = kwargs.get("dtype")
    result = func(*tree_map(_numbers, args), **tree_map(_numbers, kwargs))
    if torch.Tag.inplace_view in func.tags:
        with no_dispatch():  # the shape that torch sees changes, too
            func(*args, **kwargs)
    if not func._schema.returns:
        return None
    name = func._schema.name
    in_place = name.endswith("_") and not name.endswith("__")  # __lshift__ is not
    if in_place or "out" in kwargs:
        return args[0] if "out" not in kwargs else kwargs["out"]
    return tree_map(_to_other, result) if is_other else result


def _load(numbers, kind, requires_grad):
    if kind is torch.nn.Parameter:
        return torch.nn.Parameter(numbers, requires_grad)
    return numbers


def _with_tensors(index):
    """Return an index with tensors for lists, as torch makes them on the device."""
    if isinstance(index, tuple):
        return tuple(map(_with_tensors, index))
    if isinstance(index, (list, np.ndarray)):
        return torch.from_numpy(np.asarray(index)).to(OTHER)
    return index


def _numbers(one):
    return one.numbers if isinstance(one, OtherTensor) else one


def _to_other(one):
    return OtherTensor(one) if type(one) is torch.Tensor else one


class _Generator(torch.Generator):
    """A generator on the CPU that counts as one of the other device if asked to."""

    def __new__(cls, device="cpu"):
        generator = super().__new__(cls, "cpu")
        if torch.device(device).type == OTHER.type:
            # Kept, so that no other generator gets its address.
            _GENERATORS[generator._cdata] = generator
        return generator


def _moved(make):
    """Return a function that makes a tensor on the CPU and moves it.

    torch would make a tensor without numbers, and `_OtherDevice` would not see it.
    """

    def moved(data, dtype=None, device="cpu"):
        on_cpu = torch.device(device or "cpu").type == "cpu"
        if isinstance(data, torch.Tensor) or on_cpu:
            return make(data, dtype=dtype, device=device)
        return make(data, dtype=dtype, device="cpu").to(device)

    return moved


@contextmanager
def other_device(monkeypatch):
    """Let tensors on the device ``"meta"`` have numbers.

    Parameters
    ----------
    monkeypatch : pytest.MonkeyPatch
        Replaces the generators of torch.
    """
    with monkeypatch.context() as patch, _OtherDevice():
        patch.setattr(torch, "Generator", _Generator)
        for name in ("tensor", "as_tensor"):
            patch.setattr(torch, name, _moved(getattr(torch, name)))
        # Gradient checkpointing asks the module of the device for its autocast.
        patch.setattr(torch, OTHER.type, torch.cpu, raising=False)
        # These optimizers refuse devices that torch has none for.
        patch.setattr(_training, "_HAS_FUSED_OPTIMIZERS", False)
        yield
