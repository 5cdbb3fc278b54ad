"""A TCP wire between the services and a server, which can stop carrying what the server says."""

import asyncio
from contextlib import suppress


class Wire:
    """Carries every connection to `port` on the loopback, from a port of its own."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._carries_back = asyncio.Event()
        self._carries_back.set()
        self.port = 0

    async def start(self) -> None:
        """Listen; `port` says where."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1")
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    def hold(self) -> None:
        """From now on nothing that the server says arrives; what is said to it still does."""
        self._carries_back.clear()

    def release(self) -> None:
        """Carry both ways again."""
        self._carries_back.set()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        there = asyncio.create_task(self._carry(reader, far_writer))
        back = asyncio.create_task(self._carry(far_reader, writer, self._carries_back))
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        for task in (there, back):
            task.cancel()
        await asyncio.gather(there, back, return_exceptions=True)
        for end in (writer, far_writer):
            end.close()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        carries: asyncio.Event | None = None,
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(65_536):
                if carries is not None:
                    await carries.wait()
                writer.write(piece)
                await writer.drain()
