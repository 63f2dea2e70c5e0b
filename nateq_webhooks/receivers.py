"""The registry of receivers: which are connected to which event, each under a stable name.

A run stores the name of its receiver, so a name must mean the same function in every process and after a restart. It
is `module.qualname`, or the `dispatch_uid` if there is one. Names are looked up in the registry, never imported.
"""

import functools
import inspect
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from nateq_webhooks.errors import ReceiverError

logger: Final = logging.getLogger("nateq_webhooks")

ANY_EVENT: Final = ""
"""The registry's key for receivers of every event."""

MAX_NAME: Final = 200
"""The length of the column of a run."""

ARGUMENTS: Final = ("sender", "event", "delivery", "run")
"""The keyword arguments of every receiver; later versions may add some."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receiver:
    """One connected receiver: its stable name, its callable, and whether that is an `async def`."""

    name: str
    function: Callable[..., Any]
    """A strong reference: a receiver that is garbage-collected would miss its deliveries."""
    is_async: bool
    atomic: bool
    """Whether its changes and the status of its run are one transaction; else it may run more than once."""

    @property
    def source(self) -> tuple[str, int] | None:
        """The file and line of its source; None if it is not written in Python."""
        return _source(self.function)


class Registry:
    """Receivers by event name. They are connected at start and looked up once per delivery."""

    def __init__(self) -> None:
        self._by_event: dict[str, dict[str, Receiver]] = {}

    def checked(self, function: Callable[..., Any], *, uid: object, weak: bool, atomic: bool) -> Receiver:
        """Return `function` as a receiver.

        Raises `ReceiverError` if it has no stable name of its own, or can't be called with an event.
        """
        name = receiver_name(function, uid=uid)
        _refuse_uncallable(function, name)
        _refuse_short_lived(function, name, weak=weak)
        if not isinstance(atomic, bool):
            raise ReceiverError(f'The receiver "{name}" is connected with atomic={atomic!r}; it must be True or False.')
        known = self.get(name)
        if known is not None and known.function != function:
            advice = "so it must be unique: give one of the two a dispatch_uid of its own."
            if known.source is not None and known.source == _source(function):
                advice += " Both have the same source line: was the module imported under two names, or reloaded?"
            raise ReceiverError(
                f'Two receivers are called "{name}": {known.function!r} and {function!r}. A delivery\'s runs are kept '
                f"under that name, {advice}"
            )
        if known is not None and known.atomic != atomic:
            raise ReceiverError(
                f'The receiver "{name}" is connected with atomic={known.atomic} and with atomic={atomic}. It runs once '
                "per delivery, so it can be only one of them."
            )
        return Receiver(
            name=name,
            function=function,
            is_async=_is_async(function),
            atomic=atomic,
        )

    def add(self, event: str, receiver: Receiver) -> None:
        """Connect `receiver` to `event`."""
        same = self._imported_twice(receiver)
        self._by_event.setdefault(event, {})[receiver.name] = receiver
        if same is not None:
            logger.warning(
                "The receivers %s and %s are one function: its module was imported under two names, so it runs twice "
                "for each delivery. Import it under one name everywhere.",
                same.name,
                receiver.name,
            )

    def imported_twice(self) -> list[tuple[Receiver, Receiver]]:
        """Return pairs of receivers that are one function of a file that was imported as two modules."""
        first: dict[tuple[str, tuple[str, int]], Receiver] = {}
        found = {}
        for receiver in self:
            source = receiver.source
            if source is None:
                continue
            other = first.setdefault((_qualname(receiver), source), receiver)
            if _module(other) != _module(receiver):
                found[other.name, receiver.name] = (other, receiver)
        return list(found.values())

    def _imported_twice(self, new: Receiver) -> Receiver | None:
        """Return the receiver of another module that has the same source as a new one."""
        if self.get(new.name) is not None or new.source is None:
            return None
        key = (_qualname(new), new.source)
        same = (one for one in self if (_qualname(one), one.source) == key and _module(one) != _module(new))
        return next(same, None)

    def remove(self, event: str, function: Callable[..., Any] | None, *, uid: object) -> None:
        """Disconnect a receiver of `event`, identified as it was connected."""
        receivers = self._by_event.get(event, {})
        for name, receiver in list(receivers.items()):
            if name == uid or (uid is None and receiver.function == function):
                del receivers[name]

    def for_event(self, event: str) -> list[Receiver]:
        """Return the receivers of a delivery of `event` in the order they were connected; those of any event come last.

        A callable that is connected to both is returned once, under its first name: it runs once per delivery.
        """
        own = self._by_event.get(event, {}) if event != ANY_EVENT else {}
        found: list[Receiver] = []
        for receiver in (own | self._by_event.get(ANY_EVENT, {})).values():
            if all(receiver.function != other.function for other in found):
                found.append(receiver)
        return found

    def events_of(self, name: str) -> set[str]:
        """Return the events that a receiver is connected to; `ANY_EVENT` for every event."""
        return {event for event, receivers in list(self._by_event.items()) if name in receivers}

    def get(self, name: str) -> Receiver | None:
        """Return the receiver of this name; None if there is none."""
        return next((receivers[name] for receivers in list(self._by_event.values()) if name in receivers), None)

    def events(self) -> set[str]:
        """Return the names of the events with receivers, `ANY_EVENT` included."""
        return {event for event, receivers in list(self._by_event.items()) if receivers}

    def __iter__(self) -> Iterator[Receiver]:
        """Iterate over the connected receivers; one that is connected to two events comes twice."""
        for receivers in list(self._by_event.values()):
            yield from list(receivers.values())


registry: Final = Registry()
"""The receivers of this process; `signals` adds them."""


def receiver_name(function: Callable[..., Any], *, uid: object = None) -> str:
    """Return the stable name of `function`: its `dispatch_uid`, else `module.qualname`.

    Raises `ReceiverError` without one: for a lambda, a local function, a bound method or an object.
    """
    if not callable(function):
        raise ReceiverError(f"A receiver must be callable; this is a {type(function).__name__}: {function!r}.")
    if uid is not None:
        return _checked_uid(uid)
    qualname = getattr(function, "__qualname__", None)
    bound_to = getattr(function, "__self__", None)
    if qualname is None or "<" in qualname or (bound_to is not None and not inspect.isclass(bound_to)):
        raise ReceiverError(
            f"The receiver {function!r} has no stable name: it is a lambda, a local function, a method of one object "
            "or an object. Move it to the top level of a module, or connect it with "
            'dispatch_uid="some.name" and weak=False.'
        )
    module = getattr(function, "__module__", None)
    if not module:
        raise ReceiverError(f"The receiver {function!r} belongs to no module. Connect a function of your own.")
    name = f"{module}.{qualname}"
    if len(name) > MAX_NAME:
        raise ReceiverError(
            f"The receiver's name {name!r} has {len(name)} characters, more than {MAX_NAME}. "
            "Connect it with a shorter dispatch_uid."
        )
    return name


def _checked_uid(uid: object) -> str:
    if isinstance(uid, str) and 0 < len(uid) <= MAX_NAME and uid == uid.strip() and uid.isprintable():
        return uid
    raise ReceiverError(
        f"dispatch_uid={uid!r} can't be the name of a receiver: it is kept with each run, so it must be text of 1 to "
        f"{MAX_NAME} printable characters with no space around it."
    )


def _refuse_short_lived(function: Callable[..., Any], name: str, *, weak: bool) -> None:
    """Refuse a callable that is only weakly referenced: it would be garbage-collected and silently miss deliveries."""
    bound_to = getattr(function, "__self__", None)
    lasts = "<" not in getattr(function, "__qualname__", "<") and (bound_to is None or inspect.isclass(bound_to))
    if weak and not lasts:
        raise ReceiverError(
            f'The receiver "{name}" ({function!r}) would be garbage-collected as soon as nothing else holds it, and '
            "its deliveries would be missed. Connect it with weak=False, or move it to the top level of a module."
        )


def _refuse_uncallable(function: Callable[..., Any], name: str) -> None:
    """Refuse a callable that can't run with an event: a class, a generator, or a function with other arguments."""
    innermost = _innermost(function)
    if inspect.isclass(innermost):
        raise ReceiverError(
            f'The receiver "{name}" is the class {innermost.__qualname__}: calling it makes an object, and nothing '
            "calls that. Connect a function, or an object of the class with dispatch_uid and weak=False."
        )
    if _is_generator(innermost):
        raise ReceiverError(
            f'The receiver "{name}" is a generator: it has a yield, so calling it does not run its body. Remove the '
            "yield. If a decorator is to run it, connect a plain function that calls the decorated one."
        )
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # a built-in function may have none
        return
    problem = _problem_of_call(signature)
    if problem:
        raise ReceiverError(
            f'The receiver "{name}" can\'t be called with an event: {problem}. It gets {", ".join(ARGUMENTS)} by '
            f"keyword, and later versions may add more: write def {_short_name(name)}(*, event, **kwargs)."
        )


