"""Runs inside an agent's container: fetches the task, asks for the next step, does it, reports, until the final answer.

Standard library only, Python 3.8 or newer, one file: it is copied into images we know nothing about. The model never
talks to this program; the orchestrator does, over HTTP (`/v1/dispatch-gateway`), and all it ever asks for is a command.

The rule to know: every call may be repeated. The orchestrator keeps the conversation and recognises a `dispatch_id` it
has already taken, so a lost reply, a restart of the daemon or a cut connection is answered by sending the same again.

Exit code: 0 after a final response, 1 when it gave up or was told to stop.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # nothing evaluates annotations; what is imported here is on the way to the agent's first command
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

    Json = dict[str, Any]

REPLY_BYTES_MAX = 64 * 1024 * 1024  # a final response carries the whole conversation
OUTPUT_BYTES_DEFAULT = 512 * 1024
OUTPUT_BYTES_MAX = 4 * 1024 * 1024  # whatever the dispatch says: this memory is the container's
READ_BYTES = 64 * 1024
BACKOFF_FIRST_SECONDS = 0.2
BACKOFF_MAX_SECONDS = 10.0
ANSWER_SLACK_SECONDS = 15.0  # on top of the model's own time: the orchestrator's work and the network's
OUTAGE_SECONDS = 90.0  # a restart of the daemon, with room
DRAIN_SECONDS = 0.5  # for output still in the pipe when the command has ended
STREAM_BYTES = 8192  # of each stream in one message of output: a tail, like everything here
STREAM_PAUSE_SECONDS = 0.5  # between two of them, and a hundredth of the time the command has run already
STREAM_PATIENCE_SECONDS = 5.0
EXIT_NOT_RUN = -1
EXIT_CANNOT_EXECUTE = 126  # as a shell would say
EXIT_NOT_FOUND = 127
ADDRESS = re.compile(r"(https?)://(\[[^\s\]]+\]|[^\s/:@?#\[\]]+)(?::([0-9]{1,5}))?(/[^\s?#]*)?", re.IGNORECASE)
RETRIED_STATUSES = (408, 425, 429)  # besides every 5xx


def say(text: str) -> None:
    """A line for the container's log; flushed, because the container may be killed at any moment."""
    print(f"[aegis] {text}", flush=True)


class GaveUp(Exception):
    """Nothing this program can do leads on; the text goes to the log."""


# ---- talking to the orchestrator ----


