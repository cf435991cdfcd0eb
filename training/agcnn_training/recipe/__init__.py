"""Recipes: every setting of a training run, in one TOML file, typed and frozen.

    name = "table2-GL_F"
    description = "Global and local branch together, then their fusion."
    extends = "table1-resnet50"         # tables merge key by key; arrays and single values replace

    [phase]                             # what every phase has unless it says otherwise
    epochs = 50

    [[stages]]                          # in this order
    trains = ["global", "local"]        # all other parts are fixed
    start = { global = "backbone", local = "backbone" }
    phases = [{ batch_size = 64 }]

    [[stages]]
    trains = ["fusion"]

Nothing has a default that changes a result silently: what a recipe leaves out is the paper's setting (Guan et al. 2018,
section IV-B), and a misspelt key is an error.
"""

from agcnn_training.recipe.choices import (
    Aim,
    Auxiliary,
    ClassifierBias,
    InitialWeights,
    Loss,
    Optimiser,
    Precision,
    Schedule,
    SplitMethod,
    Start,
)
from agcnn_training.recipe.keys import stage_key
from agcnn_training.recipe.load import changed, load_recipe, recipe_names
from agcnn_training.recipe.recipe import Recipe
from agcnn_training.recipe.stages import AsymmetricRecipe, AugmentationRecipe, PhaseRecipe, StageRecipe
from agcnn_training.recipe.tables import (
    CardRecipe,
    ComputeRecipe,
    ImageRecipe,
    JointRecipe,
    NetworkRecipe,
    PaperRecipe,
    SplitRecipe,
)

__all__ = [
    "Aim",
    "AsymmetricRecipe",
    "AugmentationRecipe",
    "Auxiliary",
    "CardRecipe",
    "ClassifierBias",
    "ComputeRecipe",
    "ImageRecipe",
    "InitialWeights",
    "JointRecipe",
    "Loss",
    "NetworkRecipe",
    "Optimiser",
    "PaperRecipe",
    "PhaseRecipe",
    "Precision",
    "Recipe",
    "Schedule",
    "SplitMethod",
    "SplitRecipe",
    "StageRecipe",
    "Start",
    "changed",
    "load_recipe",
    "recipe_names",
    "stage_key",
]
