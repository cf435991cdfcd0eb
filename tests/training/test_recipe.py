"""Recipes are typed, complete and shipped; they inherit, and say where they are wrong."""

import hashlib
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from agcnn_models.labels import LABELS
from agcnn_models.manifest import BranchName, ThresholdSet
from agcnn_models.manifest_file import read_manifest
from agcnn_models.settings import Backbone, Pooling
from agcnn_training.errors import TrainingError
from agcnn_training.recipe import (
    Aim,
    AugmentationRecipe,
    InitialWeights,
    JointRecipe,
    Loss,
    Optimiser,
    Recipe,
    Schedule,
    Start,
    changed,
    load_recipe,
    recipe_names,
    stage_key,
)

GLOBAL, LOCAL, FUSION = BranchName.GLOBAL, BranchName.LOCAL, BranchName.FUSION
SHIPPED = Path(__file__).resolve().parents[2] / "models" / "bundles" / "starter"
MADE_BY = ("3.0.0", "f042ac3df709fa9681c65ad4a0d2f2a0d00e5e44093824efd2becf5dba53b0a3")
"""The version of the starter's recipe, and the SHA-256 of all its settings that can change what is trained."""
GLOBAL_STAGE = 'trains = ["global"]\nstart = { global = "backbone" }'


def write(path: Path, text: str) -> str:
    """A recipe file, as its path."""
    path.write_text(f'name = "{path.stem}"\ndescription = "For tests."\n{text}')
    return str(path)


def test_every_shipped_recipe_loads() -> None:
    """Each recipe of training/recipes is valid and bears its file's name."""
    names = recipe_names()
    assert {"table1-resnet50", "table1-densenet121", "starter"} <= set(names)
    assert [load_recipe(name).name for name in names] == list(names)


@pytest.mark.parametrize(
    ("name", "backbone", "batches"),
    [("table1-resnet50", Backbone.RESNET50, [128, 64, 64]), ("table1-densenet121", Backbone.DENSENET121, [64, 32, 32])],
)
def test_paper_recipes_hold_the_papers_settings(name: str, backbone: Backbone, batches: list[int]) -> None:
    """SGD 0.01, momentum 0.9, decay 1e-4, 50 epochs, a tenth every 20, Eq. 2, and the batch sizes of Table II."""
    recipe = load_recipe(name)
    assert [stage.trains for stage in recipe.stages] == [(GLOBAL,), (LOCAL,), (FUSION,)]
    phases = [phase for stage in recipe.stages for phase in stage.phases]
    assert (recipe.network.backbone, recipe.network.pooling) == (backbone, Pooling.MAX)
    assert recipe.network.attention.tau == 0.7
    assert recipe.split.method is None
    assert [phase.batch_size for phase in phases] == batches
    for phase in phases:
        assert (phase.optimiser, phase.learning_rate, phase.momentum) == (Optimiser.SGD, 0.01, 0.9)
        assert (phase.weight_decay, phase.epochs, phase.loss) == (1e-4, 50, Loss.BCE)
        assert (phase.schedule, phase.drop_every) == (Schedule.STEP, 20)


