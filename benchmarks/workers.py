"""Jobs spread over processes of one torch thread each, which tell the one that started them what comes out.

On a few cores two processes of one thread do more than one of two: the small operations of an edit gain
little from a second thread. The processes are spawned, so what is sent to them must pickle.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Any

from data.types import UserError

Tell = Callable[[Any], None]
Work = Callable[[Any, Tell], None]  # (job, tell): does a job, telling what comes out as it comes

PATIENCE = 10  # seconds in which a process that is told to stop may tidy up


def spread(prepare: Callable[[], Work], jobs: Sequence[Any], workers: int, hear: Tell) -> None:
    """Do every job in one of `workers` processes; `hear` is called here with all that they tell, in turn.

    Each process calls `prepare` once for its work, then gets the next job whenever it has none. Whatever ends
    this early (what `prepare`, the work or `hear` raises, an interrupt) is raised here after the processes
    have been stopped. Raises UserError when a process dies.
    """
    waiting = iter(jobs)
    context = get_context("spawn")
    processes: dict[Any, Any] = {}
    try:
        for _ in range(min(workers, len(jobs))):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, prepare))
            with _deaf_to_interrupts():  # which a spawned process inherits: its parent stops it
                process.start()
            there.close()
            processes[here] = process
        busy = list(processes)
        while busy:
            for connection in wait(busy):
                what, value = _received(connection, processes[connection])
                if what == "told":
                    hear(value)
                elif what == "failed":
                    raise value
                else:
                    job = next(waiting, None)
                    connection.send(job)
                    if job is None:
                        busy.remove(connection)
        for process in processes.values():
            process.join()
    finally:
        _stop(list(processes.values()))


def _received(connection: Any, process: Any) -> tuple[str, Any]:
    try:
        message: tuple[str, Any] = connection.recv()
    except (EOFError, ConnectionResetError):
        process.join(PATIENCE)
        raise UserError(
            f"a worker process died with exit code {process.exitcode}, as happens where memory is short: "
            "run the same command with fewer --workers"
        ) from None
    return message


def _stop(processes: Sequence[Any]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(connection: Connection, prepare: Callable[[], Work]) -> None:
    """The life of a process: ask for a job, do it, until there is none or the parent is gone."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # tidies up on its way out, unlike a kill
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)

    def say(what: str, value: Any = None) -> None:
        try:
            connection.send((what, value))
        except BrokenPipeError:
            sys.exit(1)

    try:
        work = prepare()
        say("idle")
        while (job := connection.recv()) is not None:
            work(job, lambda value: say("told", value))
            say("idle")
    except EOFError:
        sys.exit(1)
    except (Exception, KeyboardInterrupt) as error:
        say("failed", _sendable(error))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        signal.raise_signal(signal.SIGTERM)


def _sendable(error: BaseException) -> BaseException:
    """An exception that another process can rebuild: what the front door answers in one line as it is, any
    other as its traceback."""
    if isinstance(error, UserError | KeyboardInterrupt):
        return type(error)(str(error))
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror, error.filename)
    return RuntimeError(traceback.format_exc())
