"""The registry: which callables may be receivers, what they are called, and which of them a delivery reaches."""

import asyncio
import contextlib
import functools
import gc
import importlib.util
import subprocess
import sys
import types
import unittest.mock
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nateq_webhooks.errors import NateqWebhooksError, ReceiverError
from nateq_webhooks.receivers import ANY_EVENT, MAX_NAME, Registry, receiver_name

HERE = __name__


def first(**kwargs: Any) -> None: ...


def second(**kwargs: Any) -> None: ...


async def awaited(**kwargs: Any) -> None: ...


class Board:
    """A class with every kind of method, and itself callable as an object."""

    def method(self, **kwargs: Any) -> None: ...

    @classmethod
    def of_class(cls, **kwargs: Any) -> None: ...

    @staticmethod
    def static(**kwargs: Any) -> None: ...

    @classmethod
    async def async_of_class(cls, **kwargs: Any) -> None: ...

    @staticmethod
    async def async_static(**kwargs: Any) -> None: ...

    async def async_method(self, **kwargs: Any) -> None: ...

    def without_kwargs(self, sender: object, event: object, delivery: object, run: object) -> None: ...

    class Inner:
        @staticmethod
        def static(**kwargs: Any) -> None: ...


class CallableObject:
    def __call__(self, **kwargs: Any) -> None: ...


class AsyncCallable:
    async def __call__(self, **kwargs: Any) -> None: ...


class Slotted:
    """A callable that does not support weak references."""

    __slots__ = ()

    def __call__(self, **kwargs: Any) -> None: ...


board = Board()
module_lambda = lambda **kwargs: None  # noqa: E731 - a lambda is the case


def function_of(module: str, name: str = "receive") -> Callable[..., Any]:
    """Return a function as if it were defined in another module."""
    function = types.FunctionType(first.__code__, {"__name__": module})
    function.__qualname__ = name
    return function


def local_function() -> Callable[..., None]:
    def local(**kwargs: Any) -> None: ...

    return local


SHORT_LIVED = [
    pytest.param(module_lambda, id="a lambda"),
    pytest.param(local_function(), id="a local function"),
    pytest.param(board.method, id="a method of one object"),
    pytest.param(CallableObject(), id="a callable object"),
    pytest.param(Slotted(), id="a callable object without weak references"),
    pytest.param(functools.partial(first), id="a partial"),
]


@pytest.fixture
def registry() -> Registry:
    return Registry()


def connect(
    registry: Registry,
    function: Callable[..., Any],
    event: str = "ticket.created",
    *,
    uid: object = None,
    weak: bool = True,
) -> None:
    registry.add(event, registry.checked(function, uid=uid, weak=weak, atomic=True))


def names(registry: Registry, event: str = "ticket.created") -> list[str]:
    return [receiver.name for receiver in registry.for_event(event)]


def function_named(registry: Registry, name: str) -> object:
    found = registry.get(name)
    assert found is not None
    return found.function


# Names


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (first, "first"),
        (awaited, "awaited"),
        (Board.of_class, "Board.of_class"),
        (board.of_class, "Board.of_class"),
        (Board.static, "Board.static"),
        (Board.Inner.static, "Board.Inner.static"),
        (Board.method, "Board.method"),
    ],
)
def test_a_function_of_a_module_or_of_a_class_has_its_dotted_path_as_name(
    function: Callable[..., Any], name: str
) -> None:
    assert receiver_name(function) == f"{HERE}.{name}"


def test_a_dispatch_uid_is_the_name_of_whatever_is_connected_with_it() -> None:
    for function in (first, module_lambda, local_function(), board.method, CallableObject(), functools.partial(first)):
        assert receiver_name(function, uid="shop.stock") == "shop.stock"


@pytest.mark.parametrize(
    "function",
    [
        *SHORT_LIVED,
        pytest.param(lambda **kwargs: None, id="a lambda without a name in the module"),
        pytest.param([].append, id="a built-in method of one object"),
    ],
)
@pytest.mark.parametrize("weak", [True, False])
def test_a_callable_without_a_stable_name_is_refused_with_advice(
    registry: Registry, function: Callable[..., Any], weak: bool
) -> None:
    with pytest.raises(ReceiverError, match=r"no stable name.*top level of a module.*dispatch_uid="):
        connect(registry, function, weak=weak)
    assert names(registry) == []


