"""The kernels compute what torch's operations do: on a GPU where there is one, else interpreted on the CPU."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torchvision.models import DenseNet

from agcnn_models import attention, gpu, serving, stem
from agcnn_models.attention import binary_mask, largest_region, rescale, upsample
from agcnn_models.components import boxes_on_host
from agcnn_models.precision import Precision, number_formats
from agcnn_models.replay import Replay
from agcnn_models.serving import read_within_memory, serve
from agcnn_models.settings import Backbone

pytest.importorskip("triton", reason="Triton comes with torch for Linux only")

from agcnn_models import kernels

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
NUMBERS = torch.bfloat16 if DEVICE.type == "cuda" else torch.float32
"""What is computed in: interpreted, products of bfloat16 are wrong."""
needs_gpu = pytest.mark.skipif(DEVICE.type == "cpu", reason="needs a GPU")

# Eighths are exact in binary, so that a mean has one value in whatever order it is summed.
HEAT_MAPS = arrays(
    "float32",
    array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9),
    elements=st.integers(0, 8).map(lambda n: n / 8),
)


@pytest.fixture(scope="module", autouse=True)
def exact_float32():
    """A GPU rounds factors to 10 bits unless it is told not to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.cudnn, "allow_tf32", False)
        yield


@pytest.fixture(scope="module", autouse=True)
def interpreted_loops():
    """Triton 3.6 interprets a loop's bounds by a conversion of arrays that NumPy 2.4 no longer has."""
    if DEVICE.type == "cuda":
        yield
        return
    from triton.runtime import interpreter

    patch_tensor = interpreter._patch_lang_tensor

    def patch(tensor, scope):
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(interpreter, "_patch_lang_tensor", patch)
        yield


def features(batch, channels, height, width):
    """Random ones, channels_last."""
    drawn = torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(channels))
    return drawn.to(DEVICE, NUMBERS).contiguous(memory_format=torch.channels_last)


def bounds(channels):
    """Of three kinds, in turn: only a lowest value, only a highest, both the same."""
    middle = torch.linspace(-0.5, 0.5, channels)
    kind = torch.arange(channels) % 3
    lowest, highest = torch.where(kind == 1, -torch.inf, middle), torch.where(kind == 0, torch.inf, middle)
    return torch.stack((lowest, highest)).to(DEVICE, NUMBERS)


def held(x, within):
    """Each channel between its bounds, in float32."""
    lowest, highest = within.float()[:, None, :, None, None]
    return torch.minimum(torch.maximum(x.float(), lowest), highest)


def close(found, expected):
    """Up to the rounding of those numbers, at its end and of what goes in."""
    room = {"rtol": 0.01, "atol": 0.02} if NUMBERS is torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(found.float(), expected.float(), **room)


@pytest.mark.parametrize(("outs", "size"), [(40, (5, 7)), (128, (3, 3)), (144, (2, 9))])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("bounded", [True, False])
def test_a_pointwise_convolution_holds_its_input_within_bounds(outs, size, relu, bounded):
    """Of some channels of a wider tensor, with sizes that no block divides."""
    x, within = features(2, 96, *size)[:, :80], bounds(80)
    weight, bias = features(outs, 80, 1, 1) / 9, features(1, outs, 1, 1).flatten()
    found = kernels.bounded_pointwise(x, within if bounded else None, weight, bias, relu=relu)
    expected = F.conv2d(held(x, within) if bounded else x.float(), weight.float(), bias.float())
    assert found.is_contiguous(memory_format=torch.channels_last)
    close(found, expected.relu() if relu else expected)


@pytest.mark.parametrize(("ins", "growth"), [(64, 32), (24, 16), (128, 70)])
def test_what_grows_is_written_in_its_place(ins, growth):
    """Beside it nothing is touched."""
    x, weight = features(2, ins, 6, 5), features(growth, ins, 3, 3) / (3 * ins**0.5)
    buffer = torch.full((2, growth + 20, 6, 5), 7.0, dtype=NUMBERS, device=DEVICE)
    buffer = buffer.contiguous(memory_format=torch.channels_last)
    kernels.grow(x, weight, buffer[:, 12 : 12 + growth])
    close(buffer[:, 12 : 12 + growth], F.conv2d(x.float(), weight.float(), padding=1))
    assert (buffer[:, :12] == 7).all()
    assert (buffer[:, 12 + growth :] == 7).all()


def test_growing_needs_features_that_lie_alone():
    """Some channels of a wider tensor would be read as all of it."""
    with pytest.raises(ValueError, match="others beside them"):
        kernels.grow(features(1, 32, 4, 4)[:, :16], features(8, 16, 3, 3), features(1, 8, 4, 4))


