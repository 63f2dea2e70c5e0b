"""The registry: which receivers are connected to which event, each under a name that outlives the process.

A run in the database names its receiver, so a name must mean the same function tomorrow and in another process. It
is `module.qualname`, or the `dispatch_uid` when one is given. Names are looked up here, never imported.
"""

import inspect
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from nateq_webhooks.errors import ReceiverError

ANY_EVENT: Final = ""
"""The registry's key for receivers of every event."""

MAX_NAME: Final = 200
"""Characters that the column of a run holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receiver:
    """One connected receiver: its stable name, how to reach it, and whether it is an `async def`."""

    name: str
    reference: Callable[[], Callable[..., Any] | None]
    is_async: bool
    atomic: bool
    """Whether its work and the word that it succeeded are one transaction; else it may run more than once."""

    @property
    def function(self) -> Callable[..., Any] | None:
        """The callable; None once it has been garbage-collected."""
        return self.reference()


class Registry:
    """Receivers by event name. Connecting happens at start; looking up happens once per delivery."""

    def __init__(self) -> None:
        self._by_event: dict[str, dict[str, Receiver]] = {}

    def checked(self, function: Callable[..., Any], *, uid: object, weak: bool, atomic: bool) -> Receiver:
        """Return `function` as a receiver. Raises `ReceiverError` when it has no name that lasts and is its own."""
        name = receiver_name(function, uid=uid)
        _refuse_short_lived(function, name, weak=weak)
        known = self.get(name)
        if known is not None and known.function != function:
            raise ReceiverError(
                f'Two receivers are called "{name}": {known.function!r} and {function!r}. A delivery\'s runs are kept '
                "under that name, so it must mean one of them: give one of the two a dispatch_uid of its own."
            )
        if known is not None and known.atomic != atomic:
            raise ReceiverError(
                f'The receiver "{name}" is connected with atomic={known.atomic} and with atomic={atomic}. It runs once '
                "per delivery, so it can be only one of them."
            )
        return Receiver(
            name=name,
            reference=_weak_reference(function) if weak and not _is_made_locally(function) else lambda: function,
            is_async=_is_async(function),
            atomic=atomic,
        )

    def add(self, event: str, receiver: Receiver) -> None:
        """Run `receiver` for the deliveries of `event`."""
        self._by_event.setdefault(event, {})[receiver.name] = receiver

    def remove(self, event: str, function: Callable[..., Any] | None, *, uid: object) -> None:
        """Forget a receiver of `event`, named as it was when connected."""
        receivers = self._by_event.get(event, {})
        for name, receiver in list(receivers.items()):
            if name == uid or (uid is None and function is not None and receiver.function == function):
                del receivers[name]

    def for_event(self, event: str) -> list[Receiver]:
        """Return the receivers of a delivery of `event`, in the order they were connected: its own, then of any event.

        A callable connected to both is there once, under its first name: it runs once per delivery.
        """
        own = self._by_event.get(event, {}) if event != ANY_EVENT else {}
        found: list[Receiver] = []
        for receiver in (own | self._by_event.get(ANY_EVENT, {})).values():
            function = receiver.function
            if function is not None and all(function != other.function for other in found):
                found.append(receiver)
        return found

    def get(self, name: str) -> Receiver | None:
        """Return the receiver of this name, None when nothing alive is connected under it."""
        return next((receiver for receiver in self if receiver.name == name), None)

    def events(self) -> set[str]:
        """Return the names of the events that a living receiver is connected to, `ANY_EVENT` among them."""
        return {
            event
            for event, receivers in list(self._by_event.items())
            if any(receiver.function is not None for receiver in list(receivers.values()))
        }

    def __iter__(self) -> Iterator[Receiver]:
        """Iterate over every connected receiver, one entry per event it is connected to."""
        for receivers in list(self._by_event.values()):
            yield from (receiver for receiver in list(receivers.values()) if receiver.function is not None)


registry: Final = Registry()
"""The process's receivers; `signals` fills it."""


def receiver_name(function: Callable[..., Any], *, uid: object = None) -> str:
    """Return the name that `function` is known by: its `dispatch_uid`, else `module.qualname`.

    Raises `ReceiverError` when neither names it for good: a lambda, a local function, a bound method, an object.
    """
    if not callable(function):
        raise ReceiverError(f"A receiver must be callable; this is a {type(function).__name__}: {function!r}.")
    if uid is not None:
        return _checked_uid(uid)
    qualname = getattr(function, "__qualname__", None)
    bound_to = getattr(function, "__self__", None)
    if qualname is None or "<" in qualname or (bound_to is not None and not inspect.isclass(bound_to)):
        raise ReceiverError(
            f"The receiver {function!r} has no name that means the same tomorrow: it is a lambda, a local function, "
            "a method of one object or an object. Move it to the top level of a module, or connect it with "
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
    """Refuse what a weak reference alone would keep: it would vanish, and its deliveries with it, without a word."""
    bound_to = getattr(function, "__self__", None)
    lasts = "<" not in getattr(function, "__qualname__", "<") and (bound_to is None or inspect.isclass(bound_to))
    if weak and not lasts:
        raise ReceiverError(
            f'The receiver "{name}" ({function!r}) would be garbage-collected as soon as nothing else holds it, and '
            "its deliveries would be missed. Connect it with weak=False, or move it to the top level of a module."
        )


def _is_made_locally(function: Callable[..., Any]) -> bool:
    """Say whether it has a module-level function's name, but is a decorator's wrapper that nobody else may hold."""
    return "<locals>" in getattr(getattr(function, "__code__", None), "co_qualname", "")


def _weak_reference(function: Callable[..., Any]) -> Callable[[], Callable[..., Any] | None]:
    if inspect.ismethod(function):
        return weakref.WeakMethod(function)
    try:
        return weakref.ref(function)
    except TypeError:  # a built-in function; it lives as long as its module
        return lambda: function


def _is_async(function: Callable[..., Any]) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004 - an object whose __call__ is async is async, too
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
