"""Every module in `tersor.engines`, new ones too, must pass every law of the suite."""

import itertools
import subprocess
import sys
from importlib import metadata

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tersor import engines, machine
from tersor.engines import openvino, torch_compiled
from tersor.engines.engine import LONGEST_MESSAGE, End, ends_of, refusal
from tersor.errors import EngineError, InputError
from tersor.testing import engine_suite, onnx_models

EAGER = [name for name in engines.names() if engines.find(name).eager]
SLOW = [name for name in engines.names() if not engines.find(name).eager]


def test_there_are_engines():
    assert len(engines.names()) >= 5


def test_some_engine_is_here_besides_the_oracle():
    """If every engine were skipped, the tests below would say nothing."""
    assert "reference" in engines.available()
    assert [name for name in engines.available() if engines.find(name).fast]


@pytest.mark.parametrize("law", engine_suite.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", EAGER)
def test_engine_keeps_the_law(name, law):
    engine_suite.skip_if_absent(engines.find(name))
    law(engines.find(name))


@pytest.mark.parametrize("law", engine_suite.LAWS_WITHOUT_A_RUN, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", SLOW)
def test_compiling_engine_keeps_the_law(name, law):
    engine_suite.skip_if_absent(engines.find(name))
    law(engines.find(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_compiling_engine_computes_a_perceptron(name):
    engine_suite.skip_if_absent(engines.find(name))
    engine_suite.computes_a_perceptron(engines.find(name))


@pytest.mark.parametrize("name", engines.names())
def test_engine_is_called_like_its_module(name):
    assert engines.find(name).name == name


def test_unknown_engine_lists_the_known():
    with pytest.raises(InputError, match=r"one of onnxruntime, .*Got 'tensorrt'"):
        engines.find("tensorrt")


def test_asking_for_versions_loads_no_engine():
    code = (
        "import sys; from tersor import engines; engines.available();"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", engines.names())
def test_absent_package_is_reported_as_absent(name, monkeypatch):
    def missing(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)
    engine = engines.find(name)
    assert engine.version() is None
    with pytest.raises(EngineError, match=r"is not installed\. Run: pip install '") as caught:
        engine.prepare(onnx_models.relu(), threads=1)
    assert caught.value.engine == name
    assert name not in engines.available()


def test_compiled_torch_is_absent_without_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert torch_compiled.ENGINE.version() is None


# What the engines really run, by their own profiles.


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_quantized_convolutions_and_sums_run_in_int8(name):
    engine = engines.find(name)
    engine_suite.skip_if_absent(engine)
    if not {"avx512_vnni", "avx_vnni", "amx_int8", "dotprod"} & set(machine.isa_flags()):
        pytest.skip(f"no 8-bit dot products on this processor: {machine.cpu_model()}")
    session = engine.prepare(onnx_models.quantized(), threads=1)
    counts = session.kernels(engine_suite.image(1, onnx_models.CHANNELS))
    assert counts["int8"] >= 2  # both convolutions; the sum may be part of one
    assert counts.get("f32", 0) <= 1  # rounding the input
    kinds = session.operations(engine_suite.image(1, onnx_models.CHANNELS))
    convolutions = [row for kind, row in kinds.items() if "Conv" in kind and "int8" in row]
    assert sum(row["int8"] for row in convolutions) == 2


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_float_convolutions_run_in_f32(name):
    engine_suite.skip_if_absent(engines.find(name))
    session = engines.find(name).prepare(onnx_models.convolutional(), threads=1)
    counts = session.kernels(engine_suite.image(1))
    assert counts["f32"] >= 2
    assert set(counts) <= {"f32", "other"}


def test_openvino_keeps_only_the_last_few_shapes():
    engine_suite.skip_if_absent(openvino.ENGINE)
    session = openvino.ENGINE.prepare(onnx_models.relu(), threads=1)
    for n in (1, 2, 3, 1, 4, 5):
        assert session.run(engine_suite.table(n, 4))["y"].shape == (n, 4)
    assert [shapes[0][0] for shapes in session._requests] == [3, 1, 4, 5]


# Reading the ends of a model, and refusing in few words.


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_arrays_of_any_layout_are_read_alike(name):
    session = engines.find(name).prepare(onnx_models.perceptron(), threads=1)
    plain = engine_suite.table(4)["x"]
    fixed = np.frombuffer(plain.tobytes(), plain.dtype).reshape(plain.shape)
    wide = np.repeat(plain, 2, axis=1)[:, ::2]
    assert not fixed.flags.writeable
    assert not wide.flags.c_contiguous
    wanted = session.run({"x": plain})["y"]
    for array in (fixed, wide, np.asfortranarray(plain)):
        np.testing.assert_array_equal(session.run({"x": array})["y"], wanted)


def test_ends_are_those_of_the_file_in_its_order():
    ends = ends_of("any", onnx_models.several_ends())
    assert ends.inputs == (
        End("right", ("n", 4), "float32"),
        End("left", ("n", 4), "float32"),
    )
    assert ends.outputs == (End("sum", ("n", 4), "float32"), End("best", ("n",), "int64"))
    assert ends.inputs[0].concrete(3) == (3, 4)
    assert not ends.inputs[0].is_fixed


@pytest.mark.parametrize(
    ("end", "array", "problem", "remedy"),
    [
        (
            End("x", ("n", 4), "float32"),
            np.zeros((2, 4)),
            "is float64 where float32 belongs",
            "Convert it on purpose, as in x.astype('float32')",
        ),
        (
            End("x", ("n", 4), "float32"),
            np.zeros((2, 5), np.float32),
            "has shape (2, 5) where (n, 4) belongs",
            "Reshape or resize it",
        ),
        (
            End("x", ("", 4), "float32"),
            np.zeros(4, np.float32),
            "has shape (4,) where (any, 4) belongs",
            "Reshape or resize it",
        ),
        (End("x", (1,), "int64"), [1], "is a list, not an array", "Give numpy arrays"),
    ],
    ids=["type", "fixed size", "rank", "list"],
)
def test_misfit_names_problem_and_remedy(end, array, problem, remedy):
    assert end.misfit(array) == (problem, remedy)


def test_any_shape_fits_an_input_without_a_rank():
    assert End("x", None, "float32").misfit(np.zeros((1, 2, 3), np.float32)) is None


def test_weights_listed_as_inputs_are_none():
    """Files from before 2019 list every initializer among the inputs."""
    import onnx

    model = onnx.load_model_from_string(onnx_models.perceptron())
    shape = [onnx_models.FEATURES, onnx_models.HIDDEN]
    weight = onnx.helper.make_tensor_value_info("w1", onnx.TensorProto.FLOAT, shape)
    model.graph.input.append(weight)
    assert [end.name for end in ends_of("any", model.SerializeToString()).inputs] == ["x"]


def test_only_tensors_can_be_fed():
    from onnx import TensorProto, helper

    element = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
    sequence = helper.make_value_info("s", helper.make_sequence_type_proto(element))
    y = helper.make_tensor_value_info("y", TensorProto.INT64, [])
    node = helper.make_node("SequenceLength", ["s"], ["y"])
    model = helper.make_model(helper.make_graph([node], "g", [sequence], [y]))
    with pytest.raises(EngineError, match=r"cannot take 's', which is a sequence_type"):
        ends_of("any", model.SerializeToString())


@pytest.mark.parametrize("kind", [0, 99])
def test_an_unknown_element_type_is_refused(kind):
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    y.type.tensor_type.elem_type = kind
    node = helper.make_node("Identity", ["x"], ["y"])
    model = helper.make_model(helper.make_graph([node], "g", [x], [y]))
    with pytest.raises(EngineError, match=f"'y', which has the element type {kind}"):
        ends_of("any", model.SerializeToString())


def test_refusal_is_one_short_line():
    error = refusal("any", "refused the model", RuntimeError("long\n  words " * 999))
    assert "long words long" in str(error)
    assert "\n" not in str(error)
    assert len(error.problem) <= len("refused the model: ") + LONGEST_MESSAGE


def test_operator_without_kernel_is_refused_in_one_line():
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy")
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="com.nobody")
    graph = helper.make_graph([node], "g", [x], [y])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.nobody", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    for name in ("onnxruntime", "openvino", "reference"):
        engine_suite.skip_if_absent(engines.find(name))
        with pytest.raises(EngineError, match=r"Frobnicate") as caught:
            engines.find(name).prepare(model.SerializeToString(), threads=1)
        assert caught.value.engine == name


def test_oracle_dequantizes_by_the_definition_before_version_19():
    """Worked by hand: (code - zero_point) * scale, per row."""
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.UINT8, [2, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])
    tables = [
        helper.make_tensor("s", TensorProto.FLOAT, [2], [0.5, 2.0]),
        helper.make_tensor("z", TensorProto.UINT8, [2], [1, 128]),
    ]
    node = helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"], axis=0)
    graph = helper.make_graph([node], "g", [x], [y], tables)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    session = engines.find("reference").prepare(model.SerializeToString(), threads=1)
    got = session.run({"x": np.array([[0, 3], [127, 255]], np.uint8)})["y"]
    assert got.dtype == np.float32
    assert got.tolist() == [[-0.5, 1.0], [-2.0, 254.0]]


# One offender for each law, so that each law has been seen to fail.


class Oracle:
    """The reference engine; the offenders spoil one thing each."""

    name, fast, eager = "reference", True, True

    def version(self):
        return "1"

    def precisions(self):
        return ("f32",)

    def prepare(self, model, *, threads, precision="f32"):
        return Spoilt(
            self,
            engines.find("reference").prepare(model, threads=threads, precision=precision),
        )

    def run(self, session, feeds):
        return session.run(feeds)


class Spoilt:
    """A session that leaves running to its engine."""

    def __init__(self, engine, session):
        self.engine, self.session, self.kept = engine, session, {}

    def run(self, feeds):
        return self.engine.run(self.session, feeds)

    def kernels(self, feeds):
        return getattr(self.engine, "counts", {})

    def operations(self, feeds):
        return {"Conv": self.kernels(feeds)} if self.kernels(feeds) else {}


class Sloppy(Oracle):
    """Computes with the 8 leading bits of its inputs, as bfloat16 does."""

    def run(self, session, feeds):
        cut = (feeds["x"].view(np.uint32) & 0xFFFF0000).astype(np.uint32)
        return session.run({"x": cut.view(np.float32)})


class Coarse(Oracle):
    def run(self, session, feeds):
        step = np.float32(2 * onnx_models.OUTPUT_STEP)
        return {n: np.round(y / step) * step for n, y in session.run(feeds).items()}


class Shuffler(Oracle):
    def run(self, session, feeds):
        return dict(reversed(session.run(feeds).items()))


class Rigid(Oracle):
    def run(self, session, feeds):
        return {n: y[:1] for n, y in session.run(feeds).items()}


class Moody(Oracle):
    mood = itertools.count()

    def run(self, session, feeds):
        return {n: y + np.float32(next(self.mood)) for n, y in session.run(feeds).items()}


class Scribbler(Oracle):
    def run(self, session, feeds):
        np.maximum(feeds["x"], 0, out=feeds["x"])
        return session.run(feeds)


class Lender(Oracle):
    def run(self, session, feeds):
        return {"y": feeds["x"]}


class Inventor(Oracle):
    counts = {"int7": 3}  # noqa: RUF012


class Indulgent(Oracle):
    def run(self, session, feeds):
        return {}


class Raw(Oracle):
    def prepare(self, model, *, threads, precision="f32"):
        raise ValueError("not\nours")


class Yielding(Oracle):
    def prepare(self, model, *, threads, precision="f32"):
        return Spoilt(self, None)


class Nameless(Oracle):
    name = "nobody"


OFFENDERS = {
    engine_suite.computes_a_perceptron: Sloppy(),
    engine_suite.computes_a_convolutional_network: Sloppy(),
    engine_suite.computes_quantized_models: Coarse(),
    engine_suite.keeps_names_order_and_types: Shuffler(),
    engine_suite.runs_two_batch_sizes_in_one_session: Rigid(),
    engine_suite.gives_the_same_twice: Moody(),
    engine_suite.leaves_its_inputs_alone: Scribbler(),
    engine_suite.leaves_its_results_alone: Lender(),
    engine_suite.counts_kernels_by_precision: Inventor(),
    engine_suite.refuses_wrong_feeds: Indulgent(),
    engine_suite.refuses_what_is_no_model: Raw(),
    engine_suite.refuses_wrong_settings: Yielding(),
    engine_suite.reports_what_it_is: Nameless(),
}


@pytest.mark.parametrize("law", engine_suite.LAWS, ids=lambda law: law.__name__)
def test_law_catches_its_offender(law):
    with pytest.raises(AssertionError):
        law(OFFENDERS[law])


@pytest.mark.parametrize("law", engine_suite.LAWS, ids=lambda law: law.__name__)
def test_law_lets_the_oracle_pass(law):
    law(Oracle())


def test_onnxruntime_multiplies_int8_weights_exactly():
    rng = np.random.default_rng(0)
    codes = rng.integers(-127, 128, (256, 64), dtype=np.int8)
    scale = rng.uniform(0.01, 0.02, 64).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["codes", "scale"], ["w"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "product",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 256])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 64])],
        [numpy_helper.from_array(codes, "codes"), numpy_helper.from_array(scale, "scale")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = rng.standard_normal((4, 256)).astype(np.float32)
    session = engines.find("onnxruntime").prepare(model.SerializeToString(), threads=1)
    exact = x.astype(np.float64) @ (codes * scale.astype(np.float64))
    assert np.abs(session.run({"x": x})["y"] - exact).max() < 1e-5 * np.abs(exact).max()


_SIGNAL_AFTER = """
import signal
import numpy as np
from tersor.engines import find
from tersor.testing import onnx_models
engine, model = find("openvino"), onnx_models.perceptron()
first, second = (engine.prepare(model, threads=1) for _ in range(2))
feeds = {"x": np.zeros((1, 12), np.float32)}
first.run(feeds), second.run(feeds)
del first
del second
signal.signal(signal.SIGINT, lambda *_: print("heard"))
signal.raise_signal(signal.SIGINT)
"""


def test_a_signal_after_runs_that_are_gone_is_heard():
    """A plugin of OpenVINO that goes puts back the stack for signals that it found."""
    pytest.importorskip("openvino")
    words = [sys.executable, "-c", _SIGNAL_AFTER]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr
