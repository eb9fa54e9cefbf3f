"""A report holds its runs and shows their numbers; whatever is changed in the file afterwards is found and named."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eqlin_core as eq
from eqlin_core.reports.stored import run_bytes
from eqlin_core.runs.prompt import EarlySpectra, TokenRun
from tests.eqlin_core.reports.cases import nasty_run, spectra_of
from tests.eqlin_core.runs.test_compare import made

RUN = made(["The", " a", " b", " c"], seed=1, dtype="float32")
OTHER = made(["The", " a", " c"], seed=2)
WEIGHTS = {"model.safetensors": "ab" * 32}


@pytest.fixture(scope="module")
def one() -> str:
    return eq.report_html(RUN, spectra=spectra_of(RUN), weights=WEIGHTS)


@pytest.fixture(scope="module")
def two() -> str:
    return eq.report_html(
        RUN,
        spectra=spectra_of(RUN),
        compared_with=OTHER,
        compared_spectra=spectra_of(OTHER),
        compared_target=" Rome",
    )


class Outline(HTMLParser):
    """The tags of a page with their attributes, and the text outside scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._silent = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._silent = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._silent = False

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)


def changes(page: str, folder: Path) -> tuple[str, ...]:
    place = folder / "report.html"
    place.write_text(page, encoding="utf-8", newline="")
    return eq.read_report(place).changes


def equal(a: Any, b: Any) -> bool:
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


# ---- what is in the file ---------------------------------------------------------------------------------------------


def test_the_runs_come_back_as_they_were_and_nothing_has_changed(one: str, two: str, tmp_path: Path) -> None:
    eq.write_report(tmp_path / "deep" / "one.html", RUN, spectra=spectra_of(RUN), weights=WEIGHTS)
    found = eq.read_report(tmp_path / "deep" / "one.html")
    assert equal(found.run, RUN)
    assert equal(found.spectra, spectra_of(RUN))
    assert (found.sides[0].weights, found.changes) == (WEIGHTS, ())
    assert (tmp_path / "deep" / "one.html").read_text(encoding="utf-8") == one, "the same arguments, the same text"
    (tmp_path / "two.html").write_text(two, encoding="utf-8", newline="")
    pair = eq.read_report(tmp_path / "two.html")
    assert [equal(side.run, run) for side, run in zip(pair.sides, (RUN, OTHER), strict=True)] == [True, True]
    assert (pair.changes, pair.sides[1].target.token) == ((), " Rome")


def test_it_loads_nothing_from_anywhere_and_has_one_plotly(one: str, two: str) -> None:
    for page in (one, two):
        outline = Outline(page)
        assert not [a for _, attributes in outline.tags for a in attributes if a in ("src", "href", "srcset")]
        assert len(re.findall(r"^\* plotly\.js v", page, re.MULTILINE)) == 1
        assert "default-src 'none'" in page[:600]
        assert 4.8e6 < len(page.encode()) < 5.2e6


def test_it_has_one_title_and_a_text_for_every_chart(one: str, two: str) -> None:
    for page, charts in ((one, 5), (two, 3)):
        outline = Outline(page)
        assert [tag for tag, _ in outline.tags].count("h1") == 1
        pictures = [attributes for _, attributes in outline.tags if attributes.get("role") == "img"]
        assert len(pictures) == charts
        assert all(len(picture["aria-label"] or "") > 30 for picture in pictures)
        levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert set(levels[1:]) == {2}


def test_it_shows_the_runs_numbers(one: str) -> None:
    words = " ".join(" ".join(Outline(one).words).split())
    terms, bias, total = RUN.split(RUN.targets[0].row)
    for said in ("made-up", "float32", f"{total:.6g}", *(f"{term:.6g}" for term in terms), "ab" * 32):
        assert said in words
    spec = json.loads(re.findall(r'id="spec-waterfall">([^<]*)<', one)[0])
    drawn = [value for trace in spec["figure"]["data"] for value in trace.get("y", []) if value is not None]
    assert bias == pytest.approx(drawn[0])
    assert spec["dark"], "the dark theme has other colours"


def test_another_token_and_a_log_probability_are_explained(tmp_path: Path) -> None:
    page = eq.report_html(RUN, target=" Rome", kind="log-probability")
    assert "log-probability of ·Rome" in page
    assert changes(page, tmp_path) == ()
    outside = replace(RUN.targets[0], token_id=99, token=" elsewhere")
    (tmp_path / "r.html").write_text(eq.report_html(RUN, target=outside), encoding="utf-8", newline="")
    assert eq.read_report(tmp_path / "r.html").sides[0].target.token == " elsewhere"


