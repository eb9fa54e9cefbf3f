"""The lines of code that read a view's text, a prompt or a chat with its answer, and those that explain the answer."""

from __future__ import annotations

from collections.abc import Iterator

from eqlin_core.reports.view import View

# What a cell is about, and its lines.
Cell = tuple[str, list[str]]


def explained_ids(view: View) -> tuple[str, list[str]]:
    """(what ``linearize`` is given, the lines before it): the text up to the token whose next one is explained."""
    if not (view.begin or view.chat or view.answer or view.position is not None):
        return "prompt", []
    cut = "text.first" if view.position is None else f"{view.position} + 1"
    return "token_ids=ids", [_text(view), f"ids = text.token_ids[: {cut}]"]


def answer_cells(view: View, dials: str) -> Iterator[Cell]:
    """Every token of the answer as a sum, as a table and summed over words; ``dials`` are those of the map."""
    yield (
        "The linear map of prompt and answer, and how exact it is",
        [
            _text(view),
            f"lin = eq.linearize(lm, token_ids=text.token_ids{dials})",
            "print(lin.exactness())",
        ],
    )
    yield (
        "Every token of the answer as a sum over the tokens before it: those that add most, and least",
        [
            f"split = eq.answer_split(lin, text.first, {view.kind!r}, {view.baseline!r})",
            "print(split.exactness)",
            "for r, token in enumerate(text.tokens[text.first :]):",
            "    row = split.terms[r, : text.first + r].tolist()",
            "    order = sorted(range(len(row)), key=lambda i: -row[i])",
            "    most = [(text.tokens[i], round(row[i], 4)) for i in order[:3]]",
            "    least = [(text.tokens[i], round(row[i], 4)) for i in order[:-4:-1]]",
            '    print(repr(token), f"{split.values[r]:.4f}", most, least, f"{split.errors[r]:.1e}")',
            "rest = split.constants + split.normalisers",
            'print(f"{split.terms.sum() + rest.sum():.6g}, of {split.values.sum():.6g}")',
        ],
    )
    yield (
        "What each word adds to the whole answer",
        [
            'words = eq.groups_of(text, "word")',
            "parts = [float(split.terms[:, list(word.members)].sum()) for word in words]",
            "for word, part in zip(words, parts):",
            '    print(repr(word.label), word.role, f"{part:+.4g}")',
        ],
    )


def _text(view: View) -> str:
    given = "chat=eq.read_chat(prompt)" if view.chat else "prompt"
    answer = f", answer={view.answer!r}" if view.answer else ""
    return f"text = eq.read_text(lm, {given}{answer}{', begin=True' if view.begin else ''})"
