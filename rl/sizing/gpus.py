"""What GPUs can do, from their makers' data sheets: dense bf16 arithmetic, no sparsity."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """Hold memory (GiB), arithmetic (TFLOP/s in bf16), memory traffic and traffic to its neighbours (GB/s)."""

    name: str
    memory_gib: float
    tflops: float
    memory_gbps: float
    link_gbps: float


# link: NVLink, one direction, where there is one, else PCIe.
GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("a100-40", 40, 312, 1555, 300),
        Gpu("a100", 80, 312, 2039, 300),
        Gpu("h100", 80, 989, 3350, 450),
        Gpu("h200", 141, 989, 4800, 450),
        Gpu("b200", 180, 2250, 8000, 900),
        Gpu("l40s", 48, 362, 864, 32),
        Gpu("a10g", 24, 70, 600, 32),
        Gpu("rtx4090", 24, 165, 1008, 32),
    )
}
NETWORK_GBPS = 50.0  # of a GPU to other nodes: 400 Gbit/s
ARITHMETIC = 0.4  # share of the arithmetic that training reaches: the usual 0.3 to 0.5
TRAFFIC = 0.6  # share of the memory's traffic that generation reaches
USABLE = 0.92  # share of the memory that tensors can have; the rest is CUDA's own and lost between blocks
