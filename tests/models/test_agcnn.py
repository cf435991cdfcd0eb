"""The whole network: what it gives back, and that its parts are joined as Fig. 2 draws them."""

import pytest
import torch

from agcnn_models import attention
from agcnn_models.agcnn import AGCNN, build_agcnn
from agcnn_models.settings import AttentionSettings, Backbone, Grid, HeatScale, Pooling, Region, Statistic, Threshold


@pytest.fixture(scope="module")
def images():
    """Return two small images."""
    return torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(8))


def test_a_forward_pass_is_the_steps_of_the_figure(model, images):
    """Global branch, attention, local branch on the crops, fusion of both Pool5 outputs."""
    with torch.no_grad():
        reading = model(images)
        features = model.global_branch.feature_map(images)
        heat = attention.rescale(attention.heat_map(features))
        grid = attention.upsample(heat, 96)
        boxes = attention.largest_region(grid > 0.7, grid)
        crops = attention.crop(images, boxes, 96)
        pooled = (
            model.global_branch.pool(features),
            model.local_branch.pool(model.local_branch.feature_map(crops)),
        )
        fusion = torch.cat(pooled, dim=1) @ model.fusion.weight.T + model.fusion.bias
        assert torch.equal(reading.heat_map, heat)
        assert torch.equal(reading.boxes, boxes)
        torch.testing.assert_close(reading.global_logits, model.global_branch(images))
        torch.testing.assert_close(reading.local_logits, model.local_branch(crops))
        torch.testing.assert_close(reading.fusion_logits, fusion)


@pytest.mark.parametrize("pooling", Pooling)
@pytest.mark.parametrize("backbone", Backbone)
def test_both_branches_pool_as_asked_and_attention_is_as_set(backbone, pooling):
    """The local branch has the structure of the global one (Section III-A), its Pool5 included."""
    settings = AttentionSettings(tau=0.3, statistic=Statistic.L2)
    with torch.device("meta"):
        built = build_agcnn(backbone, pooling, settings)
    features = torch.rand(2, 5, 3, 3, generator=torch.Generator().manual_seed(4))
    expected = {
        Pooling.MAX: features.amax(dim=(2, 3)),
        Pooling.AVG: features.mean(dim=(2, 3)),
        Pooling.LSE: (10 * features).exp().mean(dim=(2, 3)).log() / 10,  # r = 10, Wang et al. 2017
    }[pooling]
    for branch in (built.global_branch, built.local_branch):
        torch.testing.assert_close(branch.pool(features), expected)
    assert built.settings == settings


def test_the_branches_share_no_weights(model):
    """They have the same structure and learn for themselves."""
    ours = dict(model.global_branch.named_parameters())
    for name, theirs in model.local_branch.named_parameters():
        assert ours[name].shape == theirs.shape
        assert ours[name].data_ptr() != theirs.data_ptr()


@pytest.mark.parametrize(("backbone", "width"), [(Backbone.RESNET50, 4096), (Backbone.DENSENET121, 2048)])
def test_the_fusion_branch_reads_both_pool5_outputs(backbone, width):
    """Twice K inputs, 15 outputs."""
    with torch.device("meta"):
        model = build_agcnn(backbone)
    assert model.fusion.weight.shape == (15, width)


def test_a_reading_gives_probabilities_of_three_branches(model, images):
    """Each is float32 [B, 15] and the sigmoid of its logit (Eq. 1)."""
    diagnosis = model.read(images)
    with torch.no_grad():
        reading = model(images)
    for found, logits in (
        (diagnosis.global_probabilities, reading.global_logits),
        (diagnosis.local_probabilities, reading.local_logits),
        (diagnosis.fusion_probabilities, reading.fusion_logits),
        (diagnosis.fusion_logits.sigmoid(), reading.fusion_logits),
    ):
        assert found.shape == (2, 15)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, 1 / (1 + torch.exp(-logits)))
    assert diagnosis.heat_map.shape == (2, 3, 3)
    assert not diagnosis.fusion_logits.requires_grad


def test_a_film_is_read_the_same_in_any_batch(model, images):
    """Batching across studies must not change what is found."""
    together, alone = model.read(images), model.read(images[1:])
    assert torch.equal(together.boxes[1:], alone.boxes)
    torch.testing.assert_close(together.fusion_probabilities[1:], alone.fusion_probabilities, rtol=0, atol=1e-5)


def test_a_model_in_training_mode_reads_no_films(images):
    """Forgetting eval() would make a film's findings depend on its batch."""
    with torch.device("meta"):
        model = build_agcnn(Backbone.DENSENET121)
    with pytest.raises(RuntimeError, match=r"eval\(\)"):
        model.read(images)


