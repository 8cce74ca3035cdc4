"""`cmd.run`: a command in the agent's container, by dispatch through bootstrap. Never a shell string: argv as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field

from aegis.domain.capabilities import Touched
from aegis.domain.text import shorten
from aegis.services.tools import RESULT_CHARACTERS_MAX, Arguments, DispatchRequest, Tool, ToolContext

TIMEOUT_SECONDS: Final = 60.0
OUTPUT_BYTES_MAX: Final = 524_288
STREAM_CHARACTERS_MAX: Final = RESULT_CHARACTERS_MAX // 2
TAIL_SHARE: Final = 0.75  # of a long output: the end is where errors stand


class CommandArguments(Arguments):
    command: Annotated[str, Field(min_length=1, max_length=4096, description="The program, without its arguments")]
    args: Annotated[tuple[str, ...], Field(max_length=4096, description="Its arguments, one each")] = ()
    cwd: Annotated[str | None, Field(description="Where it runs; left out: the workspace")] = None
    timeout_seconds: Annotated[float, Field(gt=0, description="Killed after so long")] = TIMEOUT_SECONDS


async def run_command(arguments: CommandArguments, context: ToolContext) -> DispatchRequest:
    """The command may not outlast its iteration: it would be killed with the container, and the model not told."""
    longest = context.execution.manifest.resources.timeout_seconds
    return DispatchRequest(
        command=arguments.command,
        args=arguments.args,
        cwd=arguments.cwd or context.files.working_directory,
        timeout_seconds=min(arguments.timeout_seconds, longest),
        max_output_bytes=OUTPUT_BYTES_MAX,
    )


def _touches(arguments: CommandArguments, _context: ToolContext) -> Touched:
    return Touched(command=(arguments.command, *arguments.args))


def result_text(result: Mapping[str, Any]) -> str:
    """A `dispatch_result` as the model reads it. `remarks`: what happened meanwhile and the output may not say."""
    parts = [f"exit code: {result['exit_code']}"]
    for stream in ("stdout", "stderr"):
        text = str(result.get(stream, ""))
        if text:
            parts.append(f"{stream}:\n{shorten(text, STREAM_CHARACTERS_MAX, tail_share=TAIL_SHARE)}")
    if result.get("truncated"):
        parts.append(f"(the output was longer than {OUTPUT_BYTES_MAX} bytes: only its end was kept)")
    parts += [f"(aegis: {remark})" for remark in result.get("remarks", ())]
    return "\n".join(parts)


CMD_RUN = Tool(
    "cmd.run",
    "Run a program in the container and wait for it. `command` is one program, `args` its arguments; no shell is "
    "involved: for pipes or variables use command `sh` with args `-c` and the line.",
    CommandArguments,
    run_command,
    _touches,
    in_container=True,
)
