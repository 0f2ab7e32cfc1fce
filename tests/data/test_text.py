from __future__ import annotations

import json
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

from cbalign.data.caption_form import normalise_caption
from cbalign.data.caption_length import CaptionRuler
from cbalign.data.text import TextSettings, Tokenizer
from cbalign.data.wordpiece import train_wordpiece
from cbalign.errors import DataError

TRICKY = st.text(alphabet=st.sampled_from(list(" ,.'!?\"()*#:;~-/<>personPERSON\n\tß€😀")), max_size=60)


@pytest.fixture(scope="session")
def published(minilm: Path) -> Any:
    """BERT's tokenizer as plain Python, the one that ALBEF's is derived from."""
    legacy = pytest.importorskip("transformers.models.bert.tokenization_bert_legacy")
    return legacy.BertTokenizerLegacy(str(minilm / "vocab.txt"))


@pytest.fixture(scope="session")
def bert(minilm: Path) -> Tokenizer:
    return Tokenizer.from_folder(minilm, TextSettings(25))


def albef_by_characters(text: str, max_words: int) -> str:
    """ALBEF's rules one after the other, character by character."""
    kept = ""
    for character in text.lower():
        if character not in ",.'!?\"()*#:;~":
            kept += " " if character in "-/" else character
    kept = "person".join(kept.split("<person>"))
    collapsed = ""
    i = 0
    while i < len(kept):
        j = i
        while j < len(kept) and kept[j].isspace():
            j += 1
        if j - i >= 2:
            collapsed += " "
            i = j
        else:
            collapsed += kept[i]
            i += 1
    while collapsed.endswith("\n"):
        collapsed = collapsed[:-1]
    words = collapsed.strip(" ").split(" ")
    return " ".join(words[:max_words])


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("A man, a plan.", "a man a plan"),
        ("don't!", "dont"),
        ("what?!", "what"),
        ('he said "hi" (twice)', "he said hi twice"),
        ("*star* #1: a;b~c", "star 1 abc"),
        ("well-known and/or", "well known and or"),
        ("<PERSON> and <person>'s dog", "person and persons dog"),
        ("  many   spaces\t\there \n", "many spaces here"),
        ("one\ntwo", "one\ntwo"),
        ("a @ b & c % d $ e + f = g", "a @ b & c % d $ e + f = g"),
        ("", ""),
        ("!?", ""),
    ],
)
def test_normalisation_of_each_special_character(raw: str, expected: str):
    assert normalise_caption(raw) == expected


@given(st.one_of(TRICKY, st.text(max_size=60)), st.integers(1, 8))
@example("a -- b", 30)
@example("x\n\n", 30)
def test_normalisation_equals_albefs_rules(text: str, max_words: int):
    assert normalise_caption(text, max_words) == albef_by_characters(text, max_words)


@pytest.mark.parametrize("character", string.punctuation + string.whitespace)
def test_a_character_between_words_is_dropped_a_space_or_kept(character: str):
    dropped, spaces = ",.'!?\"()*#:;~", "-/ "
    expected = "ab" if character in dropped else "a b" if character in spaces else f"a{character}b"
    assert normalise_caption(f"A{character}B") == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("“Curly” ‘quotes’ – and — dashes…", "“curly” ‘quotes’ – and — dashes…"),
        ("<PERSON>'s <per-son> <person/> <<person>>", "persons <per son> <person > <person>"),
        ("CAFÉ №5 ½ £3.50 100% @home #tag", "café №5 ½ £350 100% @home tag"),
        ("a\u00a0b\u3000\u3000c", "a\u00a0b c"),
        ("ÀÉÎ İstanbul ΣΑΣ", "àéî i̇stanbul σας"),
        ("x.y/z-w", "xy z w"),
        ("-", ""),
        ("a b\n", "a b"),
        ("a b \n ", "a b"),
        ("a b\n \n", "a b"),
        ("a\nb\n", "a\nb"),
        ("\ta\t", "\ta\t"),
    ],
)
def test_normalisation_touches_nothing_else(raw: str, expected: str):
    assert normalise_caption(raw) == expected


def test_words_are_counted_after_punctuation_is_gone():
    words = [f"w{i}" for i in range(40)]
    assert normalise_caption(" - ".join(words)).split() == words[:30]
    assert normalise_caption("-".join(words)).split() == words[:30]


def test_captions_are_cut_at_thirty_words():
    assert normalise_caption(" ".join(map(str, range(50)))).split() == [str(i) for i in range(30)]


def test_ids_are_those_of_bert_without_the_closing_sep(minilm: Path):
    # [CLS] a dog running, from the published vocabulary of bert-base-uncased
    tokens = Tokenizer.from_folder(minilm, TextSettings(25)).encode(["A dog, running!"])
    assert tokens.input_ids.tolist() == [[101, 1037, 3899, 2770]]


