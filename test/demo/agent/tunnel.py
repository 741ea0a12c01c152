# SPDX-License-Identifier: Apache-2.0
"""Asks a name server of its own choice for TEXT.DOMAIN, the way a DNS tunnel
sends text out; 1 when the answer says that there is no such name."""
import socket
import struct
import sys

server, text, domain = sys.argv[1:]
labels = [text.encode().hex()[:60], *domain.split(".")]
name = b"".join(bytes([len(l)]) + (l if isinstance(l, bytes) else l.encode()) for l in labels) + b"\0"
query = struct.pack(">6H", 0x1234, 0x0100, 1, 0, 0, 0) + name + struct.pack(">2H", 1, 1)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(5)
    try:
        s.sendto(query, (server, 53))
        answer = s.recv(4096)
    except OSError as error:
        sys.exit(f"no answer: {error}")
codes = {0: "answered", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}
code = answer[3] & 15
print(codes.get(code, f"code {code}"))
sys.exit(code != 0)
