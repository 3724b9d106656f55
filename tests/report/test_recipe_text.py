"""A recipe written as TOML reads back as the same recipe."""

import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.report.recipe_text import to_toml

texts = st.text(st.characters(codec="utf-8"), max_size=8)
scalars = st.one_of(
    texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=50)
@given(st.dictionaries(texts, values, max_size=4))
def test_toml_gives_the_same_table_back(table):
    assert tomllib.loads(to_toml(table)) == table


def test_null_is_left_out():
    table = {"a": None, "b": [1, None], "c": [{"d": None, "e": 1}, [{"f": None}]]}
    assert tomllib.loads(to_toml(table)) == {"b": [1], "c": [{"e": 1}, [{}]]}
