"""What the operator sets: an address that others reach makes a server public, and nonsense is refused."""

from __future__ import annotations

import os
import tomllib

import pytest

from eqlin_core.errors import EqlinError
from eqlin_core.version import PACKAGE
from pages.door.server import middleware, said_at_the_start
from pages.door.settings import LONGEST_PROMPT, is_loopback, read_settings, settings
from tests.pages.door.conftest import Serve


def test_only_addresses_of_this_machine_are_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.0.1", "localhost", "::1")))
    assert not any(map(is_loopback, (None, "", "0.0.0.0", "::", "192.0.2.7", "lab.example.org")))


def test_a_server_that_others_reach_is_public_unless_told_otherwise() -> None:
    assert not read_settings({}, "127.0.0.1").public
    assert read_settings({"EQLIN_PUBLIC": "1"}, "127.0.0.1").public
    assert read_settings({"EQLIN_NAMES": "lab.example.org"}, "127.0.0.1").public, "there is a proxy in front"
    for address in (None, "0.0.0.0", "lab.example.org"):
        assert read_settings({}, address).public
        assert not read_settings({"EQLIN_PUBLIC": "no"}, address).public


def test_lists_are_parted_by_commas_and_have_defaults() -> None:
    read = read_settings({"EQLIN_NAMES": "a.example, b.example,", "EQLIN_MODELS": "x y\nz"}, "::1", ("c.example",))
    assert read.names == ("a.example", "b.example", "c.example")
    assert read.models == ("x y", "z")
    assert (read.longest_prompt, read.password) == (LONGEST_PROMPT, "")


def test_a_space_answers_to_its_own_name_and_stands_in_its_frame() -> None:
    read = read_settings({"SPACE_HOST": "me-eqlin.hf.space"}, "0.0.0.0")
    assert read.names == ("me-eqlin.hf.space",)
    assert read.frames == ("https://huggingface.co",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EQLIN_PUBLIC", "perhaps"),
        ("EQLIN_LONGEST_PROMPT", "-3"),
        ("EQLIN_LONGEST_PROMPT", "²"),
        ("EQLIN_STUDY_PROMPTS", "0"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(EqlinError, match=f"^{name} is"):
        read_settings({name: value}, "127.0.0.1")


def test_the_configuration_that_travels_with_the_dashboard_is_safe_by_default() -> None:
    text = (PACKAGE.parent / ".streamlit" / "config.toml").read_text(encoding="utf-8")
    config = tomllib.loads(text)
    assert is_loopback(config["server"]["address"])
    assert config["server"]["maxUploadSize"] <= 64
    assert config["browser"]["gatherUsageStats"] is False
    assert config["client"]["showErrorDetails"] == "none"


def test_a_public_server_asks_no_hub_and_nonsense_ends_it_in_one_sentence(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    serve()
    assert len(middleware()) == 1
    assert os.environ["HF_HUB_OFFLINE"] == "0"
    serve(public="1")
    middleware()
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    monkeypatch.setenv("EQLIN_PUBLIC", "perhaps")
    settings.cache_clear()
    with pytest.raises(SystemExit, match=r"^EQLIN_PUBLIC is 1 or 0, not 'perhaps'\.$"):
        middleware()


def test_the_tests_themselves_see_a_private_server(serve: Serve) -> None:
    assert not serve().public


def test_the_terminal_says_who_can_come_in_and_nothing_where_nobody_can() -> None:
    assert said_at_the_start(read_settings({}, "127.0.0.1")) == ""
    said = said_at_the_start(read_settings({"EQLIN_MODELS": "no such model here"}, "0.0.0.0"))
    assert said.startswith("eqlin listens beyond this machine, on 0.0.0.0: public mode is on, with no password.")
    assert "Models: smollm2-135m, no such model here. Prompts: up to 1,000 characters." in said
    assert said.endswith("`eqlin run MODEL PROMPT`: no such model here.")
    assert said_at_the_start(read_settings({"EQLIN_NAMES": "a.example"}, "::1")).startswith(
        "eqlin answers to a.example: "
    )
    assert "with a password" in said_at_the_start(read_settings({"EQLIN_PASSWORD": "x"}, "0.0.0.0"))
    assert "public mode is OFF" in said_at_the_start(read_settings({"EQLIN_PUBLIC": "0"}, "0.0.0.0"))
