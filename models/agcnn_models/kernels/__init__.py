"""What a GPU computes in kernels of our own, because torch's operations would pass over its memory more often.

They are written in Triton, which compiles them for the GPU at hand; `agcnn_models.gpu` tells whether that works. Each
has a counterpart in torch's operations, which defines what it computes and takes its place elsewhere:

    bounded_pointwise, bounded_mean, grow    the steps of a dense block and its transition (`serving`)
    in_blocks, pooled_blocks                 the first convolution's input and what follows it (`stem`)
    largest_boxes                            the largest connected region (`components`)
    crop                                     the attended region, enlarged (`attention.crop`)

Feature maps are channels_last. A call neither waits for the device nor copies anything to the host.
"""

import torch

from agcnn_models.kernels.crops import crop
from agcnn_models.kernels.dense import bounded_mean, bounded_pointwise, grow
from agcnn_models.kernels.regions import largest_boxes
from agcnn_models.kernels.stem import in_blocks, pooled_blocks

__all__ = [
    "bounded_mean",
    "bounded_pointwise",
    "crop",
    "grow",
    "in_blocks",
    "largest_boxes",
    "pooled_blocks",
    "try_all",
]


def try_all(device: torch.device) -> None:
    """Run each kernel once on small tensors, so that one that does not work says so before there are films.

    Raises whatever Triton raises: for lack of a compiler, of shared memory, of instructions.
    """

    def features(channels: int, size: int = 8) -> torch.Tensor:
        shape = (1, channels, size, size)
        return torch.zeros(shape, dtype=torch.bfloat16, device=device).contiguous(memory_format=torch.channels_last)

    bounds = torch.zeros(2, 64, dtype=torch.bfloat16, device=device)
    weight = features(64, 1).expand(128, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    middle = bounded_pointwise(features(64), bounds, weight, weight.new_zeros(128), relu=True)
    grow(middle, features(128, 3).expand(32, -1, -1, -1), out=features(96)[:, 64:])
    bounded_pointwise(bounded_mean(features(64), bounds), None, weight, weight.new_zeros(128), relu=False)
    pooled_blocks(in_blocks(torch.zeros(1, 4, 16, 16, device=device), torch.bfloat16))
    heat = torch.zeros(1, 8, 8, device=device)
    crop(heat[:, None], largest_boxes(heat > 0, heat), 8)
    torch.cuda.synchronize(device)
