"""Recipes: what is written reads back as the same, and what is wrong is told."""

import subprocess
import sys
import tomllib
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tersor import methods
from tersor.errors import FileError, InputError
from tersor.methods.distil.soft_targets import SoftTargets
from tersor.methods.prune.channels import PruneChannels
from tersor.methods.prune.gradual import PruneGradual
from tersor.methods.prune.variational import PruneVariational
from tersor.methods.quantize.rate_distortion import QuantizeRateDistortion
from tersor.methods.quantize.smooth import QuantizeSmooth
from tersor.methods.quantize.static import QuantizeStatic
from tersor.methods.quantize.weights import QuantizeWeights
from tersor.methods.share.kmeans import ShareKmeans
from tersor.methods.train.fine_tune import FineTune
from tersor.network.kind import KINDS
from tersor.network.slimming import Target
from tersor.plan import toml_text
from tersor.plan.changing import with_settings
from tersor.plan.recipe import Candidate, Pin, Recipe, Step
from tersor.plan.recipe_file import describe, load_recipe, names, parse_recipe
from tersor.train.optimizer import Optimizer

SEARCH = """
[[candidate]]
name = "x"
search = "sensitivity"
[[candidate.step]]
method = "quantize.static"
"""
STATIC = "[[step]]\nmethod = 'quantize.static'\n"
SLIM = "[[step]]\nmethod = 'prune.channels'\n"
KINDED = (
    "[[candidate]]\nname = 'x'\nkinds = {}\n[[candidate.step]]\nmethod = 'quantize.static'"
)

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
keep = st.lists(texts, max_size=3)
steps = st.one_of(
    st.builds(
        Step,
        st.just("quantize.static"),
        st.fixed_dictionaries(
            {},
            optional={
                "ranges": st.sampled_from(["minmax", "percentile", "mse"]),
                "percent": st.floats(50, 100, exclude_min=True),
                "samples": st.integers(1, 2**70),
                "min_sqnr_db": st.floats(allow_nan=False, allow_infinity=False),
                "keep": keep,
            },
        ),
    ),
    st.builds(
        Step,
        st.just("quantize.weights"),
        st.fixed_dictionaries({}, optional={"bits": st.integers(2, 8), "keep": keep}),
    ),
)
candidates = st.builds(
    Candidate,
    texts.filter(lambda name: name != "original"),
    st.lists(steps, min_size=1, max_size=2).map(tuple),
    st.sampled_from([None, "sensitivity"]),
    st.lists(st.sampled_from(KINDS), max_size=2).map(tuple),
)
pins = st.builds(
    Pin,
    st.sampled_from(["onnxruntime", "openvino"]),
    texts,
    st.sampled_from([None, "all", "weights"]),
)
recipes = st.builds(
    Recipe,
    texts,
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.floats(0, 100),
    st.lists(candidates, min_size=1, max_size=3, unique_by=lambda c: c.name).map(tuple),
    st.none() | pins,
)


def refused(text):
    with pytest.raises(InputError) as caught:
        parse_recipe(text)
    return str(caught.value)


# Reading and writing


@hypothesis_settings(max_examples=60, deadline=None)
@given(recipes)
def test_what_is_written_reads_back_as_the_same(recipe):
    assert parse_recipe(recipe.to_toml()) == recipe
    assert tomllib.loads(recipe.to_toml()) == recipe.to_dict()


@hypothesis_settings(max_examples=30, deadline=None)
@given(recipes, pins)
def test_a_resolved_recipe_reads_back_and_resolves_to_itself(recipe, pin):
    name = recipe.candidates[-1].name
    resolved = recipe.resolved(name, pin)
    assert parse_recipe(resolved.to_toml()) == resolved
    assert resolved.resolved(name, pin) == resolved
    assert resolved.candidates == (replace(recipe.candidates[-1], kinds=()),)
    searched = resolved.candidates[0].search is not None
    assert ("candidate" if searched else "step") in resolved.to_dict()


