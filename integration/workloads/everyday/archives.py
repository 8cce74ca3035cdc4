"""tar, rsync and cp: a tree with every kind of file goes in and out, and is afterwards what it was."""

from __future__ import annotations

from integration.workloads.everyday.chore import Chore

CHORES = (
    Chore(
        "tar",
        """
export TAR_OPTIONS=--numeric-owner  # whether the user has a name is the image's affair
(cd $PROGRAM; python3 -B -m integration.workloads sample --directory "$OLDPWD/source")
tar --sort=name -cf packed.tar source; mkdir out; tar -xpf packed.tar -C out; tar -df packed.tar -C out
tar --sort=name -czSf sparse.tgz -C out source; mkdir again; tar -xpzf sparse.tgz -C again; tar -dzf sparse.tgz -C again
cmp packed.tar <(cd again; tar --sort=name -cf - source) && echo the same archive
tar -cf - -C out source | (mkdir pipe; tar -xpf - -C pipe)
tar --listed-incremental=snapshot -cf full.tar -C out source; echo new >>out/source/d0/e0/file0
tar --listed-incremental=snapshot -cf step.tar -C out source; mkdir restored
for each in full step; do tar --listed-incremental=/dev/null -xpf $each.tar -C restored; done
cat restored/source/hard | tail -c 4; chmod 755 */source/closed; rm -rf out
""",
        # Incremental archives and their snapshots hold inode numbers, and the time they were made.
        volatile=("snapshot", "full.tar", "step.tar"),
    ),
    Chore(
        "rsync",
        """
(cd $PROGRAM; python3 -B -m integration.workloads sample --directory "$OLDPWD/source")
rsync -aH --sparse source/ out/; rsync -aHi --checksum source/ out/; echo nothing to do
echo more >>source/d7/e1/file31; rm source/hard; mkdir source/new
touch -d @1600000000 source/d7/e1/file31 source/new source
rsync -aHi --delete source/ out/; rsync -aH --inplace --no-whole-file source/ out/; rsync -aHi --delete source/ out/
cp -a source copied; rsync -aHin --delete source/ copied/; rsync -a --link-dest=$PWD/out source/ linked/
cp -r --reflink=auto source/d0 plain; cp --sparse=always source/sparse holes; cmp source/sparse holes
mkdir from; rsync -a out/d1 out/d2 from/; mv out moved; install -m 751 source/d7/e1/file31 installed
stat -c '%a %n' installed; chmod 755 */closed
""",
    ),
)
