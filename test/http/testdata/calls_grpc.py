# SPDX-License-Identifier: Apache-2.0
"""The grpcio client of test/http: calls_grpc.py HOST VARIABLE. Prints one line for
each call: status, messages, metadata."""
import hashlib
import os
import queue
import sys

import grpc

host, key = sys.argv[1], os.environ[sys.argv[2]]
own = (("authorization", "Bearer " + key), ("x-own", "mine"))
same = {"request_serializer": lambda b: b, "response_deserializer": lambda b: b}
channel = grpc.secure_channel(
    host + ":443", grpc.ssl_channel_credentials(),
    options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
big = bytes(range(256)) * (3 << 12)  # 3 MiB


def short(message):
    return f"{len(message)}:{hashlib.sha256(message).hexdigest()[:16]}"


def metadata(pairs):
    return sorted((k, v) for k, v in pairs or () if k.startswith("x-"))


def show(name, call, messages):
    print(name, call.code().name, call.details(), messages, metadata(call.initial_metadata()), metadata(call.trailing_metadata()))


def unary(name, path, message, **options):
    method = channel.unary_unary(path, **same)
    try:
        answer, call = method.with_call(message, metadata=own, timeout=30, **options)
        show(name, call, [short(answer)])
    except grpc.RpcError as e:
        show(name, e, [])


def stream(name, call):
    messages = []
    try:
        for m in call:
            messages.append(short(m))
    except grpc.RpcError:
        pass
    show(name, call, messages)


unary("unary", "/test.Echo/Unary", b"hello")
unary("empty", "/test.Echo/Unary", b"")
unary("big", "/test.Echo/Unary", big)
unary("compressed", "/test.Echo/Unary", b"a" * 10000, compression=grpc.Compression.NoCompression)
unary("fails", "/test.Echo/Fails", b"hello")
unary("fails late", "/test.Echo/FailsLate", b"hello")
unary("unknown", "/test.Echo/Nothing", b"hello")
stream("server stream", channel.unary_stream("/test.Echo/Many", **same)(b"x", metadata=own, timeout=30))
stream("server stream fails", channel.unary_stream("/test.Echo/ManyFail", **same)(b"x", metadata=own, timeout=30))
stream("both ways", channel.stream_stream("/test.Echo/Each", **same)((b"%d" % i for i in range(100)), metadata=own, timeout=30))
method = channel.stream_unary("/test.Echo/All", **same)
answer, call = method.with_call(iter([b"a", b"b" * 100000, b"", b"c"]), metadata=own, timeout=30)
show("client stream", call, [short(answer)])


def turns():
    """Each message is sent when the one before has come back."""
    waiting = queue.Queue()
    waiting.put(b"0")
    call = channel.stream_stream("/test.Echo/Each", **same)(iter(waiting.get, None), metadata=own, timeout=30)
    got = []
    for m in call:
        got.append(m)
        waiting.put(b"%d" % len(got) if len(got) < 20 else None)
    show("in turns", call, [short(b"".join(got))])


turns()
open_end = queue.Queue()  # a call whose requests end may have ended before it is cancelled
open_end.put(b"one")
cancelled = channel.stream_stream("/test.Echo/Each", **same)(iter(open_end.get, None), metadata=own, timeout=30)
print("cancel", next(cancelled), cancelled.cancel(), cancelled.code().name)
open_end.put(None)
channel.close()
