"""The log-sum-exp of each row, read off the attention kernel that computes it anyway."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_ATEN = torch.ops.aten
# Kernels behind scaled_dot_product_attention whose second result is the log-sum-exp, and the place of the argument that
# asks them for it (None: they always give it).
KERNELS: dict[Any, int | None] = {
    _ATEN._scaled_dot_product_flash_attention_for_cpu.default: None,
    _ATEN._scaled_dot_product_flash_attention.default: None,
    _ATEN._scaled_dot_product_efficient_attention.default: 4,
    _ATEN._scaled_dot_product_cudnn_attention.default: 4,
}


class LseTap(TorchDispatchMode):
    """Let every operation pass unchanged, and keep the log-sum-exp (B, H, T) of the last attention kernel in `lse`.

    None where no such kernel ran, or only one whose log-sum-exp is not exact: the CPU's in half precision errs by 6e-5.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lse: Tensor | None = None

    def __torch_dispatch__(
        self, func: Callable, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in KERNELS:
            return func(*args, **kwargs)
        place = KERNELS[func]
        if place is not None:
            args = (*args[:place], True, *args[place + 1 :])
        outputs = func(*args, **kwargs)
        query = args[0]
        exact = query.dtype == torch.float32 or query.device.type != "cpu"
        self.lse = _trim(outputs[1], query) if exact else None
        return outputs


def _trim(lse: Tensor, query: Tensor) -> Tensor | None:
    """Drop what a kernel pads its log-sum-exp with: rows up to a multiple of 32, or a last axis of one."""
    lse = lse.squeeze(-1) if lse.ndim == 4 else lse
    if lse.ndim != 3 or lse.shape[:2] != query.shape[:2] or lse.shape[2] < query.shape[2]:
        return None
    return lse[:, :, : query.shape[2]].detach()