def test_a_resolved_recipe_holds_every_setting_and_what_won():
    recipe = load_recipe("fast").resolved("int8 weights", Pin("openvino", "f32", "weights"))
    assert recipe.to_dict() == {
        "name": "int8 weights",
        "description": "What won of the recipe fast. " + describe()["fast"],
        "max_drop_pp": 1.0,
        "run": {"engine": "openvino", "precision": "f32", "expand": "weights"},
        "step": [{"method": "quantize.weights", "bits": 8, "minimum": 64, "keep": []}],
    }


def test_resolving_by_its_own_name_changes_the_pin_alone():
    recipe, pin = load_recipe("w8"), Pin("onnxruntime", "f32")
    assert recipe.resolved("w8", pin) == replace(recipe, run=pin)
    assert recipe.resolved("w8", pin).resolved("w8") == recipe


def test_a_recipe_without_description_says_no_more_than_where_it_is_from():
    recipe = replace(load_recipe("fast"), description="")
    assert recipe.resolved("int8").description == "What won of the recipe fast."


def test_a_step_left_alone_has_the_defaults_of_its_method():
    assert Step("quantize.static").build() == QuantizeStatic()
    given = Step("quantize.static", {"samples": 8, "percent": 60, "keep": ["a", "b"]})
    assert given.build() == QuantizeStatic(samples=8, percent=60.0, keep=("a", "b"))
    assert isinstance(given.settings["percent"], float)


def test_steps_are_one_candidate_of_the_recipes_name():
    recipe = parse_recipe(STATIC + STATIC, source="folder/mine.toml")
    assert (recipe.name, recipe.description, recipe.max_drop_pp) == ("mine", "", 1.0)
    (candidate,) = recipe.candidates
    assert candidate == Candidate("mine", (Step("quantize.static"), Step("quantize.static")))


# The recipes that come with Tersor


def test_the_settings_of_deep_compression_reach_their_steps():
    given = {"sparsity": "0.92", "bits": "4", "epochs": "3"}
    (candidate,) = with_settings(load_recipe("deep-compression"), given).candidates
    prune, share, last = (step.build() for step in candidate.steps)
    assert (prune.during[0].sparsity, share.bits) == (0.92, 4)
    assert (prune.epochs, last.epochs) == (3, 3)


def slim_training():
    return FineTune(optimizer=Optimizer(schedule="warmup"), during=(SoftTargets(),))


def test_named_recipes_are_what_they_say():
    built = {
        name: {c.name: [s.build() for s in c.steps] for c in load_recipe(name).candidates}
        for name in names()
    }
    assert built == {
        "w8a8": {"w8a8": [QuantizeStatic(ranges="mse", samples=512)]},
        "w8": {"w8": [QuantizeWeights()]},
        "deep-compression": {
            "deep-compression": [
                FineTune(during=(PruneGradual(sparsity=0.9, scope="global"),)),
                ShareKmeans(bits=5),
                FineTune(optimizer=Optimizer(learning_rate=1e-4)),
            ],
        },
        "fast": {
            "int8": [QuantizeStatic(min_sqnr_db=15.0)],
            "partly int8": [QuantizeStatic(min_sqnr_db=15.0)],
            "int8 smoothed": [
                QuantizeSmooth(),
                QuantizeStatic(ranges="minmax"),
                QuantizeWeights(),
            ],
            "int8 throughout": [QuantizeStatic(), QuantizeWeights()],
            "int8 weights": [QuantizeWeights()],
        },
        "slim": {"slim": [PruneChannels(), slim_training()]},
        "slim-int8": {
            "slim-int8": [PruneChannels(), slim_training(), QuantizeStatic(ranges="mse")]
        },
        "smallest": {
            "rounded": [QuantizeRateDistortion()],
            "pruned and rounded": [
                FineTune(epochs=20, during=(PruneGradual(sparsity=0.9, scope="global"),)),
                QuantizeRateDistortion(),
                FineTune(epochs=5, optimizer=Optimizer(learning_rate=1e-4)),
            ],
            "without noise, rounded": [
                FineTune(
                    epochs=20,
                    optimizer=Optimizer(schedule="warmup"),
                    during=(PruneVariational(),),
                ),
                QuantizeRateDistortion(),
            ],
        },
        "transformer": {
            "int8 smoothed": [
                QuantizeSmooth(),
                QuantizeStatic(ranges="minmax"),
                QuantizeWeights(),
            ],
            "int8 weights": [QuantizeWeights()],
        },
    }
    assert [load_recipe(name).name for name in names()] == names()


