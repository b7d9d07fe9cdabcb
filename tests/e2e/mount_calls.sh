#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Goal: what programs do on a mount has the result that it has elsewhere, and is in the pool afterwards (L37).
#	mount_calls.sh local|unix
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/mount_lib.sh"

way=${1:-local}
make_pool 192M
if [ "$way" = local ]; then
	mounts "$POOL" -o "listen=unix:$T/direct.sock"
	ADDRESS=unix:$T/direct.sock
else
	serve --listen "unix:$T/sock"
	mounts "$UNIX"
	ADDRESS=$UNIX
fi
[ "$(getfattr --only-values -n system.leasehold.address --absolute-names "$M")" = "$ADDRESS" ] || fail "wrong address"
! getfattr -d -m- --absolute-names "$M" 2>/dev/null | grep -q leasehold || fail "the mount's own attribute is listed"

# A tree goes in and is the same, with modes, times, links and holes.
make_tree "$T/tree"
cp -a "$T/tree" "$M/tree"
same_tree "$T/tree" "$M/tree"
[ "$(stat -c %b "$M/sparse" 2>/dev/null || stat -c %b "$M/tree/sparse")" -lt 1000 ] || fail "the hole was filled"
cd "$M"

# Names.
echo one >a
ln a b
[ "$(stat -c %h a)" = 2 ] || fail "links"
mv -n b tree/b
[ "$(cat tree/b)" = one ] || fail "moved"
mkdir d
rmdir d
mkfifo p
[ -p p ] || fail "fifo"
python3 - <<'PY'
import ctypes, errno, fcntl, mmap, os, subprocess
libc = ctypes.CDLL(None, use_errno=True)
AT = -100

def rename(a, b, flags):
    if libc.renameat2(AT, a.encode(), AT, b.encode(), flags) != 0:
        return ctypes.get_errno()
    return 0

open('x', 'w').write('x'); open('y', 'w').write('y')
assert rename('x', 'y', 1) == errno.EEXIST
assert rename('x', 'y', 2) == 0 and open('x').read() == 'y'
assert rename('x', 'z', 4) == errno.EINVAL  # whiteout

# Holes: punch, zero, collapse, insert where the kernel lets them pass; SEEK_DATA and SEEK_HOLE.
fd = os.open('holes', os.O_RDWR | os.O_CREAT)
os.write(fd, b'A' * 65536)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
assert libc.fallocate(fd, 3, 8192, 16384) == 0
assert os.lseek(fd, 0, os.SEEK_HOLE) == 8192
assert os.lseek(fd, 8192, os.SEEK_DATA) == 24576
assert os.pread(fd, 4, 8190) == b'AA\0\0'
assert libc.fallocate(fd, 0x10, 0, 4096) == 0 and os.pread(fd, 2, 4095) == b'\0A'
assert libc.fallocate(fd, 0, 0, 131072) == 0 and os.fstat(fd).st_size == 131072
try:
    os.lseek(fd, 1 << 20, os.SEEK_DATA); assert False
except OSError as e:
    assert e.errno == errno.ENXIO

# A mapping that programs share, and the file, are one.
m = mmap.mmap(fd, 65536)
m[4096:4100] = b'mmap'
m.flush()
assert os.pread(fd, 4, 4096) == b'mmap'
m.close(); os.close(fd)

# O_APPEND, also switched on later; O_TRUNC; O_DIRECT; O_EXCL.
fd = os.open('app', os.O_RDWR | os.O_CREAT | os.O_APPEND)
os.write(fd, b'12'); os.pwrite(fd, b'34', 0)
assert os.pread(fd, 9, 0) == b'1234'
fcntl.fcntl(fd, fcntl.F_SETFL, 0); os.pwrite(fd, b'0', 0)
assert os.pread(fd, 9, 0) == b'0234'
os.close(fd)
fd = os.open('app', os.O_WRONLY); fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND); os.write(fd, b'5'); os.close(fd)
assert open('app').read() == '02345'
assert open('app', 'w').close() is None and os.stat('app').st_size == 0
buf = mmap.mmap(-1, 8192); buf[:] = b'D' * 8192
fd = os.open('direct', os.O_RDWR | os.O_CREAT | os.O_DIRECT)
assert os.pwritev(fd, [buf], 4096) == 8192 and os.preadv(fd, [buf], 4096) == 8192
os.close(fd)
try:
    os.open('direct', os.O_CREAT | os.O_EXCL); assert False
