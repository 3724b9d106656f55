"""Modules as users bring them: names, axes that vary, half precision, errors with the line."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from tersor.errors import InputError, ModelError
from tersor.network import example
from tersor.network.capture import capture
from tersor.network.check import check
from tersor.network.cost import cost
from tersor.network.network import Note


def shapes(network):
    return {port.name: port.shape for port in network.inputs}


class Tokens(nn.Module):
    """The mean of embedded tokens over the mask; positions up to 16."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 4)
        self.register_buffer("positions", torch.arange(16))

    def forward(self, input_ids, attention_mask=None, scale=None):
        x = self.embed(input_ids) + self.positions[: input_ids.shape[1], None]
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        weights = attention_mask[:, :, None].to(x.dtype)
        return (x * weights).sum(1) / weights.sum(1)


IDS = torch.randint(20, (2, 6), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "example_inputs",
    [(IDS, torch.ones_like(IDS)), {"attention_mask": torch.ones_like(IDS), "input_ids": IDS}],
    ids=["by position", "by keyword"],
)
def test_batch_and_length_of_tokens_vary_and_are_named_alike(example_inputs):
    module = Tokens()
    network = capture(module, example_inputs)
    check(network)
    wanted = ("batch", "tokens")
    assert shapes(network) == {"input_ids": wanted, "attention_mask": wanted}
    assert network.outputs[0].shape == ("batch", 4)
    assert network.notes == ()
    ids, mask = np.arange(22).reshape(2, 11) % 20, np.tri(2, 11, 7, dtype=np.int64)
    found = network.run({"input_ids": ids, "attention_mask": mask})["output"]
    exact = module(torch.from_numpy(ids), torch.from_numpy(mask)).detach().numpy()
    assert np.array_equal(found, exact)


class Gathering(nn.Module):
    """Takes any number of arguments, by position or by name."""

    def forward(self, *tensors, **named):
        return sum(tensors) + sum(named.values())


def test_the_batch_varies_behind_any_number_of_arguments():
    one, two = torch.zeros(2, 3), torch.ones(2, 3)
    by_place = capture(Gathering(), (one, two))
    by_name = capture(Gathering(), {"a": one, "b": two})
    assert shapes(by_place) == {"tensors_0": ("batch", 3), "tensors_1": ("batch", 3)}
    assert shapes(by_name) == {"a": ("batch", 3), "b": ("batch", 3)}
    assert by_place.notes == by_name.notes == ()


def test_inputs_that_the_example_leaves_out_keep_their_default():
    network = capture(Tokens(), IDS)
    assert shapes(network) == {"input_ids": ("batch", "tokens")}
    network = capture(Tokens(), (IDS, None, None))
    assert shapes(network) == {"input_ids": ("batch", "tokens")}


def test_no_axis_but_the_batch_varies_if_the_user_says_so():
    assert shapes(capture(Tokens(), IDS, dynamic={})) == {"input_ids": ("batch", 6)}
    fixed = capture(Tokens(), IDS, dynamic_batch=False, dynamic={})
    assert shapes(fixed) == {"input_ids": (2, 6)}


class Frames(nn.Module):
    def forward(self, x, y):
        return x.mean(1), y


def test_floats_vary_where_the_user_names_the_axis():
    inputs = (torch.randn(2, 6, 3), torch.randn(2, 5))
    assert shapes(capture(Frames(), inputs)) == {"x": ("batch", 6, 3), "y": ("batch", 5)}
    network = capture(Frames(), inputs, dynamic={"x": {1: "time"}})
    assert shapes(network) == {"x": ("batch", "time", 3), "y": ("batch", 5)}
    assert network.sizes == {"time": 6}


def test_costs_are_those_of_the_example_where_sizes_vary():
    module = nn.Conv2d(2, 4, 3)
    network = capture(
        module, torch.randn(1, 2, 10, 8), dynamic={"input": {2: "height", 3: "width"}}
    )
    assert cost(network).macs == 8 * 6 * 4 * 2 * 9
    assert network.copy().sizes == {"height": 10, "width": 8}