@pytest.mark.parametrize("name", ["table1-resnet50", "table1-densenet121"])
def test_paper_recipes_do_nothing_that_the_paper_does_not(name: str) -> None:
    """From ImageNet's weights, on films of 256 pixels cropped to 224 at random and mirrored, by plain SGD alone."""
    recipe = load_recipe(name)
    assert (recipe.images.resize, recipe.images.crop, recipe.joint) == (256, 224, JointRecipe())
    assert recipe.network.initial_weights is InitialWeights.IMAGENET
    for phase in (phase for stage in recipe.stages for phase in stage.phases):
        assert phase.augmentation == AugmentationRecipe(scale=(0.08, 1), aspect=(3 / 4, 4 / 3), inside=True, flip=0.5)
        assert (phase.decay_vectors, phase.size, phase.clip_norm, phase.judge_every) == (True, None, None, 1)
        assert (phase.warmup, phase.label_smoothing, phase.mixup, phase.average) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("batch_size = 8", "batchsize = 8", r"Correct the recipe tiny\.toml: phase\.batchsize: [^;]*$"),
        ("crop = 64", "crop = 100", "images: crop .100. is larger than resize"),
        ('fusion = "branches"', 'fusion = "global"', r"stages\.2: start.fusion is global, but fusion can start from"),
        ('fusion = "branches"', 'local = "global"', r"stages\.2: start.local is given, but the stage does not train"),
        ("seed = 3", "seed = ", "not valid TOML"),
        ("epochs = 2", "epochs = 0", r"toml: stages\.0\.phases\.0\.epochs: [^;]*$"),
        (
            GLOBAL_STAGE,
            'trains = ["local"]\nname = "early"',
            r"stages\.0 trains local, but global is trained by no stage",
        ),
        ('trains = ["global"]', 'trains = ["global", "global"]', r"stages\.0\.trains: names a part twice"),
        ('trains = ["global"]', "trains = 1", r"stages\.0\.trains: [^;]*tuple\.$"),
        ('trains = ["fusion"]', 'trains = ["fusion"]\nname = "local"', "two stages are called local"),
        ("batch_size = 8", "batch_size = 8\naccumulate = 5", "fewer than two films"),
        ("batch_size = 8", "batch_size = 8\naugmentation = { scale = [1.0, 0.5] }", r"are \(smallest, largest\)"),
        ("batch_size = 8", "batch_size = 8\naugmentation = { aspect = [1.5, 0.5] }", r"are \(smallest, largest\)"),
        ("[split]", '[split]\nmethod = "lists"', 'method "lists" needs train_list and validation_list'),
        ("[split]", '[split]\ntest_list = "x.txt"', 'test_list is for method "lists" only'),
        ("[split]", "[split]\ntest = 0.7", "leave no films to train on"),
        ("[network]", '[network]\narchitecture = "yao-2017"', "yao-2017 has one branch"),
        (
            'trains = ["fusion"]\nstart = { fusion = "branches" }',
            'trains = ["local"]\nname = "again"',
            "fusion is trained by",
        ),
        ("[network]", "[network]\nattention = { tau = 1.0 }", r"network\.attention: tau must be"),
        ("[network]", "[network]\nattention = { detail = 200 }", "at most 8192"),
        ('name = "tiny"', 'name = "my model"', r"name: 'my model' becomes part .*: write it with letters, [^;]*$"),
        ('name = "tiny"', 'name = "-tiny"', "name: '-tiny' becomes part of a bundle's names"),
        ('name = "tiny"', r'name = "tiny\n"', "name: .* becomes part of a bundle's names"),
        ("seed = 3", 'seed = 3\nversion = "1 beta"', "version: '1 beta' becomes part of a bundle's names"),
        ('"tiny"', f'"{"a" * 60}"', r"would be longer than 64 characters: make the name shorter by 17\.$"),
        ("[split]", '[card]\ndata = ""\n[split]', r"card\.data: "),
        ("auxiliary_weight = 0.5", "", r"joint: auxiliary is given and auxiliary_weight is 0"),
        ("pretraining_weight = 0.5", "", r"joint: pretraining_share is given and pretraining_weight is 0"),
        ("pretraining_share = 0.25", "pretraining_share = 0.95", r"makes 8 of 8 films of a batch pretraining films"),
        ("pretraining_share = 0.25", "pretraining_share = 0.05", r"makes 0 of 8 films of a batch pretraining films"),
    ],
)
def test_a_wrong_recipe_is_one_sentence(recipe_file: Path, old: str, new: str, said: str) -> None:
    """What is wrong in a recipe is named by its place, once."""
    text = recipe_file.read_text()
    assert old in text
    recipe_file.write_text(text.replace(old, new, 1))
    with pytest.raises(TrainingError, match=said):
        load_recipe(str(recipe_file))


def test_the_model_that_ships_was_made_by_the_recipe_as_it_stands() -> None:
    """Whoever changes the recipe's settings changes its version, and trains the model anew."""
    recipe, manifest = load_recipe("starter"), read_manifest(SHIPPED)
    settings = {key: value for key, value in recipe.resolved().items() if key not in ("compute", "description", "card")}
    assert (recipe.version, hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()) == MADE_BY
    assert (manifest.name, manifest.version) == (recipe.name, recipe.version)
    assert (manifest.backbone, manifest.pooling) == (recipe.network.backbone, recipe.network.pooling)
    assert (manifest.attention, manifest.preprocessing) == (recipe.network.attention, recipe.preprocessing())
    trained = manifest.training
    assert (trained.recipe, trained.seed, trained.data) == (recipe.name, recipe.seed, recipe.card.data)
    assert trained.epochs == {stage.name: sum(phase.epochs for phase in stage.phases) for stage in recipe.stages}
    assert {chosen.set_id for chosen in (manifest.thresholds, *manifest.further_thresholds)} == {
        aim.set_id(recipe.model) for aim in Aim
    }


