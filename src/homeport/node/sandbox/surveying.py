"""The look at the machine, taken beside the fork server's start: the first pod needs it, nothing before."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable

from homeport.node.sandbox import layout, linux


class Surveying:
    """A survey (:func:`homeport.node.sandbox.layout.survey`) that runs in a process of its own."""

    def __init__(
        self,
        fork: Callable[[set[int], Callable[[], object]], int],
        directory: str,
        hidden: list[str],
        *,
        user_namespace: bool,
    ) -> None:
        """`fork` runs a function in a new process that keeps some descriptors. Raises OSError if there can be none."""

        def work() -> None:
            linux.set_process_name("homeport-survey")
            linux.die_with_parent(signal.SIGKILL)
            try:
                made = layout.survey(directory, hidden, user_namespace=user_namespace)
                answer: dict[str, object] = {"layout": made.described()}
            except OSError as error:
                answer = {"error": [error.errno, error.strerror or str(error), error.filename]}
            with open(send, "w", encoding="utf-8", closefd=False) as file:
                # Names of files need not be text.
                json.dump(answer, file)

        self._directory = directory
        self.result, send = os.pipe2(os.O_CLOEXEC)
        """Readable once :meth:`finish` does not wait."""
        try:
            self._pid = fork({send}, work)
        finally:
            os.close(send)
        self._pidfd = os.pidfd_open(self._pid)

    def finish(self) -> layout.Layout:
        """What was found; waits for it. To be called once. Raises OSError if something can't be made."""
        with open(self.result, encoding="utf-8") as file:
            text = file.read()
        self._reap()
        answer = json.loads(text or '{"error": [null, "the look at the machine ended at once", null]}')
        if "error" in answer:
            number, words, path = answer["error"]
            raise OSError(number, words, path)
        return layout.Layout.of(self._directory, answer["layout"])

    def give_up(self) -> None:
        """Nothing is made any more when this returns. In place of :meth:`finish`."""
        os.close(self.result)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._reap()

    def _reap(self) -> None:
        # Whoever reaps the fork server's children may have been first.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        os.close(self._pidfd)