except FileExistsError:
    pass

# Unlinked and open.
fd = os.open('gone', os.O_RDWR | os.O_CREAT); os.write(fd, b'still'); os.unlink('gone')
assert os.pread(fd, 9, 0) == b'still' and os.fstat(fd).st_nlink == 0
os.fchmod(fd, 0o600); os.ftruncate(fd, 2); assert os.fstat(fd).st_size == 2
os.close(fd)

# Locks of one mount are the kernel's.
a, b = open('lock', 'w'), open('lock')
fcntl.flock(a, fcntl.LOCK_EX)
try:
    fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB); assert False
except BlockingIOError:
    pass

# A large directory is listed once each.
os.mkdir('many')
for i in range(3000): os.close(os.open(f'many/f{i}', os.O_CREAT | os.O_WRONLY))
assert sorted(os.listdir('many')) == sorted(f'f{i}' for i in range(3000))
assert sum(e.stat().st_size == 0 for e in os.scandir('many')) == 3000

# copy_file_range shares.
open('big', 'wb').write(os.urandom(8 << 20))
before = os.statvfs('.').f_bfree
s, d = os.open('big', os.O_RDONLY), os.open('big2', os.O_RDWR | os.O_CREAT)
n = 0
while n < 8 << 20: n += os.copy_file_range(s, d, (8 << 20) - n, n, n)
assert open('big', 'rb').read() == open('big2', 'rb').read()
assert before - os.statvfs('.').f_bfree < 256, 'not shared'
os.close(s); os.close(d)

# Extended attributes.
os.setxattr('a', 'user.k', b'v'); assert os.getxattr('a', 'user.k') == b'v' and 'user.k' in os.listxattr('a')
os.removexattr('a', 'user.k')
try:
    os.getxattr('a', 'user.k'); assert False
except OSError as e:
    assert e.errno == errno.ENODATA

# A file without a name gets one, where the kernel passes O_TMPFILE on.
try:
    fd = os.open('.', os.O_TMPFILE | os.O_RDWR, 0o640)
except OSError as e:
    assert e.errno in (errno.EOPNOTSUPP, errno.EISDIR); fd = -1
if fd >= 0:
    os.write(fd, b'named')
    assert os.fstat(fd).st_nlink == 0
    assert libc.linkat(AT, b'/proc/self/fd/%d' % fd, AT, b'named', 0x400) == 0
    assert open('named').read() == 'named' and os.stat('named').st_nlink == 1
    os.close(fd)
PY
touch -d '1999-12-31 23:59:59.123456789' a
[ "$(stat -c %y a | cut -c1-29)" = "$(date -d '1999-12-31 23:59:59.123456789' '+%F %T.%N')" ] || fail "times"

# Others' rights: the kernel checks modes and ACLs where the mount may act for others.
if [ "$(id -u)" -eq 0 ] && id nobody >/dev/null 2>&1; then
	chmod 755 "$T"
	as() { setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"; }
	echo secret >private && chmod 600 private
	! as cat private 2>/dev/null || fail "somebody reads a private file"
	setfacl -m u:65534:r private
	as cat private >/dev/null || fail "an ACL does not let"
	mkdir -m 777 public
	as sh -c 'umask 027; echo mine >public/f'
	[ "$(stat -c '%u %a' public/f)" = "65534 640" ] || fail "owner and mode: $(stat -c '%u %a' public/f)"
	! as chown 0 public/f 2>/dev/null || fail "gave a file away"
	cp /bin/true suid && chmod 4777 suid && as sh -c 'echo x >>suid'
	[ "$(stat -c %a suid)" = 777 ] || fail "set-user-id survives a write: $(stat -c %a suid)"
fi
cd /
tree_list "$M/tree" >"$T/list"
unmounts

# All of it is in the pool.
if [ "$way" = local ]; then
	runs 0 "$LH" fsck "$POOL"
	mounts "$POOL" -o ro,listen=none
	tree_list "$M/tree" | diff - "$T/list" || fail "another tree after a remount"
	! touch "$M/no" 2>/dev/null || fail "changed a read-only mount"
	unmounts
else
	runs 0 "$LH" -p "$UNIX" cat /a
	shows '^one$'
fi
