"""WordPiece vocabularies, read from a BERT's files or trained on captions."""

from __future__ import annotations

import json
import string
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from cbalign.errors import DataError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_PREFIX = "##"
_MAX_ALPHABET = 1000
_LONGEST_WORD = 100  # letters; longer words are [UNK], and learning them would take time quadratic in their length
_EXPECTED = string.digits + string.ascii_lowercase


def wordpiece_from_folder(folder: Path) -> tokenizers.Tokenizer:
    """Read the vocabulary of a BERT folder: `tokenizer.json`, else `vocab.txt` with `tokenizer_config.json`.

    Raises:
        DataError: neither file exists, or it is damaged.
    """
    whole, words = folder / "tokenizer.json", folder / "vocab.txt"
    if whole.is_file():
        try:
            return tokenizers.Tokenizer.from_file(str(whole))
        except Exception as error:  # the library raises plain Exception
            raise DataError(f"{whole}: not a tokenizer ({error})") from error
    if words.is_file():
        return _from_vocabulary(words, folder / "tokenizer_config.json")
    raise DataError(f"{folder}: no tokenizer.json and no vocab.txt")


def train_wordpiece(captions: Iterable[str], vocabulary: int) -> tokenizers.Tokenizer:
    """Train a vocabulary of at most `vocabulary` tokens; equal captions in any order give equal vocabularies.

    Up to an eighth of it is for digits and letters that no caption contains: the texts of a later fine-tuning may have
    digits where the captions have words.

    Args:
        captions: normalised captions; read once.
        vocabulary: largest size, special tokens included.

    Raises:
        DataError: the captions have no words.
    """
    learner = _bert(models.WordPiece(unk_token="[UNK]"), lowercase=True)
    counts: Counter[str] = Counter()
    for caption in captions:
        normal = learner.normalizer.normalize_str(caption)
        words = (word for word, _ in learner.pre_tokenizer.pre_tokenize_str(normal))
        counts.update(word for word in words if len(word) <= _LONGEST_WORD)
    if not counts:
        raise DataError(
            "the training captions have no words to train a vocabulary on",
            remedy="Check the captions with `cbalign data stats`, or set model.text.tokenizer: pretrained.",
        )
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    room = min(_MAX_ALPHABET, (vocabulary - len(SPECIAL_TOKENS)) // 2)
    unseen = [c for c in _EXPECTED if c not in characters][: vocabulary // 16]  # two tokens each
    alphabet = sorted([*sorted(characters, key=lambda c: (-characters[c], c)), *unseen][:room])
    # The library numbers characters in the order of a randomly seeded hash table and breaks ties between merges
    # by these numbers. Declared as special tokens, characters have fixed numbers.
    fixed = [*SPECIAL_TOKENS, *alphabet, *(_PREFIX + c for c in alphabet)]
    learner.train_from_iterator(
        (word for word, count in sorted(counts.items()) for _ in range(count)),
        trainers.WordPieceTrainer(
            vocab_size=vocabulary,
            special_tokens=fixed,
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            continuing_subword_prefix=_PREFIX,
            show_progress=False,
        ),
    )
    learned: dict[str, int] = learner.get_vocab(with_added_tokens=False)
    rest = sorted(learned.keys() - set(fixed), key=lambda token: learned[token])
    ordered = [*fixed, *rest][:vocabulary]
    return _bert(models.WordPiece({token: i for i, token in enumerate(ordered)}, unk_token="[UNK]"), lowercase=True)


def _from_vocabulary(words: Path, config: Path) -> tokenizers.Tokenizer:
    try:
        lines = words.read_text(encoding="utf-8").split("\n")
        options = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    except (OSError, ValueError) as error:
        raise DataError(f"{words}: not a BERT vocabulary ({error})") from error
    if lines and not lines[-1]:
        lines.pop()
    vocabulary = {token.rstrip("\r"): i for i, token in enumerate(lines)}
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if missing:
        raise DataError(f"{words}: not a BERT vocabulary (no {', '.join(missing)})")
    return _bert(
        models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=_LONGEST_WORD),
        lowercase=options.get("do_lower_case", True),
        strip_accents=options.get("strip_accents"),
        chinese=options.get("tokenize_chinese_chars", True),
    )


def _bert(
    model: models.WordPiece, *, lowercase: bool, strip_accents: bool | None = None, chinese: bool = True
) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=chinese, strip_accents=strip_accents, lowercase=lowercase
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=_PREFIX)
    if tokenizer.token_to_id(SPECIAL_TOKENS[0]) is not None:
        tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer
