"""The recipe in docs/smallest.md is one, and its command is understood."""

import re
from pathlib import Path

from tersor.plan.changing import with_settings
from tersor.plan.recipe_file import load_recipe, parse_recipe

TEXT = (Path(__file__).parents[1] / "docs" / "smallest.md").read_text()


def test_the_recipe_is_one():
    (text,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    steps = parse_recipe(text).candidates[0].steps
    assert [step.method for step in steps] == [
        "train.fine_tune",
        "quantize.rate_distortion",
        "train.fine_tune",
    ]
    assert len(steps[0].build().during) == 2


def test_the_settings_of_the_command_are_known():
    settings = dict(re.findall(r"--set (\w+)=([\w.]+)", TEXT))
    recipe = with_settings(load_recipe("deep-compression"), settings)
    assert set(settings) == {"sparsity", "bits", "epochs"}
    assert recipe.candidates[0].steps[1].build().bits == 5


def test_every_method_that_is_named_exists():
    from tersor import methods

    named = set(re.findall(r"\b(?:prune|share|quantize|train)\.[a-z_0-9]+", TEXT))
    assert named <= set(methods.names())
    assert len(named) > 10