def test_the_default_searches_for_the_fewest_layers_in_float():
    candidates = load_recipe("fast").fitting("other").candidates
    assert {c.name: c.search for c in candidates} == {
        "int8": None,
        "partly int8": "sensitivity",
        "int8 weights": None,
    }
    assert candidates[0].steps == candidates[1].steps  # so that they are made once only


def test_what_a_search_found_is_in_the_first_step_that_can_keep_layers():
    static = Step("quantize.static", {"ranges": "minmax", "keep": ("a",)})
    steps = (Step("quantize.equalize"), static, Step("quantize.weights"))
    found = Candidate("x", steps, "sensitivity").keeping(["a", "b"])
    assert found.search is None
    assert (found.steps[0], found.steps[2]) == (steps[0], steps[2])
    assert found.steps[1].settings == {**static.settings, "keep": ("a", "b")}


def test_a_setting_leaves_the_search():
    changed = with_settings(load_recipe("fast"), {"ranges": "minmax"})
    assert changed.candidates[1].search == "sensitivity"
    assert changed.candidates[1].steps[0].settings["ranges"] == "minmax"


@pytest.mark.parametrize(
    ("kind", "tried"),
    [
        ("convolutional", ["int8", "partly int8", "int8 weights"]),
        ("other", ["int8", "partly int8", "int8 weights"]),
        ("transformer", ["int8 smoothed", "int8 weights"]),
        ("recurrent", ["int8 throughout", "int8 weights"]),
        ("embedding", ["int8 throughout", "int8 weights"]),
    ],
)
def test_fast_tries_what_suits_the_kind(kind, tried):
    fitting = load_recipe("fast").fitting(kind)
    assert [c.name for c in fitting.candidates] == tried
    assert not fitting.asks_kind


def test_a_kind_that_a_recipe_has_nothing_for_is_told():
    recipe = parse_recipe(KINDED.format("['recurrent', 'embedding']"))
    with pytest.raises(InputError) as caught:
        recipe.fitting("other")
    assert str(caught.value) == (
        "kind of network must be one of embedding, recurrent: recipe recipe has no candidate "
        "for others. Got 'other'."
    )


def test_settings_are_changed_for_every_kind():
    changed = with_settings(load_recipe("fast"), {"quantize.static.samples": "7"})
    for kind in KINDS:
        first, *_ = changed.fitting(kind).candidates
        (static,) = [s for s in first.steps if s.method == "quantize.static"]
        assert static.settings["samples"] == 7


def test_fast_knows_every_kind():
    named = {kind for c in load_recipe("fast").candidates for kind in c.kinds}
    assert named == set(KINDS)


def test_fast_does_with_transformers_what_the_recipe_for_them_does():
    fitting = load_recipe("fast").fitting("transformer")
    assert fitting.candidates == load_recipe("transformer").candidates


def test_every_named_recipe_is_described():
    assert list(describe()) == names()
    assert all(30 < len(text) < 120 for text in describe().values())


def test_listing_recipes_loads_no_torch():
    code = (
        "import sys; from tersor.plan.recipe_file import describe, names; describe(); names();"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False"


# Files


def test_a_recipe_is_read_from_a_file_by_text_and_by_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(STATIC)
    assert load_recipe(path) == load_recipe(str(path)) == parse_recipe(STATIC, source=path)


def test_an_unknown_name_lists_the_known_ones_and_says_that_a_path_works():
    with pytest.raises(InputError) as caught:
        load_recipe("w8a")
    assert str(caught.value) == (
        "recipe must be w8a8 (did you mean that?) or one of deep-compression, fast, "
        "slim, slim-int8, smallest, transformer, w8, or the path of a .toml file. Got 'w8a'."
    )


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileError, match=r"none.toml is not a file. Check the path."):
        load_recipe(tmp_path / "none.toml")