def test_a_kernel_needs_channels_last():
    """The error names the strides."""
    with pytest.raises(ValueError, match="channels_last, not the strides"):
        kernels.bounded_mean(features(2, 8, 4, 4).contiguous(), bounds(8))


@pytest.mark.parametrize(("channels", "size"), [(24, (8, 6)), (130, (7, 5))])
def test_the_mean_is_of_what_lies_within_bounds(channels, size):
    """An odd last row or column has no mean, as in torch."""
    x, within = features(2, channels, *size), bounds(channels)
    close(kernels.bounded_mean(x, within), F.avg_pool2d(held(x, within), 2))


@pytest.mark.parametrize("channels", [3, 5])
def test_blocks_are_unshuffled_pixels(channels):
    """Exactly, but for the numbers."""
    images = torch.randn(2, channels, 12, 20, device=DEVICE)
    found = kernels.in_blocks(images, NUMBERS)
    assert torch.equal(found, F.pixel_unshuffle(images, 4).to(NUMBERS))


@pytest.mark.parametrize("size", [(32, 32), (8, 20)])
def test_the_stem_on_blocks_is_the_stem(size):
    """Convolution of 7x7, ReLU and pooling, by way of blocks, in float32: whatever lies at the border."""
    weight, images = torch.randn(6, 3, 7, 7, device=DEVICE) / 12, torch.randn(2, 3, *size, device=DEVICE)
    seen = F.conv2d(kernels.in_blocks(images, torch.float32), stem.weight_on_blocks(weight), padding=1).relu()
    found = kernels.pooled_blocks(seen.contiguous(memory_format=torch.channels_last))
    expected = F.max_pool2d(F.conv2d(images, weight, stride=2, padding=3).relu(), 3, 2, 1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@given(
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.tuples(*(st.floats(0, 1) for _ in range(4))),
    st.integers(1, 24),
)
@settings(max_examples=20)
def test_a_crop_is_the_crop(sides, box, size):
    """Any box of any image, enlarged or reduced."""
    height, width = sides
    images = torch.randn(2, 3, height, width, device=DEVICE)
    ends = sorted(int(part * (width - 1)) for part in box[:2]), sorted(int(part * (height - 1)) for part in box[2:])
    (x_min, x_max), (y_min, y_max) = ends
    boxes = torch.tensor([[x_min, y_min, x_max, y_max], [0, 0, width - 1, height - 1]], device=DEVICE)
    expected = attention.crop(images.cpu(), boxes.cpu(), size)
    torch.testing.assert_close(kernels.crop(images, boxes, size).cpu(), expected, rtol=1e-5, atol=1e-5)


@given(HEAT_MAPS, st.integers(0, 8).map(lambda n: n / 8))
@settings(max_examples=200 if DEVICE.type == "cuda" else 25)
def test_the_largest_region_is_the_hosts(heat, tau):
    """`test_attention.py` holds that one against a flood fill. With many ties, and masks that are empty."""
    tensor = torch.from_numpy(heat)
    mask = binary_mask(tensor, tau)
    found = kernels.largest_boxes(mask.to(DEVICE), tensor.to(DEVICE))
    assert found.dtype == torch.int64
    assert torch.equal(found.cpu(), boxes_on_host(mask, tensor))


def spiral(side):
    """Return a path of one pixel's width to the middle of an image [side, side], a pixel apart from itself."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    row = column = 0
    down, right = 0, 1
    mask[0, 0] = True
    left = side - 1
    for length in [left] + [n for n in range(left, 1, -2) for _ in range(2)]:
        for _ in range(length):
            row, column = row + down, column + right
            mask[row, column] = True
        down, right = right, -down
    return mask


def comb(side):
    """Return teeth that only the last row joins: in reading order each begins as a region of its own."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[:, ::2] = mask[-1] = True
    return mask


@pytest.mark.parametrize("drawing", [spiral(41), spiral(41).T.flip(0), comb(41), comb(41).flip(0), comb(41).T])
def test_a_region_is_whole_however_it_winds(drawing):
    """A long way and many beginnings: the box is that of all of it. A comb has more runs than are looked at at once."""
    mask = drawing[None].to(DEVICE)
    assert kernels.largest_boxes(mask, torch.ones(mask.shape, device=DEVICE)).tolist() == [[0, 0, 40, 40]]


def test_the_regions_of_enlarged_maps_are_the_hosts():
    """At the network's real size, with several regions in an image."""
    heat = torch.rand(64 if DEVICE.type == "cuda" else 2, 7, 7, generator=torch.Generator().manual_seed(2))
    grid = upsample(rescale(heat), 224)
    mask = binary_mask(grid, 0.5)
    found = kernels.largest_boxes(mask.to(DEVICE), grid.to(DEVICE))
    assert torch.equal(found.cpu(), boxes_on_host(mask, grid))


@pytest.fixture
def dense():
    """A small DenseNet whose BatchNorms are not the identity, with rising, falling and flat channels."""
    torch.manual_seed(4)
    network = DenseNet(growth_rate=8, block_config=(2, 2), num_init_features=16, bn_size=2, num_classes=3).eval()
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(norm.bias, std=0.2)
            with torch.no_grad():
                norm.weight[3] *= -1
                norm.weight[5] = 0
    return network.to(DEVICE)


@torch.inference_mode()
def test_a_served_dense_net_computes_by_kernels_what_it_does_without(dense, monkeypatch):
    """Stem, blocks and transition."""
    images = torch.randn(2, 3, 32, 32, device=DEVICE)
    outcomes = []
    for offered in (kernels, None):
        for room in (serving, stem):
            monkeypatch.setattr(room, "kernels_for", lambda *_, offered=offered: offered)
        parts = dict(dense.features.named_children())
        first = stem.ServedStem(parts["conv0"], parts["norm0"], NUMBERS)
        steps = [
            serving._ServedBlock(parts["denseblock1"], NUMBERS),
            serving._ServedTransition(parts["transition1"], NUMBERS),
            serving._ServedBlock(parts["denseblock2"], NUMBERS),
        ]
        outcomes.append(torch.nn.Sequential(first, *steps)(images).float())
    by_kernels, without = outcomes
    assert by_kernels.shape == without.shape == (2, 32, 4, 4)
    assert (by_kernels - without).norm() < 0.02 * without.norm()


def test_a_cpu_is_offered_no_kernels():
    """Interpreted they would take minutes."""
    assert gpu.kernels_on(torch.device("cpu")) is None
    assert not gpu.fuses_convolutions(torch.device("cpu"))


@needs_gpu
def test_a_gpu_is_offered_them():
    """Or the reason is the failure's message."""
    assert gpu.why_no_kernels(DEVICE) == ""
    assert gpu.kernels_on(DEVICE) is kernels


@needs_gpu
def test_the_boxes_stay_on_the_gpu():
    """What decides the crop never leaves it."""
    heat = torch.rand(3, 9, 9, device=DEVICE)
    assert largest_region(heat > 0.5, heat).is_cuda


@needs_gpu
@pytest.mark.parametrize("backbone", Backbone)
@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.MIXED, Precision.BFLOAT16])
def test_a_gpu_reads_what_the_cpu_reads(trained, backbone, precision):
    """With the same region while the global branch computes in float32; and by replay the same as at first."""
    model = trained(backbone)
    images = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(8))
    expected = model.read(images)
    replay = Replay(serve(model.to(DEVICE), number_formats(precision, DEVICE)))
    first, second, third = (replay.read(images.to(DEVICE)) for _ in range(3))
    for at_first, again, later in zip(first, second, third, strict=True):
        assert torch.equal(again, later)
        torch.testing.assert_close(again, at_first, rtol=1e-3, atol=1e-3)

    def moved(branch):
        return (getattr(second, branch).cpu() - getattr(expected, branch)).abs().max()

    assert moved("global_probabilities") < (0.01 if precision is Precision.BFLOAT16 else 1e-4)
    if precision is not Precision.BFLOAT16:
        assert torch.equal(second.boxes.cpu(), expected.boxes)
        assert moved("fusion_probabilities") < (1e-4 if precision is Precision.FLOAT32 else 0.01)


