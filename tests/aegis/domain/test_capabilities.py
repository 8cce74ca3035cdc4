"""What a security context says of one call."""

from __future__ import annotations

import pytest

from aegis.domain.capabilities import FileUse, Judged, Touched, judge, judge_name
from aegis.domain.contexts import Capability, PathLists, SecurityContext

MOUNTS = ("/workspace", "/workspace/data", "/src")


def context(*capabilities: Capability, deny: tuple[str, ...] = ()) -> SecurityContext:
    return SecurityContext(name="coder", capabilities=capabilities, deny=deny)


def allows(capability: Capability, tool: str, touched: Touched) -> bool:
    judged = judge(context(capability), tool, touched, MOUNTS)
    assert bool(judged.allowing) is not bool(judged.refusal), "allowed, or refused with a reason"
    return bool(judged.allowing)


def run(*argv: str) -> Touched:
    return Touched(command=argv)


def test_what_no_capability_means_is_denied() -> None:
    judged = judge_name(context(Capability(tool_pattern="fs.*")), "cmd.run")
    assert judged.refusal == "the security context coder does not allow cmd.run (it allows: fs.*)"
    assert judge_name(context(), "fs.read").refusal.endswith("(it allows: none)")


def test_the_deny_list_is_asked_first() -> None:
    judged = judge_name(context(Capability(tool_pattern="fs.*"), deny=("fs.delete",)), "fs.delete")
    assert judged == Judged(refusal="the security context coder denies fs.delete", rule="coder.deny_list (fs.delete)")
    assert judge_name(context(Capability(tool_pattern="fs.*"), deny=("*",)), "fs.read").refusal


def test_one_capability_that_allows_is_enough() -> None:
    two = context(
        Capability(tool_pattern="fs.*", filesystem=PathLists(read=("/src/**",), write=())),
        Capability(tool_pattern="fs.write", filesystem=PathLists(write=("/workspace/out/**",))),
    )
    assert judge(two, "fs.write", Touched(writes=(FileUse("/workspace/out/a"),)), MOUNTS).allowing == (1,)
    refused = judge(two, "fs.write", Touched(writes=(FileUse("/workspace/a"),)), MOUNTS)
    assert refused.rule == "coder.capabilities[0] (fs.*), coder.capabilities[1] (fs.write)"
    assert "(allowed: none); and /workspace/a may not be written" in refused.refusal


@pytest.mark.parametrize(
    ("pattern", "use", "allowed"),
    [
        ("/workspace/**", FileUse("/workspace/a/b"), True),
        ("/workspace", FileUse("/workspace/a/b"), True),
        ("/workspace/a", FileUse("/workspace/a"), True),
        ("/workspace/a", FileUse("/workspace/a/b"), False),
        ("/workspace/*.txt", FileUse("/workspace/a.txt"), True),
        ("/workspace/*.txt", FileUse("/workspace/a/b.txt"), False),
        ("/workspace/**/*.txt", FileUse("/workspace/a/b.txt"), True),
        ("/workspace/src/**", FileUse("/workspace/srcs/a"), False),
        ("/workspace", FileUse("/workspace/data/a"), False),  # another volume, as for the container's own rules
        ("/workspace/**", FileUse("/workspace/data/a"), True),
        ("/**", FileUse("/etc/passwd"), False),  # on no volume
        ("/workspace/**", FileUse("/workspace", below=True), True),
        ("/workspace/a/**", FileUse("/workspace", below=True), False),
        ("/workspace/*", FileUse("/workspace/a", below=True), False),
        ("/workspace/**/*.txt", FileUse("/workspace/a.txt", below=True), False),
        ("/workspace/**/a/**", FileUse("/workspace/b/a/c", below=True), True),
    ],
)
def test_paths_are_measured_as_the_manifests_own_lists_are(pattern: str, use: FileUse, allowed: bool) -> None:
    reading = Capability(tool_pattern="fs.*", filesystem=PathLists(read=(pattern,)))
    assert allows(reading, "fs.read", Touched(reads=(use,))) is allowed
    writing = Capability(tool_pattern="fs.*", filesystem=PathLists(write=(pattern,)))
    assert allows(writing, "fs.write", Touched(writes=(use,))) is allowed