@pytest.mark.parametrize("pair", [False, True])
def test_no_text_of_a_prompt_is_more_than_text(pair: bool, tmp_path: Path) -> None:
    run = nasty_run()
    page = eq.report_html(run, spectra=spectra_of(run), compared_with=run if pair else None)
    outline = Outline(page)
    assert not [tag for tag, _ in outline.tags if tag in ("img", "svg", "b")]
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]
    harmless = Outline(eq.report_html(made(["The"] * 6, seed=3), spectra=spectra_of(made(["The"] * 6, seed=3))))
    if not pair:
        assert [tag for tag, _ in outline.tags] == [tag for tag, _ in harmless.tags]
    assert changes(page, tmp_path) == ()


# ---- what was changed ------------------------------------------------------------------------------------------------


def edited(page: str, pattern: str, change: Any) -> str:
    """The page with the first group of the pattern's first match changed."""
    found = re.search(pattern, page, re.DOTALL)
    assert found is not None, pattern
    start, end = found.span(1)
    new = change(found[1])
    assert new != found[1]
    return page[:start] + new + page[end:]


def next_digit(text: str) -> str:
    return str((int(text) + 1) % 10)


VISIBLE = {
    "a term in the table": (r'id="spec-waterfall">.*?<td class="number">-?\d\.(\d)', next_digit, "chart waterfall"),
    "a bar": (r'id="spec-waterfall">.*?"y":\[-?\d+\.\d{5}(\d)', next_digit, "chart waterfall"),
    "a cell of the heat map": (r'id="spec-next-tokens">.*?"z":\[\[-?\d+\.\d{5}(\d)', next_digit, "chart next-tokens"),
    "a colour": (r'id="spec-stable-ranks">.*?"color":\["#(\d|[a-f])', lambda c: "0" if c != "0" else "1", "chart st"),
    "a sentence": (r"<p class=\"sum\">(Bias)", lambda _: "Base", "prompt"),
    "a title": (r"<h1>(The)", lambda _: "Not the", "top"),
    "a read-out": (r"What the largest triplets.*?<td>(The)<", lambda _: "Tha", "triplets"),
    "an error": (r"reconstruction \(?(0)", lambda _: "9", "top"),
    "a picture added": (r"(</h1>)", lambda end: f"{end}<img src=x onerror=alert(1)>", "top"),
    "the drawing": (r'("use strict";\n\(\(\))', lambda text: text + " ", "drawing"),
    "plotly": (r"(All rights reserved)", lambda _: "No rights reserved", "plotly"),
    "the look": (r"(color-scheme: light)", lambda _: "color-scheme: dark", "head"),
    "the page's end": (r"(</main>)", lambda end: "<p>More</p>" + end, "drawing"),
}


@pytest.mark.parametrize("what", VISIBLE)
def test_a_change_of_what_is_seen_is_named(what: str, one: str, tmp_path: Path) -> None:
    pattern, change, named = VISIBLE[what]
    (said,) = changes(edited(one, pattern, change), tmp_path)
    assert re.match(f"The page's part '{named}", said)
    assert said.endswith("is not what the stored runs say.")


CLAIMS = ["model", "revision", "dtype", "gated_path", "reconstruction", "reconstruction_bound", "forward", "made"]
CLAIMS += ["device", "exact", "baseline", "prompt", "engine", "token_ids"]


@pytest.mark.parametrize("name", CLAIMS)
def test_a_changed_claim_of_the_proof_is_named(name: str, one: str, tmp_path: Path) -> None:
    (text,) = re.findall(r'id="proof">([^<]*)<', one)
    proof = json.loads(text)
    proof["runs"][0][name] = "other" if isinstance(proof["runs"][0][name], str) else 0.5
    found = changes(one.replace(text, json.dumps(proof, separators=(",", ":"))), tmp_path)
    assert any(f"for {name.replace('_', ' ')} of run A" in said for said in found), found


@pytest.mark.parametrize("name", ["eqlin", "engine", "plotly", "kind"])
def test_a_proof_of_other_programs_is_found(name: str, one: str, tmp_path: Path) -> None:
    (text,) = re.findall(r'id="proof">([^<]*)<', one)
    proof = json.loads(text) | {name: "log-probability" if name == "kind" else "other"}
    assert changes(one.replace(text, json.dumps(proof, separators=(",", ":"))), tmp_path)


def with_run(page: str, run: TokenRun, *, forged: bool) -> str:
    """The page with another run in it; ``forged``: and with its checksum in the proof."""
    content = run_bytes(run)
    page = re.sub(r'(?<=id="run-a">)[^<]*', base64.b64encode(content).decode(), page)
    if forged:
        old = hashlib.sha256(run_bytes(RUN)).hexdigest()
        page = page.replace(old, hashlib.sha256(content).hexdigest())
    return page


