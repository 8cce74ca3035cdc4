"""What shells, editors and agents do with single files: saves, locks, sockets, pipes, keys, deep paths."""

from __future__ import annotations

from integration.workloads.everyday.chore import Chore

SAVES = """
import mmap, os, tempfile
for n in range(60):  # as vim, and as every library that writes atomically
    fd, name = tempfile.mkstemp(dir=".")
    with os.fdopen(fd, "w") as file:
        file.write(f"version {n}\\n" * n), file.flush(), os.fsync(fd)
    os.chmod(name, 0o644), os.replace(name, "saved")
    directory = os.open(".", os.O_RDONLY)
    os.fsync(directory), os.close(directory)
    with open("saved") as file:
        assert file.read() == f"version {n}\\n" * n
    os.link("saved", "backup"), os.unlink("backup")
with open("saved", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
    os.unlink("saved")
    mapping[:7] = b"VERSION"
    print(mapping[:9], file.read(9), os.path.exists("saved"))
"""

LOCKS = """
import errno, fcntl, os, struct
def held(lock):
    reader, writer = os.pipe()
    if os.fork() == 0:
        with open("locked", "r+b") as file:
            try:
                lock(file)
                os.write(writer, b"taken")
            except OSError as error:
                os.write(writer, errno.errorcode[error.errno].encode())
        os._exit(0)
    os.wait()
    return os.read(reader, 100).decode()
open("locked", "wb").write(bytes(100))
exclusive = fcntl.LOCK_EX | fcntl.LOCK_NB
with open("locked", "r+b") as file:
    fcntl.flock(file, exclusive)
    print("flock:", held(lambda other: fcntl.flock(other, exclusive)))
    fcntl.flock(file, fcntl.LOCK_UN)
    print("flock:", held(lambda other: fcntl.flock(other, exclusive)))
    fcntl.lockf(file, exclusive, 10, 5)
    print("the same bytes:", held(lambda other: fcntl.lockf(other, exclusive, 10, 5)))
    print("other bytes:", held(lambda other: fcntl.lockf(other, exclusive, 10, 15)))
    print("shared:", held(lambda other: fcntl.lockf(other, fcntl.LOCK_SH | fcntl.LOCK_NB, 10, 5)))
print("after the close:", held(lambda other: fcntl.lockf(other, exclusive)))
"""

SOCKETS = """
import os, select, socket, threading
server = socket.socket(socket.AF_UNIX)
server.bind("socket"), server.listen()
client = socket.socket(socket.AF_UNIX)
client.connect("socket")
accepted, _ = server.accept()
client.sendall(b"through the socket"), print(accepted.recv(100))
os.rename("socket", "renamed")
again = socket.socket(socket.AF_UNIX)
again.connect("renamed"), server.close()
try:
    socket.socket(socket.AF_UNIX).connect("renamed")
except OSError as error:
    print(type(error).__name__)
os.mkfifo("pipe")
threading.Thread(target=lambda: open("pipe", "wb").write(b"through the pipe")).start()
print(open("pipe", "rb").read())
"""

DEEP = """
import os, shutil
name = "n" * 200
here = os.getcwd()
for _ in range(30):
    os.mkdir(name), os.chdir(name)
open("bottom", "w").write("deep"), print(len(os.getcwd()) > 4096 or "short")
os.chdir(here)
path = "/".join([name] * 19) + "/"
longest = 4095 - len(path)
open(path + "m" * min(longest, 255), "w").close(), print(len(path), longest, len(os.listdir(path)))
try:
    open("/".join([name] * 21), "w")
except OSError as error:
    print(error.strerror)
shutil.rmtree(name), print(os.listdir("."))
"""

MANY = """
import os
os.mkdir("many")
count = int(os.environ["ENTRIES"])
for n in range(count): os.close(os.open(f"many/entry-{n}", os.O_CREAT | os.O_WRONLY))
listed = 0
with os.scandir("many") as listing:
    for entry in listing:  # removed while it is listed, as rm -r and find -delete do
        listed += 1
        if listed % 2: os.unlink(entry.path)
print(listed, len(os.listdir("many")), len(set(os.listdir("many"))))
for name in os.listdir("many"): os.unlink(f"many/{name}")
os.rmdir("many")
"""

BUSY = """
import os, subprocess
os.makedirs("busy/deep")
files = [open(f"busy/deep/{n}", "w+b", buffering=0) for n in range(20)]
for number, file in enumerate(files): file.write(b"%d" % number * 1000)
status = subprocess.run(["rm", "-rf", "busy"], stderr=subprocess.DEVNULL).returncode
for number, file in enumerate(files):
    file.seek(0)
    assert file.read() == b"%d" % number * 1000
    file.close()
print("removed once they are closed:", subprocess.run(["rm", "-rf", "busy"]).returncode, os.path.exists("busy"))
"""


def python(program: str) -> str:
    return f"python3 - <<'END'\n{program}\nEND\n"


CHORES = (
    Chore("saves", python(SAVES) + """
printf 'one\\ntwo\\n' >text; chmod 640 text; sed -i s/two/2/ text; cat text; stat -c %a text
mktemp -p . -d tmp.XXXX >/dev/null; rmdir tmp.*; echo a >noclobber; set -C; (echo b >noclobber) 2>/dev/null || echo kept
set +C; split -b 1 -a 3 text part.; cat part.* | cmp - text; rm part.*; sort -o text text; cat text
"""),
    Chore("locks", python(LOCKS) + """
exec 9>guard; flock 9; flock -n guard true || echo guarded; exec 9>&-; flock -n guard echo free
"""),
    Chore("sockets", python(SOCKETS)),
    Chore("deep", python(DEEP)),
    Chore("directory", python(MANY)),
    Chore("busy", python(BUSY)),
    Chore("ssh-keygen", """
ssh-keygen -q -t ed25519 -N '' -C me -f key; stat -c '%a %n' key key.pub; ssh-keygen -y -f key | cut -d' ' -f1
ssh-keygen -q -p -P '' -N secret -f key; ssh-keygen -y -P secret -f key | cmp - key.pub && echo the same key
chmod 644 key; ssh-keygen -y -P secret -f key 2>&1 | grep -o 'too open' | head -1; chmod 600 key
echo "host $(cut -d' ' -f1,2 key.pub)" >known_hosts; ssh-keygen -q -R host -f known_hosts 2>/dev/null >&2
ls; wc -c <known_hosts
""", volatile=("key", "key.pub", "known_hosts.old")),
)  # fmt: skip
