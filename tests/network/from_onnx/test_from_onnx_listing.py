"""The page of operators says what the code does."""

from pathlib import Path

from onnx import defs

from tersor.network.from_onnx.functions import defined_by_others
from tersor.network.from_onnx.known import known_operators
from tersor.network.from_onnx.listing import FLOW, REFUSED, listing, names
from tersor.network.from_onnx.reader import operators

PAGE = Path(__file__).parents[3] / "docs" / "onnx-operators.md"
NAMES = {name for names in REFUSED.values() for name in names.split()}


def test_the_page_is_what_the_code_says():
    assert PAGE.read_text() == listing()


def test_what_is_refused_at_sight_is_what_no_function_reads():
    assert known_operators() == set(names().split())


def test_every_operator_of_onnx_is_read_or_refused_for_a_reason():
    known = {s.name for s in defs.get_all_schemas() if s.domain == ""}
    read = {name for name in operators() if "." not in name} | set(defined_by_others())
    read |= set(FLOW)
    assert known <= read | NAMES
    assert not NAMES & set(operators())
    assert known >= NAMES


def test_there_are_enough():
    own = [name for name in operators() if "." not in name]
    assert len(own) >= 165
    assert len(operators()) - len(own) >= 25
