import copy
import json
import math
import zipfile

import pytest
import torch
from capture_models import Residual
from torch import nn

from tersor.errors import FileError, FormatError
from tersor.network.archive import _is_arithmetic, _Reader
from tersor.network.capture import load_pt2

GRAPH = "m/models/model.json"
WEIGHTS = "m/data/weights/model_weights_config.json"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("pt2") / "m.pt2"
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        Residual().eval(), (torch.zeros(2, 4, 8, 8),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(program, path)
    return path


def forged(saved, tmp_path, *, change=None, rename=None, add=None, compress=None):
    """A copy of the archive with records changed by functions of their JSON or bytes."""
    target = tmp_path / "m.pt2"
    change, rename = change or {}, rename or {}
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name in change:
                found = change[name](json.loads(data) if name.endswith(".json") else data)
                data = found if isinstance(found, bytes) else json.dumps(found).encode()
            kind = zipfile.ZIP_DEFLATED if name == compress else zipfile.ZIP_STORED
            new.writestr(rename.get(name, name), data, compress_type=kind)
        for name, data in (add or {}).items():
            new.writestr(name, data)
    return target


def test_a_saved_program_computes_the_same(saved):
    network = load_pt2(saved)
    assert network.inputs[0].shape == ("batch", 4, 8, 8)
    assert network.inputs[0].name == "x"
    x = torch.randn(3, 4, 8, 8)
    wanted = torch.export.load(saved).module()(x)
    assert torch.equal(network.module(x)[0], wanted)


def test_nothing_is_unpickled(saved, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("unpickled")

    monkeypatch.setattr("torch.load", refuse)
    monkeypatch.setattr("pickle.loads", refuse)
    assert load_pt2(saved).inputs[0].name == "x"


def test_tied_weights_stay_tied(tmp_path):
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    program = torch.export.export(module.eval(), (torch.zeros(2, 3),))
    torch.export.save(program, tmp_path / "m.pt2")
    names = set(load_pt2(tmp_path / "m.pt2").module.state_dict())
    assert len(names & {"0.weight", "1.weight"}) == 1


def set_first(key, value):
    def change(document):
        document["graph_module"]["graph"]["nodes"][0][key] = value
        return document

    return change


def set_weight(**facts):
    def change(document):
        next(iter(document["config"].values())).update(facts)
        return document

    return change


def set_meta(**facts):
    def change(document):
        next(iter(document["config"].values()))["tensor_meta"].update(facts)
        return document

    return change


def set_size(text):
    def change(document):
        for value in document["graph_module"]["graph"]["tensor_values"].values():
            for size in value["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = text
        return document

    return change


def set_spec(spec):
    def change(document):
        signature = document["graph_module"]["module_call_graph"][0]["signature"]
        signature["out_spec"] = json.dumps([1, spec])
        return document

    return change


EVIL = "__import__('os').system('true')"
DEFAULTDICT = {
    "type": "collections.defaultdict",
    "context": json.dumps({"default_factory_module": "os", "default_factory_name": "abort"}),
    "children_spec": [],
}
ENUM = {
    "type": "builtins.dict",
    "context": json.dumps([{"__enum__": True, "fqn": "os:x", "name": "y"}]),
    "children_spec": [],
}


@pytest.mark.parametrize(
    ("problem", "record", "change"),
    [
        ("operation 'torch.hub.load'", GRAPH, set_first("target", "torch.hub.load")),
        ("operation '_operator.call'", GRAPH, set_first("target", "_operator.call")),
        ("from_file", GRAPH, set_first("target", "torch.ops.aten.from_file.default")),
        ("operation", GRAPH, set_first("target", "torch.ops.aten.unheard_of.default")),
        ("operation", GRAPH, set_first("target", "torch.ops.higher_order.cond")),
        ("size .* is no plain arithmetic", GRAPH, set_size(EVIL)),
        ("inputs or outputs in a 'collections.defaultdict'", GRAPH, set_spec(DEFAULTDICT)),
        ("an enumeration as a key", GRAPH, set_spec(ENUM)),
        ("model.json is no JSON", GRAPH, lambda _: b"{"),
        ("model.json is no JSON", GRAPH, lambda _: b"[" * 100_000),
        ("torch cannot read it", GRAPH, lambda _: {"graph_module": 3}),
        ("is a pickle or an object", WEIGHTS, set_weight(use_pickle=True)),
        ("is a pickle or an object", WEIGHTS, set_weight(path_name="../model.json")),
        ("no record 'data/weights/weight_99'", WEIGHTS, set_weight(path_name="weight_99")),
        ("reaches past its record", WEIGHTS, set_meta(storage_offset={"as_int": 1})),
        ("described wrongly", WEIGHTS, set_meta(storage_offset={"as_int": -1})),
        ("described wrongly", WEIGHTS, set_meta(dtype="x")),
        ("described wrongly", WEIGHTS, set_meta(storage_offset={"as_int": math.inf})),
        (
            "reaches past its record",
            WEIGHTS,
            set_meta(sizes=[{"as_int": 10**12}], strides=[{"as_int": 0}]),
        ),
        ("described wrongly", WEIGHTS, lambda _: {}),
    ],
)
def test_forged_archive_is_refused(saved, tmp_path, problem, record, change):
    path = forged(saved, tmp_path, change={record: change})
    with pytest.raises(FormatError, match=problem):
        load_pt2(path)


def test_custom_objects_are_refused(saved, tmp_path):
    def change(document):
        document["graph_module"]["graph"]["custom_obj_values"] = {"x": {"name": "x"}}
        return document

    with pytest.raises(FormatError, match="an object of its own class"):
        load_pt2(forged(saved, tmp_path, change={GRAPH: change}))


def test_native_code_is_refused(saved, tmp_path):
    path = forged(saved, tmp_path, add={"m/data/aotinductor/model/a.so": b"x"})
    with pytest.raises(FormatError, match="native code"):
        load_pt2(path)


def test_compressed_records_are_refused(saved, tmp_path):
    """Ordinary archives are stored; a compressed one may grow without bound."""
    with pytest.raises(FormatError, match="compressed record"):
        load_pt2(forged(saved, tmp_path, compress=GRAPH))


def test_records_that_share_their_bytes_are_refused(tmp_path):
    """Many names for the same bytes would fill the memory."""
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/models/model.json", b"0" * 100_000)
        (entry,) = archive.filelist
        twin = copy.copy(entry)
        twin.filename = "m/data/weights/weight_0"
        archive.filelist.append(twin)
    with pytest.raises(FormatError, match="records larger than the file"):
        load_pt2(path)


def test_another_zip_is_refused(saved, tmp_path):
    path = forged(saved, tmp_path, rename={GRAPH: "m/models/other.json"})
    with pytest.raises(FormatError, match=r"not written by torch\.export\.save"):
        load_pt2(path)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_cut_file_is_refused(saved, tmp_path, part):
    data = saved.read_bytes()
    path = tmp_path / "m.pt2"
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(FormatError, match="no whole zip archive"):
        load_pt2(path)


def test_a_flipped_bit_of_a_weight_is_found(saved, tmp_path):
    data = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        entry = archive.getinfo("m/data/weights/weight_0")
        content = archive.read(entry)
    data[data.index(content) + 5] ^= 1
    (tmp_path / "m.pt2").write_bytes(data)
    with pytest.raises(FormatError):
        load_pt2(tmp_path / "m.pt2")


def test_a_record_beyond_every_file_is_refused(saved):
    with zipfile.ZipFile(saved) as archive:
        reader = _Reader(archive, saved.stat().st_size)
        name = next(iter(reader.records))
        reader.records[name].header_offset = 1 << 70
        with pytest.raises(FormatError, match="lies outside the file"):
            reader.bytes_of(name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileError, match="cannot be read: No such file"):
        load_pt2(tmp_path / "m.pt2")


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("Symbol('s77', positive=True, integer=True)", True),
        ("Mul(Integer(2), Symbol('s0', integer=True))", True),
        ("2*s0 + 1", True),
        ("().__class__", False),
        ("Symbol('s77').__class__", False),
        ("open('s77')", False),
        ("Symbol('os.system')", False),
        ("[s0 for s0 in s1]", False),
        ("lambda: s0", False),
        ("s0 if s1 else s2", False),
        ("(" * 5000, False),
        ("1+" * 20_000 + "1", False),
    ],
)
def test_sizes_are_plain_arithmetic(text, fine):
    assert _is_arithmetic(text) is fine
