"""The command itself: its subcommands, and how every error ends, in one sentence on stderr and a status."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from eqlin_core.command.audit import audit
from eqlin_core.command.faithfulness import faithfulness
from eqlin_core.command.run import run
from eqlin_core.command.serve import serve
from eqlin_core.command.study import study
from eqlin_core.command.verify import verify
from eqlin_core.errors import EqlinError
from eqlin_core.version import __version__

# Of every subcommand. 1 is a result, not a failure: what was computed is not exact, or not what a file says.
FAILED, INTERRUPTED = 2, 130

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status of every command: 0 done, 1 the map is not exact or a number differs, 2 an error, 130 ended by "
    "Ctrl-C.",
)
app.command()(serve)
app.command()(run)
app.command()(verify)
app.command()(faithfulness)
app.command()(study)
# Its arguments are read by the parser of ``python -m eqlin_core.audit``, which knows all of them.
app.command(add_help_option=False, context_settings={"ignore_unknown_options": True})(audit)


def _version(wanted: bool) -> bool:
    if wanted:
        print(f"eqlin {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def eqlin(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """The equivalent linear map of a language model at the prompt you typed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, those of the process unless given; its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a token that the terminal cannot write is no reason to end
            stream.reconfigure(errors="replace")
    try:
        status = app(args=None if arguments is None else list(arguments), prog_name="eqlin", standalone_mode=False)
    except typer.TyperException as error:
        # Without any argument the help is the answer, and it is printed by now.
        return _failed(_sentence(error)) if error.format_message() else FAILED
    except EqlinError as error:
        return _failed(str(error))
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    return int(status or 0)


def _failed(sentence: str) -> int:
    with contextlib.suppress(OSError):
        print(sentence, file=sys.stderr)
    return FAILED


def _sentence(error: typer.TyperException) -> str:
    """What the parser says of the arguments, in one line that ends with where they are explained."""
    text = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{text}; see {'eqlin' if context is None else context.command_path} --help."
