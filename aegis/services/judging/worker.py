"""A process that does one job and ends: what could take forever is done where it can be killed.

A regular expression can backtrack for years on forty bytes (`(a+)+$`), the `re` module cannot be interrupted, and it
holds the GIL: in the daemon it would stop every execution and the file server. Bounding the input does not help, so the
job runs here, under a limit of CPU time and memory that the kernel enforces even when nobody waits any more.

Run as a script: the job on standard input, the answer on standard output, both one JSON object.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from typing import Any

MEMORY_BYTES_MAX = 1024 * 1024 * 1024
ERRORS_MAX = 5
MESSAGE_CHARACTERS_MAX = 500


def main() -> None:
    job = json.loads(sys.stdin.buffer.read())
    resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_seconds"], job["cpu_seconds"] + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = {"regex": regex, "grep": grep, "json_schema": json_schema}[job["kind"]](job)
    sys.stdout.write(json.dumps(answer))


def regex(job: dict[str, Any]) -> dict[str, Any]:
    """Whether the pattern is found anywhere in the text; `^` and `$` match at lines."""
    try:
        found = re.search(job["pattern"], job["text"], re.MULTILINE)
    except (re.error, OverflowError) as error:
        return {"error": f"the pattern cannot be used: {error}"}
    return {"found": found is not None}


def grep(job: dict[str, Any]) -> dict[str, Any]:
    """Lines of the texts in which the pattern is found: (name, line number from 1, line), at most `lines_max`."""
    try:
        pattern = re.compile(job["pattern"])
    except (re.error, OverflowError) as error:
        return {"error": f"the pattern cannot be used: {error}"}
    lines: list[tuple[str, int, str]] = []
    for name, text in job["texts"]:
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                if len(lines) == job["lines_max"]:
                    return {"lines": lines, "more": True}
                lines.append((name, number, line[:MESSAGE_CHARACTERS_MAX]))
    return {"lines": lines, "more": False}


def json_schema(job: dict[str, Any]) -> dict[str, Any]:
    """What is wrong with the document, each as "where: what"; references outside the schema are never fetched."""
    import jsonschema  # here: the other jobs do not pay for it
    import referencing
    import referencing.exceptions

    kind = jsonschema.validators.validator_for(job["schema"], default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(job["schema"])
        errors = kind(job["schema"], registry=referencing.Registry()).iter_errors(job["document"])
        found: list[str] = []
        for error in errors:
            if len(found) == ERRORS_MAX:
                break
            found.append(f"{error.json_path}: {error.message[:MESSAGE_CHARACTERS_MAX]}")
    except jsonschema.SchemaError as error:
        return {"error": f"the schema itself is wrong at {error.json_path}: {error.message[:MESSAGE_CHARACTERS_MAX]}"}
    except (referencing.exceptions.Unresolvable, RecursionError, re.error) as error:
        return {"error": f"the schema cannot be used: {error}"[:MESSAGE_CHARACTERS_MAX]}
    return {"errors": found}


if __name__ == "__main__":
    main()