class Orchestrator:
    """One base address and one token. HTTP/1.0, but not by http.client, whose import would be half of our start. No
    proxy is asked and no redirect followed, so the token goes where it was meant to, whatever `HTTP_PROXY` says."""

    def __init__(self, base_url: str, token: str, execution_id: str, llm_timeout_seconds: float) -> None:
        match = ADDRESS.fullmatch(base_url)
        if match is None:
            raise GaveUp(f"AEGIS_ORCHESTRATOR_URL is {base_url!r}, wanted http://HOST:PORT")
        scheme, host, port, path = match.groups()
        self._tls = scheme.lower() == "https"
        self._host: str = host.strip("[]")
        self._port = int(port or (443 if self._tls else 80))
        self._prefix = (path or "").rstrip("/") + "/v1/dispatch-gateway"
        # Naming the execution lets the orchestrator check the token before it reads a body.
        self._headers = (
            f"Host: {host}:{self._port}\r\nAuthorization: Bearer {token}\r\n"
            f"X-Aegis-Execution: {execution_id}\r\nAccept: application/json\r\nConnection: close\r\n"
        )
        self._attempt_seconds = llm_timeout_seconds + ANSWER_SLACK_SECONDS
        self._call_seconds = 2 * llm_timeout_seconds + OUTAGE_SECONDS

    def task(self, execution_id: str, iteration: int) -> Json:
        return self._call("GET", f"{self._prefix}/task?execution_id={execution_id}&iteration={iteration}", None)

    def post(self, message: Mapping[str, Any]) -> Json:
        return self._call("POST", self._prefix, json.dumps(message).encode("ascii"))

    def _call(self, method: str, path: str, body: bytes | None) -> Json:
        """Repeat until answered or the deadline: GaveUp when refused for good, or when time is up."""
        deadline = time.monotonic() + self._call_seconds
        backoff = BACKOFF_FIRST_SECONDS
        while True:
            wait = 0.0
            try:
                status, retry_after, answer = self._attempt(method, path, body)
                if status == 200:
                    return parse_object(answer)
                reason = f"HTTP {status}: {describe(answer)}"
                if not is_retryable(status, answer):
                    raise GaveUp(f"{method} {path}: {reason}")
                wait = retry_after
            except (OSError, ValueError) as error:
                reason = f"{type(error).__name__}: {error}"
            pause = max(wait, backoff * (0.5 + os.urandom(1)[0] / 510))  # not all containers at the same moment
            if time.monotonic() + pause >= deadline:
                raise GaveUp(f"{method} {path}: no usable answer within {self._call_seconds:.0f} s, last: {reason}")
            say(f"trying again in {pause:.1f} s: {reason}")
            time.sleep(pause)
            backoff = min(backoff * 2, BACKOFF_MAX_SECONDS)

    def tell(self, message: Mapping[str, Any]) -> bool:
        """Say it once, for people who follow: what does not get through is lost. False: it is not wanted."""
        body = json.dumps(message).encode("ascii")
        try:
            status, _, _ = self._attempt("POST", self._prefix, body, STREAM_PATIENCE_SECONDS)
        except (OSError, ValueError, GaveUp):
            return True
        return not 400 <= status < 500

    def _attempt(self, method: str, path: str, body: bytes | None, seconds: float = 0) -> tuple[int, float, bytes]:
        kind = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        connection = socket.create_connection((self._host, self._port), seconds or self._attempt_seconds)
        try:
            if self._tls:
                import ssl

                connection = ssl.create_default_context().wrap_socket(connection, server_hostname=self._host)
            connection.sendall(f"{method} {path} HTTP/1.0\r\n{self._headers}{kind}\r\n".encode() + (body or b""))
            with connection.makefile("rb") as stream:
                answer = stream.read(REPLY_BYTES_MAX + 1)
        finally:
            connection.close()
        status, headers, body_read = split_answer(answer)
        retry_after = headers.get("retry-after", "")
        return status, min(float(retry_after), BACKOFF_MAX_SECONDS) if retry_after.isdigit() else 0.0, body_read


def split_answer(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of all that came on a connection. ValueError for what is no answer, or is cut short."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    match = re.match(rb"HTTP/1\.[01] ([0-9]{3})\b", head)
    if match is None or not blank:
        raise ValueError("no HTTP answer")
    fields = [line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:]]
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    wanted = headers.get("content-length", "")
    if len(answer) > REPLY_BYTES_MAX:
        raise GaveUp(f"an answer is longer than {REPLY_BYTES_MAX} bytes")
    if wanted.isdigit() and len(body) < int(wanted):
        raise ValueError(f"the answer ends after {len(body)} of {wanted} bytes")
    return int(match[1]), headers, body


