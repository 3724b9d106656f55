"""Kernels at each level that this machine has; those it lacks are skipped, with the reason."""

import pytest

from tersor.kernels import choose


@pytest.fixture(params=choose.LEVELS, scope="module")
def level(request):
    """Everything that is called runs at this level."""
    patch = pytest.MonkeyPatch()
    if request.param not in choose.choice().available:
        pytest.skip(f"{request.param} is not available here: {choose.choice().why}")
    chosen = choose.Choice(request.param, "a test asks for it", choose.choice().available)
    patch.setattr(choose, "choice", lambda: chosen)
    yield request.param
    patch.undo()
