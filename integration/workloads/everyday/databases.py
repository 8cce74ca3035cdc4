"""sqlite in each of its journal modes, with readers beside the writer, and a writer that is killed.

All processes are on one client. There every mode works, WAL too: its shared memory is a mapped file, and with `nolock`
locks are the client's own. sqlite's warning of network file systems is about processes on several hosts: between two
clients neither the locks nor the mapping are shared.
"""

from __future__ import annotations

from integration.workloads.everyday.chore import Chore

WRITER = """
import multiprocessing, os, signal, sqlite3, sys
mode, sync = sys.argv[1:]
def connect():
    db = sqlite3.connect("data.db", timeout=60, isolation_level=None)
    db.execute(f"pragma journal_mode={mode}"), db.execute(f"pragma synchronous={sync}")
    return db
def read(ready, stop, torn):
    db = connect()
    ready.release()
    while not stop.value:
        if db.execute("select coalesce(sum(amount), 0) from account").fetchone()[0] != 0:
            torn.value += 1
    db.close()
def transfer(db, first, count):
    for n in range(first, first + count):
        db.execute("begin immediate")
        db.execute("insert into account (name, amount, fill) values (?, ?, ?)", (f"a{n}", n, "x" * (n * 37 % 900)))
        db.execute("insert into account (name, amount, fill) values (?, ?, ?)", (f"b{n}", -n, "y" * (n * 91 % 900)))
        if n % 5 == 0:
            db.execute("delete from account where name in (?, ?)", (f"a{n - 3}", f"b{n - 3}"))
        db.execute("rollback" if n % 7 == 3 and mode != "off" else "commit")
def die(first):
    db = connect()
    db.execute("pragma cache_size=5"), db.execute("begin immediate")
    for n in range(300):
        db.execute("insert into account (name, amount, fill) values ('torn', 1, ?)", ("z" * 900,))
    os.kill(os.getpid(), signal.SIGKILL)
db = connect()
print(mode, db.execute("pragma journal_mode").fetchone()[0])
db.execute("pragma wal_autocheckpoint=20")
db.execute("create table account (id integer primary key, name text, amount integer, fill text)")
db.execute("create index by_name on account (name)")
ready, stop, torn = multiprocessing.Semaphore(0), multiprocessing.Value("i", 0), multiprocessing.Value("i", 0)
readers = [multiprocessing.Process(target=read, args=(ready, stop, torn)) for _ in range(2)]
for each in readers: each.start(), ready.acquire()
transfer(db, 0, 40)
if mode not in ("off", "memory"):  # which promise nothing then
    killed = multiprocessing.Process(target=die, args=(1000,))
    killed.start(), killed.join(), print("writer ended with", killed.exitcode)
    transfer(db, 40, 20)
stop.value = 1
for each in readers: each.join(), print("reader ended with", each.exitcode, "torn", torn.value)
print(db.execute("select count(*), sum(amount), sum(length(fill)) from account").fetchone())
print(db.execute("pragma integrity_check").fetchone())
db.execute("vacuum"), db.close()
if mode == "wal":  # its change counter, kept twice, depends on when the readers looked
    with open("data.db", "r+b") as file:
        file.seek(24), file.write(bytes(4)), file.seek(92), file.write(bytes(4))
print(sorted(os.listdir(".")))
"""

CHORES = (
    Chore(
        "sqlite",
        f"""
cat >/tmp/writer-$UID.py <<'END'
{WRITER}
END
for mode in delete truncate persist wal off memory; do
  mkdir $mode; cd $mode; python3 /tmp/writer-$UID.py $mode full; cd ..
done
rm /tmp/writer-$UID.py
sqlite3 shell.db 'create table t (a); insert into t values (42); select a from t'
sqlite3 shell.db '.backup copy.db'; sqlite3 copy.db 'select * from t'
""",
        # In the journal kept by `persist` is a random number; the databases are the same byte for byte.
        volatile=("*-journal",),
    ),
)
