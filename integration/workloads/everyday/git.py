"""git: a repository of thousands of files, cloned, merged, packed, and checked."""

from __future__ import annotations

from integration.workloads.everyday.chore import Chore

IDENTITY = """
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=c
export GIT_COMMITTER_EMAIL=c@d GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
"""

FILES = """
python3 - <<END
import os
for n in range(int(os.environ["FILES"])):
    path = f"src/d{n % 40}/e{n % 7}"
    os.makedirs(path, exist_ok=True)
    with open(f"{path}/file{n}.txt", "w") as file:
        file.write(f"line {n}\\n" * (n % 50))
END
"""

CHORES = (
    Chore(
        "git",
        IDENTITY
        + """
git init -q -b main origin; cd origin; git config pack.threads 1; git config gc.auto 0
"""
        + FILES
        + """
printf '#!/bin/sh\\necho hook >>hooked\\n' >.git/hooks/post-commit; chmod 755 .git/hooks/post-commit
ln -s src/d0 link; echo '#!/bin/sh' >run; chmod 755 run; mkdir 'odd name'; echo x >'odd name/ü'
git add .; git commit -qm first; cat hooked; rm hooked
git checkout -q -b side; for f in src/d1/e*/*; do echo side >>$f; done; git mv src/d2 src/moved; git commit -qam side
git checkout -q main; for f in src/d3/e*/*; do echo main >>$f; done; git rm -q src/d4/e*/file4.txt; git commit -qam main
git merge -q -m merged side; git tag v1; rm hooked; git status --short
cd ..; git clone -q origin copy; cd copy; git config pack.threads 1; git config gc.auto 0
git status --short; git checkout -q -b work; echo more >>src/d5/e5/file5.txt; git status --short; git stash -q
git status --short; git stash pop -q; git commit -qam work; git rebase -q origin/side 2>&1 || true; git log --format=%s
git worktree add -q ../tree side 2>/dev/null; git -C ../tree status --short; echo y >>../tree/run
git -C ../tree commit -qam tree; git worktree list | wc -l
git push -q origin work; git -C ../origin branch
cd ../origin; git gc -q --prune=now; git fsck --full --strict; git count-objects -v | grep -v size
git ls-files -s | sha256sum; git log --format=%H | sha256sum
cd ../copy; git gc -q --prune=now; git fsck --full; git fetch -q; git clean -xfdn; git diff --stat HEAD~1 | tail -1
cd ..; git clone -q --bare --no-hardlinks origin bare; git clone -q --depth 1 file://$PWD/origin shallow 2>&1
git -C shallow status --short; git -C bare fsck; rm -rf shallow
""",
        # The index holds inode numbers and times of the files; ORIG_HEAD and logs hold neither.
        volatile=("*/index",),
    ),
)
