"""Background threads: started once, ended by themselves or when asked, started again after a fork."""

import threading

from nateq_webhooks.threads import DaemonThread
from tests.conftest import wait_until
from tests.runners.processes import run


def test_it_is_started_once_and_again_after_it_has_ended() -> None:
    started: list[threading.Thread] = []

    def work(stop: threading.Event) -> None:
        started.append(threading.current_thread())
        stop.wait(60)

    thread = DaemonThread(work, name="work")
    assert not thread.is_alive
    thread.start()
    thread.start()
    wait_until(lambda: len(started) == 1)
    thread.stop(10)
    assert not thread.is_alive

    thread.start()

    wait_until(lambda: len(started) == 2)
    thread.stop(10)
    assert [(one.name, one.daemon) for one in started] == [("work", True)] * 2


def test_one_that_is_about_to_end_does_not_keep_the_next_from_starting() -> None:
    released, go_on = threading.Event(), threading.Event()
    started: list[int] = []

    def work(stop: threading.Event) -> None:
        started.append(1)
        if len(started) == 1:
            thread.release()
            released.set()
            go_on.wait(60)

    thread = DaemonThread(work, name="work")
    thread.start()
    assert released.wait(60)

    thread.start()

    wait_until(lambda: len(started) == 2)
    go_on.set()


FORK = """
import os, sys, threading
from nateq_webhooks.threads import DaemonThread
from tests.conftest import wait_until
started, reset = [], []
def work(stop):
    started.append(os.getpid())
    stop.wait(30)
thread = DaemonThread(work, name="work", after_fork=lambda: reset.append(os.getpid()))
thread.start()
wait_until(lambda: started == [os.getpid()])
child = os.fork()
if child == 0:
    assert not thread.is_alive
    thread.start()
    wait_until(lambda: started[-1] == os.getpid())
    assert reset == [os.getpid()]
    print("the child has started its own", flush=True)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_starts_its_own() -> None:
    assert "the child has started its own" in run("-W", "ignore", "-c", f"import django; django.setup()\n{FORK}")
