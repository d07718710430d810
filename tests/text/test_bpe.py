"""The tokenizer: text in, tokens out, and the same text back."""

import hypothesis
import hypothesis.strategies as st
from made_up import CONFIG

from unifeat.text import bpe, files


@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(st.text(max_size=80) | st.sampled_from(["a<|endoftext|>b", "\0\n\t  x", "12 345"]))
def test_token_bytes_sum_to_the_text(built, string):
    stream, lengths = bpe.pack(built.tokenizer.backend_tokenizer, [string])
    assert (stream == bpe.EOS).sum() == 1 and lengths == [len(stream)]
    assert built.token_bytes[stream].sum() == len(string.encode())
    assert built.tokenizer.decode(stream[1:]) == string


def test_token_texts_join_to_the_text(built):
    string = "a b\n\tc \u00e9\U0001f600 12\0"
    stream, _ = bpe.pack(built.tokenizer.backend_tokenizer, [string])
    parts = [bpe.token_text(built.tokenizer, number) for number in stream]
    assert parts[0] == files.SPECIAL
    assert b"".join(p if isinstance(p, bytes) else p.encode() for p in parts[1:]) == string.encode()


def test_tokenizer_in_hugging_face_layout(built):
    tokenizer = built.tokenizer
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == tokenizer.pad_token_id == bpe.EOS
    assert len(tokenizer) == len(built.token_bytes) == CONFIG.vocab and built.token_bytes[0] == 0
    assert all(len(tokenizer.tokenize(digits)) == 4 for digits in ("2024", "0000"))


def test_a_word_without_end_does_not_take_time_with_the_square_of_its_length():
    """It is learned from in pieces; text that people write is learned from whole."""
    text = "a few words of text, " * 2000
    assert bpe._cut(text) == [text] and bpe._cut("") == [""]
    pieces = bpe._cut("see " + "x" * 25_000 + " and")
    assert [len(piece) for piece in pieces] == [10_004, 10_000, 5_004] and "".join(pieces).startswith("see xx")
    tokenizer = bpe.train([text, "ab" * 30_000], 300)
    assert tokenizer.decode(tokenizer.encode("abab few words").ids) == "abab few words"