def test_a_fixed_global_branch_stays_and_the_local_one_learns(images):
    """A step of stage II moves the local branch alone: the global one is in eval and has no gradient."""
    torch.manual_seed(1)
    model = build_agcnn(Backbone.DENSENET121)
    model.global_branch.requires_grad_(requires_grad=False).eval()
    model.local_branch.train()
    before = {key: value.clone() for key, value in model.global_branch.state_dict().items()}
    learnt = model.local_branch.state_dict()["features.norm0.running_mean"].clone()
    model(images).local_logits.sum().backward()
    assert all(torch.equal(value, before[key]) for key, value in model.global_branch.state_dict().items())
    assert not torch.equal(model.local_branch.state_dict()["features.norm0.running_mean"], learnt)
    assert model.local_branch.get_parameter("features.conv0.weight").grad is not None
    assert model.global_branch.get_parameter("features.conv0.weight").grad is None


def _attend(settings, features, size):
    with torch.device("meta"):
        model = build_agcnn(Backbone.DENSENET121, settings=settings)
    return model.attend(torch.rand(features.shape[0], 3, size, size), features)


def test_attention_sends_no_gradient_to_the_branch_that_is_looked_at():
    """Neither through the heat map nor through the crops, also where both branches learn together."""
    features = torch.rand(1, 4, 3, 3, requires_grad=True)
    attended = _attend(AttentionSettings(), features, 96)
    assert not attended.heat_map.requires_grad
    assert not attended.crops.requires_grad


@pytest.mark.parametrize("threshold", Threshold)
@pytest.mark.parametrize("scale", HeatScale)
@pytest.mark.parametrize("statistic", Statistic)
def test_attention_is_by_the_statistic_scale_and_threshold_that_are_set(statistic, scale, threshold):
    """The heat map is by the first two of them, and the box is of what lies above the third in this map."""
    features = torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(3)) + 2
    settings = AttentionSettings(statistic=statistic, heat_scale=scale, threshold=threshold, tau=0.5)
    found = _attend(settings, features, 64)
    heat = attention.rescale(attention.heat_map(features, statistic), scale)
    assert torch.equal(found.heat_map, heat)
    grid = attention.upsample(heat, 64)
    mask = attention.binary_mask(grid, 0.5, threshold)
    assert torch.equal(found.boxes, attention.largest_region(mask, grid))


def test_on_the_native_grid_a_box_covers_whole_cells():
    """One hot cell of 7x7 in an image of 224 is a box of 32 pixels."""
    features = torch.zeros(1, 4, 7, 7)
    features[0, 2, 1, 5] = 3.0
    attended = _attend(AttentionSettings(grid=Grid.NATIVE), features, 224)
    assert attended.boxes.tolist() == [[160, 32, 191, 63]]
    assert attended.crops.shape == (1, 3, 224, 224)
    assert attended.heat_map.shape == (1, 7, 7)


def test_cells_that_do_not_divide_the_image_cover_it_whole():
    """Of 3 cells on 80 pixels the first has 26, and the others 27: each box begins where the one before has ended."""
    boxes = []
    for cell in range(3):
        features = torch.zeros(1, 4, 3, 3)
        features[0, 2, 0, cell] = 3.0
        boxes += _attend(AttentionSettings(grid=Grid.NATIVE), features, 80).boxes.tolist()
    assert boxes == [[0, 0, 25, 25], [26, 0, 52, 25], [53, 0, 79, 25]]


def test_on_the_upsampled_grid_a_box_follows_the_enlarged_heat():
    """By hand: the heat of one hot cell falls by 1/32 a pixel from its centre, along both axes."""
    features = torch.zeros(1, 4, 7, 7)
    features[0, 2, 3, 3] = 1.0
    attended = _attend(AttentionSettings(), features, 224)
    # The cell's centre is at 112.0, between the pixels 111 and 112, where the heat of the axis is 63/64.
    # 63/64 (1 - d/32) > 0.7 for d < 9.24, so the last pixel centres inside are 8.5 away: 103.5 and 120.5.
    assert attended.boxes.tolist() == [[103, 103, 120, 120]]


def test_a_quantile_threshold_keeps_its_share():
    """The hottest tenth of the pixels, wherever their values lie."""
    features = torch.arange(49.0).reshape(1, 1, 7, 7)
    settings = AttentionSettings(threshold=Threshold.QUANTILE, tau=0.9, grid=Grid.NATIVE)
    assert _attend(settings, features, 224).boxes.tolist() == [[64, 192, 223, 223]]


@pytest.mark.parametrize("statistic", Statistic)
def test_features_without_contrast_have_the_whole_image_attended(statistic):
    """A film on which nothing stands out is read whole, by both branches."""
    attended = _attend(AttentionSettings(statistic=statistic), torch.full((2, 5, 3, 3), 0.25), 96)
    assert attended.boxes.tolist() == [[0, 0, 95, 95]] * 2


