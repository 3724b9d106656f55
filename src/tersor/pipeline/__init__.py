"""Compressing: a model, samples and a recipe in; a verified file and an honest report out."""

from tersor.pipeline.compressing import compress
from tersor.pipeline.options import Options
from tersor.pipeline.result import Result

__all__ = ["Options", "Result", "compress"]
