"""Calling a receiver: synchronous or not, to its very end, in a context of its own."""

import contextvars
import functools
import inspect
import itertools
import types
from collections.abc import Awaitable
from concurrent.futures import Future
from typing import Any, Final

from asgiref.sync import async_to_sync

from nateq_webhooks.dispatch.event_loop import event_loop_for, warned_of_remaining_tasks
from nateq_webhooks.errors import ReceiverError
from nateq_webhooks.receivers import Receiver

_LAZY: Final = (types.GeneratorType, types.AsyncGeneratorType, map, filter, itertools.starmap)
"""What a function returns whose body only runs while it is iterated over."""

_FUNCTIONS: Final = (types.FunctionType, types.MethodType, functools.partial)
"""What a decorator returns that was written without its parentheses."""


def call(receiver: Receiver, **arguments: Any) -> None:
    """Call a receiver and wait for all that it returns to wait for. Raises what it raises.

    Context variables that it sets are not seen by the next run in this thread. Raises `ReceiverError` if it returned
    something that shows that its body has not run.
    """
    contextvars.copy_context().run(_call, receiver, arguments)


def _call(receiver: Receiver, arguments: dict[str, Any]) -> None:
    with event_loop_for(receiver.name):
        if receiver.is_async:
            result = async_to_sync(_call_and_await)(receiver.function, arguments)
        else:
            result = receiver.function(**arguments)
            if inspect.isawaitable(result):  # a decorator's synchronous wrapper around an async function
                result = async_to_sync(_await_fully)(result)
    if isinstance(result, Future):
        result = result.result()
    _refuse_unfinished(receiver, result)


async def _call_and_await(function: Any, arguments: dict[str, Any]) -> Any:
    return await _await_fully(function(**arguments))


async def _await_fully(result: Any) -> Any:
    """Await a result, and the result of that: `return client.post(...)` has sent nothing yet."""
    return await warned_of_remaining_tasks(_await_all(result))


async def _await_all(result: Awaitable[Any] | Any) -> Any:
    while inspect.isawaitable(result):
        result = await result
    return result


def _refuse_unfinished(receiver: Receiver, result: object) -> None:
    """Raise `ReceiverError` for a result that must be iterated over or called before anything happens."""
    if isinstance(result, _LAZY):
        if isinstance(result, types.GeneratorType):
            result.close()
        raise ReceiverError(
            f'The receiver "{receiver.name}" returned a {type(result).__name__}: nobody iterates over it, so its body '
            "has not run. Remove the yield, or go through it in the receiver."
        )
    if isinstance(result, _FUNCTIONS):
        raise ReceiverError(
            f'The receiver "{receiver.name}" returned {result!r}: nobody calls it, so its body has not run. Is a '
            "decorator applied without its parentheses?"
        )