def test_a_folder_is_no_recipe(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(FileError, match="is not a file"):
        load_recipe(tmp_path / "folder.toml")


def test_a_file_that_may_not_be_opened_is_told(tmp_path, monkeypatch):
    path = tmp_path / "mine.toml"
    path.write_text(STATIC)

    def fail(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", fail)
    with pytest.raises(FileError, match="cannot be read: Permission denied"):
        load_recipe(path)


def test_a_large_file_is_refused(tmp_path):
    path = tmp_path / "large.toml"
    path.write_bytes(STATIC.encode().ljust(toml_text.MAX_BYTES, b"\n"))
    assert load_recipe(path).name == "large"
    path.write_bytes(STATIC.encode().ljust(toml_text.MAX_BYTES + 1, b"\n"))
    with pytest.raises(FileError, match="is larger than 1048576 bytes"):
        load_recipe(path)
    with pytest.raises(FileError, match="is longer than 1048576 characters"):
        parse_recipe(STATIC.ljust(toml_text.MAX_BYTES + 1))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "latin.toml"
    path.write_bytes(b'name = "\xe9"')
    with pytest.raises(FileError, match="is not UTF-8 text: byte 8 is damaged"):
        load_recipe(path)


def test_wrong_syntax_names_file_and_line(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nmax_drop_pp = \n')
    with pytest.raises(FileError, match=r"mine.toml is not TOML: .*at line 2, column 15"):
        load_recipe(path)


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 100_000, ".".join("a" * 4000) + " = 1", '"\u2028".' * 4000 + "a = 1"],
    ids=["brackets", "dots", "dots-in-lines-that-are-none"],
)
def test_deep_nesting_is_refused_before_it_costs_anything(text):
    with pytest.raises(FileError, match=r"nested too deeply. A recipe has three levels."):
        parse_recipe(text)


def test_numbers_that_python_does_not_read_are_refused():
    with pytest.raises(FileError, match=r"recipe.toml is not TOML: Exceeds the limit"):
        parse_recipe("max_drop_pp = " + "1" * 5000)


# What is wrong in them


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "nme = 'x'",
            "key must be name (did you mean that?) or one of description, max_drop_pp, st",
        ),
        (
            STATIC + "rangs = 'mse'",
            "step 1: Setting of quantize.static must be ranges (did you mean that?) or one",
        ),
        (
            STATIC + "[[step]]\nmethod = 'quantize.weight'",
            "step 2: Method must be quantize.weights (did you mean that?) or one of ",
        ),
        ("[[step]]\nbits = 8", "step 1: method must be text, not empty. Got ''."),
        ("[[step]]\nmethod = 8", "step 1: method must be text, not empty. Got 8."),
        ("step = 1", "step must be a list of tables, written as [[step]]. Got 1."),
        ("step = [1]", "step must be a list of tables, written as [[step]]. Got [1]."),
        ("[step]\nmethod = 'x'", "step must be a list of tables, written as [[step]]."),
        ("", "recipe must be at least one [[step]] or [[candidate]]. Got []."),
        ("candidate = []", "recipe must be at least one [[step]] or [[candidate]]. Got []."),
        (STATIC + "[[candidate]]", "recipe must be either [[step]] or [[candidate]]."),
        ("[[candidate]]\nnam = 'x'", "candidate 1: key must be name (did you mean that?)"),
        ("[[candidate]]\nname = 'x'", "candidate 1: candidate x must be at least one step."),
        (
            "[[candidate]]\n[[candidate.step]]\nmethod = 'quantize.static'",
            "candidate 1: name of candidate must be text, not empty. Got ''.",
        ),
        (
            "[[candidate]]\nname = 'original'\n[[candidate.step]]\nmethod = 'quantize.static'",
            "candidate 1: name of candidate must be another name: this one means the unt",
        ),
        (
            SEARCH.replace("sensitivity", "guess"),
            'candidate 1: search must be "sensitivity", "rate", or left out. Got \'guess\'.',
        ),
        (
            SEARCH.replace("static", "equalize"),
            "candidate 1: search must be given where a step has the setting keep. Got ['quant",
        ),
        (
            "[[candidate]]\nname = 'x'\n[[candidate.step]]\nmethod = 'quantize.static'\n" * 2,
            "names of candidates must be different. Got ['x', 'x'].",
        ),
        (KINDED.format("['recurent']"), "candidate 1: kind of network must be recurrent (did"),
        (KINDED.format("[1]"), "candidate 1: kind of network must be one of transformer, co"),
        (KINDED.format("[]"), "candidate 1: kinds must be a list of kinds of networks. Got"),
        (KINDED.format("'other'"), "candidate 1: kinds must be a list of kinds of networks."),
        ("name = ''\n" + STATIC, "recipe name must be text, not empty. Got ''."),
        ("name = 1\n" + STATIC, "recipe name must be text, not empty. Got 1."),
        ("description = 1\n" + STATIC, "recipe description must be text. Got 1."),
        ("run = 1\n" + STATIC, "run must be a table, written as [run]. Got 1."),
        (STATIC + "[run]\nengin = 'x'", "key of [run] must be engine (did you mean that?)"),
        (
            STATIC + "[run]\nengine = 'openvin'\nprecision = 'f32'",
            "run engine must be openvino (did you mean that?) or one of ",
        ),
        (STATIC + "[run]\nengine = 'openvino'", "run precision must be text, not empty."),
        (
            STATIC + "[run]\nengine = 'openvino'\nprecision = 'f32'\nexpand = 'some'",
            'run expand must be "all", "weights", or left out. Got \'some\'.',
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text, told):
    assert refused(text).startswith(f"recipe.toml: {told}")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("ranges = 'msee'", "ranges must be mse (did you mean that?) or one of minmax, perc"),
        ("ranges = 1", "ranges must be one of minmax, percentile, mse, entropy. Got 1."),
        ("samples = true", "samples must be a whole number. Got True."),
        ("samples = 8.0", "samples must be a whole number. Got 8.0."),
        ("samples = '8'", "samples must be a whole number. Got '8'."),
        ("percent = true", "percent must be a number. Got True."),
        ("percent = nan", "percent must be finite. Got nan."),
        ("min_sqnr_db = -inf", "min_sqnr_db must be finite. Got -inf."),
        ("min_sqnr_db = 1" + "0" * 400, "min_sqnr_db must be finite. Got inf."),
        ("keep = 'conv1'", "keep must be a list of texts. Got 'conv1'."),
        ("keep = ['a', 1]", "keep, item 2 must be text. Got 1."),
        ("keep = {a = 1}", "keep must be a list of texts. Got {'a': 1}."),
        ("percent = 30", "percent must be in (50, 100]. Got 30.0."),
        ("samples = 0", "samples must be at least 1. Got 0."),
    ],
)
def test_a_value_is_refused_with_what_was_expected(setting, told):
    message = refused(STATIC + STATIC + setting)
    assert message.startswith(f"recipe.toml: step 2: quantize.static {told}")


