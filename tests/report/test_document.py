"""The document: what is refused, what is written."""

import copy
import json

import numpy as np
import pytest
import report_factory

from tersor.errors import InputError
from tersor.report.document import Report, normal, to_json, validate


def without(*path):
    result = report_factory.document()
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return result


def with_value(value, *path):
    result = report_factory.document()
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return result


@pytest.mark.parametrize("make", [report_factory.document, report_factory.missed,
                                  report_factory.unchanged])  # fmt: skip
def test_a_whole_document_is_valid(make):
    document = make()
    assert validate(document) is document


@pytest.mark.parametrize("key", sorted(Report.__required_keys__))
def test_every_missing_key_is_named(key):
    with pytest.raises(InputError, match=rf"^{key} in the report must be given") as caught:
        validate(without(key))
    assert caught.value.what == f"{key} in the report"


@pytest.mark.parametrize("key", sorted(Report.__optional_keys__))
def test_optional_keys_may_be_missing(key):
    document = {**report_factory.document(), "drop": None}
    del document[key]
    assert key not in validate(document)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (("original", "metric", "samples"), "original.metric.samples"),
        (("compressed", "latency", "q3_ms"), "compressed.latency.q3_ms"),
        (("layers", 20, "bytes_after"), "layers[20].bytes_after"),
        (("candidates", 3, "why_not"), "candidates[3].why_not"),
    ],
)
def test_a_missing_inner_key_is_named_with_its_place(path, named):
    with pytest.raises(InputError) as caught:
        validate(without(*path))
    assert caught.value.what == f"{named} in the report"


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        (("compression",), "3.9", "a finite number"),
        (("compression",), True, "a finite number"),
        (("compression",), None, "a finite number"),
        (("compression",), float("nan"), "a finite number"),
        (("original", "file_bytes"), 1.5, "a whole number"),
        (("original", "file_bytes"), True, "a whole number"),
        (("original", "file_bytes"), np.int64(4), "a whole number"),
        (("quiet",), 1, "true or false"),
        (("version",), None, "text"),
        (("layers",), {}, "a list"),
        (("layers", 0), [], "a table"),
        (("sqnr_db",), [], "a table"),
        (("sqnr_db",), {1: 2.0}, "a table"),
        (("sqnr_db", "logits"), "31", "a finite number"),
        (("layers", 0, "shape", 1), "batch", "a whole number"),
        (("candidates", 0, "kernels", "int8"), 1.5, "a whole number"),
    ],
)
def test_a_value_of_another_type_is_refused(path, value, allowed):
    with pytest.raises(InputError) as caught:
        validate(with_value(value, *path))
    assert caught.value.allowed == allowed
    assert caught.value.got is value


@pytest.mark.parametrize("value", [(1, 2), np.float32(1), {"a": b"bytes"}, [{3: 4}]])
def test_free_tables_hold_only_what_json_holds(value):
    with pytest.raises(InputError, match=r"^machine\.odd"):
        validate(with_value(value, "machine", "odd"))


def test_a_document_must_be_a_table():
    with pytest.raises(InputError, match=r"^All in the report must be a table"):
        validate([])


def test_more_keys_are_welcome_if_json_holds_them():
    assert validate(with_value([1, None, "x"], "extra"))["extra"] == [1, None, "x"]
    with pytest.raises(InputError, match=r"^layers\[0\]\.extra"):
        validate(with_value({1, 2}, "layers", 0, "extra"))


def test_either_type_of_a_missed_budget_is_taken():
    document = report_factory.missed()
    document["budget"]["missed"][0]["got"] = 4.27
    assert validate(document)
    document["budget"]["missed"][0]["got"] = []
    with pytest.raises(InputError, match="must be text or a finite number"):
        validate(document)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_json_holds_null_for_what_is_not_finite(odd):
    document = report_factory.document()
    document["sqnr_db"]["logits"] = odd
    document["layers"][0]["sqnr_db"] = odd
    document["machine"]["load"] = [odd]
    read = json.loads(to_json(document), parse_constant=pytest.fail)
    assert read["sqnr_db"] == {"logits": None}
    assert read["layers"][0]["sqnr_db"] is None
    assert read["machine"]["load"] == [None]


def test_json_gives_the_document_back():
    document = report_factory.document()
    before = copy.deepcopy(document)
    assert json.loads(to_json(document)) == before
    assert document == before


def test_keys_are_written_in_the_order_of_the_types_whatever_their_order_was():
    document = report_factory.document()
    document["another"] = 1
    turned = {key: document[key] for key in reversed(document)}
    turned["original"] = dict(reversed(document["original"].items()))
    assert to_json(turned) == to_json(document)
    known = [key for key in Report.__annotations__ if key in document]
    assert list(json.loads(to_json(turned))) == [*known, "another"]


def test_normal_leaves_its_document_alone():
    document = report_factory.document()
    normal(document)["layers"][0]["name"] = "changed"
    assert document == report_factory.document()


def test_text_that_is_no_unicode_is_still_written():
    text = to_json(with_value("bad\udc80", "model"))
    assert json.loads(text.encode("ascii"))["model"] == "bad\udc80"
