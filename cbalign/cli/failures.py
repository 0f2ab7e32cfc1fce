"""Error messages and exit codes of exceptions."""

from __future__ import annotations

import errno
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cbalign.cli.extras import missing_extra
from cbalign.errors import CbalignError, DeviceError, SpecError, StorageError
from cbalign.runtime.memory_errors import is_out_of_memory, is_unmapped_library

_FRAME = re.compile(r'^ +File "([^"]+)", line', re.MULTILINE)
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_STORAGE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EFBIG: "the file would be too large",
    errno.EIO: "the device reports an error",
}
_ARGUMENT = re.compile(r"`(\w+)=([^`]*)`")
_OPTIONS = {"overrides": "set", "precisions": "precision", "protocols": "protocol", "runs": "runs-dir"}
# Messages of torch and safetensors, which do not keep the errno.
_NO_SPACE_TEXTS = ("No space left on device", "os error 28", "PytorchStreamWriter failed writing")


@dataclass(frozen=True)
class Failure:
    """A message, its remedy, and the exit code."""

    message: str
    remedy: str | None
    exit_code: int
    breaks_stdout: bool = False


def failure_of(error: Exception) -> Failure:
    """Describe an exception; an unexpected one is reported as a bug."""
    if isinstance(error, CbalignError):
        return _told(error)
    if isinstance(error, ModuleNotFoundError) and (missing := missing_extra(error)):
        return Failure(missing.message, missing.remedy, missing.exit_code)
    for cause in _causes(error):
        if isinstance(cause, CbalignError):
            return _told(cause)
        if (
            isinstance(cause, OSError)
            and not is_unmapped_library(cause)
            and (cause.errno in _STORAGE or cause.filename is not None)
        ):
            return _storage(cause)
        if any(text in str(cause) for text in _NO_SPACE_TEXTS):
            return Failure("cannot write: the disk is full", _SPACE_REMEDY, StorageError.exit_code)
        if type(cause).__name__ == "OutOfMemoryError":
            return Failure("the GPU is out of memory", _MEMORY_REMEDY, DeviceError.exit_code)
        if is_unmapped_library(cause):
            return Failure(f"not enough memory to load a library: {cause}", _ADDRESS_REMEDY, DeviceError.exit_code)
        if is_out_of_memory(cause):
            return Failure("out of memory", _RAM_REMEDY, DeviceError.exit_code)
    who = _author(error)
    return Failure(
        f"unexpected {type(error).__name__}: {error}" if who is None else f"{who}: {type(error).__name__}: {error}",
        f"This is a bug in {who or 'cbalign'}. Run again with `cbalign --debug …` and report the traceback.",
        1,
    )


def with_options(text: str) -> str:
    """Name the command line's options where a message names arguments of Python: `force=True` becomes --force."""
    return _ARGUMENT.sub(_option, text)


def _option(argument: re.Match[str]) -> str:
    name, value = argument.groups()
    option = "--" + _OPTIONS.get(name, name).replace("_", "-")
    shown = value.strip('"')
    return option if shown in ("True", "…") else f"{option} {shown}"


def _told(error: CbalignError) -> Failure:
    if isinstance(error, SpecError):  # quotes what the user wrote
        return Failure(error.message, error.remedy, error.exit_code)
    remedy = None if error.remedy is None else with_options(error.remedy)
    return Failure(with_options(error.message), remedy, error.exit_code)


def _author(error: Exception) -> str | None:
    """The distribution whose part raised an exception, or whose part called what raised it; None for cbalign."""
    from cbalign.parts.origin import packages

    places = {place: str(origin) for name, origin in packages().items() if (place := _place(name)) is not None}
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    for cause in _causes(error):  # what a worker process raised has the frames of that process in the text of its cause
        files += _FRAME.findall(getattr(cause, "tb", "") if type(cause).__name__ == "_RemoteTraceback" else "")
    paths = (str(path) for file in reversed(files) for path in (Path(file), *Path(file).parents))
    return next((places[path] for path in paths if path in places), None)


def _place(name: str) -> str | None:
    """The folder of an imported package, or the file of a module."""
    module = sys.modules.get(name)
    file: str | None = getattr(module, "__file__", None)
    return str(Path(file).parent) if file is not None and hasattr(module, "__path__") else file


_RAM_REMEDY = "Close other programs, use a smaller batch, or raise the limit (ulimit -v and -d, or the job's memory)."
_ADDRESS_REMEDY = "Raise the limit of this process (ulimit -v and -d, or the job's memory), or close other programs."
_SPACE_REMEDY = "Free some space and run the same command again."
_MEMORY_REMEDY = "Lower train.batch_size; with the same train.global_batch_size the result does not change."


def _storage(error: OSError) -> Failure:
    reason = _STORAGE.get(error.errno or 0) or (error.strerror or str(error)).lower()
    what = f"{error.filename}" if error.filename is not None else "cannot write"
    remedy = _SPACE_REMEDY if error.errno in _NO_SPACE else None
    return Failure(f"{what}: {reason}", remedy, StorageError.exit_code, breaks_stdout=error.filename is None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Iterate over an error and its causes, the innermost last."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__