def test_the_longest_name_is_the_longest_that_a_manifest_takes(tiny: Recipe) -> None:
    """What is read as a recipe can be published at its end, whatever it is called."""
    longest = Recipe.model_validate(tiny.resolved() | {"name": "a" * 43})
    for aim in Aim:
        ThresholdSet(set_id=aim.set_id(longest.model), method="Any.", values=dict.fromkeys(LABELS, 0.5))
    with pytest.raises(ValidationError, match="shorter by 1"):
        Recipe.model_validate(tiny.resolved() | {"name": "a" * 44})


def test_an_unknown_recipe_names_the_known_ones() -> None:
    """Whoever mistypes a recipe's name is told which there are."""
    with pytest.raises(TrainingError, match="table1-densenet121"):
        load_recipe("paper-densenet")


def test_phases_have_what_the_common_phase_says_unless_they_say_otherwise(tmp_path: Path) -> None:
    """[phase] reaches every phase key by key, also into augmentation, and a stage without phases has one like it."""
    recipe = load_recipe(
        write(
            tmp_path / "common.toml",
            """
            phase = { epochs = 3, batch_size = 16, augmentation = { flip = 0.25, rotation = 5 } }
            [[stages]]
            trains = ["global"]
            phases = [{ epochs = 1 }, { batch_size = 4, augmentation = { flip = 0.0 } }]
            [[stages]]
            trains = ["fusion", "local"]
            """,
        )
    )
    first, second = recipe.stages
    assert [(phase.epochs, phase.batch_size) for phase in first.phases] == [(1, 16), (3, 4)]
    assert [phase.augmentation.flip for phase in first.phases] == [0.25, 0.0]
    assert {phase.augmentation.rotation for phase in first.phases} == {5.0}
    assert second.phases == (recipe.phase,)
    assert (second.name, second.trains, second.judged) == ("local+fusion", (LOCAL, FUSION), FUSION)


def test_a_recipe_inherits_tables_key_by_key_and_arrays_whole(tmp_path: Path) -> None:
    """What the child says stands, what it leaves out is the parent's; what the paper had is nobody's heirloom."""
    write(
        tmp_path / "parent.toml",
        """
        version = "2.0.0"
        seed = 5
        network = { pooling = "avg", backbone = "densenet121" }
        paper = { source = "Table I", mean_auc = { global = 0.8 } }
        phase = { epochs = 7, batch_size = 16 }
        [[stages]]
        trains = ["global"]
        [[stages]]
        trains = ["local", "fusion"]
        """,
    )
    child = load_recipe(
        write(
            tmp_path / "child.toml",
            """
            extends = "parent.toml"
            phase = { epochs = 2 }
            network = { pooling = "lse" }
            stages = [{ trains = ["global"] }]
            """,
        )
    )
    assert (child.name, child.version, child.seed, child.paper) == ("child", "1.0.0", 5, None)
    assert (child.network.pooling, child.network.backbone) == (Pooling.LSE, Backbone.DENSENET121)
    assert [(phase.epochs, phase.batch_size) for stage in child.stages for phase in stage.phases] == [(2, 16)]
    assert child.parts == (GLOBAL,)


def test_recipes_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    """A circle of inheritance is said, not followed for ever."""
    for name, other in (("a", "b"), ("b", "a")):
        write(tmp_path / f"{name}.toml", f'extends = "{other}.toml"')
    with pytest.raises(TrainingError, match="extends itself"):
        load_recipe(str(tmp_path / "a.toml"))


@pytest.mark.parametrize("name", recipe_names())
def test_a_resolved_recipe_is_the_recipe(name: str) -> None:
    """What run.json keeps makes an equal recipe again."""
    recipe = load_recipe(name)
    assert Recipe.model_validate(recipe.resolved()) == recipe