@pytest.mark.parametrize(
    ("text", "value"),
    [("50%", 0.5), ("100%", 1.0), ("12.5%", 0.125), ("0.01%", 0.0001)],
)
def test_per_cents_will_do_for_a_fraction(text, value):
    recipe = parse_recipe(f"{SLIM}[step.target]\nmacs = '{text}'")
    (step,) = recipe.candidates[0].steps
    assert step.build().target == Target(macs=value)
    assert parse_recipe(recipe.to_toml()) == recipe
    (candidate,) = with_settings(parse_recipe(SLIM), {"macs": text}).candidates
    assert candidate.steps[0].build().target == Target(macs=value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("50", "target macs must be a number. Got '50'."),
        ("-50%", "target macs must be a number. Got '-50%'."),
        ("50 %", "target macs must be a number. Got '50 %'."),
        ("50%%", "target macs must be a number. Got '50%%'."),
        ("5e1%", "target macs must be a number. Got '5e1%'."),
        ("50.%", "target macs must be a number. Got '50.%'."),
        ("%", "target macs must be a number. Got '%'."),
        ("half", "target macs must be a number. Got 'half'."),
        ("101%", "target macs must be in (0, 1], as in 0.5 or 50%. Got 1.01."),
        ("0%", "target macs must be in (0, 1], as in 0.5 or 50%. Got 0.0."),
        ("1" * 400 + "%", "target macs must be a number. Got '1"),
    ],
)
def test_what_is_no_fraction_is_refused(text, told):
    message = refused(f"{SLIM}[step.target]\nmacs = '{text}'")
    assert message.startswith(f"recipe.toml: step 1: prune.channels {told}")


