"""What ends a command of the local stack: one sentence for the reader, exit code 1."""


class CannotStart(Exception):
    """The stack cannot run; the message is one clear sentence and says what to do."""


class ChildFailed(CannotStart):
    """A process did not become ready; `output` holds the last lines that it wrote."""

    def __init__(self, sentence: str, output: str = "") -> None:
        super().__init__(sentence)
        self.output = output
