"""What became of the files, from the events of a real gateway: held against what is there in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aegis.adapters.nfs import NfsGateway, Storage
from aegis.api.views import EventView
from aegis.cli.changes import changes
from aegis.domain.events import Event
from aegis.errors import AegisError
from aegis.ports import FileRules
from tests.support import samples


async def test_a_file_that_was_written_whole_is_one_added_file_and_what_was_refused_is_none(tmp_path: Path) -> None:
    told: list[Event] = []
    gateway = NfsGateway(
        Storage(tmp_path), listen=[("127.0.0.1", 0)], secret=b"0123456789abcdef0123456789abcdef", on_events=told.extend
    )
    await gateway.start()
    try:
        volume = samples.volume()
        await gateway.create_storage(volume)
        held = samples.attachment(volume)
        await gateway.attach(volume, held, FileRules())
        files = gateway.workspace(volume, held)
        await files.write("report.md", b"first")  # beside it, and renamed over it
        await files.write("report.md", b"the second")
        await files.make_directory("d/e")
        await files.write("d/e/kept", b"x")
        await files.write("d/gone", b"y" * 100_000)
        await files.delete("d/gone")
        await gateway.detach(volume, held)
        reader = samples.attachment(volume)
        await gateway.attach(volume, reader, FileRules(read_only=True))
        try:
            await gateway.workspace(volume, reader).write("report.md", b"never")
        except AegisError:
            pass
        await gateway.detach(volume, reader)
    finally:
        await gateway.close()
    found: list[dict[str, Any]] = [EventView.of(each).model_dump(mode="json") for each in told]
    assert [(each.status, each.path, each.bytes_written) for each in changes(found)] == [
        ("A", "/workspace/d", 0),
        ("A", "/workspace/d/e", 0),
        ("A", "/workspace/d/e/kept", 1),
        ("A", "/workspace/report.md", len(b"first" + b"the second")),
    ]
    assert [each for each in found if each["kind"] in ("file.denied", "file.failed")]
