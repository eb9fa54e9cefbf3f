"""What the operator has set: where the server listens, by which names, and what its visitors may ask for."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import streamlit as st

from eqlin_core.errors import EqlinError

LONGEST_PROMPT = 1000  # characters: some 200 words, of which the default model's matrix takes a minute or two
STUDY_PROMPTS = 25  # of a study on a public server
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True)
class Settings:
    """How this server is served.

    ``beyond``: whether other machines reach it. ``names``: by which it answers, beside those of this machine.
    ``frames``: the sites that may show it in a frame. ``models``, ``longest_prompt`` and ``study_prompts`` (of
    a study, or of a lens) count in public mode only.
    """

    address: str = "127.0.0.1"
    beyond: bool = False
    public: bool = False
    names: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    longest_prompt: int = LONGEST_PROMPT
    study_prompts: int = STUDY_PROMPTS
    password: str = ""


def read_settings(environment: Mapping[str, str], address: str | None, allowed_hosts: tuple[str, ...] = ()) -> Settings:
    """The settings in these environment variables, of a server at this address.

    ``allowed_hosts`` are those of Streamlit's own option. Raises EqlinError for a value that cannot be meant.
    """
    beyond = not is_loopback(address)
    space = environment.get("SPACE_HOST", "")  # a Hugging Face Space has its name and its frame there
    names = (*_listed(environment, "EQLIN_NAMES"), *allowed_hosts, *((space,) if space else ()))
    return Settings(
        address=address or "every address",
        beyond=beyond,
        # a name of its own has a server that others reach through a proxy
        public=_flag(environment, "EQLIN_PUBLIC", beyond or bool(names)),
        names=names,
        frames=(*_listed(environment, "EQLIN_FRAMES"), *(("https://huggingface.co",) if space else ())),
        models=_listed(environment, "EQLIN_MODELS"),
        longest_prompt=_count(environment, "EQLIN_LONGEST_PROMPT", LONGEST_PROMPT),
        study_prompts=_count(environment, "EQLIN_STUDY_PROMPTS", STUDY_PROMPTS),
        password=environment.get("EQLIN_PASSWORD", ""),
    )


@cache
def settings() -> Settings:
    """Those of this process: read once, so that no later change of a file opens a server that is running."""
    return read_settings(os.environ, st.get_option("server.address"), tuple(st.get_option("server.allowedHosts")))


def is_loopback(address: str | None) -> bool:
    """Whether only this machine reaches a server that listens there; None is everywhere."""
    if address is None:
        return False
    if address.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _listed(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in re.split(r"[,\n]", environment.get(name, "")) if part.strip())


def _flag(environment: Mapping[str, str], name: str, default: bool) -> bool:
    value = environment.get(name, "").strip().lower()
    if value not in ("", *_YES, *_NO):
        raise EqlinError(f"{name} is 1 or 0, not {value[:40]!r}.")
    return default if not value else value in _YES


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name, "").strip()
    if value and (not value.isascii() or not value.isdigit() or not 0 < int(value) < 10**9):
        raise EqlinError(f"{name} is a whole number from 1 on, not {value[:40]!r}.")
    return int(value) if value else default
