"""The README's tour works when pasted."""

import asyncio
import re
from pathlib import Path

from deploy.local.stack import Stack

README = Path(__file__).parents[2] / "README.md"


async def test_the_tour_works_when_pasted(stack: Stack) -> None:
    (tour,) = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    shell = await asyncio.create_subprocess_exec(
        "bash",
        "-euo",
        "pipefail",
        "-c",
        f"API={stack.url}/api\n{tour}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await shell.communicate()
    text = said.decode()
    assert shell.returncode == 0, text
    assert '"following":true' in text
    assert '"kind":"followed"' in text
    assert "can't be blank" in text
    assert "quartet-trace" in text.lower()