def test_single_settings_can_be_changed(tiny: Recipe) -> None:
    """A dotted key changes its place; phase. changes every phase; an unknown one is named."""
    other = changed(tiny, {"phase.epochs": 9, "network.attention.tau": 0.3})
    assert {phase.epochs for stage in other.stages for phase in stage.phases} == {9}
    assert other.network.attention.tau == 0.3
    assert other.stages[0].phases[0].mixup == tiny.stages[0].phases[0].mixup
    assert {phase.accumulate for phase in changed(tiny, {"phase.accumulate": 4}).stages[0].phases} == {4}
    with pytest.raises(TrainingError, match=r"tiny: phase\.epoch: there is no such setting\.$"):
        changed(tiny, {"phase.epoch": 9})
    with pytest.raises(TrainingError, match="cannot be set alone"):
        changed(tiny, {"stages.0": 1})


@pytest.mark.parametrize(
    ("key", "value", "shared"),
    [
        ("network.attention.tau", 0.3, 1),
        ("network.attention.region", "whole", 1),
        ("network.attention.detail", 2, 0),
        ("network.pooling", "max", 0),
        ("network.classifier_bias", "random", 0),
        ("compute.evaluation_batch", 7, 3),
        ("card.data", "Other words.", 3),
        ("seed", 4, 0),
        ("split.seed", 4, 0),
        ("compute.checkpoint_minutes", 1, 3),
        ("phase.learning_rate", 0.5, 0),
        ("phase.judge_every", 1, 3),
        ("phase.judge_every", 2, 0),
        ("compute.graphs", False, 3),
    ],
)
def test_a_stage_key_is_shared_as_far_as_the_weights_are(tiny: Recipe, key: str, value: object, shared: int) -> None:
    """A sweep of tau shares stage I and nothing later; what the card says changes nothing."""
    other = changed(tiny, {key: value})
    same = [stage_key(tiny, count, "data") == stage_key(other, count, "data") for count in (1, 2, 3)]
    assert same == [count <= shared for count in (1, 2, 3)]


def test_stages_that_were_stored_before_keep_their_key(tiny: Recipe) -> None:
    """The key is that of before ``judge_every`` and ``classifier_bias``: a new setting loses nobody a stage."""
    assert stage_key(tiny, 1, "data") == "9f16cff81583d32b623bf2fda80ef6db49bf75ae7e1bb392ddf6cdd1914db857"


def test_a_stage_key_knows_the_data_and_the_stages_before(tiny: Recipe) -> None:
    """Other films make other weights, and so does another stage I under an equal stage II."""
    assert stage_key(tiny, 1, "data") != stage_key(tiny, 1, "other data")
    stages = [stage.model_dump(mode="json") for stage in tiny.stages]
    stages[0]["phases"][0]["epochs"] = 9
    other = Recipe.model_validate(tiny.resolved() | {"stages": stages})
    assert stage_key(tiny, 2, "data") != stage_key(other, 2, "data")
    with pytest.raises(ValueError, match="3 stages"):
        stage_key(tiny, 4, "data")


def test_a_part_has_a_start_when_it_is_first_trained_and_then_goes_on(tmp_path: Path) -> None:
    """The paper's start where the recipe says nothing; none in a later stage (Table II, G_L_F*)."""
    recipe = load_recipe(
        write(
            tmp_path / "star.toml",
            """
            [[stages]]
            trains = ["global"]
            [[stages]]
            trains = ["local"]
            start = { local = "global" }
            [[stages]]
            trains = ["global", "local", "fusion"]
            """,
        )
    )
    assert [dict(stage.start) for stage in recipe.stages] == [
        {GLOBAL: Start.BACKBONE},
        {LOCAL: Start.GLOBAL},
        {FUSION: Start.RANDOM},
    ]
    assert recipe.stages[2].name == "global+local+fusion"


def test_starts_are_those_that_the_recipe_names(tiny: Recipe) -> None:
    """A part begins where the recipe says."""
    assert [dict(stage.start) for stage in tiny.stages] == [
        {GLOBAL: Start.BACKBONE},
        {LOCAL: Start.GLOBAL},
        {FUSION: Start.BRANCHES},
    ]