@pytest.mark.parametrize(
    ("settings", "box"),
    [
        (AttentionSettings(region=Region.WHOLE), [0, 0, 223, 223]),
        (AttentionSettings(region=Region.CENTRE), [56, 56, 167, 167]),  # half of 224 is 112, and 56 are left each side
        (AttentionSettings(region=Region.CENTRE, share=0.25), [84, 84, 139, 139]),
    ],
)
def test_a_control_region_ignores_the_heat(settings, box):
    """By hand, with the heat in a corner; the heat map is the attention's all the same."""
    features = torch.zeros(1, 4, 7, 7)
    features[0, 2, 0, 0] = 1.0
    attended = _attend(settings, features, 224)
    assert attended.boxes.tolist() == [box]
    assert attended.crops.shape == (1, 3, 224, 224)
    assert attended.heat_map[0, 0, 0] == 1


def test_the_whole_image_reaches_both_branches(model, images):
    """control-joint: the local branch reads the very pixels of the global one."""
    control = AGCNN(model.global_branch, model.local_branch, AttentionSettings(region=Region.WHOLE)).eval()
    torch.testing.assert_close(control.read(images).local_probabilities, model.local_branch(images).sigmoid().detach())


@pytest.mark.parametrize("detail", [1, 2])
def test_a_random_region_has_the_size_of_the_attended_one(detail):
    """Only its place is another; of finer images, in their pixels."""
    features = torch.rand(8, 4, 7, 7, generator=torch.Generator().manual_seed(2))
    images = torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(3))
    found = []
    for region in (Region.ATTENDED, Region.RANDOM):
        with torch.device("meta"):
            network = build_agcnn(Backbone.DENSENET121, settings=AttentionSettings(region=region, detail=detail))
        found.append(network.attend(images, features).boxes)
    attended, random = found
    assert torch.equal(attended[:, 2:] - attended[:, :2], random[:, 2:] - random[:, :2])
    assert not torch.equal(attended, random)


@pytest.mark.parametrize(("region", "box"), [(Region.WHOLE, [0, 0, 63, 63]), (Region.CENTRE, [16, 16, 47, 47])])
def test_a_control_region_of_finer_images_is_in_their_pixels_and_seen_in_the_branchs(region, box):
    """Its box lies in the 64 pixels of the image, and the local branch gets the 32 that it reads."""
    attended = _attend(AttentionSettings(region=region, detail=2), torch.rand(2, 4, 4, 4), 64)
    assert attended.boxes.tolist() == [box] * 2
    assert attended.crops.shape == (2, 3, 32, 32)


def test_detail_gives_the_local_branch_finer_pixels(model):
    """The global branch sees each 2 x 2 as one; the box lies in fine pixels, and the crop is cut from those."""
    fine = torch.randn(2, 3, 192, 192, generator=torch.Generator().manual_seed(9))
    coarse = fine.unflatten(3, (96, 2)).unflatten(2, (96, 2)).mean(dim=(3, 5))
    plain = AGCNN(model.global_branch, model.local_branch, AttentionSettings()).eval()
    detailed = AGCNN(model.global_branch, model.local_branch, AttentionSettings(detail=2)).eval()
    detailed.fusion = plain.fusion
    with torch.no_grad():
        few, many = plain(coarse), detailed(fine)
        torch.testing.assert_close(many.global_logits, few.global_logits)
        torch.testing.assert_close(many.heat_map, few.heat_map)
        assert torch.equal(many.boxes[:, :2], few.boxes[:, :2] * 2)
        assert torch.equal(many.boxes[:, 2:], few.boxes[:, 2:] * 2 + 1)
        crops = attention.crop(fine, many.boxes, 96)
        torch.testing.assert_close(many.local_logits, model.local_branch(crops))
    with pytest.raises(ValueError, match="a side that 2 divides"):
        detailed.read(torch.zeros(1, 3, 95, 95))


def test_images_that_are_not_square_are_refused(model):
    """The preprocessing makes squares; anything else is a mistake."""
    with pytest.raises(ValueError, match="square"):
        model.read(torch.zeros(1, 3, 64, 96))


@pytest.mark.parametrize("tau", [-0.1, 1.0, float("nan")])
def test_a_tau_that_no_rescaled_map_could_meet_is_refused(tau):
    """The heat lies in [0, 1]."""
    with pytest.raises(ValueError, match="tau"):
        AttentionSettings(tau=tau)


@pytest.mark.parametrize(("key", "value"), [("share", 0.0), ("share", 1.1), ("share", float("nan")), ("detail", 0)])
def test_a_region_outside_the_image_is_refused(key, value):
    """A box has pixels, and no more than the image."""
    with pytest.raises(ValueError, match=key):
        AttentionSettings(**{key: value})
