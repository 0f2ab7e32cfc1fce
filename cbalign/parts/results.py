"""Checks of what the code of a part returns: a wrong value is reported with the distribution that it comes from."""

from __future__ import annotations

from cbalign.errors import PartError
from cbalign.parts.origin import PartOrigin, origin_of, origin_of_module
from cbalign.parts.part import Part, describe


def require_type(owner: object, call: str, value: object, expected: type | tuple[type, ...]) -> None:
    """Require the type of a value that a part returned.

    Args:
        owner: the object that returned it, or its class.
        call: the method, for the message.
        value: what it returned.
        expected: the class that it must have, or one of several.

    Raises:
        PartError: it is of another type; the message names the distribution of `owner`.
    """
    if not isinstance(value, expected):
        kinds = expected if isinstance(expected, tuple) else (expected,)
        names = " or ".join(map(_class, kinds))
        raise wrong_result(owner, call, f"returned {kind_of(value)}, not {names}")


def require_members(owner: object, call: str, value: object, members: tuple[str, ...]) -> None:
    """Require that an object that a part returned has the members of an interface; arguments and errors as above."""
    if missing := [name for name in members if not hasattr(value, name)]:
        raise wrong_result(owner, call, f"returned {kind_of(value)} without {' and '.join(missing)}")


def require_built(part: Part, value: object, expected: type | tuple[str, ...]) -> None:
    """Require that what a part built is of a class, or has the members of an interface.

    Raises:
        PartError: it is not, or has not; the message names the distribution of the part.
    """
    wrong = f"{describe(type(part))} builds {part.builds}, which returned {kind_of(value)}"
    remedy = _remedy(origin_of(type(part)))
    if isinstance(expected, tuple):
        if missing := [name for name in expected if not hasattr(value, name)]:
            raise PartError(f"{wrong} without {' and '.join(missing)}", remedy=remedy)
    elif not isinstance(value, expected):
        raise PartError(f"{wrong}, not {_class(expected)}", remedy=remedy)


def require_texts(owner: object, call: str, value: object) -> None:
    """Require a tuple of texts: a single text would be read as its characters; arguments and errors as above."""
    if not isinstance(value, tuple) or not all(isinstance(each, str) for each in value):
        raise wrong_result(owner, call, f"returned {kind_of(value)}, not a tuple of texts")


def wrong_result(owner: object, call: str, problem: str) -> PartError:
    """Return the error of a part that returned a wrong value.

    Args:
        owner: the object whose method was called, or its class.
        call: the method; empty if the object itself was called.
        problem: what is wrong, as the rest of a sentence that begins with the method.
    """
    kind = owner if hasattr(owner, "__qualname__") else type(owner)
    name = ".".join(filter(None, (kind.__qualname__, call)))
    origin = origin_of_module(kind.__module__)
    where = name if origin is None else f"{name} ({origin})"
    return PartError(f"{where} {problem}", remedy=_remedy(origin))


def kind_of(value: object) -> str:
    """Describe the type of a wrong value: `a Tensor`, `the text 'cat'`."""
    if value is None:
        return "None"
    return f"the text {value!r}" if isinstance(value, str) else _a(type(value).__name__)


def _class(kind: type) -> str:
    return _a(kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}")


def _a(name: str) -> str:
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _remedy(origin: PartOrigin | None) -> str | None:
    if origin is None or origin.is_own:
        return None
    return f"This is a mistake in {origin.distribution}: update it, or report it to its authors."