@needs_gpu
def test_another_film_is_replayed_as_itself(trained):
    """A recording holds operations, not what they were recorded with; and of many shapes the last ones are kept."""
    model = serve(trained(Backbone.DENSENET121).to(DEVICE), number_formats(Precision.BFLOAT16, DEVICE))
    replay = Replay(model, most=2)
    for count in (1, 2, 3, 1, 2, 3, 1):
        films = torch.randn(count, 3, 64, 64, device=DEVICE)
        torch.testing.assert_close(replay.read(films), model.read(films), rtol=1e-3, atol=1e-3)


@needs_gpu
def test_a_gpu_that_is_full_forgets_its_recordings(trained, monkeypatch):
    """So that their memory is free for halves of the batch."""
    model = serve(trained(Backbone.RESNET50).to(DEVICE), number_formats(Precision.BFLOAT16, DEVICE))
    replay, films = Replay(model), torch.randn(4, 3, 64, 64, device=DEVICE)
    replay.read(films)

    def no_room(_):
        raise torch.OutOfMemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(replay, "_record", no_room)
        with pytest.raises(torch.OutOfMemoryError):
            replay.read(films)
    halves = read_within_memory(replay.read, films)
    torch.testing.assert_close(halves, model.read(films), rtol=1e-3, atol=1e-3)
