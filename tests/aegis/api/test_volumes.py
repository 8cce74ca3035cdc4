from __future__ import annotations

import aiohttp
import pytest
from yarl import URL

from tests.support.small_world import World


async def create(api: aiohttp.ClientSession, name: str = "data") -> dict[str, object]:
    async with api.post("/v1/volumes", json={"name": name, "size_limit_bytes": 1000}) as answer:
        assert answer.status == 201
        volume: dict[str, object] = await answer.json()
        return volume


async def test_a_volume_is_shown_by_name_or_id_with_its_usage(api: aiohttp.ClientSession) -> None:
    volume = await create(api)
    async with api.put("/v1/volumes/data/files/notes.txt", data=b"hello") as answer:
        assert answer.status == 204
    for reference in ("data", volume["id"]):
        async with api.get(f"/v1/volumes/{reference}") as answer:
            assert (await answer.json())["usage"] == {"bytes_used": 5, "bytes_max": 1000, "files": 1}


async def test_a_name_two_volumes_have_is_refused_with_both_ids(api: aiohttp.ClientSession) -> None:
    first, second = await create(api), await create(api)
    async with api.get("/v1/volumes/data") as answer:
        problem = await answer.json()
    assert (answer.status, problem["code"]) == (409, "ambiguous_name")
    assert str(first["id"]) in problem["next_step"]
    assert str(second["id"]) in problem["next_step"]


async def test_a_deleted_volume_is_listed_only_when_asked_for(api: aiohttp.ClientSession) -> None:
    await create(api)
    async with api.delete("/v1/volumes/data") as answer:
        assert answer.status == 204
    async with api.get("/v1/volumes") as answer:
        assert (await answer.json())["items"] == []
    async with api.get("/v1/volumes?deleted=true") as answer:
        assert [item["state"] for item in (await answer.json())["items"]] == ["deleted"]


@pytest.mark.parametrize("name", ["", "Data", "../x", "a" * 64, "-a"])
async def test_a_volumes_name_is_checked(api: aiohttp.ClientSession, name: str) -> None:
    async with api.post("/v1/volumes", json={"name": name}) as answer:
        assert answer.status == 400


async def test_files_are_written_listed_read_and_deleted(api: aiohttp.ClientSession) -> None:
    await create(api)
    base = "/v1/volumes/data/files"
    async with api.put(f"{base}/src?directory=true") as answer:
        assert answer.status == 204
    async with api.put(f"{base}/src/main.py", data=b"print(42)\n") as answer:
        assert answer.status == 204
    async with api.get(f"{base}/src") as answer:
        entries = (await answer.json())["items"]
    assert [(entry["name"], entry["size_bytes"], entry["mode"]) for entry in entries] == [("main.py", 10, "0644")]
    async with api.get(f"{base}/src/main.py") as answer:
        assert await answer.read() == b"print(42)\n"
        assert answer.content_type == "application/octet-stream"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    async with api.delete(f"{base}/src") as answer:
        assert answer.status == 409
    async with api.delete(f"{base}/src?recursive=true") as answer:
        assert answer.status == 204
    async with api.get(f"{base}/src/main.py") as answer:
        assert answer.status == 404


async def test_names_that_are_no_text_go_there_and_back(api: aiohttp.ClientSession, world: World) -> None:
    volume = await create(api)
    base = str(api._build_url("/v1/volumes/data/files"))
    async with api.put(URL(base + "/%FF%25", encoded=True), data=b"x") as answer:
        assert answer.status == 204
    assert "\udcff%" in world.gateway.workspaces[str(volume["id"])].files
    async with api.get(base) as answer:
        (entry,) = (await answer.json())["items"]
    assert (entry["name"], entry["path_encoded"]) == ("\ufffd%", "%FF%25")
    async with api.get(URL(f"{base}/{entry['path_encoded']}", encoded=True)) as answer:
        assert await answer.read() == b"x"


async def test_the_root_is_no_file(api: aiohttp.ClientSession) -> None:
    await create(api)
    async with api.put("/v1/volumes/data/files/", data=b"x") as answer:
        assert answer.status == 400
    async with api.delete("/v1/volumes/data/files") as answer:
        assert answer.status == 400


async def test_a_nul_in_a_path_is_refused(api: aiohttp.ClientSession) -> None:
    await create(api)
    base = str(api._build_url("/v1/volumes/data/files"))
    async with api.get(URL(base + "/a%00b", encoded=True)) as answer:
        assert answer.status == 400
