import numpy as np
import pytest
import torch
from torch import nn

from tersor.arrays.affine import sqnr_db
from tersor.data.samples import Samples
from tersor.engines import find
from tersor.errors import InputError, ModelError
from tersor.export.onnx import to_onnx
from tersor.methods.quantize.smooth import QuantizeSmooth
from tersor.methods.quantize.static import QuantizeStatic
from tersor.network.capture import capture
from tersor.reading import load
from tersor.testing.networks import encoder, perceptron, samples_for


def sequences(batch=64, tokens=6, seed=0):
    rng = np.random.default_rng(seed)
    return Samples({"x": rng.standard_normal((batch, tokens, 16)).astype(np.float32)})


def notes_of(network):
    return {note.layer: note for note in network.notes}


def peaks(network, name):
    return network.tensor(name).detach().abs()


FRESH = dict(sequences(8, 9, seed=1).inputs)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_float_outputs_stay_what_they_were(alpha):
    network = encoder()
    result = QuantizeSmooth(alphas=(alpha,)).apply(network, sequences())
    # one rounding for each factor and its inverse, in a chain of five layers
    found, wanted = result.run(FRESH)["y"], network.run(FRESH)["y"]
    assert sqnr_db(wanted, found) > 110.0


class Outliers(nn.Module):
    """Two channels fifty times as large as the others, and read with a fiftieth."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.linear = nn.LayerNorm(32), nn.Linear(32, 24)
        with torch.no_grad():
            self.norm.weight[:2] *= 50
            self.linear.weight[:, :2] /= 50

    def forward(self, x):
        return self.linear(self.norm(x))


def test_rounding_to_integers_loses_less_afterwards():
    """Even scales gain up to log2(50) = 5.6 bits of 6 dB for the input's other channels."""
    x = np.random.default_rng(0).standard_normal((256, 32)).astype(np.float32)
    network, samples = capture(Outliers(), torch.from_numpy(x)), Samples({"x": x[:192]})
    rounding = QuantizeStatic(ranges="minmax", min_sqnr_db=-100.0)
    smooth = QuantizeSmooth().apply(network, samples)
    plain, better = (
        rounding.apply(n, samples).run({"x": x[192:]})["output"] for n in (network, smooth)
    )
    wanted = network.run({"x": x[192:]})["output"]
    assert sqnr_db(wanted, better) > sqnr_db(wanted, plain) + 12.0
    assert "moved into norm" in notes_of(smooth)["linear"].text


def test_readers_of_one_value_share_its_factors():
    network = encoder()
    result = QuantizeSmooth(alphas=(0.7,)).apply(network, sequences())
    ratios = [
        (result.tensor(f"{n}.weight") / network.tensor(f"{n}.weight")).detach()
        for n in ("query", "key")
    ]
    torch.testing.assert_close(ratios[0], ratios[1], rtol=1e-6, atol=0)
    torch.testing.assert_close(ratios[0], ratios[0][:1].expand(16, 16), rtol=1e-6, atol=0)


def test_factors_are_those_of_the_definition():
    """s = max|x|^alpha / max|W|^(1 - alpha), worked out beside."""
    network = perceptron()
    samples = samples_for(network)
    samples.inputs["x"][:, 3] *= 100
    result = QuantizeSmooth(alphas=(0.6,), keep=("second", "third")).apply(network, samples)
    x = np.abs(samples.inputs["x"]).max(0).astype(np.float64)
    w = np.abs(network.tensor("first.weight").detach().numpy()).max(0).astype(np.float64)
    wanted = network.tensor("first.weight").detach().numpy() * (x**0.6 / w**0.4)
    assert notes_of(result)["first"].done
    np.testing.assert_allclose(result.tensor("first.weight").detach(), wanted, rtol=1e-5)


def test_the_values_of_an_attention_take_the_factors_of_what_reads_the_heads():
    result = QuantizeSmooth(alphas=(0.5,), insert=False).apply(encoder(), sequences())
    assert "moved into value" in notes_of(result)["dense"].text
    assert "smooth." not in str(result.module.state_dict().keys())


