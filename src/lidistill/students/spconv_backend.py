"""spconv 2 in place of our own convolution on a GPU: its compiled functions, our kernel maps, our weights.

``LIDISTILL_SPARSE_CONV=spconv`` chooses it, ``torch`` is the default. That is a choice of the machine, so it stands in
the environment: recipes, run folders and checkpoints are the same either way. Only tensors on a CUDA device are
convolved by it; on a processor, where spconv cannot go backward, our own code runs whatever the variable says.

What spconv computes differs in rounding alone:

- float32: products and sums in float32 (it leaves TF32 off).
- float16: what the positions of a kernel contribute is added up in float16, where ours adds in float32.
- bfloat16: spconv has none (its issue 673). Values rounded to bfloat16 are multiplied and added in float32: as exact
  as ours, but at the speed and memory of float32.
- It picks the fastest of its kernels by trying them, so two runs may differ in the last digits.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import pad_sequence

from lidistill.errors import InputError, nearest

if TYPE_CHECKING:
    from lidistill.students.sparse import KernelMap

VARIABLE = "LIDISTILL_SPARSE_CONV"
BACKENDS = ("torch", "spconv")
TYPES = (torch.float32, torch.float16, torch.bfloat16)


@cache
def chosen() -> bool:
    """Whether the environment says spconv; looked up once per process (``chosen.cache_clear()`` forgets)."""
    name = os.environ.get(VARIABLE) or BACKENDS[0]
    if name not in BACKENDS:
        raise InputError(f"the environment variable {VARIABLE} is {name!r}, not a backend{nearest(name, BACKENDS)}")
    if name == "spconv" and _library().cpu_only:
        raise InputError(
            f"{VARIABLE} is 'spconv', but the spconv that is installed was built without CUDA: pip uninstall spconv, "
            f"then install it for your CUDA (spconv-cu126, for example), or unset {VARIABLE} for our own code"
        )
    return name == "spconv"


def takes(voxels: Tensor, where: KernelMap) -> bool:
    """Whether a convolution is spconv's: it is chosen, on a GPU, of a type it knows, and somebody has a neighbour.

    spconv fails on a map without a pair; ours then multiplies the centre or returns zeros.
    """
    return (
        voxels.is_cuda
        and chosen()
        and voxels.dtype in TYPES
        and any(there is not None and len(there) > 0 for _, there, _ in where.steps)
    )


def convolve(voxels: Tensor, weight: Tensor, where: KernelMap) -> Tensor:
    """As ``sparse.sparse_conv``, whose arguments these are after autocast; both gradients are spconv's too."""
    dtype = torch.float32 if voxels.dtype == torch.bfloat16 else voxels.dtype
    filters = weight.to(dtype).permute(2, 0, 1).contiguous()  # spconv's (Cout, K, Cin)
    result: Tensor = _Native.apply(voxels.to(dtype), filters, where)  # type: ignore[no-untyped-call]
    return result.to(voxels.dtype)


@dataclass(frozen=True, eq=False)
class IndicePairs:
    """A kernel map as spconv wants it.

    ``pairs`` (2, K, P) int32: position by position the rows of input and of output that meet, filled up with -1 to the
    longest position; ``counts`` (K,) int32: how many they are; ``submanifold``: every row meets itself at the centre
    besides, which is not listed.
    """

    pairs: Tensor
    counts: Tensor
    submanifold: bool

    @classmethod
    def of(cls, where: KernelMap) -> IndicePairs:
        """``where`` must have a pair besides those of the centre."""
        steps = sorted(where.steps, key=lambda step: step[0])
        none = next(there for _, there, _ in steps if there is not None)[:0]
        inputs = [none if there is None else there for _, there, _ in steps]
        outputs = [none if here is None else here for _, _, here in steps]
        pairs = pad_sequence(inputs + outputs, batch_first=True, padding_value=-1).int().view(2, len(steps), -1)
        # the host needs the counts, and knows them already: on the device every convolution would wait for them
        counts = torch.tensor([len(there) for there in inputs], dtype=torch.int32)
        return cls(pairs, counts, any(there is None for _, there, _ in steps))


_KEPT: WeakKeyDictionary[KernelMap, IndicePairs] = WeakKeyDictionary()
"""Of every map as long as it lives: the maps of a batch serve many convolutions and their backward passes."""


def indice_pairs(where: KernelMap) -> IndicePairs:
    """Those of a map, made once."""
    found = _KEPT.get(where)
    if found is None:
        found = _KEPT[where] = IndicePairs.of(where)
    return found


class _Native(torch.autograd.Function):
    """spconv's gather-multiply-scatter; not its own autograd functions, which turn any autocast into float16."""

    @staticmethod
    def forward(ctx: Any, voxels: Tensor, filters: Tensor, where: KernelMap) -> Tensor:
        ctx.save_for_backward(voxels, filters)
        ctx.where = where
        found, spconv = indice_pairs(where), _library()
        # the types are settled; autocast would change those of the matrix products spconv leaves to torch
        with torch.autocast(voxels.device.type, enabled=False):
            result: Tensor = spconv.ops.indice_conv(
                voxels, filters, found.pairs, found.counts, where.outputs, False, found.submanifold, spconv.native
            )
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        voxels, filters = ctx.saved_tensors
        found, spconv = indice_pairs(ctx.where), _library()
        with torch.autocast(voxels.device.type, enabled=False):
            to_voxels, to_filters = spconv.ops.indice_conv_backward(
                voxels, filters, gradient, found.pairs, found.counts, False, found.submanifold, spconv.native
            )
        return to_voxels, to_filters, None


@dataclass(frozen=True)
class _Library:
    """What is used of spconv."""

    ops: Any
    native: Any
    cpu_only: bool


@cache
def _library() -> _Library:
    try:
        from spconv.core import ConvAlgo
        from spconv.cppconstants import CPU_ONLY_BUILD
        from spconv.pytorch import ops
    except ImportError as error:
        raise InputError(
            f"{VARIABLE} is 'spconv', but spconv cannot be imported ({error}): install it for your CUDA "
            f"(pip install spconv-cu126, for example), or unset {VARIABLE} for our own code"
        ) from error
    return _Library(ops, ConvAlgo.Native, CPU_ONLY_BUILD)