def test_per_cents_are_no_whole_number():
    message = refused(f"{SLIM}multiple = '50%'")
    assert "multiple must be a whole number. Got '50%'." in message


def test_one_target_goes_without_the_other():
    recipe = parse_recipe(f"{SLIM}[step.target]\nmacs = 0.5")
    with pytest.raises(InputError, match=r"one of macs, .*\. Got \['bytes', 'macs'\]"):
        with_settings(recipe, {"bytes": "30%"})
    (candidate,) = with_settings(load_recipe("slim"), {"bytes": "30%"}).candidates
    assert candidate.steps[0].build().target == Target(bytes=0.3)


@pytest.mark.parametrize("limit", ["-0.1", "100.1", "nan", "inf", "true", "'1'"])
def test_the_limit_is_a_number_from_0_to_100(limit):
    message = refused(f"max_drop_pp = {limit}\n{STATIC}")
    assert message.startswith("recipe.toml: max_drop_pp must be a number in [0, 100], in perc")


def test_text_that_no_file_can_hold_is_refused():
    with pytest.raises(InputError, match="keep, item 1 must be text in valid Unicode"):
        Step("quantize.static", {"keep": ["\udc80"]})
    with pytest.raises(InputError, match="recipe name must be text in valid Unicode"):
        replace(load_recipe("w8"), name="\udc80")


def test_mistakes_list_what_else_is_known():
    assert refused("nme = 'x'").endswith("step, candidate, run. Got 'nme'.")
    told = refused(STATIC + "rangs = 'mse'")
    assert told.endswith(
        "or one of percent, samples, min_sqnr_db, keep, weight_bits. Got 'rangs'."
    )


def test_an_unknown_candidate_lists_the_known_ones():
    with pytest.raises(
        InputError, match=r"candidate must be int8 .did you mean that.. or one"
    ):
        load_recipe("fast").resolved("int9")


# Types that the methods of today do not use


@dataclass(frozen=True, kw_only=True)
class Odd:
    sparsity: float
    group: int | None = None
    even: bool = False
    ratios: tuple[float, ...] = (0.5,)


@pytest.fixture
def odd(monkeypatch):
    monkeypatch.setattr(methods, "names", lambda: ["odd"])
    monkeypatch.setattr(methods, "find", lambda _: SimpleNamespace(METHOD=Odd))


@pytest.mark.usefixtures("odd")
def test_none_is_what_is_left_out():
    bare, grouped = Step("odd", {"sparsity": 1}), Step("odd", {"sparsity": 1, "group": 4})
    assert (bare.build(), grouped.build()) == (Odd(sparsity=1.0), Odd(sparsity=1.0, group=4))
    recipe = Recipe("r", "", 1.0, (Candidate("r", (bare, grouped)),))
    assert parse_recipe(recipe.to_toml()) == recipe


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "odd sparsity must be given: it has no default. Got None."),
        ({"sparsity": 1, "group": 1.5}, "odd group must be a whole number. Got 1.5."),
        ({"sparsity": 1, "even": 1}, "odd even must be true or false. Got 1."),
        ({"sparsity": 1, "ratios": [1, "a"]}, "odd ratios, item 2 must be a number. Got 'a'."),
    ],
)
def test_other_types_are_checked_too(settings, told):
    with pytest.raises(InputError) as caught:
        Step("odd", settings)
    assert str(caught.value) == told


# --set