def test_a_relu_lets_factors_pass():
    network = perceptron()
    with torch.no_grad():
        network.tensor("first.weight")[0] *= 50
    result = QuantizeSmooth(insert=False).apply(network, samples_for(network))
    assert "moved into first" in notes_of(result)["second"].text
    assert float(peaks(result, "first.weight")[0].max()) < float(
        peaks(network, "first.weight")[0].max()
    )
    feeds = dict(samples_for(network, seed=1).inputs)
    assert sqnr_db(network.run(feeds)["y"], result.run(feeds)["y"]) > 110.0


def test_where_a_sum_reads_the_value_too_a_multiplication_is_put_in():
    result = QuantizeSmooth(alphas=(0.6,)).apply(encoder(), sequences())
    assert "by a multiplication" in notes_of(result)["query"].text
    assert notes_of(result)["query"].text == notes_of(result)["value"].text
    without = QuantizeSmooth(alphas=(0.6,), insert=False).apply(encoder(), sequences())
    assert "nothing can take" in notes_of(without)["query"].text
    assert not notes_of(without)["query"].done


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("batch", "tokens"), [(1, 3), (5, 11)])
def test_integers_behind_it_run_on_engines_at_any_size(engine, batch, tokens):
    samples = sequences()
    smooth = QuantizeSmooth().apply(encoder(), samples)
    result = QuantizeStatic(ranges="minmax", min_sqnr_db=-100.0).apply(smooth, samples)
    session = find(engine).prepare(to_onnx(result), threads=1)
    feeds = dict(sequences(batch, tokens, seed=2).inputs)
    # a rounding that falls to the other side is an error like any other rounding
    assert sqnr_db(result.run(feeds)["y"], session.run(feeds)["y"]) > 30.0
    assert session.kernels(feeds).get("int8", 0) >= 6


def test_layers_without_activations_of_their_own_are_told():
    notes = notes_of(QuantizeSmooth(keep=("up",)).apply(encoder(), sequences()))
    assert notes["up"].text == "kept as asked"
    assert "one number per channel" in notes["entry"].text


@pytest.mark.parametrize("settings", [{"alphas": ()}, {"alphas": (1.5,)}, {"samples": 0}])
def test_settings_outside_their_range_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        QuantizeSmooth(**settings)


def test_samples_are_needed():
    with pytest.raises(InputError, match="looks at activations"):
        QuantizeSmooth().apply(encoder())


def test_an_unknown_layer_is_named():
    with pytest.raises(ModelError, match="nobody is not a layer"):
        QuantizeSmooth(keep=("nobody",)).apply(encoder(), sequences())


def written_by_us(path):
    path.write_bytes(to_onnx(encoder()))


def written_by_torch(path):
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens")
    torch.onnx.export(
        encoder().module,
        (torch.randn(2, 6, 16),),
        path,
        dynamo=True,
        verbose=False,
        input_names=["x"],
        output_names=["y"],
        dynamic_shapes=({0: batch, 1: tokens},),
        external_data=False,
    )


@pytest.mark.filterwarnings("ignore")  # of torch.onnx
@pytest.mark.parametrize("write", [written_by_us, written_by_torch])
def test_an_encoder_read_from_onnx_has_the_same_layers_smoothed(write, tmp_path):
    """There, linear layers are MatMul and Add, and attention is written out."""
    path = tmp_path / "encoder.onnx"
    write(path)
    network = load(path)
    smoothed = QuantizeSmooth().apply(network, sequences())
    own = QuantizeSmooth().apply(encoder(), sequences())
    counts = [sum(note.done for note in each.notes) for each in (smoothed, own)]
    assert counts == [6, 6]  # query, key, value, dense, up, down
    assert sqnr_db(encoder().run(FRESH)["y"], smoothed.run(FRESH)["y"]) > 110.0


def test_it_looks_at_as_many_samples_as_the_step_that_rounds():
    assert QuantizeSmooth().samples == QuantizeStatic().samples


def test_an_outlier_that_it_has_not_seen_costs_precision():
    x = np.random.default_rng(0).standard_normal((64, 12)).astype(np.float32)
    x[48:, 3] *= 40
    samples, network = Samples({"x": x}), perceptron()
    wanted = network.run({"x": x})["y"]
    rounding = QuantizeStatic(ranges="minmax", min_sqnr_db=-100.0)

    def left_db(looked_at):
        smooth = QuantizeSmooth(samples=looked_at).apply(network, samples)
        return sqnr_db(wanted, rounding.apply(smooth, samples).run({"x": x})["y"])

    assert left_db(64) > left_db(32) + 3.0
