"""A prompt, or a chat, with its answer, as pages and files hold it: tokens, and whose words each of them is."""

from __future__ import annotations

from dataclasses import dataclass

from eqlin_core.reprs import Facts, ShortRepr, counted, excerpt

PROMPT, ANSWER, TEMPLATE, ASSISTANT = "prompt", "answer", "template", "assistant"


@dataclass(frozen=True, repr=False)
class RunText(ShortRepr):
    """Token ids with the answer from ``first`` on; of every token its text, its role, and which message it is of.

    Roles are "prompt" and "answer", in a chat "template", "system", "user" and "assistant"; the message is -1 for
    tokens of the template and 0 of a prompt, and an answer is the message after the last.
    """

    token_ids: list[int]
    tokens: list[str]
    roles: list[str]
    messages: list[int]
    first: int

    def _facts(self) -> Facts:
        yield "text", excerpt("".join(self.tokens))
        yield "tokens", counted(self.first, "token")
        yield "answer", f"answer of {counted(self.answer_tokens, 'token')}"

    @property
    def answer_tokens(self) -> int:
        """R, the tokens of the answer."""
        return len(self.tokens) - self.first
