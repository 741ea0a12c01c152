# SPDX-License-Identifier: Apache-2.0
"""Types the README's first steps at a terminal, as ann, and reads what comes.

Every command has to end well; the last one has to print the answer, and the
real key has to appear nowhere.
"""
import os
import re
import select
import sys

readme, key = sys.argv[1:]
PATIENCE = 300


def steps():
    text = open(readme).read().split("Start, as a user", 1)[1]
    block = re.search(r"```console\n(.*?)```", text, re.S).group(1)
    return [line[2:] for line in block.splitlines() if line.startswith("$ ")]


class Terminal:
    def __init__(self):
        self.seen = ""
        self.new = ""
        pid, self.fd = os.forkpty()
        if pid == 0:
            # Not su -c, which takes the terminal away that sudo asks at.
            os.chdir("/home/ann")
            os.execvp("setpriv", ["setpriv", "--reuid=ann", "--regid=ann", "--init-groups", "--reset-env",
                                  "bash", "--rcfile", "/home/ann/.bashrc", "-i"])

    def read(self, *patterns):
        while True:
            for pattern in patterns:
                found = re.search(pattern, self.new)
                if found:
                    self.new = self.new[found.end():]
                    return pattern, found
            if not select.select([self.fd], [], [], PATIENCE)[0]:
                self.fail(f"waited for {patterns}")
            try:
                data = os.read(self.fd, 4096).decode(errors="replace")
            except OSError:
                data = ""
            if not data:
                self.fail("the terminal ended")
            self.seen += data
            self.new += data

    def type(self, text):
        os.write(self.fd, (text + "\n").encode())

    def fail(self, why):
        sys.exit(f"newcomer: {why}; the terminal:\n{self.seen.replace(key, '[KEY]')}")


PROMPT, PASSWORD, SECRET = r"READY $", r"password for ann: $", r"(?i)(anthropic|credential)[^\n]*: $"
terminal = Terminal()
terminal.read(PROMPT)
for step in steps():
    terminal.type(step)
    while True:
        pattern, _ = terminal.read(PROMPT, PASSWORD, SECRET)
        if pattern == PROMPT:
            break
        terminal.type("correct horse" if pattern == PASSWORD else key)
    terminal.type("echo status=$?")
    _, status = terminal.read(r"status=(\d+)\r?\n")
    if status.group(1) != "0":
        terminal.fail(f"{step!r} ended with {status.group(1)}")
    terminal.read(PROMPT)
if "\nthe answer" not in terminal.seen:
    terminal.fail("no answer")
if not re.search(r"holds sk-ant-api03-\S{95}\r", terminal.seen):
    terminal.fail("no placeholder")
if key in terminal.seen:
    terminal.fail("the real key was shown")
print("newcomer: from a clone to an answer with the README's lines alone")