def test_no_list_restricts_nothing_and_an_empty_one_allows_nothing() -> None:
    use = Touched(reads=(FileUse("/workspace/a"),), writes=(FileUse("/workspace/a"),))
    assert allows(Capability(tool_pattern="*"), "fs.edit", use)
    assert not allows(Capability(tool_pattern="*", filesystem=PathLists(read=())), "fs.edit", use)
    assert allows(Capability(tool_pattern="*", filesystem=PathLists(read=("/workspace",))), "fs.edit", use)
    assert not allows(Capability(tool_pattern="*", commands={}), "cmd.run", run("ls"))
    assert not allows(Capability(tool_pattern="*", domains=()), "web.fetch", Touched(urls=("https://a.example",)))


def test_a_list_that_cannot_judge_a_call_does_not_allow_it() -> None:
    files = Capability(tool_pattern="*", filesystem=PathLists(read=("/workspace/**",), write=("/workspace/**",)))
    assert not allows(files, "cmd.run", run("cat", "/etc/passwd"))
    assert not allows(Capability(tool_pattern="*", domains=("a.example",)), "fs.read", Touched())
    assert not allows(Capability(tool_pattern="*", commands={"ls": ("*",)}), "fs.read", Touched())


@pytest.mark.parametrize(
    ("argv", "allowed"),
    [
        (["git", "status"], True),
        (["git", "diff", "--stat", "HEAD"], True),
        (["git", "push"], False),
        (["git"], False),
        (["git", "-C", "x", "push"], False),
        (["git", "-C", "x", "status"], False),
        (["git", "--no-pager", "status"], False),
        (["git status"], False),
        (["/usr/bin/git", "status"], False),
        (["./git", "status"], False),
        (["GIT", "status"], False),
        (["git", "status "], False),
        (["env", "git", "push"], False),
        (["sh", "-c", "git push"], False),
        (["ls"], True),
        (["ls", "-l", "/etc"], True),
        (["pwd"], True),
        (["pwd", "-P"], False),
        (["/opt/check", "all"], True),
        (["check", "all"], False),
    ],
)
def test_commands_are_matched_word_by_word_on_argv(argv: list[str], allowed: bool) -> None:
    commands = {"git": ("status", "diff"), "ls": ("*",), "pwd": (), "/opt/check": ("*",)}
    assert allows(Capability(tool_pattern="cmd.run", commands=commands), "cmd.run", run(*argv)) is allowed


def test_a_refused_command_says_what_would_be_allowed() -> None:
    capability = Capability(tool_pattern="cmd.run", commands={"git": ("status", "diff"), "pwd": ()})
    refusals = [
        judge(context(capability), "cmd.run", run(*argv), MOUNTS).refusal
        for argv in (["git", "push"], ["git"], ["sh", "-c", "x"], ["pwd", "-P"])
    ]
    assert refusals == [
        "the command git is not allowed with the first argument 'push', only with one of these first: status, diff"
        " (security context coder)",
        "the command git is not allowed without arguments, only with one of these first: status, diff"
        " (security context coder)",
        "the command 'sh' is not allowed (allowed, as they are written: git, pwd) (security context coder)",
        "the command pwd is not allowed with the first argument '-P', only without arguments (security context coder)",
    ]


def test_every_url_of_a_call_has_to_be_allowed() -> None:
    web = Capability(tool_pattern="web.*", domains=("*.example.org", "example.org"))
    assert allows(web, "web.fetch", Touched(urls=("https://api.example.org/x", "http://example.org")))
    assert not allows(web, "web.fetch", Touched(urls=("https://api.example.org/x", "http://evil.test")))
    assert not allows(web, "web.fetch", Touched(urls=("http://example.org:8080",)))
    assert allows(
        Capability(tool_pattern="*", domains=("a.test:8080",)), "web.fetch", Touched(urls=("http://a.test:8080",))
    )
    with pytest.raises(ValueError, match="unusual form"):
        allows(web, "web.fetch", Touched(urls=("http://127.1/",)))
