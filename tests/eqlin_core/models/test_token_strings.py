"""Tokens as text: they join to the prompt, and what is no text alone is shown as bytes."""

import logging
from typing import Any

import pytest

from eqlin_core.models.language_model import LanguageModel
from tests.eqlin_core.models.model_cases import byte_level_tokenizer, tiny_llama


def sentencepiece_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = ["<s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "b", "r", "▁b", "▁br"]
    vocabulary = {piece: i for i, piece in enumerate(letters)}
    backend = Tokenizer(models.BPE(vocabulary, [("▁", "b"), ("▁b", "r")], byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")


def test_encoding_a_long_prompt_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:

    said: list[str] = []
    logger = logging.getLogger("transformers")
    monkeypatch.setattr(logger, "handlers", [handler := logging.Handler()])
    monkeypatch.setattr(handler, "emit", lambda record: said.append(record.getMessage()))
    first, second = byte_level_tokenizer(), byte_level_tokenizer()
    first.model_max_length = second.model_max_length = 3
    assert len(LanguageModel.wrap(tiny_llama(), first).encode("the bridge over the river")) > 3
    assert said == []
    second("the bridge over the river")
    assert "longer than" in said[0], "transformers itself warns"


@pytest.mark.parametrize("text", ["the bridge", " the\n\tbridge", "café", "~!", "<|end|>"])
def test_byte_level_tokens_join_to_the_text(text: str) -> None:
    lm = LanguageModel.wrap(tiny_llama(), byte_level_tokenizer())
    assert "".join(lm.token_strings(lm.encode(text))) == text


@pytest.mark.parametrize(("text", "bytes_"), [("日", b"\xe6\x97\xa5"), ("\u00a0", b"\xc2\xa0"), ("\x00", b"")])
def test_bytes_that_are_no_text_alone_are_shown_as_bytes(text: str, bytes_: bytes) -> None:
    lm = LanguageModel.wrap(tiny_llama(), byte_level_tokenizer())
    assert lm.token_strings(lm.encode(text)) == ([f"<0x{byte:02X}>" for byte in bytes_] or [text])


def test_a_fragment_of_a_letter_shows_its_bytes(default_model_float32: LanguageModel) -> None:
    strings = default_model_float32.token_strings(default_model_float32.encode("😀"))
    assert all(string.strip() and "\ufffd" not in string for string in strings)
    assert "<0xF0>" in strings[0]


def test_sentencepiece_tokens_keep_their_leading_space() -> None:
    lm = LanguageModel.wrap(tiny_llama(), sentencepiece_tokenizer())
    ids = lm.encode("br\né")
    assert ids[0] == 0, "the tokenizer's own BOS comes first"
    assert lm.token_strings(ids) == ["<s>", " br", "\n", "<0xC3>", "<0xA9>"]


def test_ids_beyond_the_tokenizer_are_shown_as_numbers(default_model_float32: LanguageModel) -> None:
    assert default_model_float32.token_strings([2, 10**6]) == ["<|im_end|>", "<1000000>"]
