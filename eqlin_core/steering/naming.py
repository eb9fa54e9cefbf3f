"""Words that name a concept: its own last ones, and what its operator's push reads as."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from eqlin_core.errors import EqlinError
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.runs.steering import is_word
from eqlin_core.steering.flips import token_id

OWN, READ = 3, 3  # words of the concept, and tokens of the read-out
LETTERS = 4  # of any word but the last; shorter ones are articles and the like


def naming_words(
    lm: LanguageModel, concept: str, token_ids: Sequence[int], reads: Sequence[str] = ()
) -> list[tuple[str, list[int]]]:
    """(text, token ids) of the words that name a concept: its last word, up to two before it, and of ``reads``.

    ``reads`` are tokens of a read-out. Punctuation, spaces and short words name nothing. Where there is no text or no
    tokenizer, the concept's last token stands for its words.
    """
    found = [*_own_words(lm, concept, token_ids), *_read_words(lm, reads)]
    distinct: dict[str, tuple[str, list[int]]] = {}
    for text, ids in found:
        distinct.setdefault(text.strip().casefold(), (text, ids))
    return list(distinct.values())


def _own_words(lm: LanguageModel, concept: str, token_ids: Sequence[int]) -> list[tuple[str, list[int]]]:
    words = [word.strip("".join(c for c in word if not is_word(c))) for word in concept.split() if is_word(word)]
    if not words or lm.tokenizer is None:
        last = [int(i) for i in token_ids[-1:]]
        return [(lm.token_strings(last)[0], last)] if last else []
    named = [words[-1], *(word for word in reversed(words[:-1]) if len(word) >= LETTERS)][:OWN]
    # As they stand within a text: after a space.
    return [(f" {word}", list(lm.tokenizer(f" {word}", add_special_tokens=False)["input_ids"])) for word in named]


def _read_words(lm: LanguageModel, reads: Sequence[str]) -> list[tuple[str, list[int]]]:
    words: list[tuple[str, list[int]]] = []
    for token in (token for token in reads if is_word(token) and len(token.strip()) >= LETTERS):
        with contextlib.suppress(EqlinError):  # a token that its own text does not give
            words.append((token, [token_id(lm, token)]))
    return words[:READ]