@pytest.mark.parametrize(
    ("dynamic", "said"),
    [
        ({"z": {1: "time"}}, "dynamic must be one of x, y. Got 'z'"),
        ({"x": {3: "time"}}, "dynamic: axis of x must be a number from 0 to 2. Got 3"),
        ({"x": {-1: "time"}}, "dynamic: axis of x must be a number from 0 to 2. Got -1"),
    ],
)
def test_axes_that_are_not_there_are_refused(dynamic, said):
    with pytest.raises(InputError, match=said):
        capture(Frames(), (torch.randn(2, 6, 3), torch.randn(2, 5)), dynamic=dynamic)


class Flat(nn.Module):
    """A linear layer on all values of a sample: sizes of the axes are fixed."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 2)

    def forward(self, ids):
        return self.linear(ids.flatten(1).float())


def test_an_axis_that_the_model_fixes_is_told():
    network = capture(Flat(), torch.ones(2, 12, dtype=torch.int64))
    assert shapes(network) == {"ids": ("batch", 12)}
    text = "the model fixes axis 1 (tokens) at 12"
    assert network.notes == (Note("ids", "capture", done=False, text=text),)


def test_an_axis_that_the_user_asked_for_and_the_model_fixes_is_an_error():
    ids = torch.ones(2, 12, dtype=torch.int64)
    with pytest.raises(
        ModelError, match="ids cannot vary in axis 1: the model fixes it at 12"
    ):
        capture(Flat(), ids, dynamic={"ids": {1: "tokens"}})


class Fours(nn.Module):
    def forward(self, x):
        return x.reshape(4, -1)


def test_a_fixed_batch_is_told():
    network = capture(Fours(), torch.randn(4, 2))
    assert [note.text for note in network.notes] == ["the model fixes axis 0 (batch) at 4"]


class Rows(nn.Module):
    """Any batch will do, but what is traced holds the number of one."""

    def forward(self, x):
        return x.view(int(x.shape[0]), -1)


@pytest.mark.parametrize("batch", [1, 2, 6])
def test_a_batch_that_tracing_fixes_is_that_of_the_example(batch):
    x = torch.randn(batch, 3, 4)
    network = capture(Rows(), x)
    assert shapes(network) == {"x": (batch, 3, 4)}
    assert network.outputs[0].shape == (batch, 12)
    assert network.fixed_batch == batch
    text = f"the model fixes axis 0 (batch) at {batch}"
    assert network.notes == (Note("x", "capture", done=False, text=text),)
    assert torch.equal(network.module(x)[0], x.flatten(1))


class Apart(nn.Module):
    """The batch of one input becomes fixed, that of the other does not."""

    def forward(self, x, ids):
        return x.view(int(x.shape[0]), -1), ids + 1


APART = torch.randn(2, 3, 4), torch.ones(2, 2, dtype=torch.int64)


def test_a_batch_that_varies_beside_a_fixed_one_is_not_taken_for_another_axis():
    network = capture(Apart(), APART)
    assert shapes(network) == {"x": (2, 3, 4), "ids": ("batch", "tokens")}
    assert network.sizes == {"tokens": 2}
    text = "the model fixes axis 0 (batch) at 2"
    assert network.notes == (Note("x", "capture", done=False, text=text),)


def test_a_batch_that_the_user_fixes_is_that_of_the_example_whatever_else_varies():
    network = capture(Apart(), APART, dynamic_batch=False, dynamic={"ids": {0: "words"}})
    assert shapes(network) == {"x": (2, 3, 4), "ids": ("words", 2)}
    assert network.notes == ()


def test_a_batch_that_must_vary_and_is_fixed_is_told_as_it_is_in_the_example():
    with pytest.raises(ModelError, match="x cannot vary in axis 0: the model fixes it at 2"):
        capture(Rows(), torch.randn(2, 3), dynamic={"x": {0: "rows"}})


class Table(nn.Module):
    """A second input without a batch."""

    def forward(self, x, table):
        return x @ table


def test_an_input_of_another_first_size_stays_fixed():
    network = capture(Table(), (torch.randn(1, 5), torch.randn(5, 3)))
    assert shapes(network) == {"x": ("batch", 5), "table": (5, 3)}
    assert network.run({"x": np.ones((4, 5), "f4"), "table": np.ones((5, 3), "f4")})[
        "output"
    ].shape == (4, 3)


class Positional(nn.Module):
    def forward(self, *parts):
        return parts[0] + parts[1]


class Keywords(nn.Module):
    def forward(self, x, **more):
        return x * more["factor"]


def test_variadic_arguments_are_named_and_keep_a_batch_that_varies():
    x = torch.randn(2, 3)
    network = capture(Positional(), (x, x + 1))
    assert shapes(network) == {"parts_0": ("batch", 3), "parts_1": ("batch", 3)}
    module = Keywords()
    network = capture(module, {"x": x, "factor": x + 1})
    assert shapes(network) == {"x": ("batch", 3), "factor": ("batch", 3)}
    assert "forward" not in vars(module)


def test_a_forward_of_the_instance_is_put_back():
    module = Keywords()
    own = module.forward
    module.forward = lambda x, **more: own(x, **more) + 1
    mine = module.forward
    x = torch.ones(2, 3)
    network = capture(module, {"x": x, "factor": x})
    assert module.forward is mine
    assert network.module(x, x)[0].tolist() == [[2.0] * 3] * 2


@dataclass
class Found:
    logits: torch.Tensor
    hidden: dict[str, torch.Tensor]
    loss: torch.Tensor | None = None


class ReturnsFound(nn.Module):
    def forward(self, x):
        return Found(x + 1, {"last": x * 2})


def test_fields_of_dataclasses_name_the_outputs():
    network = capture(ReturnsFound(), torch.randn(2, 3))
    assert [port.name for port in network.outputs] == ["logits", "hidden.last"]


def test_half_precision_becomes_float32_and_the_module_stays():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).bfloat16()
    module[0].bias = module[1].bias  # tied
    network = capture(module, torch.randn(2, 3).bfloat16())
    assert network.inputs[0].dtype == "float32"
    assert {p.dtype for p in module.parameters()} == {torch.bfloat16}
    assert network.notes == (
        Note("Sequential", "capture", done=True, text="bfloat16 became float32"),
    )
    assert len(dict(network.module.named_parameters())) == 3
    exact = module.float().eval()(torch.ones(4, 3))
    assert torch.equal(network.module(torch.ones(4, 3))[0], exact)


class Uncopied(nn.Linear):
    def __deepcopy__(self, memo):
        raise TypeError("mine alone")


def test_half_precision_that_cannot_be_copied_is_told():
    with pytest.raises(ModelError, match=r"Uncopied cannot be copied .*\(mine alone\)"):
        capture(Uncopied(3, 2).half(), torch.randn(2, 3).half())


def test_parametrized_weights_become_what_they_are():
    module = nn.Sequential(weight_norm(nn.Linear(3, 2)))
    network = capture(module, torch.randn(2, 3))
    assert set(network.module.state_dict()) == {"0.weight", "0.bias"}
    assert torch.equal(network.tensor("0.weight"), module[0].weight)
    assert hasattr(module[0], "parametrizations")


def test_hooks_work_as_in_the_module():
    module = nn.Sequential(nn.Linear(3, 2))
    module[0].register_forward_hook(lambda _m, _args, out: out * 2)
    module.register_forward_hook(lambda _m, _args, out: out + 1)
    network = capture(module, torch.randn(2, 3))
    x = torch.randn(4, 3)
    assert torch.equal(network.module(x)[0], module.eval()(x))


class Remembers(nn.Module):
    """Counts how often it ran, and keeps the count to itself."""

    def __init__(self):
        super().__init__()
        self.register_buffer("runs", torch.zeros(()))

    def forward(self, x):
        self.runs += 1
        return x + 1


def test_a_rehearsal_leaves_buffers_and_random_numbers_alone():
    module = Remembers()
    before = torch.random.get_rng_state()
    example.rehearse(module, ((torch.zeros(2, 1),), {}))
    assert module.runs == 0
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_example_that_the_model_fails_on_is_told_with_the_line():
    with pytest.raises(
        ModelError, match=r"Flat fails on its example inputs: RuntimeError: .*"
    ) as e:
        capture(Flat(), torch.ones(2, 11))
    assert "test_capture_users_models.py:" in str(e.value)
    assert "return self.linear(ids.flatten(1).float())" in str(e.value)


class Loops(nn.Module):
    def forward(self, x):
        for _ in range(int(x[0, 0])):
            x = x + 1
        return x


class Numpy(nn.Module):
    def forward(self, x):
        return torch.from_numpy(np.sin(x.numpy()))


@pytest.mark.parametrize(
    ("module", "said", "line"),
    [
        (Loops(), "other values of a tensor", "for _ in range(int(x[0, 0])):"),
        (Numpy(), "computes with numpy", "return torch.from_numpy(np.sin(x.numpy()))"),
    ],
    ids=["loop over a value", "numpy"],
)
def test_what_cannot_be_traced_is_told_with_the_line_and_a_remedy(module, said, line):
    with pytest.raises(ModelError, match=said) as caught:
        capture(module, torch.ones(2, 2))
    assert line in str(caught.value)
    assert caught.value.remedy.startswith(("Use torch.where", "Write that line with torch"))


class Attends(nn.Module):
    """One of torch's transformers with a causal mask, and perhaps the word that it is one."""

    def __init__(self, kind, mask, **told):
        super().__init__()
        size = {"d_model": 8, "nhead": 2, "dim_feedforward": 16, "batch_first": True}
        if kind is nn.Transformer:
            self.part = kind(num_encoder_layers=1, num_decoder_layers=1, **size)
        elif kind is nn.TransformerDecoder:
            self.part = kind(nn.TransformerDecoderLayer(**size), 1)
        else:
            self.part = kind(nn.TransformerEncoderLayer(**size), 1)
        self.mask, self.told = mask, told
        self.inputs = 1 if kind is nn.TransformerEncoder else 2
        self.register_buffer("causal", nn.Transformer.generate_square_subsequent_mask(5))

    def forward(self, x):
        return self.part(*[x] * self.inputs, **{self.mask: self.causal}, **self.told)


