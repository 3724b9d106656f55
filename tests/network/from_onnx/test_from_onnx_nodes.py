"""The node tests that the onnx package ships are the judge of the importer."""

import pytest
from node_cases import collect, is_known, outcome, summary

# What the reader refuses on purpose, by the words of its message.
REFUSED = (
    "cannot be read",
    "cannot be computed",
    "is in training mode",
    "has no shape",
    "opset",
    "that is not constant",
    "would make shapes depend on data",
    "reducing over zero-size dimension",
    "is of type bfloat16",
    "is no tensor of a known type",
)


@pytest.fixture(scope="module")
def outcomes():
    return [outcome(case) for case in collect()]


def test_no_node_test_fails(outcomes, tell):
    tell(summary(outcomes))
    failed = {o.case.name: o.failed for o in outcomes if o.failed}
    assert failed == {}
    assert len(outcomes) > 1600


def test_what_is_refused_is_refused_by_a_known_reason(outcomes):
    refused = {o.case.name: o.refused for o in outcomes if o.refused}
    surprises = {n: w for n, w in refused.items() if not any(known in w for known in REFUSED)}
    assert surprises == {}


def test_nearly_all_node_tests_of_known_operators_pass(outcomes):
    known = [o for o in outcomes if is_known(o.case)]
    passed = [o for o in known if not o.refused and not o.failed]
    assert len(passed) >= 0.85 * len(known)
    assert len(passed) >= 1150
