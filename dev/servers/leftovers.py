"""Servers that outlived the stack that had started them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from signal import Signals
from typing import Final

from dev.servers.errors import DevError
from dev.servers.proctable import Process, wait_gone

_STOP_WITHIN_S: Final = 20.0
_HELPERS_WITHIN_S: Final = 1.0
_KILL_WITHIN_S: Final = 10.0


def end_leftovers(find: Callable[[], Sequence[Process]], sig: Signals, name: str, data_dir: Path) -> None:
    """Ends what `find` finds: the first by `sig`, and by SIGKILL what has not ended with it or takes too long.

    To be called with the data directory's lock held: then whoever had started them is gone.

    Raises:
        DevError: something can't be ended.
    """
    found = find()
    if not found:
        return
    print(f"{name}: stopping what an earlier run left in {data_dir} (process {found[0].pid})", flush=True)
    found[0].signal(sig)
    wait_gone(found[:1], _STOP_WITHIN_S)
    wait_gone(found, _HELPERS_WITHIN_S)
    left = find()
    for process in left:
        process.signal(Signals.SIGKILL)
    if not wait_gone(left, _KILL_WITHIN_S):
        message = f"{name} in {data_dir} can't be stopped: processes {sorted(process.pid for process in left)}"
        raise DevError(message)
