"""Small networks of many published architectures, written from their papers in plain torch.

`ARCHITECTURES` maps a name to a builder that returns a seeded module in evaluation mode and
its example inputs. Nothing here but torch is imported, so that other tools can be run on the
same list; `tests` must be on `sys.path`, as pytest has it.
"""

from architectures.language import LANGUAGE
from architectures.mixed import MIXED
from architectures.mobile import MOBILE
from architectures.parts import Build
from architectures.pixels import PIXELS
from architectures.plain import PLAIN
from architectures.residual import RESIDUAL
from architectures.sequences import SEQUENCES
from architectures.translation import TRANSLATION
from architectures.vision import VISION
from architectures.windows import WINDOWS

__all__ = ["ARCHITECTURES", "Build"]

ARCHITECTURES: dict[str, Build] = {
    **PLAIN,
    **RESIDUAL,
    **MOBILE,
    **MIXED,
    **PIXELS,
    **SEQUENCES,
    **VISION,
    **WINDOWS,
    **LANGUAGE,
    **TRANSLATION,
}
