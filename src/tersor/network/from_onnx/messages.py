"""ONNX's protobuf messages, without the rest of the onnx package.

Importing all of that package takes longer than refusing a bad file. The messages stand in
one module of it, which needs protobuf alone; it is loaded here under its own name, so that
the package takes it over when it is imported later.
"""

import sys
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

_NAME = "onnx.onnx_ml_pb2"


@cache
def messages() -> Any:
    """The module that has ModelProto, TensorProto and the other messages."""
    if _NAME not in sys.modules:
        package = find_spec("onnx")
        assert package is not None and package.origin is not None  # noqa: S101, PT018 - needed
        path = Path(package.origin).with_name("onnx_ml_pb2.py")
        spec = spec_from_file_location(_NAME, path)
        assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - a path to .py
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[_NAME] = module
    return sys.modules[_NAME]
