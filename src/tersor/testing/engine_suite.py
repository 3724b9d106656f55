"""What every engine must keep. Use it on your own engines too.

Values are compared with those of the reference evaluator of the onnx package.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from tersor.engines import find, names
from tersor.engines.engine import Engine, by_precision
from tersor.errors import EngineError, InputError, TersorError
from tersor.testing import onnx_models

Array = NDArray[np.generic]
Feeds = dict[str, Array]

SAMPLES = 16
THREADS = 2
PRECISIONS = {"f32", "bf16"}
KERNELS = {"int8", "bf16", "f32", "other"}


def image(samples: int, channels: int = 3) -> Feeds:
    """Normally distributed images for the convolutional models."""
    shape = (samples, channels, onnx_models.SIZE, onnx_models.SIZE)
    return {"x": np.random.default_rng(4).standard_normal(shape).astype(np.float32)}


def table(samples: int, columns: int = onnx_models.FEATURES) -> Feeds:
    """Normally distributed rows for the other models."""
    values = np.random.default_rng(5).standard_normal((samples, columns))
    return {"x": values.astype(np.float32)}


def computed(engine: Engine, model: bytes, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What the engine makes of a model in one run."""
    return engine.prepare(model, threads=THREADS).run(feeds)


def error_bound(make: Callable[..., bytes], feeds: Feeds, terms: int) -> NDArray[np.float64]:
    """Largest difference that float32 allows two engines, per element of the output y.

    A sum of n products differs from the exact one by at most n * eps * sum |w| |x|, in
    whatever order it is taken (Higham, Accuracy and Stability, section 3.1). Relu and mean
    do not enlarge errors. So for all layers together, with the model of magnitudes run on
    magnitudes, and twice for two engines: 2 * terms * eps * y.
    """
    magnitudes = {name: np.abs(a.astype(np.float32)) for name, a in feeds.items()}
    oracle = find("reference")
    (sums,) = computed(oracle, make(absolute=True), magnitudes).values()
    return sums.astype(np.float64) * float(2 * terms * np.finfo(np.float32).eps)


def agrees(engine: Engine, make: Callable[..., bytes], feeds: Feeds, terms: int) -> None:
    """The engine's y is within the error bound of the oracle's."""
    got = computed(engine, make(), feeds)["y"]
    wanted = computed(find("reference"), make(), feeds)["y"]
    bound = error_bound(make, feeds, terms)
    assert got.shape == wanted.shape
    excess = np.abs(np.subtract(got, wanted, dtype=np.float64)) - bound
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    assert excess[worst] <= 0, f"{got[worst]} is not {wanted[worst]} at {worst}"


def computes_a_perceptron(engine: Engine) -> None:
    terms = onnx_models.FEATURES + 1 + onnx_models.HIDDEN
    agrees(engine, onnx_models.perceptron, table(SAMPLES), terms)


def computes_a_convolutional_network(engine: Engine) -> None:
    terms = 9 * 3 + 1 + 9 * onnx_models.CHANNELS + 1 + 1 + onnx_models.SIZE**2
    agrees(engine, onnx_models.convolutional, image(SAMPLES), terms)


def computes_quantized_models(engine: Engine) -> None:
    """No element is off by more than a step, and few by one.

    An engine may leave out the rounding of what is added, and so be nearer to the float
    model. This moves the sum by up to half a step of that rounding, s, evenly distributed,
    and so the result's rounding, of step S, in a share s / (4 S) of elements. To this come 5
    standard deviations of counting, and what n terms in float32 can do to 255 steps.
    """
    feeds = image(SAMPLES, onnx_models.CHANNELS)
    (got,) = computed(engine, onnx_models.quantized(), feeds).values()
    oracle = find("reference")
    (wanted,) = computed(oracle, onnx_models.quantized(), feeds).values()
    apart = np.abs(np.subtract(got, wanted, dtype=np.float64))
    steps = np.rint(apart / onnx_models.OUTPUT_STEP)
    assert steps.max() <= 1
    share = onnx_models.BRANCH_STEP / (4 * onnx_models.OUTPUT_STEP)
    counting = 5 * np.sqrt(share * (1 - share) / steps.size)
    flips = 255 * (9 * onnx_models.CHANNELS + 1) * np.finfo(np.float32).eps
    assert float(steps.mean()) <= share + counting + flips


def keeps_names_order_and_types(engine: Engine) -> None:
    rng = np.random.default_rng(6)
    left, right = (rng.standard_normal((3, 4)).astype(np.float32) for _ in range(2))
    got = computed(engine, onnx_models.several_ends(), {"left": left, "right": right})
    assert list(got) == ["sum", "best"]
    assert [a.dtype.name for a in got.values()] == ["float32", "int64"]
    assert [a.shape for a in got.values()] == [(3, 4), (3,)]
    assert np.array_equal(got["sum"], right - left)
    assert np.array_equal(got["best"], (right - left).argmax(axis=1))