def parse_object(answer: bytes) -> Json:
    """ValueError for anything that is not a JSON object."""
    value = json.loads(answer.decode("utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object was wanted, got {type(value).__name__}")
    return value


def describe(answer: bytes) -> str:
    try:
        problem = parse_object(answer)
    except ValueError:
        return answer[:200].decode("utf-8", "replace")
    return f"{problem.get('code', '?')}: {problem.get('detail', '')}"


def is_retryable(status: int, answer: bytes) -> bool:
    """5xx and "later" answers, unless the problem document itself says that trying again is of no use."""
    if status < 500 and status not in RETRIED_STATUSES:
        return False
    try:
        return parse_object(answer).get("retryable") is not False
    except ValueError:
        return True


# ---- running commands ----


class Tail:
    """Reads a pipe to its end in a thread of its own and keeps the last `bytes_max` bytes, never more in memory.

    A command may leave a process behind that holds the pipe; the thread then goes on reading and forgets what it reads,
    so that process neither blocks nor dies of SIGPIPE."""

    def __init__(self, descriptor: int, bytes_max: int) -> None:
        self._descriptor = descriptor
        self._bytes_max = bytes_max
        self._buffer = bytearray()
        self._lock = threading.Lock()
        self._taken = False
        self._fresh = bytearray()  # the end of what `news` has not given yet
        self._skipped = 0
        self.truncated = False
        self._thread = threading.Thread(target=self._read, name="aegis-output", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            chunk = os.read(self._descriptor, READ_BYTES)
            if not chunk:
                os.close(self._descriptor)
                return
            with self._lock:
                if self._taken:
                    continue
                self._buffer += chunk
                if len(self._buffer) > self._bytes_max:
                    self.truncated = True
                    del self._buffer[: len(self._buffer) - self._bytes_max]
                self._fresh += chunk
                over = max(0, len(self._fresh) - STREAM_BYTES)
                self._skipped += over
                del self._fresh[:over]

    def news(self) -> tuple[str, int]:
        """What has come since the last call, at most `STREAM_BYTES` of it; and how many bytes before that are left out.
        A character whose rest is still to come is kept for the next time."""
        with self._lock:
            text, used = codecs.utf_8_decode(bytes(self._fresh), "replace", False)
            del self._fresh[:used]
            skipped, self._skipped = self._skipped, 0
        return text.replace("\0", "\ufffd"), skipped

    def take(self, drain_seconds: float) -> str:
        """What there is, waiting at most `drain_seconds` for the end of the pipe. NUL bytes are replaced as well as
        bytes that are not UTF-8: PostgreSQL stores neither."""
        self._thread.join(drain_seconds)
        with self._lock:
            self._taken = True
            return bytes(self._buffer).decode("utf-8", "replace").replace("\0", "\ufffd")


class Stream:
    """Tells a command's output while it runs, from a thread of its own: each half second, rarer the longer it runs. The
    result is what counts, so nothing here is repeated, and nobody waits for it."""

    def __init__(self, tell: Callable[[Json], bool], out: Tail, err: Tail) -> None:
        self._tell = tell
        self._tails = (out, err)
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="aegis-stream", daemon=True).start()

    def end(self) -> None:
        self._ended.set()

    def _run(self) -> None:
        started, pause, sequence = time.monotonic(), STREAM_PAUSE_SECONDS, 0
        while not self._ended.wait(pause):
            pause = max(STREAM_PAUSE_SECONDS, (time.monotonic() - started) / 100)
            (stdout, first), (stderr, second) = (tail.news() for tail in self._tails)
            if not (stdout or stderr):
                continue
            news = {"sequence": sequence, "stdout": stdout, "stderr": stderr, "skipped_bytes": first + second}
            sequence += 1
            if not self._tell(news):
                return


class Commands:
    """Runs commands, each in a process group of its own, and can kill all of them."""

    def __init__(self, tell: Callable[[str, Json], bool] | None = None) -> None:
        """`tell`: where the output of a dispatch goes while it runs; see `Stream`."""
        self._groups: set[int] = set()
        self.tell = tell

    def run(self, dispatch: Mapping[str, Any]) -> Json:
        """Always a result: whatever goes wrong is told to the model as the command's outcome."""
        action = dispatch.get("action")
        if action != "exec":
            return outcome(EXIT_NOT_RUN, stderr=f"unknown_action:{action}")
        command, arguments = dispatch.get("command"), dispatch.get("args", [])
        if not isinstance(command, str) or not isinstance(arguments, list):
            return outcome(EXIT_NOT_RUN, stderr="malformed dispatch: command must be text, args a list")
        argv = [command, *map(str, arguments)]
        cwd = str(dispatch.get("cwd") or "/workspace")
        if not os.path.isdir(cwd):
            return outcome(EXIT_NOT_RUN, stderr=f"the working directory {cwd} does not exist in this container")
        started = time.monotonic()
        try:
            result = self._execute(argv, cwd, dispatch)
        except FileNotFoundError:
            result = outcome(EXIT_NOT_FOUND, stderr=f"{command}: command not found")
        except (OSError, ValueError) as error:  # not executable, too long, a NUL in an argument
            result = outcome(EXIT_CANNOT_EXECUTE, stderr=f"{command}: cannot be run: {error}")
        result["duration_ms"] = int((time.monotonic() - started) * 1000)
        return result

    def _execute(self, argv: list[str], cwd: str, dispatch: Mapping[str, Any]) -> Json:
        timeout = float(dispatch.get("timeout_secs") or 60)
        bytes_max = min(int(dispatch.get("max_output_bytes") or OUTPUT_BYTES_DEFAULT), OUTPUT_BYTES_MAX)
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=environment_for(dispatch.get("env_additions") or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._groups.add(process.pid)
        assert process.stdout is not None and process.stderr is not None
        # The descriptors are the threads' from here on: Popen closing them under a reader would be a race.
        out, err = (Tail(os.dup(pipe.fileno()), bytes_max) for pipe in (process.stdout, process.stderr))
        process.stdout.close()
        process.stderr.close()
        note, stream = "", self._stream(dispatch, out, err)
        try:
            code = process.wait(timeout)
            code = 128 - code if code < 0 else code  # killed by a signal, said as shells do: -1 means we did it
        except subprocess.TimeoutExpired:
            self._kill(process.pid)
            process.wait()
            code, note = EXIT_NOT_RUN, f"timed out after {timeout:g} s and was killed"
        finally:
            if stream is not None:
                stream.end()
        stdout, stderr = out.take(DRAIN_SECONDS), err.take(DRAIN_SECONDS)
        if note:
            stderr = f"{stderr.rstrip()}\n{note}".lstrip()
        return outcome(code, stdout, stderr, out.truncated or err.truncated)

    def _stream(self, dispatch: Mapping[str, Any], out: Tail, err: Tail) -> Stream | None:
        tell, dispatch_id = self.tell, str(dispatch.get("dispatch_id"))
        return None if tell is None else Stream(lambda news: tell(dispatch_id, news), out, err)

    def _kill(self, group: int) -> None:
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # all gone already; or what is left changed its user, and is not ours to kill

    def kill_all(self) -> None:
        for group in self._groups:
            self._kill(group)


def environment_for(additions: Mapping[str, Any]) -> dict[str, str]:
    """The container's own without the dispatch token: a command has no business with it, and often prints its own."""
    own = {key: value for key, value in os.environ.items() if key != "AEGIS_DISPATCH_TOKEN"}
    return {**own, **{str(key): str(value) for key, value in additions.items()}}


def outcome(exit_code: int, stdout: str = "", stderr: str = "", truncated: bool = False) -> Json:
    return {"exit_code": exit_code, "stdout": stdout, "stderr": stderr, "duration_ms": 0, "truncated": truncated}


# ---- the loop ----


def run_iteration(orchestrator: Orchestrator, commands: Commands, execution_id: str, iteration: int) -> None:
    """From the task to the final response; GaveUp otherwise."""
    task = orchestrator.task(execution_id, iteration)
    say(f"iteration {iteration} of execution {execution_id}: asking the model")
    reply = orchestrator.post(
        {
            "type": "generate",
            "agent_id": task.get("agent_id") or os.environ.get("AEGIS_AGENT_ID", ""),
            "execution_id": execution_id,
            "iteration_number": iteration,
            "prompt": task.get("prompt", ""),
            "model_alias": task.get("model_alias") or os.environ.get("AEGIS_MODEL_ALIAS", "default"),
            "messages": task.get("messages", []),
        }
    )
    while reply.get("type") == "dispatch":
        say(f"running {reply.get('command')} {reply.get('args', [])!r:.200}")
        result = commands.run(reply)
        say(f"exit code {result['exit_code']} after {result['duration_ms']} ms")
        identity = {"type": "dispatch_result", "execution_id": execution_id, "dispatch_id": reply.get("dispatch_id")}
        reply = orchestrator.post({**identity, **result})
    if reply.get("type") != "final":
        raise GaveUp(f"the orchestrator answered type {reply.get('type')!r}, wanted dispatch or final")
    say(f"final response after {reply.get('tool_calls_executed', 0)} tool calls")


def number_from(name: str, default: str) -> float:
    text = os.environ.get(name, default)
    try:
        return float(text)
    except ValueError:
        raise GaveUp(f"{name} is {text!r}, wanted a number") from None


def main() -> int:
    commands = Commands()

    def stop(signum: int, _frame: object) -> NoReturn:
        say(f"stopped by {signal.Signals(signum).name}")
        commands.kill_all()
        sys.exit(1)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        timeout = number_from("AEGIS_LLM_TIMEOUT_SECONDS", "300")
        iteration = int(number_from("AEGIS_ITERATION", "1"))
        execution_id = os.environ["AEGIS_EXECUTION_ID"]
        base_url, token = os.environ["AEGIS_ORCHESTRATOR_URL"], os.environ["AEGIS_DISPATCH_TOKEN"]
        orchestrator = Orchestrator(base_url, token, execution_id, timeout)
        identity = {"type": "dispatch_output", "execution_id": execution_id}
        commands.tell = lambda dispatch_id, news: orchestrator.tell({**identity, "dispatch_id": dispatch_id, **news})
        run_iteration(orchestrator, commands, execution_id, iteration)
        return 0
    except KeyError as missing:
        say(f"gave up: the environment variable {missing.args[0]} is not set")
    except (GaveUp, ValueError) as error:
        say(f"gave up: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