def test_methods_of_a_local_class_have_no_stable_name(registry: Registry) -> None:
    class Local:
        @classmethod
        def of_class(cls, **kwargs: Any) -> None: ...

        @staticmethod
        def static(**kwargs: Any) -> None: ...

    for function in (Local.of_class, Local.static):
        with pytest.raises(ReceiverError, match="no stable name"):
            connect(registry, function, weak=False)


@pytest.mark.parametrize("nothing", [None, 7, "tests.test_receivers.first", [first], object()])
def test_an_object_that_is_not_callable_is_refused(nothing: Any) -> None:
    with pytest.raises(ReceiverError, match="must be callable"):
        receiver_name(nothing)


@pytest.mark.parametrize(
    "uid", ["", " ", " name", "name ", "a\nb", "a\x00b", "x" * (MAX_NAME + 1), 7, True, b"name", ("a", "b"), object()]
)
def test_a_dispatch_uid_that_cannot_be_stored_is_refused(registry: Registry, uid: object) -> None:
    with pytest.raises(ReceiverError, match="dispatch_uid="):
        connect(registry, first, uid=uid)


@pytest.mark.parametrize("uid", ["x", "shop.stock", "إعلام", "with space", "x" * MAX_NAME])
def test_a_dispatch_uid_that_can_be_stored_is_unchanged(registry: Registry, uid: str) -> None:
    connect(registry, first, uid=uid)

    assert names(registry) == [uid]


def test_a_name_longer_than_its_column_is_refused(registry: Registry) -> None:
    function = function_of("shop", "x" * (MAX_NAME - len("shop.") + 1))
    with pytest.raises(ReceiverError, match="201 characters"):
        connect(registry, function)

    function.__qualname__ = "x" * (MAX_NAME - len("shop."))
    connect(registry, function)
    assert len(names(registry)[0]) == MAX_NAME


def qualname(function: Callable[..., Any]) -> str:
    return function.__qualname__


@pytest.mark.parametrize("function", [str.upper, dict.fromkeys, print, len, type, Board], ids=qualname)
def test_every_callable_has_a_name_or_is_refused(function: Callable[..., Any]) -> None:
    try:
        name = receiver_name(function)
    except ReceiverError:
        return
    module, _, qualname = name.partition(".")
    assert module not in ("", "None")
    assert qualname


def test_a_receiver_error_is_one_of_the_package_and_a_type_error() -> None:
    assert issubclass(ReceiverError, NateqWebhooksError)
    assert issubclass(ReceiverError, TypeError)