def runs_two_batch_sizes_in_one_session(engine: Engine) -> None:
    session = engine.prepare(onnx_models.convolutional(), threads=THREADS)
    shapes = [session.run(image(n))["y"].shape for n in (1, 3, 1)]
    assert shapes == [(n, onnx_models.CHANNELS, 1, 1) for n in (1, 3, 1)]


def gives_the_same_twice(engine: Engine) -> None:
    session = engine.prepare(onnx_models.convolutional(), threads=THREADS)
    first, second = (session.run(image(SAMPLES))["y"] for _ in range(2))
    assert first.tobytes() == second.tobytes()


def leaves_its_inputs_alone(engine: Engine) -> None:
    feeds = table(SAMPLES, 4)
    computed(engine, onnx_models.relu(), feeds)
    assert feeds["x"].tobytes() == table(SAMPLES, 4)["x"].tobytes()


def leaves_its_results_alone(engine: Engine) -> None:
    """What a run returned belongs to the caller: no later run or input changes it."""
    session = engine.prepare(onnx_models.relu(), threads=THREADS)
    feeds = table(SAMPLES, 4)
    first = session.run(feeds)["y"]
    before = first.tobytes()
    feeds["x"][...] = 7
    session.run(feeds)
    assert first.tobytes() == before


def refuses(run: Callable[[], object], *allowed: type[TersorError]) -> None:
    """The call raises one of the errors meant for that, in one line, and not another."""
    caught: Exception | None = None
    try:
        run()
    except Exception as error:  # noqa: BLE001  (a wrong class is what it looks for)
        caught = error
    assert isinstance(caught, allowed), f"instead came {caught!r}"
    assert "\n" not in str(caught)


def refuses_wrong_feeds(engine: Engine) -> None:
    session = engine.prepare(onnx_models.relu(), threads=THREADS)
    x = table(2, 4)["x"]
    wrong: list[Feeds] = [
        {},
        {"z": x},
        {"x": x, "more": x},
        {"x": x.astype(np.float64)},
        {"x": x[0]},
        {"x": x[:, :3].copy()},
    ]
    for feeds in wrong:
        refuses(partial(session.run, feeds), EngineError, InputError)


def refuses_what_is_no_model(engine: Engine) -> None:
    whole = onnx_models.perceptron()
    for model in (b"", b"\x00" * 40, b"no model at all", whole[: len(whole) // 2]):
        refuses(partial(engine.prepare, model, threads=1), EngineError)


def refuses_wrong_settings(engine: Engine) -> None:
    model = onnx_models.relu()
    refuses(partial(engine.prepare, model, threads=0), InputError)
    refuses(partial(engine.prepare, model, threads=1, precision="f7"), InputError)


def reports_what_it_is(engine: Engine) -> None:
    assert engine.name in names()
    assert isinstance(engine.fast, bool)
    assert isinstance(engine.eager, bool)
    assert engine.version()
    assert "f32" in engine.precisions()
    assert set(engine.precisions()) <= PRECISIONS


def counts_kernels_by_precision(engine: Engine) -> None:
    feeds = image(1, onnx_models.CHANNELS)
    session = engine.prepare(onnx_models.quantized(), threads=THREADS)
    counts = session.kernels(feeds)
    assert set(counts) <= KERNELS
    assert all(isinstance(n, int) and n > 0 for n in counts.values())
    operations = session.operations(feeds)
    assert all(isinstance(kind, str) and kind for kind in operations)
    assert by_precision(operations) == counts


Law = Callable[[Engine], None]

LAWS_WITHOUT_A_RUN: list[Law] = [  # quick even for an engine that compiles for long
    refuses_wrong_feeds,
    refuses_what_is_no_model,
    refuses_wrong_settings,
    reports_what_it_is,
]
LAWS: list[Law] = [
    computes_a_perceptron,
    computes_a_convolutional_network,
    computes_quantized_models,
    keeps_names_order_and_types,
    runs_two_batch_sizes_in_one_session,
    gives_the_same_twice,
    leaves_its_inputs_alone,
    leaves_its_results_alone,
    counts_kernels_by_precision,
    *LAWS_WITHOUT_A_RUN,
]


def skip_if_absent(engine: Engine) -> None:
    """Skip the test, and say why, where the engine's package is not installed."""
    if engine.version() is None:
        pytest.skip(f"engine {engine.name} is not installed")