@pytest.mark.parametrize(
    ("kind", "mask", "argument"),
    [
        (nn.TransformerDecoder, "tgt_mask", "tgt_is_causal"),
        (nn.TransformerEncoder, "mask", "is_causal"),
        (nn.Transformer, "src_mask", "src_is_causal"),
    ],
)
def test_a_mask_whose_values_torch_looks_at_is_told_with_the_argument_to_pass(
    kind, mask, argument
):
    x = torch.randn(2, 5, 8)
    with pytest.raises(ModelError, match="other values of a tensor") as caught:
        capture(Attends(kind, mask), x)
    assert caught.value.remedy.startswith(f"Pass {argument} in that call: True for the usual")
    assert "test_capture_users_models.py:" in str(caught.value)
    module = Attends(kind, mask, **{argument: True})
    network = capture(module, x)
    with torch.no_grad():
        exact = module.eval()(x)
    torch.testing.assert_close(network.module(x)[0], exact, rtol=1e-4, atol=1e-5)


def test_the_example_gets_a_batch_that_no_other_axis_has():
    x = torch.arange(12).reshape(2, 6)
    args, _ = example.with_other_batch(((x, torch.zeros(5, 3)), {}))
    assert args[0].shape == (7, 6)
    assert torch.equal(args[0][2:4], x)
    assert args[1].shape == (5, 3)
    crowded = tuple(torch.zeros(2, n) for n in example._BATCHES)
    assert example.with_other_batch((crowded, {}))[0] is crowded
