import copy

import pytest
import torch
from capture_models import (
    Branches,
    Counts,
    Fixed,
    Nested,
    Number,
    Residual,
    Transformer,
    Views,
    Writes,
)
from torch import nn

from tersor.errors import InputError, ModelError
from tersor.network.capture import capture
from tersor.network.check import check
from tersor.network.exported import network_of
from tersor.network.network import Port


def randomized(module):
    """The module with running statistics unlike the initial ones."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return module


def operations(network):
    return [str(n.target) for n in network.graph.nodes if n.op == "call_function"]


def same(network, module, *inputs):
    """Equal bits to the module in evaluation mode, on its outputs in order."""
    module = copy.deepcopy(module).eval()
    with torch.no_grad():
        wanted = torch.utils._pytree.tree_leaves(module(*inputs))
        found = network.module(*torch.utils._pytree.tree_leaves(inputs))
    return all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_residual_block_with_another_batch():
    module = randomized(Residual())
    network = capture(module, torch.randn(1, 4, 8, 8))
    check(network)
    assert network.inputs == (Port("x", ("batch", 4, 8, 8), "float32"),)
    assert network.outputs == (Port("output", ("batch", 8, 4, 4), "float32"),)
    for batch in (1, 2, 5):
        assert same(network, module, torch.randn(batch, 4, 8, 8))


def test_no_operation_works_in_place():
    assert not [
        n for n in operations(capture(Residual(), torch.randn(2, 4, 8, 8))) if "_." in n
    ]


def test_weights_keep_their_names_and_unread_ones_go():
    network = capture(Residual(), torch.randn(2, 4, 8, 8))
    wanted = {n for n in Residual().state_dict() if "num_batches" not in n}
    assert set(network.module.state_dict()) == wanted


def test_the_module_stays_as_it_is():
    module = randomized(Residual())
    module.bn1.eval()
    before = copy.deepcopy(module)
    network = capture(module, torch.randn(2, 4, 8, 8))
    assert [m.training for m in module.modules()] == [m.training for m in before.modules()]
    network.tensor("conv1.weight").data.zero_()
    for name, tensor in before.state_dict().items():
        assert torch.equal(module.state_dict()[name], tensor)


def test_training_flags_return_after_a_refusal():
    module = Branches()
    with pytest.raises(ModelError):
        capture(module, torch.ones(2, 2))
    assert module.training


def test_tied_weights_stay_one_tensor():
    network = capture(Transformer(), torch.zeros(1, 4, dtype=torch.int64))
    check(network)
    names = set(network.module.state_dict())
    assert len(names & {"embed.weight", "head.weight"}) == 1
    assert network.inputs == (Port("ids", ("batch", "tokens"), "int64"),)
    assert network.outputs == (Port("output", ("batch", "tokens", 11), "float32"),)


def test_transformer_computes_the_same():
    module = Transformer()
    network = capture(module, torch.zeros(1, 4, dtype=torch.int64))
    ids = torch.randint(11, (3, 4), generator=torch.Generator().manual_seed(0))
    module.eval()
    wanted, (found,) = module(ids), network.module(ids)
    # the encoder's fused evaluation path adds up in another order: about 50 sums of 16
    assert (found - wanted).abs().max() <= 50 * 16 * 2**-24 * wanted.abs().max()


def test_nested_inputs_and_outputs_are_flat_with_dotted_names():
    module = randomized(Nested())
    inputs = (torch.randn(1, 3), {"shift": torch.randn(1, 3), "bias": torch.randn(1, 4)}, 2.0)
    network = capture(module, inputs)
    assert [p.name for p in network.inputs] == ["x", "more.shift", "more.bias"]
    assert [p.name for p in network.outputs] == ["h", "pair.left", "pair.right"]
    x, shift, bias = torch.randn(6, 3), torch.randn(6, 3), torch.randn(6, 4)
    module.eval()
    wanted = module(x, {"shift": shift, "bias": bias}, 2.0)
    found = network.module(x, shift, bias)
    for a, b in zip(found, (wanted["h"], *wanted["pair"]), strict=True):
        assert torch.equal(a, b)


def test_keyword_arguments_by_name():
    inputs = {
        "x": torch.randn(2, 3),
        "more": {"shift": torch.randn(2, 3), "bias": torch.ones(1)},
    }
    network = capture(Nested(), inputs, dynamic_batch=False)
    assert [p.name for p in network.inputs] == ["x", "more.shift", "more.bias"]


def test_dropout_and_batch_norm_stay_single_operations():
    inputs = (torch.randn(2, 3), {"shift": torch.randn(2, 3), "bias": torch.randn(2, 4)})
    found = operations(capture(Nested(), inputs))
    assert "aten.dropout.default" in found
    assert "aten.batch_norm.default" in found


def test_sequential_as_the_root():
    module = nn.Sequential(nn.Linear(3, 2), nn.ReLU(inplace=True))
    network = capture(module, torch.randn(1, 3))
    assert [p.name for p in network.inputs] == ["input"]
    assert set(network.module.state_dict()) == {"0.weight", "0.bias"}
    assert same(network, module, torch.randn(4, 3))


def test_writing_into_a_part_is_rewritten():
    module = randomized(Writes())
    network = capture(module, torch.randn(2, 3))
    check(network)
    assert "aten.batch_norm.default" in operations(network)
    assert same(network, module, torch.randn(5, 3))


def test_a_view_sees_what_happened_to_its_base():
    assert same(capture(Views(), torch.randn(2, 3)), Views(), torch.randn(4, 3))


def test_a_model_that_fixes_its_batch_is_captured_with_it():
    network = capture(Fixed(), torch.randn(4, 2))
    assert network.inputs == (Port("x", (4, 2), "float32"),)


def test_the_batch_can_be_fixed():
    network = capture(nn.Linear(3, 2), torch.randn(1, 3), dynamic_batch=False)
    assert network.inputs == (Port("input", (1, 3), "float32"),)


def test_names_can_be_given():
    network = capture(
        nn.Linear(3, 2), torch.randn(2, 3), input_names=["pixels"], output_names=["logits"]
    )
    assert (network.inputs[0].name, network.outputs[0].name) == ("pixels", "logits")


@pytest.mark.parametrize("names", [["a", "b"], [""]], ids=["too many", "empty"])
def test_wrong_names_are_refused(names):
    with pytest.raises(InputError, match="input_names must be 1 different names"):
        capture(nn.Linear(3, 2), torch.randn(2, 3), input_names=names)


def test_an_example_without_tensors_is_refused():
    with pytest.raises(InputError, match="example_inputs must be or hold a tensor"):
        capture(nn.Linear(3, 2), ())


def test_control_flow_on_values_is_refused_with_the_line():
    with pytest.raises(
        ModelError, match=r"Branches cannot be traced: .*capture_models.py:\d+"
    ):
        capture(Branches(), torch.ones(2, 2))


def test_torch_prints_nothing_when_it_refuses(capfd):
    with pytest.raises(ModelError):
        capture(Branches(), torch.ones(2, 2))
    assert capfd.readouterr() == ("", "")


def test_a_model_with_a_memory_is_refused():
    with pytest.raises(ModelError, match="seen is changed when the model runs") as caught:
        capture(Counts(), torch.ones(2, 2))
    assert caught.value.tensor == "seen"


def test_returning_a_number_is_refused():
    with pytest.raises(ModelError, match="returns a number"):
        capture(Number(), torch.ones(2, 2))


def test_bfloat16_in_a_program_is_refused_by_name():
    module = nn.Linear(3, 2).bfloat16()
    program = torch.export.export(module, (torch.randn(2, 3).bfloat16(),))
    with pytest.raises(ModelError, match="input is of type bfloat16"):
        network_of(program, ["input"], ["output"])