def _problem_of_call(signature: inspect.Signature) -> str:
    """Return why a function with this signature can't be called with an event; empty if it can."""
    parameters = signature.parameters.values()
    for parameter in parameters:  # Signature.bind of Python 3.13 lets a keyword argument of that name pass
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
            return f"its parameter {parameter.name!r} is positional only"
    try:
        signature.bind(**dict.fromkeys(ARGUMENTS))
    except TypeError as error:
        return str(error)
    takes_more = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return "" if takes_more else "does not take **kwargs"


def _short_name(name: str) -> str:
    last = name.rpartition(".")[2]
    return last if last.isidentifier() else "receiver"


def _innermost(function: Callable[..., Any]) -> Any:
    """Return the function, or the class, inside partials, methods, objects and wrappers that name what they wrap."""
    current: Any = function
    for _ in range(100):  # wrappers may refer to each other
        if isinstance(current, functools.partial):
            inner = current.func
        elif hasattr(current, "__wrapped__"):
            inner = current.__wrapped__
        elif inspect.ismethod(current):
            inner = current.__func__
        elif inspect.isclass(current) or inspect.isroutine(current):
            return current
        else:
            inner = type(current).__call__
        current = inner
    return current


def _is_generator(function: Any) -> bool:
    """Return whether a call only creates a generator; one marked by `types.coroutine` can be awaited."""
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    if flags & inspect.CO_ITERABLE_COROUTINE:
        return False
    return bool(flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR))


def _source(function: Callable[..., Any]) -> tuple[str, int] | None:
    code = getattr(_innermost(function), "__code__", None)
    return (os.path.realpath(code.co_filename), code.co_firstlineno) if code is not None else None


def _qualname(receiver: Receiver) -> str:
    return str(getattr(_innermost(receiver.function), "__qualname__", ""))


def _module(receiver: Receiver) -> str:
    return str(getattr(_innermost(receiver.function), "__module__", ""))


def _is_async(function: Callable[..., Any]) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004 - an object whose __call__ is async is async, too
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
