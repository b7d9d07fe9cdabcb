# SPDX-License-Identifier: BSD-2-Clause
"""Where a suite runs: a mount of Leasehold with a fresh pool, another FUSE program over tmpfs, or any directory.

Each target is a context manager: what it mounted is unmounted whatever happens, and what it started has ended. `dir` is
where the suite works. finish() ends the mount in order and returns what is wrong afterwards: the mount's exit status,
and for a pool of ours whatever `leasehold fsck` finds.
"""
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

MOUNT_THEMSELVES = ("xfstests",)
READY_S = 120
END_S = 60


class Problem(Exception):
    """Something about the surroundings: said in one sentence, exit status 2."""


def fast_dir():
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()


def wait_until(what, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.05)
    return what()


def mounts_below(path):
    """Mount points at or below path, deepest first; never touches them."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            where = line.split()[4].encode("latin-1", "replace").decode("unicode_escape")
            if where == path or where.startswith(path + "/"):
                found.append(where)
    return sorted(found, key=len, reverse=True)


def unmount(path, lazily=False):
    """True when it is gone. By force only when asked: a test that leaves its files open has to be seen."""
    for command in [["umount", path], ["fusermount3", "-u", path]] + ([["umount", "-l", path]] if lazily else []):
        try:
            if subprocess.run(command, stderr=subprocess.DEVNULL, timeout=END_S).returncode == 0:
                return True
        except (OSError, subprocess.TimeoutExpired):
            pass
    return path not in mounts_below(path)


class Target:
    """A directory that is there already."""

    kind = "directory"

    def __init__(self, args):
        self.args = args
        self.base = None
        self.dir = None
        self.address = None
        self.mounts = []

    def __enter__(self):
        self.base = tempfile.mkdtemp(prefix="lh-suite.", dir=fast_dir())
        os.chmod(self.base, 0o755)
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *exc):
        self.stop()
        for where in mounts_below(self.base):
            unmount(where, lazily=True)
        if not mounts_below(self.base):
            shutil.rmtree(self.base, ignore_errors=True)
        return False

    def start(self):
        if not os.path.isdir(self.args.on):
            raise Problem(f"{self.args.on}: not a directory (--on DIR is where the suite shall run)")
        self.dir = tempfile.mkdtemp(prefix="lh-suite.", dir=self.args.on)
        os.chmod(self.dir, 0o755)

    def stop(self):
        if self.dir is not None:
            shutil.rmtree(self.dir, ignore_errors=True)
            self.dir = None

    def finish(self):
        return []

    def again(self):
        """Unmounts and mounts once more, where that is possible: what is on the medium must be what was seen."""
        return []

    @staticmethod
    def sources():
        """What the mounts of a suite are called; several runs have several."""
        return f"lhtest{os.getpid()}", f"lhscratch{os.getpid()}"

    def helper(self):
        """Lines of shell for `mount -t fuse.X $source $dir -o $options`; None: cannot be mounted by the suite."""
        return None


class Mounted(Target):
    """A FUSE program in the foreground, one process a mount."""

    def __init__(self, args):
        super().__init__(args)
        self.process = None
        self.log = None

    def prepare(self):
        raise NotImplementedError

    def command(self):
        raise NotImplementedError

    def start(self):
        self.mnt = os.path.join(self.base, "mnt")
        os.mkdir(self.mnt)
        self.prepare()
        if self.args.name not in MOUNT_THEMSELVES:
            self.mount()

    def mount(self):
        command = self.command()
        self.log = open(os.path.join(self.base, "log"), "a+b")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        start_new_session=True)
        up = wait_until(lambda: self.mnt in mounts_below(self.mnt) or self.process.poll() is not None, READY_S)
        if not up or self.process.poll() is not None:
            raise Problem(f"{shlex.join(command)}: no mount: {self.said()}")
        self.dir = os.path.join(self.mnt, "suite")
        os.makedirs(self.dir, exist_ok=True)
        os.chmod(self.dir, 0o755)

    def said(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()[-2000:].decode("utf-8", "replace").strip() or "(it said nothing)"

    def unmount_in_order(self):
        wrong = []
        if self.process is None:
            return wrong
        if not wait_until(lambda: unmount(self.mnt), 10):
            wrong.append("the mount was still busy after the suite")
            unmount(self.mnt, lazily=True)
        try:
            status = self.process.wait(END_S)
            if status:
                wrong.append(f"the mount's process ended with {status}: {self.said()}")
        except subprocess.TimeoutExpired:
            wrong.append(f"the mount's process was still there {END_S} s after the unmount")
            self.process.kill()
            self.process.wait()
        self.process = None
        return wrong

    def stop(self):
        if self.process is not None:
            unmount(self.mnt, lazily=True)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
            self.process = None
        self.dir = None

    def finish(self):
        return self.unmount_in_order()

    def again(self):
        wrong = self.unmount_in_order()
        self.mount()
        return wrong


class Peer(Mounted):
    """libfuse's passthrough_hp, or whatever takes `[-o OPTIONS] --foreground SOURCE DIR` like it."""

    kind = "peer"

    def prepare(self):
        words = shlex.split(self.args.peer)
        program = shutil.which(words[0])
        if program is None:
            raise Problem(f"{words[0]}: no such program (--peer 'PROGRAM OPTIONS', libfuse's passthrough_hp for one)")
        self.words = [os.path.abspath(program)] + words[1:]
        self.source = os.path.join(self.base, "source")
        os.mkdir(self.source)

    def command(self):
        return self.words + ["--foreground", "-o", "allow_other,dev,suid", self.source, self.mnt]

    def helper(self):
        return (f'mkdir -p {shlex.quote(self.base)}/source-"$source"\n'
                f'exec {shlex.join(self.words)} -o "allow_other,$options,fsname=$source" '
                f'{shlex.quote(self.base)}/source-"$source" "$dir"')


