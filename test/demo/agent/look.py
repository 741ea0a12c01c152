# SPDX-License-Identifier: Apache-2.0
"""Writes everything it can read to stdout: its environment, what /proc shows of
every process and their memory, and the files below the given directories. Says
on stderr how many files that were."""
import os
import stat
import sys

MOST = 4 << 20  # of one file
out = sys.stdout.buffer
count = 0


def give(path, parts=((0, MOST),)):
    global count
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return
    out.write(path.encode(errors="replace") + b"\n")
    count += 1
    try:
        for start, length in parts:
            try:
                out.write(os.pread(fd, length, start))
            except (OSError, OverflowError):
                continue  # a hole, or not ours to read
    finally:
        os.close(fd)


def memory(pid):
    """The readable ranges of a process; none when it may not be asked."""
    try:
        with open(f"/proc/{pid}/maps") as maps:
            lines = maps.readlines()
    except OSError:
        return
    for line in lines:
        span, rights = line.split()[:2]
        start, end = (int(x, 16) for x in span.split("-"))
        if rights.startswith("rw"):
            yield start, min(end - start, MOST)


for name, value in os.environ.items():
    out.write(f"{name}={value}\n".encode())
for root in sys.argv[1:]:
    for place, dirs, files in os.walk(root):
        if root == "/proc" and place.count("/") > 2:
            dirs.clear()  # /proc/PID, without its tasks and descriptors
        for name in files:
            if place.startswith("/proc/") and name == "mem":
                give(os.path.join(place, name), tuple(memory(place.split("/")[2])))
            elif name not in ("kmsg", "kcore", "kpagecount", "kpageflags", "kpagecgroup", "pagemap", "trace_pipe"):
                give(os.path.join(place, name))
out.flush()
print(count, file=sys.stderr)
