"""The node tests that the onnx package ships, and what becomes of each of them here."""

import importlib
import pkgutil
import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case import node as cases_of_onnx
from onnx.reference.ops import op_pool_common
from quick_pool import quick_pool

from tersor.errors import TersorError
from tersor.network.from_onnx.reader import operators, read

# Arrays of other types (texts, bfloat16, float8, four bits) are none that numpy has.
KINDS = "biuf"


def collect():
    """All node tests on arrays of numbers; the package computes them when asked."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # their own numpy code overflows on purpose
        patch.setattr(op_pool_common, "pool", quick_pool)
        for _, name, _ in pkgutil.iter_modules(cases_of_onnx.__path__):
            importlib.import_module(f"{cases_of_onnx.__name__}.{name}")
    return [case for case in cases_of_onnx._NodeTestCases if _is_numeric(case)]


def _is_numeric(case):
    arrays = [a for pair in case.data_sets for side in pair for a in side]
    return len(case.data_sets) == 1 and all(
        isinstance(a, np.ndarray | np.generic) and a.dtype.kind in KINDS and a.dtype.isbuiltin
        for a in arrays
    )


def is_known(case):
    """Whether the case holds nothing but operators that can be read."""
    known = set(operators())
    return all(n.op_type in known and n.domain == "" for n in case.model.graph.node)


def settings_inside(case):
    """The model with its later inputs, such as axes and shapes, as initializers."""
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    arrays = case.data_sets[0][0]
    first = 1 if len(arrays) > 1 else 0
    for info, array in list(zip(case.model.graph.input, arrays, strict=True))[first:]:
        kind = case.model.graph.node[0].op_type
        if array.dtype.kind != "f" or array.size < 3 or kind in {"Resize", "OneHot"}:
            proto.graph.initializer.append(
                numpy_helper.from_array(np.asarray(array), info.name)
            )
    return proto


@dataclass
class Outcome:
    """What became of a case: the network, or why it was refused, or what went wrong."""

    case: object
    proto: onnx.ModelProto
    network: object = None
    refused: str = ""
    failed: str = ""

    @property
    def feeds(self):
        arrays = self.case.data_sets[0][0]
        by_name = zip(self.case.model.graph.input, arrays, strict=True)
        given = {i.name: np.asarray(a) for i, a in by_name}
        return {port.name: given[port.name] for port in self.network.inputs}


def outcome(case):
    """Read the case, with its settings inside if it must be, and run it."""
    found = _read(case)
    if found.network is not None:
        try:
            found.failed = _difference(found)
        except Exception as error:  # noqa: BLE001 - whatever happens is a failure
            found.failed = f"{type(error).__name__}: {error}"
    return found


def _read(case):
    error = None
    for proto_of in (lambda case: case.model, settings_inside):
        proto = proto_of(case)
        try:
            return Outcome(case, proto, network=read(proto.SerializeToString()))
        except TersorError as refused:
            error = refused
        except Exception as crash:  # noqa: BLE001 - whatever happens is a failure
            return Outcome(case, proto, failed=f"{type(crash).__name__}: {crash}")
    return Outcome(case, proto, refused=str(error))


def _difference(found):
    """How the results differ from the expected ones; "" if they do not."""
    got = found.network.run(found.feeds)
    for port, wanted in zip(found.network.outputs, found.case.data_sets[0][1], strict=True):
        result = got[port.name]
        if (result.dtype, result.shape) != (wanted.dtype, wanted.shape):
            return f"{result.dtype}{result.shape}, not {wanted.dtype}{wanted.shape}"
        # The case's own tolerance, or two units in the last place of half precision; 1e-6
        # lets sums of a few terms near 0 differ.
        rtol = max(case_tolerance(found.case), 2.0**-9 if wanted.dtype == np.float16 else 0)
        try:
            np.testing.assert_allclose(result, wanted, rtol=rtol, atol=1e-6)
        except AssertionError as error:
            return str(error)
    return ""


def case_tolerance(case):
    """The relative tolerance that the case itself declares."""
    return case.rtol


def summary(outcomes):
    """As in "ONNX node tests: 968 passed, 32 refused by name, 0 failed"."""
    counts = Counter(
        "failed" if o.failed else "refused by name" if o.refused else "passed"
        for o in outcomes
    )
    parts = (f"{counts[k]} {k}" for k in ("passed", "refused by name", "failed"))
    return "ONNX node tests: " + ", ".join(parts)