class Ours(Mounted):
    """`leasehold mount` of a new pool in this process's tmpfs; serves it on a socket, for --leases."""

    kind = "leasehold"

    def prepare(self):
        self.program = shutil.which(self.args.leasehold)
        if self.program is None:
            raise Problem(f"{self.args.leasehold}: no such program (--leasehold, LEASEHOLD_BIN, or build/src/cli/leasehold)")
        self.program = os.path.abspath(self.program)
        self.pool = os.path.join(self.base, "pool")
        if self.args.name in MOUNT_THEMSELVES:
            self.pools = [os.path.join(self.base, name) for name in self.sources()]
        else:
            self.pools = [self.pool]
        for pool in self.pools:
            self.mkfs(pool)
        self.address = "unix:" + os.path.join(self.base, "socket")

    def mkfs(self, pool):
        done = subprocess.run([self.program, "mkfs", "--size", self.args.size, "--force", pool], capture_output=True)
        if done.returncode:
            raise Problem(f"mkfs: {done.stderr.decode('utf-8', 'replace').strip()}")

    def command(self):
        return [self.program, "mount", "--foreground", "--listen", self.address, "-o", "allow_other,dev,suid",
                *shlex.split(self.args.mount_options), self.pool, self.mnt]

    def finish(self):
        return self.unmount_in_order() + [wrong for pool in self.pools for wrong in self.fsck(pool)]

    def fsck(self, pool):
        # A daemon that was unmounted a moment ago is closing the pool.
        wait_until(lambda: subprocess.run([self.program, "fsck", pool], capture_output=True).returncode == 0, 20)
        done = subprocess.run([self.program, "fsck", pool], capture_output=True)
        if done.returncode == 0:
            return []
        text = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
        return ["fsck: " + line for line in text.splitlines()[:10]] or [f"fsck ended with {done.returncode}"]

    def helper(self):
        base = shlex.quote(self.base)
        # The daemon of the mount before may still be closing the pool.
        return (f'for i in $(seq 1200); do\n'
                f'\t{shlex.quote(self.program)} mount {self.args.mount_options} --listen none -o "allow_other,$options,fsname=$source" '
                f'{base}/"$source" "$dir" 2>{base}/helper.err && exit 0\n'
                f'\tgrep -Eqi "busy|owned by" {base}/helper.err || break\n'
                f'\tsleep 0.05\ndone\ncat {base}/helper.err >&2\nexit 1')


def choose(args):
    if args.on:
        return Target(args)
    return Peer(args) if args.peer else Ours(args)
