"""`tersor.compress`: the way in, which looks at the model before torch is imported."""

from pathlib import Path
from typing import TYPE_CHECKING

from tersor.pipeline.options import Options
from tersor.reading import opened

if TYPE_CHECKING:
    from tersor.metrics import UserMetric
    from tersor.network.network import Network
    from tersor.pipeline.result import Result
    from tersor.plan.budget import Budget
    from tersor.plan.recipe import Recipe
    from tersor.reading import Loaded


def compress(
    model: "Network | Loaded | str | Path",
    data: object,
    *,
    recipe: "str | Path | Recipe" = "fast",
    budget: "Budget | None" = None,
    metric: "str | UserMetric | None" = None,
    options: Options | None = None,
) -> "Result":
    """Make a model small and fast, and check that it still works.

    Args:
        model: A network, or what `tersor.load` takes.
        data: Samples, labels optional; a `Split` (see `data.split.split`) where validation
            and test samples are apart; or a path, the name of a callable, arrays, batches,
            a dataset or a DataLoader (see `data.read` and `data.objects`).
        recipe: Name of a recipe, path of one, or a `Recipe`: what to try; "fast" looks at
            the kind of network.
        budget: What to reach. Its drop replaces the recipe's limit.
        metric: See `tersor.metrics.resolve`; by default what fits the labels.
        options: Batch size, threads, engines, time.

    Raises:
        InputError: A setting is outside its range, or `data` is of no known kind.
        ModelError, UnsupportedError: The model cannot be worked on.
        DataError: The samples do not fit the model.
        VerifyError: An engine does not compute what the network does.
        EngineError: No engine runs the model.
    """
    found = opened(model) if isinstance(model, str | Path) else model
    from tersor.pipeline.work import Work
    from tersor.plan.recipe import Recipe
    from tersor.plan.recipe_file import load_recipe

    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    return Work(chosen, budget, metric, options or Options()).run(found, data)
