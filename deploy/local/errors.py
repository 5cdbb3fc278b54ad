"""What ends a command of the local stack: one sentence for the reader, exit code 1."""


class CannotStart(Exception):
    """The stack cannot run; the message is one clear sentence and says what to do."""


class ChildFailed(CannotStart):
    """A process of ours did not do its work; `output` holds the last lines that it wrote."""

    def __init__(self, name: str, sentence: str, output: str) -> None:
        super().__init__(sentence)
        self.name = name
        self.output = output
