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
    """Let every operation pass unchanged, and keep of the last attention kernel its factors' `dtype` and, where exact,
    its log-sum-exp (B, H, T), `lse`.

    Both None where no such kernel ran. Under autocast the dtype may be narrower than that of the queries which the
    model handed over. No lse where it is not exact: in half precision on a CPU (it errs by 6e-5), and where
    TensorFloat-32 rounds the factors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lse: Tensor | None = None
        self.dtype: torch.dtype | None = None

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
        on_cpu, single = query.device.type == "cpu", query.dtype == torch.float32
        rounded = single and not on_cpu and torch.backends.cuda.matmul.fp32_precision == "tf32"
        exact = single if on_cpu else not rounded
        self.dtype, self.lse = query.dtype, _trim(outputs[1], query) if exact else None
        return outputs


def _trim(lse: Tensor, query: Tensor) -> Tensor | None:
    """Drop what a kernel pads its log-sum-exp with: rows up to a multiple of 32, or a last axis of one."""
    lse = lse.squeeze(-1) if lse.ndim == 4 else lse
    if lse.ndim != 3 or lse.shape[:2] != query.shape[:2] or lse.shape[2] < query.shape[2]:
        return None
    return lse[:, :, : query.shape[2]].detach()
