"""Data files that are cut, contradict themselves or claim sizes: each is one message, nothing is lost in silence."""

import json
import tarfile
import time

import pytest

from cbalign.data.csv_pairs import open_csv
from cbalign.data.discover import discover
from cbalign.data.shards import Shards
from cbalign.data.text import TextSettings, Tokenizer
from cbalign.data.vqa_v2 import open_vqa_v2
from cbalign.errors import DataError


def opened(folder, content):
    path = folder / "pairs.csv"
    path.write_text(content)
    return open_csv([path], folder, image="image", caption="caption", delimiter=",")


def test_a_caption_with_an_unquoted_delimiter_is_refused_instead_of_cut(tmp_path):
    with pytest.raises(DataError, match=r"pairs\.csv, line 2: 3 columns, the header has 2") as caught:
        opened(tmp_path, "image,caption\n0.png,a red, round thing\n1.png,b\n")
    assert "double quotes" in caught.value.remedy


def test_empty_columns_of_a_spreadsheet_are_accepted(tmp_path):
    assert opened(tmp_path, "image,caption\n0.png,a red thing,,\n").item(0).captions == ("a red thing",)


def test_a_header_that_names_a_needed_column_twice_is_refused(tmp_path):
    with pytest.raises(DataError, match="names the column caption 2 times"):
        opened(tmp_path, "image,caption,caption\n0.png,a,b\n")
    assert len(opened(tmp_path, "image,x,caption,x\n0.png,1,a,2\n")) == 1


def test_a_caption_of_any_length_that_json_can_have_is_read_from_csv(tmp_path):
    caption = "a b " * 50_000
    assert opened(tmp_path, f"image,caption\n0.png,{caption}\n").item(0).captions == (caption,)


def test_an_endless_value_is_refused_with_the_quote_as_the_likely_reason(tmp_path):
    with pytest.raises(DataError, match="over 16 million characters") as caught:
        opened(tmp_path, f'image,caption\n0.png,"{"x" * (17 << 20)}\n')
    assert "quote" in caught.value.remedy


def test_training_a_vocabulary_leaves_out_words_that_it_could_not_encode(tmp_path):
    captions = ["a red dog", "a blue cat"]
    settings = TextSettings(max_tokens=16)
    plain = Tokenizer.train(captions, 100, settings)
    started = time.monotonic()
    trained = Tokenizer.train([*captions, "x" * 300_000, "12" * 200_000], 100, settings)
    assert time.monotonic() - started < 10, "it took half a minute for the first word alone"
    plain.save(tmp_path)
    before = (tmp_path / "tokenizer.json").read_bytes()
    trained.save(tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == before


@pytest.mark.parametrize("field", ["question_id", "image_id"])
def test_a_number_beyond_64_bits_names_file_and_entry(tmp_path, field):
    entry = {"question_id": 1, "image_id": 2, "question": "what", field: 2**70}
    path = tmp_path / "questions.json"
    path.write_text(json.dumps({"questions": [entry]}))
    with pytest.raises(DataError, match=rf"questions\.json, entry 1: field {field}: .* 64 bits"):
        open_vqa_v2([path], [], tmp_path, image="{id}.jpg")


@pytest.mark.parametrize("name", ["a.jpg", "a.txt", "a.json"])
def test_a_member_that_claims_to_be_sparse_and_endless_names_its_file(tmp_path, name):
    info = tarfile.TarInfo(name)
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.size": str(10**15), "GNU.sparse.map": f"0,0,{10**15},0"}
    with tarfile.open(tmp_path / "0.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info)
    with pytest.raises(DataError, match=r"0\.tar, a\.\w+: a sparse file"):
        Shards([str(tmp_path / "0.tar")])


def test_a_pipe_among_the_files_is_not_opened(tmp_path):
    import os

    os.mkfifo(tmp_path / "pairs.json")
    os.mkfifo(tmp_path / "pairs.csv")
    assert discover(tmp_path).found == ()
