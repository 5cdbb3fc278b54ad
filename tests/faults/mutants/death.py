"""A process that dies once, at a moment of our choice."""

import os
import signal
from pathlib import Path


class Death:
    """Comes at the `number`th call of `may_come`, once for all processes that share `marker`."""

    def __init__(self, marker: Path, number: int) -> None:
        self._marker, self._left = marker, number

    @property
    def has_come(self) -> bool:
        """Whether it lies behind."""
        return self._marker.exists()

    def may_come(self) -> None:
        """Kill this process if it is time; nothing is cleaned up, as with kill -9."""
        self._left -= 1
        if self._left <= 0 and not self.has_come:
            self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
