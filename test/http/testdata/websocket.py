# SPDX-License-Identifier: Apache-2.0
"""The WebSocket client of test/http: websocket.py HOST VARIABLE. Prints one line
for each exchange of messages."""
import hashlib
import logging
import os
import sys

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

# At the end of a connection its threads race now and then, and it logs that.
logging.getLogger("websockets").addHandler(logging.NullHandler())

host, key = sys.argv[1], os.environ[sys.argv[2]]


def open_(path, **options):
    return connect("wss://" + host + path, additional_headers={"Authorization": "Bearer " + key}, max_size=None, proxy=None, **options)


def short(m):
    data = m.encode() if isinstance(m, str) else m
    return f"{type(m).__name__} {len(data)} {hashlib.sha256(data).hexdigest()[:16]}"


def talk(name, **options):
    with open_("/websocket", **options) as ws:
        print(name, "subprotocol", ws.subprotocol)
        for message in ("hello", "", "grüße", b"\x00\xff" * 50, "x" * 126, "y" * 70000, b"z" * (1 << 20)):
            ws.send(message)
            print(name, short(ws.recv()))
        ws.send(iter(["in ", "three ", "fragments"]))
        print(name, short(ws.recv()))
        ws.send(iter([b"a" * 5000] * 10))
        print(name, "streamed", [short(m) for m in [b"".join(ws.recv_streaming())]])
        print(name, "pong", ws.ping(b"are you there").wait(10))
        for i in range(100):
            ws.send(f"message {i}")
        print(name, "many", hashlib.sha256("".join(ws.recv() for _ in range(100)).encode()).hexdigest()[:16])
        ws.close(4001, "enough")
        print(name, "closed", ws.protocol.close_rcvd.code, ws.protocol.close_rcvd.reason)


talk("plain")
talk("compression offered", compression="deflate")
talk("subprotocol", subprotocols=["other", "chat"])
with open_("/websocket/bye") as ws:
    try:
        print("pushed", ws.recv(), ws.recv())
        ws.recv()
    except ConnectionClosed as e:
        print("upstream closes", e.rcvd.code, e.rcvd.reason)
for path in ("/nothing", "/503", "/echo"):
    try:
        open_(path)
    except InvalidStatus as e:
        print(path, "refused", e.response.status_code)
