"""Real tokenizers under constraints: the bytes are the tokenizer's own, and random logits still come out as asked."""

from __future__ import annotations

import functools
import json
import re

import llguidance
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from llm_core.models.grammar_vocabulary import read_vocabulary
from llm_core.models.language_model import LanguageModel
from samplers.constraints import Constraint, match_choice, match_json_schema, match_pattern
from tests.support.toy_model import toy_model, toy_tokenizer

TEXTS = ["Tiếng Việt rất hay", "Hà Nội, 20 °C\n\tđẹp!", 'nói "có" 😀👩‍👩‍👧', " a  b", "naïve café 日本語"]
END = {0, 2}  # <|endoftext|> and <|im_end|>
PADDING = 40


@pytest.fixture(scope="module")
def vocabulary(builtin: LanguageModel) -> llguidance.LLTokenizer:
    """The built-in model's, as if its logits had some entries more than there are tokens."""
    return read_vocabulary(builtin.tokenizer, builtin.vocab_size + PADDING, END)


@functools.cache
def make_sentencepiece() -> PreTrainedTokenizerFast:
    """In the manner of Llama 2: `▁` for a space, one in front of every text, and bytes for what has no token."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "H", "à", "▁H", "▁Hà", "Hà"]
    merges = [("H", "à"), ("▁", "H"), ("▁H", "à")]
    table = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=table, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    undo = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(undo)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", bos_token="<s>", unk_token="<unk>")


def random_walk(constraint: Constraint, seed: int) -> list[int]:
    """The tokens that random logits lead to, without the one that ends them."""
    generator = torch.Generator().manual_seed(seed)
    out: list[int] = []
    while len(out) < 1000:
        allowed = constraint.allowed()
        token = int(torch.randn(len(allowed), generator=generator).masked_fill(~allowed, -torch.inf).argmax())
        constraint.accept(token)
        if token in END:
            return out
        out.append(token)
    raise AssertionError("no end in sight")


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_have_the_bytes_that_they_stand_for(vocabulary, builtin, text):
    ids = builtin.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert b"".join(vocabulary.decode_bytes([token]) for token in ids) == text.encode()


def test_special_tokens_and_padding_are_never_text(vocabulary, builtin):
    ordinary = match_pattern(vocabulary, r"(?s:.*)").allowed()
    assert ordinary.shape == (builtin.vocab_size + PADDING,)
    assert not ordinary[builtin.vocab_size :].any()
    special = set(builtin.tokenizer.added_tokens_decoder)
    assert set(ordinary[: max(special) + 1].nonzero()[:, 0].tolist()) == END
    assert ordinary.sum() > 0.99 * builtin.vocab_size


@pytest.mark.parametrize("text", TEXTS)
def test_the_tokenizers_own_tokens_are_accepted(vocabulary, builtin, text):
    constraint = match_choice(vocabulary, ["Tiếng", *TEXTS])
    for token in builtin.tokenizer(text, add_special_tokens=False)["input_ids"]:
        constraint.accept(token)
    assert constraint.finished
    assert set(constraint.allowed().nonzero()[:, 0].tolist()) == END


def test_every_token_that_some_choice_begins_with_and_nothing_in_front(vocabulary):
    choices = ["Nội", "Nam Định", " Nội"]
    allowed = set(match_choice(vocabulary, choices).allowed().nonzero()[:, 0].tolist())
    starts = {choice.encode()[:size] for choice in choices for size in range(1, 20)}
    assert allowed == {token for token in range(vocabulary.vocab_size) if vocabulary.decode_bytes([token]) in starts}
    assert len(allowed) > 3


@pytest.mark.parametrize("seed", range(10))
def test_random_choices_come_out_whole(vocabulary, builtin, seed):
    assert builtin.decode(random_walk(match_choice(vocabulary, TEXTS), seed)) in TEXTS


@pytest.mark.parametrize("seed", range(10))
def test_random_json_is_valid_under_the_schema(vocabulary, builtin, seed):
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "city": {"enum": ["Hà Nội", "Đà Nẵng"]},
            "marks": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 10}, "maxItems": 4},
        },
        "required": ["name", "city", "marks"],
        "additionalProperties": False,
    }
    person = json.loads(builtin.decode(random_walk(match_json_schema(vocabulary, schema), seed)))
    assert list(person) == schema["required"]
    assert len(person["name"]) <= 20
    assert person["city"] in ("Hà Nội", "Đà Nẵng")
    assert len(person["marks"]) <= 4
    assert all(type(mark) is int and 0 <= mark <= 10 for mark in person["marks"])


@pytest.mark.parametrize("seed", range(10))
def test_random_text_matches_the_regular_expression(vocabulary, builtin, seed):
    regex = r"[A-Z][a-zà-ỹ]{1,20}, [0-9]{1,3}(\.[0-9])? °C[!?]"
    assert re.fullmatch(regex, builtin.decode(random_walk(match_pattern(vocabulary, regex), seed)))


def test_every_end_token_ends(vocabulary):
    for end in END:
        constraint = match_pattern(vocabulary, "a?")
        constraint.accept(end)
        assert constraint.finished


def test_byte_tokens_of_the_toy_model_and_added_tokens_that_are_text():
    toy = toy_model()
    vocabulary = read_vocabulary(toy.tokenizer, toy.vocab_size, toy.end_ids)
    assert match_choice(vocabulary, ["ế"]).allowed().sum() == 1
    tokenizer = toy_tokenizer()
    tokenizer.add_tokens([AddedToken("Hà Nội", normalized=False), AddedToken("<tool>", special=True)])
    city, tool = tokenizer.convert_tokens_to_ids(["Hà Nội", "<tool>"])
    allowed = match_pattern(read_vocabulary(tokenizer, len(tokenizer), [0]), "(?s:.*)").allowed()
    assert bool(allowed[city])
    assert not bool(allowed[tool])


def test_sentencepiece_tokens():
    tokenizer = make_sentencepiece()
    vocabulary = read_vocabulary(tokenizer, 300, [2])
    ids = {piece: tokenizer.convert_tokens_to_ids(piece) for piece in ("H", "▁H", "Hà", "▁Hà", "▁", "<0x48>", "<0x20>")}

    def first(choice: str) -> set[int]:
        return set(match_choice(vocabulary, [choice]).allowed().nonzero()[:, 0].tolist())

    assert first("Hà") == {ids["H"], ids["Hà"], ids["<0x48>"]}
    assert first(" Hà") == {ids["▁"], ids["▁H"], ids["▁Hà"], ids["<0x20>"]}
    constraint = match_choice(vocabulary, ["ế"])
    for byte in "ế".encode():
        constraint.accept(tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>"))
    assert constraint.finished


def make_byteless_tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?")))


def make_unreadable_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = make_sentencepiece()
    table = json.loads(tokenizer.backend_tokenizer.to_str())
    table["model"]["vocab"]["<0xZZ>"] = len(table["model"]["vocab"])
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(table)), eos_token="</s>")


@pytest.mark.parametrize(
    ("tokenizer", "size", "end_ids", "words"),
    [
        (
            make_byteless_tokenizer,
            2,
            [0],
            "can't determine decoder type.*; expected a byte-level or byte-fallback fast tokenizer",
        ),
        (make_unreadable_tokenizer, 300, [2], "^tokenizer: .*expected a byte-level"),
        (object, 2, [0], "Only fast tokenizers"),
        (make_sentencepiece, 100, [2], "vocab size too small; 100 vs"),
        (make_sentencepiece, 300, [5000], "5000 is out of range"),
        (make_sentencepiece, 300, [], "end_ids is empty"),
    ],
)
def test_what_cannot_be_read_is_refused(tokenizer, size, end_ids, words):
    with pytest.raises(ValueError, match=words):
        read_vocabulary(tokenizer(), size, end_ids)