@given(
    st.lists(
        st.sampled_from(["dog", "DOGS", "unbelievable", "x" * 101, "[MASK]", "[sep]", "don't", "café", "Ελλάδα"])
        | st.text(alphabet=string.printable, max_size=12)
        | st.text(
            alphabet="ÀéñßŁøÆœ“”‘’–—…€£°½²™®中国犬日本語한국어Привет\u00ad\u200b\u200d\ufeff\ue000\u00a0😀🏳️‍🌈",
            max_size=8,
        ),
        max_size=12,
    )
)
def test_ids_are_those_of_the_tokenizer_that_albef_derives_its_own_from(
    published: Any, bert: Tokenizer, words: list[str]
):
    caption = normalise_caption(" ".join(words))
    expected = published.convert_tokens_to_ids(published.tokenize(caption))
    ours = bert.encode([" ".join(words)])
    assert ours.input_ids[0].tolist() == [101, *expected][:25]


def test_closing_sep_is_a_switch(minilm: Path):
    tokens = Tokenizer.from_folder(minilm, TextSettings(25, closing_sep=True)).encode(["a dog"])
    assert tokens.input_ids.tolist() == [[101, 1037, 3899, 102]]


def test_padding_goes_to_the_longest_of_the_batch_and_is_masked(minilm: Path):
    tokens = Tokenizer.from_folder(minilm, TextSettings(25)).encode(["a dog", "", "a dog running"])
    assert tokens.input_ids.tolist() == [[101, 1037, 3899, 0], [101, 0, 0, 0], [101, 1037, 3899, 2770]]
    assert tokens.attention_mask.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert tokens.input_ids.dtype == tokens.attention_mask.dtype == np.int64


@pytest.mark.parametrize(("closing_sep", "last"), [(False, 1037), (True, 102)])
def test_truncation_keeps_cls_and_the_closing_sep(minilm: Path, closing_sep: bool, last: int):
    tokenizer = Tokenizer.from_folder(minilm, TextSettings(6, closing_sep=closing_sep))
    (row,) = tokenizer.encode(["a " * 20]).input_ids.tolist()
    assert (len(row), row[0], row[-1]) == (6, 101, last)
    assert tokenizer.encode(["a " * 20], max_tokens=9).input_ids.shape == (1, 9)


def test_no_texts_give_no_rows(tokenizer: Tokenizer):
    assert tokenizer.encode([]).input_ids.shape[0] == 0


def test_accents_are_stripped_where_the_source_strips_them(minilm: Path):
    tokenizer = Tokenizer.from_folder(minilm, TextSettings(25))
    assert np.array_equal(tokenizer.encode(["Café"]).input_ids, tokenizer.encode(["cafe"]).input_ids)


def test_special_tokens_cannot_be_written_into_a_caption(minilm: Path):
    tokenizer = Tokenizer.from_folder(minilm, TextSettings(25))
    row = tokenizer.encode(["[MASK] [SEP] [PAD]"]).input_ids[0, 1:]
    assert not set(row.tolist()) & {tokenizer.mask_id, tokenizer.sep_id, tokenizer.pad_id}


def test_broken_unicode_is_encoded(tokenizer: Tokenizer):
    assert tokenizer.encode(["dog \udcff \x00 \U0001f600"]).input_ids.shape[0] == 1


def test_vocab_txt_and_tokenizer_json_agree(minilm: Path, tmp_path: Path):
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((minilm / name).read_bytes())
    texts = ["Zürich's café, 東京!", "unbelievable flibbertigibbets", "x" * 120]
    from_words = Tokenizer.from_folder(tmp_path, TextSettings(40)).encode(texts)
    from_json = Tokenizer.from_folder(minilm, TextSettings(40)).encode(texts)
    assert np.array_equal(from_words.input_ids, from_json.input_ids)


def test_cased_vocabulary_keeps_what_its_config_says(tmp_path: Path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ncafé\ncafe\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "strip_accents": false}')
    assert Tokenizer.from_folder(tmp_path, TextSettings(9)).encode(["café"]).input_ids.tolist() == [[2, 5]]


def test_special_token_ids_come_from_the_vocabulary(minilm: Path):
    t = Tokenizer.from_folder(minilm, TextSettings(25))
    assert (t.pad_id, t.unk_id, t.cls_id, t.sep_id, t.mask_id) == (0, 100, 101, 102, 103)
    assert t.vocabulary_size == 30522


@pytest.mark.parametrize("settings", [TextSettings(25), TextSettings(7, 5, True)])
def test_saved_tokenizer_loads_the_same(tokenizer: Tokenizer, tmp_path: Path, settings: TextSettings):
    original = Tokenizer.train(["a red dog", "the blue sky over a house"], 100, settings)
    original.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    texts = ["A blue dog on the red house!", "sky", "over over over over over over over"]
    assert loaded.settings == settings
    assert np.array_equal(loaded.encode(texts).input_ids, original.encode(texts).input_ids)


