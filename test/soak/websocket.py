"""Both ends of WebSocket by an implementation that is none of ours (Debian's python3-websockets), with a router between them.

websocket.py serve            answers on a free port of loopback, which it prints; ends when its standard input does
websocket.py ask PORT TLSPORT  asks host ws.test there, over ws and wss, and prints {"passed": N, "failed": [TEXT]}
"""
import asyncio
import json
import os
import ssl
import sys
from http import HTTPStatus

import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatusCode

MOST = 2 << 20
CASE_S = 30


async def answer(ws):
    async for message in ws:
        if message == "!ping":
            await asyncio.wait_for(await ws.ping(b"p" * 125), CASE_S)
            await ws.send("ponged")
        elif message == "!drop":
            ws.transport.abort()
        elif message == "!headers":
            await ws.send(json.dumps({k.lower(): v for k, v in ws.request_headers.raw_items()}))
        elif isinstance(message, str) and message.startswith("!close "):
            code, reason = message[7:].split(" ", 1)
            await ws.close(int(code), reason)
        else:
            await ws.send(message)


async def refuse(path, _headers):
    return (HTTPStatus.FORBIDDEN, [], b"refused\n") if path == "/refuse" else None


async def serve():
    options = {"max_size": MOST, "process_request": refuse, "subprotocols": ["two", "three"]}
    async with websockets.serve(answer, "127.0.0.1", 0, **options) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def cases(connect):
    async def echo(message, **options):
        async with connect(**options) as ws:
            await ws.send(message)
            assert await ws.recv() == message

    async def fragments(parts, whole):
        async with connect() as ws:
            await ws.send(parts)
            assert await ws.recv() == whole

    async def pings():
        async with connect() as ws:
            for size in (0, 1, 125):
                await (await ws.ping(bytes(size)))
            await ws.send("!ping")
            assert await ws.recv() == "ponged"

    async def in_order():
        async with connect() as ws:
            async def send():
                for n in range(2_000):
                    await ws.send(str(n))
            sending = asyncio.create_task(send())
            for n in range(2_000):
                assert await ws.recv() == str(n)
            await sending

    async def closes_here(code):
        async with connect() as ws:
            await ws.close(code, "by client")
            assert ws.close_code == code, ws.close_code

    async def closes_there(code):
        async with connect() as ws:
            await ws.send(f"!close {code} of the job é")
            try:
                await ws.recv()
                raise AssertionError("not closed")
            except ConnectionClosed as closed:
                assert (closed.rcvd.code, closed.rcvd.reason) == (code, "of the job é"), closed

    async def drops():
        async with connect() as ws:
            await ws.send("!drop")
            try:
                await ws.recv()
                raise AssertionError("not closed")
            except ConnectionClosed as closed:
                assert closed.rcvd is None, closed

    async def wrong(send, code):
        async with connect() as ws:
            await send(ws)
            try:
                await ws.recv()
                raise AssertionError("not closed")
            except ConnectionClosed as closed:
                assert closed.rcvd is not None and closed.rcvd.code == code, closed

    async def bytes_singly():
        async with connect(compression=None) as ws:
            for byte in bytes.fromhex("818500000000") + b"hello":
                ws.transport.write(bytes([byte]))
                await asyncio.sleep(0)
            assert await ws.recv() == "hello"

    async def subprotocol():
        async with connect(subprotocols=["one", "two"]) as ws:
            assert ws.subprotocol == "two", ws.subprotocol

    async def headers():
        async with connect(origin="https://ws.test", extra_headers={"x-own": "1"}) as ws:
            await ws.send("!headers")
            got = json.loads(await ws.recv())
            assert got["origin"] == "https://ws.test" and got["x-own"] == "1", got
            assert got["x-forwarded-for"] == "127.0.0.1" and got["host"].startswith("ws.test"), got

    async def refused():
        try:
            async with connect(path="/refuse"):
                raise AssertionError("was let in")
        except InvalidStatusCode as status:
            assert status.status_code == 403, status

    async def raw(ws, text):
        ws.transport.write(bytes.fromhex(text))

    for size in (0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20):
        yield f"text of {size}", lambda size=size: echo("t" * size)
        yield f"bytes of {size}", lambda size=size: echo(os.urandom(size))
        yield f"bytes of {size}, not compressed", lambda size=size: echo(os.urandom(size), compression=None)
    yield "text that is not ASCII", lambda: echo("Grüße, 你好, 👋" * 1_000)
    yield "fragments of text", lambda: fragments(["a", "", "b" * 70_000, "é"], "a" + "b" * 70_000 + "é")
    yield "fragments of bytes", lambda: fragments([b"1"] * 500, b"1" * 500)
    yield "pings both ways", pings
    yield "2,000 messages in order", in_order
    for code in (1000, 1001, 1008, 1011, 3000, 4999):
        yield f"closed with {code} by the client", lambda code=code: closes_here(code)
        yield f"closed with {code} by the job", lambda code=code: closes_there(code)
    yield "the job's connection drops", drops
    yield "a frame byte by byte", bytes_singly
    yield "text that is no UTF-8 is closed with 1007", lambda: wrong(lambda ws: raw(ws, "818200000000fffe"), 1007)
    yield "a reserved bit is closed with 1002", lambda: wrong(lambda ws: raw(ws, "b18000000000"), 1002)
    yield "an unknown opcode is closed with 1002", lambda: wrong(lambda ws: raw(ws, "838000000000"), 1002)
    yield "a frame without a mask is closed with 1002", lambda: wrong(lambda ws: raw(ws, "810161"), 1002)
    yield "a continuation of nothing is closed with 1002", lambda: wrong(lambda ws: raw(ws, "808000000000"), 1002)
    yield "a fragmented ping is closed with 1002", lambda: wrong(lambda ws: raw(ws, "098000000000"), 1002)
    yield "more than the job takes is closed with 1009", lambda: wrong(lambda ws: ws.send(bytes(MOST + 1)), 1009)
    yield "a subprotocol is chosen", subprotocol
    yield "headers of both", headers
    yield "a refusal is the job's", refused


async def ask(port, tls_port):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    passed, failed = 0, []
    for scheme, at, more in (("ws", port, {}), ("wss", tls_port, {"ssl": context, "server_hostname": "ws.test"})):
        def connect(path="/", at=at, more=more, scheme=scheme, **options):
            return websockets.connect(f"{scheme}://ws.test{path}", host="127.0.0.1", port=at, max_size=MOST, **more, **options)
        for name, case in cases(connect):
            try:
                await asyncio.wait_for(case(), CASE_S)
                passed += 1
            except Exception as error:
                failed.append(f"{scheme}: {name}: {error!r}")
    print(json.dumps({"passed": passed, "failed": failed}))


asyncio.run(serve() if sys.argv[1] == "serve" else ask(int(sys.argv[2]), int(sys.argv[3])))
