"""Parts: sections of the spec language that import their implementation when they are built."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any, ClassVar, Literal, get_args, get_origin

from cbalign.errors import CbalignError, PartError
from cbalign.parts.origin import origin_of
from cbalign.parts.section import Section


class Part(Section):
    """A section that an installed distribution adds to the spec language.

    `builds` refers to the implementation as `module:attribute`, so that reading a spec does not import torch. The
    attribute is called with the section as the first argument; further arguments depend on the kind of part.
    """

    builds: ClassVar[str]

    @classmethod
    def part_name(cls) -> str:
        """Return the name in specs: the single choice of the first setting (`kind: Literal["cosine"]`)."""
        name, info = next(iter(cls.model_fields.items()), ("", None))
        choices = get_args(info.annotation) if info and get_origin(info.annotation) is Literal else ()
        if len(choices) != 1 or not isinstance(choices[0], str):
            raise TypeError(f"the first setting of {cls.__qualname__}, `{name}`, is not a Literal of one text")
        return choices[0]

    def build(self, *arguments: Any) -> Any:
        """Build what the section describes.

        Raises:
            PartError: `builds` cannot be imported, does not accept the arguments of this kind of part, or fails.
        """
        return call_part(type(self), self.builds, self, *arguments)


def call_part(part: type[Part], reference: str, *arguments: Any) -> Any:
    """Call an attribute that a part refers to.

    Args:
        part: the part, for messages.
        reference: `module:attribute`.
        arguments: its arguments.

    Raises:
        PartError: it cannot be imported or does not accept these arguments, or the code of another distribution raises
            an exception that is not one of `cbalign.errors`.
    """
    target = import_reference(part, reference)
    try:
        inspect.signature(target).bind(*arguments)
    except TypeError as error:
        raise PartError(
            f"{describe(part)} builds {reference}, which cannot be called with "
            f"({', '.join(type(each).__name__ for each in arguments)}): {error}",
            remedy=_REMEDY,
        ) from error
    except ValueError:
        pass  # a builtin without a signature
    try:
        return target(*arguments)
    except (CbalignError, OSError, MemoryError):
        raise  # these are reported with what they are about, a file for example
    except Exception as error:
        if not _is_foreign(part):
            raise
        raise PartError(
            f"{describe(part)}: {reference} failed with {type(error).__name__}: {error}", remedy=_REMEDY
        ) from error


def import_reference(part: type[Part], reference: str) -> Any:
    """Import `module:attribute`.

    Raises:
        PartError: it cannot be imported.
    """
    module, _, attribute = reference.partition(":")
    try:
        found: Any = import_module(module)
        for name in attribute.split("."):
            found = getattr(found, name)
    except Exception as error:  # third-party modules can raise anything
        if not _is_foreign(part):
            raise
        raise PartError(
            f"{describe(part)} builds {reference}, which cannot be imported: {type(error).__name__}: {error}",
            remedy=_REMEDY,
        ) from error
    return found


def describe(part: type[Part]) -> str:
    """Return the name of a part with its distribution, for messages."""
    origin = origin_of(part)
    return f"{part.part_name()} ({origin})" if origin is not None else part.part_name()


def _is_foreign(part: type[Part]) -> bool:
    return not part.__module__.startswith("cbalign.")


_REMEDY = "Update or uninstall that distribution, or report this to its authors."