def test_a_function_of_main_has_a_name_too() -> None:
    program = (
        "from django.dispatch import receiver\n"
        "from nateq_webhooks import receivers, signals\n"
        "@receiver(signals.ticket_created)\n"
        "def on_ticket(**kwargs): ...\n"
        "print([each.name for each in receivers.registry.for_event('ticket.created')])\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert done.stderr == ""
    assert done.stdout.strip() == "['__main__.on_ticket']"


def test_a_name_is_looked_up_and_never_imported(registry: Registry) -> None:
    connect(registry, first)
    sys.modules.pop("antigravity", None)

    assert registry.get("antigravity.fly") is None
    assert registry.get("no.such.module.function") is None
    assert registry.get(f"{HERE}.second") is None
    assert registry.get(f"{HERE}.first") is not None
    assert "antigravity" not in sys.modules


def test_a_function_of_a_module_that_cannot_be_imported_has_a_name(registry: Registry) -> None:
    function = function_of("no_such_module")

    connect(registry, function)

    assert names(registry) == ["no_such_module.receive"]


# Garbage collection


@pytest.mark.parametrize("function", SHORT_LIVED)
def test_a_callable_that_would_be_garbage_collected_is_refused_without_weak_false(
    registry: Registry, function: Callable[..., Any]
) -> None:
    with pytest.raises(ReceiverError, match=r'"shop.stock".*garbage-collected.*weak=False'):
        connect(registry, function, uid="shop.stock")
    assert names(registry) == []

    connect(registry, function, uid="shop.stock", weak=False)
    assert names(registry) == ["shop.stock"]


def test_a_receiver_connected_with_weak_false_lives_as_long_as_its_registry(registry: Registry) -> None:
    function = local_function()
    alive = weakref.ref(function)
    connect(registry, function, uid="local", weak=False)

    del function
    gc.collect()

    assert alive() is not None
    assert names(registry) == ["local"]
    assert function_named(registry, "local") is alive()


@pytest.mark.parametrize("function", [first, awaited, Board.of_class, Board.static, Board.Inner.static], ids=qualname)
def test_a_function_with_a_dotted_path_survives_a_garbage_collection(
    registry: Registry, function: Callable[..., Any]
) -> None:
    connect(registry, function)

    gc.collect()

    assert function_named(registry, receiver_name(function)) == function


def test_a_function_whose_variable_is_reused_survives_a_garbage_collection(registry: Registry) -> None:
    """As in a loop at the top of a module that defines a function for each event."""
    for event in ("ticket.created", "ticket.closed"):
        handle = function_of("shop.receivers", "handle")
        connect(registry, handle, event, uid=f"shop.{event}")
    del handle
    gc.collect()

    assert names(registry, "ticket.created") == ["shop.ticket.created"]
    assert names(registry, "ticket.closed") == ["shop.ticket.closed"]


# Callables that are refused


def generator(**kwargs: Any) -> Any:
    yield


async def async_generator(**kwargs: Any) -> Any:
    yield


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Generators:
    def __call__(self, **kwargs: Any) -> Any:
        yield

    def method(self, **kwargs: Any) -> Any:
        yield

    @classmethod
    def of_class(cls, **kwargs: Any) -> Any:
        yield

    @staticmethod
    def static(**kwargs: Any) -> Any:
        yield


class AsyncGenerators:
    async def __call__(self, **kwargs: Any) -> Any:
        yield


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(generator, id="a generator function"),
        pytest.param(async_generator, id="an asynchronous one"),
        pytest.param(functools.partial(generator), id="a partial"),
        pytest.param(functools.partial(functools.partial(async_generator), run=1), id="a partial of a partial"),
        pytest.param(wrapped(generator), id="a wrapper"),
        pytest.param(functools.partial(wrapped(wrapped(async_generator))), id="a partial of wrappers"),
        pytest.param(contextlib.contextmanager(generator), id="a context manager"),
        pytest.param(Generators(), id="a callable object"),
        pytest.param(AsyncGenerators(), id="a callable object, asynchronous"),
        pytest.param(functools.partial(Generators()), id="a partial of a callable object"),
        pytest.param(Generators().method, id="a bound method"),
        pytest.param(Generators.of_class, id="a class method"),
        pytest.param(Generators.static, id="a static method"),
        pytest.param(wrapped(Generators().method), id="a wrapper of a bound method"),
        pytest.param(lambda **kwargs: (yield), id="a lambda with a yield"),
    ],
)
def test_a_generator_is_refused_because_its_body_would_never_run(
    registry: Registry, function: Callable[..., Any]
) -> None:
    with pytest.raises(ReceiverError, match=r'"shop.stock" is a generator.*Remove the yield'):
        connect(registry, function, uid="shop.stock", weak=False)
    assert names(registry) == []


def test_a_generator_that_can_be_awaited_is_not_refused(registry: Registry) -> None:
    @types.coroutine
    def awaitable(**kwargs: Any) -> Any:
        yield

    connect(registry, awaitable, uid="shop.stock", weak=False)

    assert names(registry) == ["shop.stock"]


@pytest.mark.parametrize(
    "function",
    [CallableObject, functools.partial(CallableObject), wrapped(CallableObject), Board],
    ids=["a class", "a partial of a class", "a wrapper of a class", "a class that can't be called"],
)
def test_a_class_in_place_of_an_object_is_refused(registry: Registry, function: Callable[..., Any]) -> None:
    with pytest.raises(
        ReceiverError, match=r'"shop.stock" is the class (CallableObject|Board).*an object of the class'
    ):
        connect(registry, function, uid="shop.stock", weak=False)


def without_kwargs(sender: object, event: object, delivery: object, run: object) -> None: ...
def without_anything() -> None: ...
def of_one_more(event: object, ticket: object, **kwargs: Any) -> None: ...
def by_position(event: object, /, **kwargs: Any) -> None: ...
def many(*args: Any) -> None: ...
def as_django_documents(sender: object, **kwargs: Any) -> None: ...
def with_a_default(event: object, ticket: object = None, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (without_kwargs, r"does not take \*\*kwargs"),
        (without_anything, "got an unexpected keyword argument 'sender'"),
        (of_one_more, "missing a required argument: 'ticket'"),
        (by_position, "event"),
        (many, "got an unexpected keyword argument 'sender'"),
        (Board.method, "missing a required argument: 'self'"),
        (Board().without_kwargs, r"does not take \*\*kwargs"),
    ],
)
def test_a_function_that_cannot_be_called_with_an_event_is_refused(
    registry: Registry, function: Callable[..., Any], problem: str
) -> None:
    with pytest.raises(ReceiverError, match=rf"can't be called with an event: .*{problem}.*\*\*kwargs\)"):
        connect(registry, function, uid="shop.stock", weak=False)


