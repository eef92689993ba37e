"""The command line as a whole: every command, and what an error becomes."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import Annotated

import typer
from typer.exceptions import TyperException

from whimbrel import __version__
from whimbrel.cli import (
    compare,
    density,
    deploy,
    doctor,
    explain,
    images,
    inventory,
    lab,
    migrate,
    plan,
    predict,
    preflight,
    profile,
    reports,
    run,
    serve,
    tables,
    techniques,
    watch,
)
from whimbrel.cli.interrupts import interrupt_on_signals
from whimbrel.cli.live import WithOptionalValues
from whimbrel.cli.terminal import complain
from whimbrel.errors import UsageError, WhimbrelError
from whimbrel.plain_text import visible
from whimbrel.system.root import settle_in

INTERNAL_ERROR = 125
INTERRUPTED = 130

_EPILOG = (
    "Exit codes: 0 done; 1 a move or trial failed, state safe; 2 bad usage or input; 3 a capability is missing; "
    "4 state unclear or unsafe; 5 clean-up incomplete; 99 a limit of the file was crossed; 125 internal error; 130 interrupted."
)

app = typer.Typer(
    help="Moves running services between hosts and measures what the move costs the people who use them.",
    epilog=_EPILOG, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip


class _Visible(logging.Formatter):
    """A log may hold what a guest or a host said."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"whimbrel {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every command that is run, on stderr.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(_Visible("%(relativeCreated)8.0f ms %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.WARNING, handlers=[to_stderr])


# What follows the command's name is the command's, options too, with or without "--".
app.command(cls=WithOptionalValues, context_settings={"allow_interspersed_args": False})(watch.watch)
app.command(cls=WithOptionalValues)(run.run)
app.command()(deploy.deploy)
app.command()(deploy.undeploy)
app.command()(deploy.deployed)
app.command(cls=WithOptionalValues)(migrate.migrate)
app.command()(migrate.abort)
app.command()(migrate.recover)
app.command()(preflight.preflight)
app.command()(inventory.guests)
app.command()(density.density)
app.command()(plan.plan)
app.command()(reports.report)
app.command()(reports.show)
app.command()(reports.schema)
app.command(cls=WithOptionalValues)(serve.serve)
app.command()(compare.compare)
app.command()(tables.export)
app.command()(tables.query)
app.command()(profile.profile)
app.command()(predict.predict)
app.command()(techniques.techniques)
app.command()(doctor.doctor)
app.command()(explain.explain)
app.command()(lab.gc)
app.add_typer(lab.app, name="lab")
app.add_typer(images.app, name="images")
app.add_typer(inventory.app, name="hosts")


def main() -> None:
    """Runs the command line and ends the process with the exit code that fits."""
    settle_in()
    interrupt_on_signals()
    sys.exit(_told(_exit_code()))


def _told(code: int) -> int:
    """The same code once the results are out; another one when there is no room for them."""
    try:
        sys.stdout.flush()
    except OSError as error:
        complain(f"the results could not be written: {error.strerror or error}")
        # What is still in the buffer must not be tried, and complained about, again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or 1
    return code


def _exit_code() -> int:
    try:
        result = app(prog_name=os.environ.get("WHIMBREL_COMMAND", "whimbrel"), standalone_mode=False)
        return result if isinstance(result, int) else 0
    except WhimbrelError as error:
        complain(str(error))
        if not isinstance(error, UsageError):
            complain(f"'whimbrel explain {error.code}' says more")
        return error.exit_code
    except TyperException as error:
        complain(f"{error.format_message()}\nWhat to do: whimbrel {' '.join(sys.argv[1:2])} --help".replace("  ", " "))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted")
        return INTERRUPTED
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except OSError as error:
        complain(f"{error.filename or 'the system'}: {error.strerror or error}")
        return 1
    except Exception:  # the last resort: what nobody foresaw is our own error, and says so
        complain("internal error: this is a fault of whimbrel, please report it with these lines\n" + traceback.format_exc())
        return INTERNAL_ERROR
