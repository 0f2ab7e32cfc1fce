"""The group of all verbs: imports them lazily, suggests similar names, and maps errors to exit codes."""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from cbalign.cli import console
from cbalign.cli.failures import failure_of
from cbalign.errors import Interrupted, SpecError, StorageError

BROKEN_PIPE = 141  # what a shell reports for a process that SIGPIPE ended
INTERRUPTED = 130


@dataclass(frozen=True)
class Verb:
    """A command; `cbalign.cli.MODULE` contains a click command with the module's name."""

    name: str
    module: str
    group: str
    help: str


class Shell(click.Group):
    """Parse the command line, run a verb, and turn any error into one message and an exit code."""

    def __init__(self, verbs: Sequence[Verb]) -> None:
        super().__init__(
            name="cbalign",
            help="One YAML file is one experiment: check, train, evaluate, export to ONNX and compare experiments.",
            params=[
                click.Option(
                    ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
                    help="Print the version.",
                ),
                click.Option(["--debug"], is_flag=True, help="Show the traceback of an unexpected error."),
            ],
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
            epilog="Run cbalign VERB --help for details. Start with: cbalign cp quickstart my.yaml",
        )  # fmt: skip
        self._verbs = {verb.name: verb for verb in verbs}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the verbs in the order of their definition."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a verb and return its command."""
        verb = self._verbs.get(cmd_name)
        if verb is None:
            return None
        command = getattr(importlib.import_module(f"cbalign.cli.{verb.module}"), verb.module)
        assert isinstance(command, click.Command), f"{verb.module} is not a click command"
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete verbs, without importing them, and options."""
        fitting = (verb for verb in self._verbs.values() if verb.name.startswith(incomplete))
        verbs = [CompletionItem(verb.name, help=verb.help) for verb in fitting]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or suggest a similar one."""
        if args and args[0] not in self._verbs and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self._verbs, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            ctx.fail(f"Unknown verb {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs by group, without importing them."""
        for group in dict.fromkeys(verb.group for verb in self._verbs.values()):
            with formatter.section(group):
                formatter.write_dl([(v.name, v.help) for v in self._verbs.values() if v.group == group], col_max=12)

    def invoke(self, ctx: click.Context) -> None:
        """Run the verb and discard its return value; only `ctx.exit` sets an exit code."""
        try:
            super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _abandon_stdout()
            raise click.exceptions.Exit(BROKEN_PIPE) from None

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run the command line and exit; every error is handled here.

        Exit codes: 0 success, 1 negative result, 2 usage or invalid spec, 3 data or storage, 4 device, 5 divergence,
        75 interrupted but resumable, 130 interrupted, 141 broken pipe on stdout.
        """
        console.prepare_streams()
        if console.COMPLETING in os.environ:
            from cbalign.cli.completion import register_bash

            register_bash()
        words = list(sys.argv[1:] if args is None else args)
        try:
            _require_working_directory()
            with _part_warnings():
                code = super().main(words, prog_name or "cbalign", **{**extra, "standalone_mode": False})
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except click.Abort:
            code = INTERRUPTED
        except Exception as error:
            code = _report(error, debug="--debug" in words or bool(os.environ.get("CBALIGN_DEBUG")))
            if _is_connected():
                _leave(code)
        sys.exit(code if isinstance(code, int) else 0)


def _require_working_directory() -> None:
    """Refuse to run in a folder that was removed, where no relative path means anything."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise StorageError(
            "the working directory was removed", remedy='Change to a folder that exists: cd "$HOME"'
        ) from None


@contextmanager
def _part_warnings() -> Iterator[None]:
    """Print warnings about parts of plug-ins that are not used; one process of a distributed training prints them."""
    silent = console.COMPLETING in os.environ or "CBALIGN_LAUNCHER" in os.environ or os.environ.get("RANK", "0") != "0"
    handler = logging.NullHandler() if silent else _Warnings(logging.WARNING)
    log = logging.getLogger("cbalign.parts")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _Warnings(logging.Handler):
    """Prints log messages as warnings on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        console.warning(record.getMessage())


def _report(error: Exception, *, debug: bool) -> int:
    from cbalign.engine.launch import leave_report

    if debug:
        console.traceback(error)
    failure = failure_of(error)
    if failure.breaks_stdout:
        _abandon_stdout()
    if leave_report(failure.message, failure.remedy, failure.exit_code, type(error).__name__):
        return failure.exit_code
    if isinstance(error, Interrupted | SpecError):  # their messages begin with the file or the run
        console.note(f"{failure.message}\n{failure.remedy}" if failure.remedy else failure.message)
    else:
        console.error(failure.message, failure.remedy)
    return failure.exit_code


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"cbalign {version('cbalign')}")
        ctx.exit()


def _is_connected() -> bool:
    """Whether connections to other processes are still open, as after the loss of one of them."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and bool(distributed.is_initialized())


def _leave(code: int) -> NoReturn:
    """Exit without closing connections to other processes, which could block if one of them has died."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _abandon_stdout() -> None:
    """Redirect stdout to the null device, so that the interpreter can flush it at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        sys.stdout = None