@pytest.mark.parametrize(
    "function",
    [
        as_django_documents,
        with_a_default,
        functools.partial(of_one_more, ticket=1),
        wrapped(of_one_more),
        wrapped(without_kwargs),
        unittest.mock.Mock(),
        unittest.mock.MagicMock(),
    ],
)
def test_a_function_that_can_be_called_with_an_event_is_not_refused(
    registry: Registry, function: Callable[..., Any]
) -> None:
    """A wrapper counts as it is: it may add what the wrapped function wants, and leave out what that does not take."""
    connect(registry, function, uid="shop.stock", weak=False)

    assert names(registry) == ["shop.stock"]


@pytest.mark.parametrize("atomic", [None, "False", 0, 1])
def test_an_atomic_that_is_no_bool_is_refused(registry: Registry, atomic: Any) -> None:
    with pytest.raises(ReceiverError, match="atomic="):
        registry.checked(first, uid=None, weak=True, atomic=atomic)


# One module under two names

RECEIVERS = """
import functools

def wrapped(function):
    @functools.wraps(function)
    def wrapper(**kwargs):
        return function(**kwargs)
    return wrapper

def handle(**kwargs): ...

@wrapped
def decorated(**kwargs): ...
"""


def imported_as(name: str, file: Path) -> Any:
    """Import a file as a module of that name."""
    file.write_text(RECEIVERS)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("function", ["handle", "decorated"])
def test_a_module_that_is_imported_under_two_names_is_logged(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture, function: str
) -> None:
    for module in ("shop.receivers", "proj.shop.receivers"):
        connect(registry, getattr(imported_as(module, tmp_path / "receivers.py"), function))

    assert f"shop.receivers.{function} and proj.shop.receivers.{function} are one function" in caplog.text
    assert "imported under two names" in caplog.text
    ((one, other),) = registry.imported_twice()
    assert (one.name, other.name) == (f"shop.receivers.{function}", f"proj.shop.receivers.{function}")


