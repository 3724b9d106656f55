"""Texts become token ids and masks as text.toml says."""

import json
import re

import numpy as np
import pytest

from tersor.data.read import read_samples
from tersor.errors import DataError, FileError, InputError

pytest.importorskip("tokenizers", reason="tokenizers is not installed: pip install tokenizers")
from tokenizers import Tokenizer, models, pre_tokenizers

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "##s", "a"]
TABLE = 'tokenizer = "vocab.txt"\nlength = 6\ntext = "sentence"\n'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (tmp_path / "text.toml").write_text(TABLE + 'label = "label"\n')
    (tmp_path / "dev.tsv").write_text("label\tsentence\n1\tGood films\n0\ta bad film\n")
    return tmp_path


def found(samples):
    return {name: np.asarray(a).tolist() for name, a in samples.inputs.items()}


# worked by hand: [CLS] good film ##s [SEP] [PAD]; [CLS] a bad film [SEP] [PAD]
IDS = [[2, 4, 6, 7, 3, 0], [2, 8, 5, 6, 3, 0]]
MASK = [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0]]


def test_a_folder_and_its_file_give_ids_mask_and_labels(folder):
    for source in (folder, folder / "dev.tsv"):
        samples = read_samples(source)
        assert found(samples) == {"input_ids": IDS, "attention_mask": MASK}
        assert samples.labels.tolist() == [1, 0]


def test_pairs_types_and_names(folder):
    rows = [{"a": "good", "b": "bad film"}, {"a": "a a a", "b": "film"}]
    (folder / "dev.tsv").rename(folder / "dev.jsonl")
    (folder / "dev.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    (folder / "text.toml").write_text(
        'tokenizer = "vocab.txt"\nlength = 6\ntext = "a"\npair = "b"\nids = "ids"\n'
        'mask = ""\ntypes = "types"\n'
    )
    samples = read_samples(folder)
    # [CLS] good [SEP] bad film [SEP]; the longer text of the second pair is cut first
    assert found(samples) == {
        "ids": [[2, 4, 3, 5, 6, 3], [2, 8, 8, 3, 6, 3]],
        "types": [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1]],
    }
    assert samples.labels is None


def test_columns_by_number_classes_and_lines_without_names(folder):
    (folder / "dev.tsv").write_text('1\tyes\t"good\n\n2\tno\tbad\n')
    (folder / "text.toml").write_text(
        TABLE.replace('"sentence"', "2") + 'label = 1\nclasses = ["no", "yes"]\n'
    )
    samples = read_samples(folder)
    assert samples.labels.tolist() == [1, 0]
    assert len(samples) == 2


def test_csv_knows_quotes_and_scores_are_floats(folder):
    (folder / "dev.tsv").unlink()
    (folder / "dev.csv").write_text('sentence,label\n"good, bad",0.5\nfilm,2\n')
    samples = read_samples(folder)
    assert samples.labels.tolist() == [0.5, 2.0]
    assert found(samples)["input_ids"][0] == [2, 4, 1, 5, 3, 0]


def test_plain_lines(folder):
    (folder / "dev.tsv").unlink()
    (folder / "dev.txt").write_text("good\n\nbad\n")
    (folder / "text.toml").write_text(TABLE)
    assert found(read_samples(folder))["input_ids"] == [[2, 4, 3, 0, 0, 0], [2, 5, 3, 0, 0, 0]]


def test_a_tokenizer_file_pads_as_it_says(folder):
    made = Tokenizer(models.WordLevel({"good": 0, "bad": 1, "<pad>": 2}, "bad"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    table = 'tokenizer = "tokenizer.json"\nlength = 3\ntext = "sentence"\n'
    (folder / "text.toml").write_text(table)
    made.save(str(folder / "tokenizer.json"))
    assert found(read_samples(folder))["input_ids"] == [[1, 1, 2], [1, 1, 1]]
    made.enable_padding(pad_id=7, length=20)
    made.save(str(folder / "tokenizer.json"))
    assert found(read_samples(folder))["input_ids"][0] == [1, 1, 7]


MORE = TABLE.encode()
LONG = b"x" * 3000


def write(name, text):
    return lambda folder: (folder / name).write_bytes(text)


def jsonl(text):
    return lambda folder: (folder / "dev.tsv").rename(folder / "d.jsonl").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (write("text.toml", b'length = 3\n'), InputError, "with the key tokenizer"),
        (write("text.toml", b'tokenizer = "v"\nlength = 0'), InputError, "length must be"),
        (write("text.toml", MORE + b'text = 1.5'), FileError, "is not TOML"),
        (write("text.toml", MORE + b'pair = -1'), InputError, "pair must be the name"),
        (write("text.toml", MORE + b'classes = 3'), InputError, "classes must be"),
        (write("text.toml", MORE + b'ids = ""'), InputError, "ids must be a name"),
        (write("text.toml", MORE + b'file = "x.tsv"'), FileError, "x.tsv is not there"),
        (write("text.toml", MORE + b'file = "text.toml"'), FileError, "is no file"),
        (write("text.toml", MORE + b'file = "' + LONG + b'"'), FileError, "is not there"),
        (write("text.toml", MORE.replace(b"vocab", LONG)), FileError, "is not there. Name it"),
        (write("text.toml", MORE + b'label = "sentence"'), DataError, "is no number"),
        (write("text.toml", MORE + b'lowercase = 1'), InputError, "true or false"),
        (
            write("text.toml", MORE + b'label = "label"\nclasses = ["a"]'),
            DataError,
            r"row 1, has label '1', which is none of a",
        ),
        (write("other.tsv", b"x"), FileError, "holds 2 files that end with"),
        (write("dev.tsv", b"a\tb\nc\td\n"), DataError, "has no column 'sentence', but a, b"),
        (write("dev.tsv", b"label\tsentence\n"), DataError, "holds no text"),
        (write("dev.tsv", b"label\tsentence\n\xff"), FileError, "is no text in UTF-8"),
        (jsonl("{"), FileError, "line 1: "),
        (jsonl("3"), DataError, "but none"),
        (lambda f: (f / "vocab.txt").unlink(), FileError, r"vocab\.txt is not there"),
        (
            write("text.toml", MORE.replace(b"vocab.txt", b"dev.tsv") + b'file = "dev.tsv"'),
            FileError,
            "is no tokenizer",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_place(folder, spoil, error, said):
    spoil(folder)
    with pytest.raises(error, match=said):
        read_samples(folder)


def test_a_tokenizer_that_fails_on_a_text_is_told(folder):
    """Without [UNK] it fails where a word is unknown, and not before."""
    (folder / "vocab.txt").write_text("\n".join(w for w in WORDS if w != "[UNK]"))
    (folder / "dev.tsv").write_text("label\tsentence\n1\tunheard\n")
    samples = read_samples(folder)
    with pytest.raises(FileError, match=r"vocab\.txt makes no tokens of 'unheard' \(.*UNK"):
        np.asarray(samples.inputs["input_ids"])


def test_a_missing_table_is_told_with_its_folder(folder, monkeypatch):
    (folder / "text.toml").unlink()
    monkeypatch.chdir(folder)
    with pytest.raises(FileError, match=re.escape(f"{folder / 'text.toml'} is not there")):
        read_samples("dev.tsv")


def test_huge_files_and_a_missing_package_are_told(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("tersor.data.text._LARGEST", 10)
        with pytest.raises(FileError, match="has more than 10 bytes"):
            read_samples(folder)
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(FileError, match=r"needs the package tokenizers\. Run: pip install"):
        read_samples(folder)
