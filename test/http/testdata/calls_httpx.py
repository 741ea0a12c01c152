# SPDX-License-Identifier: Apache-2.0
"""The httpx client of test/http: calls_httpx.py HOST VARIABLE. Prints one line for
each call, once in each protocol: status, version, length and hash of the body."""
import asyncio
import hashlib
import os
import sys

import httpx

host, key = sys.argv[1], os.environ[sys.argv[2]]
base = "https://" + host
large = b"the same line, again and again\n" * 170000


def pieces(count):
    for i in range(count):
        yield b"piece %d\n" % i


async def apieces(count):
    for i in range(count):
        yield b"piece %d\n" % i


CALLS = [
    ("get", "GET", "/echo", {}),
    ("target", "GET", "/echo/a%2Fb//c;d?x=+%20&y;z", {}),
    ("head", "HEAD", "/large", {}),
    ("json", "POST", "/echo", {"json": {"a": "b", "ü": [1, 2]}}),
    ("form", "POST", "/echo", {"data": {"a": "b c", "d": "é"}}),
    ("upload", "PUT", "/echo", {"content": large}),
    ("empty", "POST", "/echo", {}),
    ("delete", "DELETE", "/echo", {}),
    ("options", "OPTIONS", "/echo", {}),
    ("204", "GET", "/204", {}),
    ("304", "GET", "/304", {}),
    ("404", "GET", "/nothing", {}),
    ("503", "POST", "/503", {"content": b"x"}),
    ("redirect", "GET", "/redirect", {}),
    ("redirect followed", "GET", "/redirect", {"follow_redirects": True}),
    ("large", "GET", "/large", {}),
    ("stream", "GET", "/stream", {}),
    ("gzip", "GET", "/gzip", {}),
    ("early", "POST", "/early", {"content": b"hello"}),
]


def line(name, r):
    return f"{name}: {r.status_code} {r.http_version} {len(r.content)} {hashlib.sha256(r.content).hexdigest()} {r.headers.get('location', '')}"


def told(name, call):
    try:
        return line(name, call())
    except httpx.HTTPError as e:
        return f"{name}: {type(e).__name__}"


async def parallel(h2):
    async with httpx.AsyncClient(http1=not h2, http2=h2, headers={"Authorization": "Bearer " + key}) as c:
        answers = await asyncio.gather(*[c.post(f"{base}/echo/{i}", content=apieces(i)) for i in range(20)])
        for i, r in enumerate(answers):
            print("parallel", line(str(i), r))


for h2 in (False, True):
    with httpx.Client(http1=not h2, http2=h2, headers={"Authorization": "Bearer " + key}, timeout=30) as c:
        for name, method, path, options in CALLS:
            print(told(name, lambda: c.request(method, base + path, **options)))
        print(told("chunked upload", lambda: c.put(base + "/echo", content=pieces(20000))))
        with c.stream("GET", base + "/stream") as r:
            lines = [text for text in r.iter_lines() if text]
            print("lines:", len(lines), lines[0], lines[-1])
    asyncio.run(parallel(h2))