def test_it_is_logged_once_with_two_events_and_two_uids(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = (imported_as(name, tmp_path / "receivers.py").handle for name in ("shop.receivers", "receivers"))
    connect(registry, one, "ticket.created", uid="one")
    connect(registry, other, "ticket.closed", uid="other")
    connect(registry, other, ANY_EVENT, uid="other")

    assert caplog.text.count("are one function") == 1
    assert [(first.name, second.name) for first, second in registry.imported_twice()] == [("one", "other")]


def test_under_one_uid_the_second_import_is_refused_with_the_likely_reason(registry: Registry, tmp_path: Path) -> None:
    one, other = (imported_as(name, tmp_path / "receivers.py").handle for name in ("shop.receivers", "receivers"))
    connect(registry, one, uid="shop.stock")

    with pytest.raises(ReceiverError, match="imported under two names"):
        connect(registry, other, uid="shop.stock")


def test_functions_from_one_line_of_one_module_are_not_logged(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        connect(registry, local_function(), uid=f"shop.{number}", weak=False)
    connect(registry, wrapped(first), uid="wrapped")
    connect(registry, wrapped(second), uid="wrapped too")

    assert registry.imported_twice() == []
    assert caplog.text == ""


# One name, one callable


@pytest.mark.parametrize("event", ["ticket.created", "ticket.closed", ANY_EVENT])
def test_a_second_callable_under_a_name_is_refused_on_every_signal_and_the_first_is_kept(
    registry: Registry, event: str
) -> None:
    connect(registry, first, "ticket.created", uid="shop.stock")

    with pytest.raises(ReceiverError, match=r'Two receivers are called "shop.stock".*first.*second.*dispatch_uid'):
        connect(registry, second, event, uid="shop.stock")

    assert function_named(registry, "shop.stock") is first


def test_a_dispatch_uid_that_is_another_functions_name_is_refused(registry: Registry) -> None:
    connect(registry, first)

    with pytest.raises(ReceiverError, match="Two receivers"):
        connect(registry, second, uid=f"{HERE}.first")


def test_two_functions_of_one_name_in_one_module_are_refused(registry: Registry) -> None:
    copies = [function_of("shop"), function_of("shop")]
    connect(registry, copies[0])

    with pytest.raises(ReceiverError, match=r'Two receivers are called "shop.receive"'):
        connect(registry, copies[1])


def test_connecting_the_same_callable_again_changes_nothing(registry: Registry) -> None:
    for _ in range(3):
        connect(registry, first)
        connect(registry, Board.of_class)
        connect(registry, board.method, uid="board", weak=False)

    assert names(registry) == [f"{HERE}.first", f"{HERE}.Board.of_class", "board"]


def test_a_name_is_free_again_once_its_receiver_was_removed(registry: Registry) -> None:
    connect(registry, first, uid="shop.stock")
    registry.remove("ticket.created", None, uid="shop.stock")

    connect(registry, second, uid="shop.stock")

    assert function_named(registry, "shop.stock") is second


# Which receivers a delivery reaches


def test_a_delivery_reaches_the_receivers_of_its_event_and_of_every_event_and_no_others(registry: Registry) -> None:
    connect(registry, first, "ticket.created", uid="created")
    connect(registry, second, "ticket.closed", uid="closed")
    connect(registry, awaited, ANY_EVENT, uid="all")

    assert names(registry, "ticket.created") == ["created", "all"]
    assert names(registry, "ticket.closed") == ["closed", "all"]
    assert names(registry, "ticket.merged") == ["all"]
    assert names(registry, "") == ["all"]


def test_receivers_run_in_the_order_they_were_connected_its_own_before_those_of_every_event(
    registry: Registry,
) -> None:
    for event, uid in [(ANY_EVENT, "z"), ("ticket.created", "c"), ("ticket.created", "a"), (ANY_EVENT, "b")]:
        connect(registry, local_function(), event, uid=uid, weak=False)

    assert names(registry) == ["c", "a", "z", "b"]


def test_a_callable_on_two_signals_that_fire_for_one_delivery_is_there_once(registry: Registry) -> None:
    connect(registry, first, ANY_EVENT)
    connect(registry, first, "ticket.created")

    assert names(registry, "ticket.created") == [f"{HERE}.first"]
    assert names(registry, "ticket.closed") == [f"{HERE}.first"]


@pytest.mark.parametrize("uids", [("a", "b"), (None, "b"), ("a", None)])
def test_a_callable_on_two_signals_under_two_names_runs_once_or_is_refused(
    registry: Registry, uids: tuple[str | None, str | None]
) -> None:
    """The requirement: one callable on two signals that fire for the same delivery runs once for it."""
    connect(registry, first, "ticket.created", uid=uids[0])
    try:
        connect(registry, first, ANY_EVENT, uid=uids[1])
    except ReceiverError as error:
        assert "first" in str(error)  # noqa: PT017 - refusing it and running it once are both right

    functions = [receiver.function for receiver in registry.for_event("ticket.created")]
    assert functions == [first]


def test_removing_a_receiver_from_one_signal_leaves_it_on_the_other(registry: Registry) -> None:
    connect(registry, first, "ticket.created")
    connect(registry, first, ANY_EVENT)

    registry.remove("ticket.created", first, uid=None)
    assert names(registry) == [f"{HERE}.first"]

    registry.remove(ANY_EVENT, first, uid=None)
    assert names(registry) == []
    assert registry.get(f"{HERE}.first") is None


def test_removing_an_unknown_receiver_changes_nothing(registry: Registry) -> None:
    connect(registry, first)

    registry.remove("ticket.created", second, uid=None)
    registry.remove("ticket.created", None, uid="nobody")
    registry.remove("ticket.closed", first, uid=None)
    registry.remove("ticket.created", None, uid=None)

    assert names(registry) == [f"{HERE}.first"]


def test_every_receiver_can_be_listed(registry: Registry) -> None:
    connect(registry, first, "ticket.created")
    connect(registry, first, ANY_EVENT)
    connect(registry, second, "ticket.closed")

    assert sorted(receiver.name for receiver in registry) == [f"{HERE}.first", f"{HERE}.first", f"{HERE}.second"]


# Sync and async


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (first, False),
        (awaited, True),
        (Board.of_class, False),
        (Board.async_of_class, True),
        (Board.async_static, True),
        (board.async_method, True),
        (CallableObject(), False),
        (AsyncCallable(), True),
        (functools.partial(first), False),
        (functools.partial(awaited), True),
        (module_lambda, False),
        (lambda **kwargs: awaited(**kwargs), False),
    ],
)
def test_an_async_receiver_is_recognized_and_can_be_awaited(
    registry: Registry, function: Callable[..., Any], is_async: bool
) -> None:
    receiver = registry.checked(function, uid="one", weak=False, atomic=True)

    assert receiver.is_async is is_async
    assert receiver.function == function
    if is_async:
        assert asyncio.run(function()) is None