@pytest.mark.parametrize("forged", [False, True])
def test_one_changed_number_of_the_arrays_is_found(forged: bool, one: str, tmp_path: Path) -> None:
    parts = RUN.contributions.copy()
    parts[1, 2] += 1e-6
    said = changes(with_run(one, replace(RUN, contributions=parts), forged=forged), tmp_path)
    assert ("checksum" in said[0]) is not forged
    assert any("'chart waterfall'" in sentence for sentence in said)


def test_arrays_whose_sum_does_not_hold_are_a_change_and_no_failure(one: str, tmp_path: Path) -> None:
    said = changes(with_run(one, replace(RUN, contributions=RUN.contributions + 1.0), forged=True), tmp_path)
    assert any("cannot be made from the stored runs" in sentence for sentence in said)


def test_rounding_in_the_last_digits_is_no_change(one: str, tmp_path: Path) -> None:
    """Another processor sums in another order."""

    def nudged(number: str) -> str:
        return repr(float(number) * (1 + 4e-16))

    assert changes(edited(one, r'id="spec-next-tokens">.*?"z":\[\[(-?\d+\.\d{12,})', nudged), tmp_path) == ()


# ---- what is no report -----------------------------------------------------------------------------------------------


DAMAGES: dict[str, Any] = {
    "empty": lambda page: "",
    "another page": lambda page: "<!doctype html><p>Hello</p>",
    "its beginning": lambda page: page[:20_000],
    "no base64": lambda page: re.sub(r'(?<=id="run-a">)....', "!!!!", page),
    "no archive": lambda page: re.sub(r'(?<=id="run-a">)[^<]*', "AAAA", page),
    "no run": lambda page: re.sub(r'<script [^>]*id="run-a">.*?</script>', "", page),
    "two runs of one name": lambda page: page.replace("<!--eqlin:proof-->", "<!--eqlin:top--><!--eqlin:proof-->"),
    "spectra for a run": lambda page: page.replace(
        re.findall(r'id="run-a">([^<]*)', page)[0], re.findall(r'id="spectra-a">([^<]*)', page)[0]
    ),
    "no JSON": lambda page: re.sub(r'(?<=id="proof">)\{', "[", page),
    "deep JSON": lambda page: re.sub(r'(?<=id="proof">)[^<]*', "[" * 10**5, page),
    "proof of nothing": lambda page: re.sub(r'(?<=id="proof">)[^<]*', "{}", page),
    "unknown token": lambda page: re.sub(r'("target":\{"id":)\d+', r"\g<1>77", page),
    "text before it": lambda page: "x" + page,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_report_ends_in_one_sentence(damage: str, one: str, tmp_path: Path) -> None:
    place = tmp_path / "report.html"
    place.write_text(DAMAGES[damage](one), encoding="utf-8", newline="")
    with pytest.raises(eq.EqlinError, match=r"^report\.html is no report of eqlin, or is damaged: write it again\.$"):
        eq.read_report(place)


def test_a_flipped_byte_anywhere_never_ends_raw_and_is_never_missed(one: str, tmp_path: Path) -> None:
    content = bytearray(one.encode())
    random = np.random.default_rng(0)
    start = one.index("<!--eqlin:plotly-->")  # what comes after is compared as a whole
    for at in random.choice(start, 40, replace=False):
        damaged = content.copy()
        damaged[at] ^= 1
        (tmp_path / "r.html").write_bytes(damaged)
        try:
            found = eq.read_report(tmp_path / "r.html")
        except eq.EqlinError:
            continue
        last_digits = re.search(rb"\d\.\d+\d$", bytes(content[max(0, at - 14) : at + 1]))
        assert found.changes or last_digits, (at, bytes(content[at - 40 : at + 20]))


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_what_proves_nothing_is_refused() -> None:
    with pytest.raises(eq.EqlinError, match=r"^run is a preview, which proves nothing"):
        eq.report_html(replace(RUN, complete=False, exactness=None))
    with pytest.raises(eq.EqlinError, match=r"^spectra are of another map than run"):
        eq.report_html(RUN, spectra=spectra_of(OTHER))
    early = EarlySpectra(**{f.name: getattr(spectra_of(RUN), f.name) for f in dataclasses.fields(spectra_of(RUN))})
    with pytest.raises(eq.EqlinError, match=r"^spectra are not all there yet"):
        eq.report_html(RUN, spectra=early)
    with pytest.raises(eq.EqlinError, match=r"^compared_with is the run that compared_spectra"):
        eq.report_html(RUN, compared_spectra=spectra_of(OTHER))
    with pytest.raises(eq.EqlinError, match=r"^weights is the SHA-256 of files by name"):
        eq.report_html(RUN, weights={"model": "no digest"})