def test_saved_tokenizer_json_frames_and_cuts_for_other_readers_too(tokenizer: Tokenizer, tmp_path: Path):
    tokenizer.save(tmp_path)
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    texts = ["a red dog", "a cat sleeps on the red sofa in the small house and two people ride bicycles"]
    ours = tokenizer.encode(texts)
    theirs = other.encode_batch([normalise_caption(text) for text in texts])
    assert [e.ids for e in theirs] == ours.input_ids.tolist()
    assert [e.attention_mask for e in theirs] == ours.attention_mask.tolist()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.json", ""),
        ("text.json", "{}"),
        ("text.json", '{"max_tokens": "25"}'),
        ("text.json", '{"max_tokens": 25, "colour": 1}'),
        ("tokenizer.json", "{"),
    ],
)
def test_damaged_files_are_a_data_error_that_names_them(tokenizer: Tokenizer, tmp_path: Path, name: str, content: str):
    tokenizer.save(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=name):
        Tokenizer.load(tmp_path)


def test_folder_without_a_tokenizer_is_a_data_error(tmp_path: Path):
    with pytest.raises(DataError, match=r"no tokenizer\.json and no vocab\.txt"):
        Tokenizer.from_folder(tmp_path, TextSettings(25))


def test_vocabulary_that_is_no_berts_is_a_data_error(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text(tokenizers.Tokenizer(tokenizers.models.BPE()).to_str())
    with pytest.raises(DataError, match="BERT"):
        Tokenizer.from_folder(tmp_path, TextSettings(25))


def test_training_respects_the_size_and_covers_the_captions():
    captions = ["grinning face", "grinning cat", "cat face with tears"] * 3
    tokenizer = Tokenizer.train(captions, 64, TextSettings(40))
    assert tokenizer.vocabulary_size <= 64
    assert tokenizer.unk_id not in tokenizer.encode(captions).input_ids


def test_training_without_words_is_a_data_error():
    with pytest.raises(DataError, match="no words"):
        Tokenizer.train(["", "!?"], 100, TextSettings(25))


def test_training_gives_the_same_vocabulary_in_every_process(tmp_path: Path):
    program = """
import sys, random
from cbalign.data.text import TextSettings, Tokenizer
words = [a + b for a in ("ba", "ke", "lo", "mi", "nu", "ré") for b in ("st", "rn", "x", "ppe", "ba", "ck")]
captions = [" ".join(words[i:i + 5]) for i in range(len(words))]
random.Random(int(sys.argv[1])).shuffle(captions)
Tokenizer.train(captions, 90, TextSettings(25)).save(sys.argv[2])
"""
    written = []
    for seed in range(3):
        folder = tmp_path / str(seed)
        folder.mkdir()
        subprocess.run([sys.executable, "-c", program, str(seed), str(folder)], check=True)
        written.append((folder / "tokenizer.json").read_text())
    assert len(set(written)) == 1
    assert len(json.loads(written[0])["model"]["vocab"]) > 80


@given(st.lists(st.text(max_size=40), min_size=1, max_size=4), st.integers(3, 10), st.booleans())
def test_every_row_starts_with_cls_fits_and_is_masked_after_its_end(
    texts: list[str], max_tokens: int, closing_sep: bool
):
    framed = Tokenizer.train(["a red dog 1 2 3"], 64, TextSettings(max_tokens, closing_sep=closing_sep))
    tokens = framed.encode(texts)
    lengths = tokens.attention_mask.sum(1)
    assert tokens.input_ids.shape == (len(texts), lengths.max())
    assert lengths.max() <= max_tokens
    assert (tokens.input_ids[:, 0] == framed.cls_id).all()
    for row, length in zip(tokens.input_ids, lengths):
        assert (row[length:] == framed.pad_id).all()
        assert (row[length - 1] == framed.sep_id) == closing_sep


@pytest.fixture(scope="session")
def uncut(minilm: Path) -> Tokenizer:
    return Tokenizer.from_folder(minilm, TextSettings(500, 10**6))


@given(st.one_of(TRICKY, st.text(max_size=40)), st.integers(1, 6), st.integers(3, 12))
@example("<<person>> a", 2, 3)
def test_a_ruler_knows_what_the_tokenizer_cuts(uncut: Tokenizer, text: str, max_words: int, max_tokens: int):
    length = CaptionRuler(TextSettings(max_tokens, max_words), uncut).measure(text)
    words = normalise_caption(text, 10**6).split(" ")
    kept = uncut.word_ids(normalise_caption(text, max_words))
    assert length.tokens == uncut.encode([text]).input_ids.shape[1]
    assert length.loses_tokens == (1 + len(kept) > max_tokens)
    assert length.loses_words == (len(words) > max_words)


def test_a_vocabulary_of_captions_spells_words_that_no_caption_has():
    learned = train_wordpiece(["a red star", "two stars"], 1000)
    for word in ("0", "2024", "quiz", "mp3"):
        assert "[UNK]" not in learned.encode(word).tokens
    assert learned.encode("½").tokens == ["[UNK]"]
    assert "[UNK]" not in train_wordpiece(["½"], 200).encode("½").tokens
    small = train_wordpiece(["a red star", "two stars"], 100)  # digits first
    assert small.encode("10").tokens != ["[UNK]"]
    assert small.encode("quiz").tokens == ["[UNK]"]
