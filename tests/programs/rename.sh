#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The way that programs replace files: written under another name, fsync, rename over the old or to a new name, fsync of the
# directory. Each file has what was written for it and the right size, at once and after others followed.
. "$(dirname "$0")/lib.sh"
need python3
python3 - "$W" $((8 * SCALE)) <<'END' || fail "a file is not what was written"
import os, sys, time
where, seconds = sys.argv[1], float(sys.argv[2])
d = os.open(where, os.O_RDONLY)

def content(n):
    return (b"%d\n" % n) * (1 + n * 7 % 3000)

def check(name, n):
    data = open(f"{where}/{name}", "rb").read()
    size = os.stat(f"{where}/{name}").st_size
    want = content(n)
    assert data == want and size == len(want), (name, "size", size, "read", len(data), "wanted", len(want), {*data.split(b"\n")})

end = time.monotonic() + seconds
n = 0
while time.monotonic() < end:
    n += 1
    fd = os.open(f"{where}/new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(fd, content(n))
    if n % 2:
        os.fsync(fd)
    os.close(fd)
    name = f"file{n}" if n % 5 else "same"
    os.rename(f"{where}/new", f"{where}/{name}")
    if n > 60 and (n - 60) % 5:
        check(f"file{n - 60}", n - 60)
        os.unlink(f"{where}/file{n - 60}")
    if n % 3 == 0:
        os.fsync(d)
    check(name, n)
    if n > 2 and (n - 1) % 5:
        check(f"file{n - 1}", n - 1)
print(f"rename: {n} files, each as written")
END

# A listing that goes on while its names change brings no old name back: what is made under one is a new file.
mkdir "$W/list"
python3 - "$W/list" <<'END' || fail "an old name came back"
import os, sys
where = sys.argv[1]
names = [f"{i:03d}-" + "n" * 40 for i in range(700)]
for name in names:
    open(f"{where}/{name}", "w").write(name)
listing = os.scandir(where)
seen = 0
for entry in listing:
    if seen < 20:
        entry.stat()
    seen += 1
    if seen == 20:
        for name in names:
            os.rename(f"{where}/{name}", f"{where}/moved-{name}")
for name in names:
    fd = os.open(f"{where}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(fd, b"new")
    os.close(fd)
for name in names:
    assert open(f"{where}/moved-{name}").read() == name, name
END
said "old names stay away"