def test_a_bare_key_sets_every_step_that_has_it():
    fast = load_recipe("fast").fitting("other")
    changed = with_settings(fast, {"keep": '["fc"]', "ranges": "minmax"})
    assert [c.steps[0].build() for c in changed.candidates] == [
        QuantizeStatic(ranges="minmax", min_sqnr_db=15.0, keep=("fc",)),
        QuantizeStatic(ranges="minmax", min_sqnr_db=15.0, keep=("fc",)),
        QuantizeWeights(keep=("fc",)),
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_a_dotted_key_sets_one_method_and_goes_before_the_bare_one(order):
    given = {"quantize.weights.keep": '["a"]', "keep": '["b"]', "max_drop_pp": "0.5"}
    fast = load_recipe("fast").fitting("other")
    changed = with_settings(fast, dict(list(given.items())[::order]))
    assert [c.steps[0].settings["keep"] for c in changed.candidates] == [
        ("b",),
        ("b",),
        ("a",),
    ]
    assert changed.max_drop_pp == 0.5


def test_nothing_set_is_nothing_changed():
    assert with_settings(load_recipe("fast"), {}) == load_recipe("fast")


def test_an_unknown_key_lists_all_of_this_recipe():
    with pytest.raises(InputError) as caught:
        with_settings(load_recipe("w8"), {"bit": "4"})
    assert str(caught.value) == (
        "setting of recipe w8 must be bits (did you mean that?) or one of max_drop_pp, keep, "
        "minimum, quantize.weights.bits, quantize.weights.keep, quantize.weights.minimum. "
        "Got 'bit'."
    )


@pytest.mark.parametrize(
    ("key", "text", "told"),
    [
        ("samples", "many", "quantize.static samples must be a whole number. Got 'many'."),
        ("samples", "8\nx = 1", "quantize.static samples must be a whole number. Got '8.nx"),
        ("samples", "[" * 100_000, "quantize.static samples must be a whole number. Got '"),
        ("samples", "0", "quantize.static samples must be at least 1. Got 0."),
        ("max_drop_pp", "101", "max_drop_pp must be a number in .0, 100., in percentage poi"),
    ],
)
def test_a_value_that_cannot_be_set_is_refused(key, text, told):
    with pytest.raises(InputError, match=told):
        with_settings(load_recipe("w8a8"), {key: text})


TRAINING = """
[[step]]
method = "train.fine_tune"
epochs = 3

[step.optimizer]
learning_rate = 0.01

[[step.during]]
method = "prune.gradual"
sparsity = 0.9
"""


def test_tables_within_a_step_are_settings_too():
    recipe = parse_recipe(TRAINING)
    (step,) = recipe.candidates[0].steps
    built = step.build()
    assert built.optimizer.learning_rate == 0.01
    assert built.during[0].sparsity == 0.9
    assert parse_recipe(recipe.to_toml()) == recipe


def test_a_key_reaches_the_tables_within_a_step():
    given = {"sparsity": "0.7", "train.fine_tune.optimizer.learning_rate": "0.5"}
    (step,) = with_settings(parse_recipe(TRAINING), given).candidates[0].steps
    built = step.build()
    assert (built.optimizer.learning_rate, built.during[0].sparsity) == (0.5, 0.7)
    assert built.epochs == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[step]]\nmethod = "prune.gradual"', "must be a step. prune.gradual happens during"),
        (TRAINING.replace("gradual", "magnitude"), "method must be .*prune.gradual"),
        (
            TRAINING.replace('method = "prune', 'methot = "prune'),
            "a table with the key method",
        ),
        (TRAINING.replace("learning_rate", "learning"), r"learning_rate \(did you mean that"),
        (TRAINING.replace("0.9", "1.5"), r"prune.gradual sparsity must be in \[0, 1\)"),
        ('[[step]]\nmethod = "train.fine_tune"\noptimizer = 3', "must be a table of settings"),
        ('[[step]]\nmethod = "train.fine_tune"\nduring = 3', "must be a list of tables"),
    ],
)
def test_wrong_tables_within_a_step_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_recipe(text)
