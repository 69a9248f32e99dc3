"""python-socketio, synchronous and asyncio, against the conformance program.

    python_client.py [PROGRAM]

PROGRAM is the conformance binary (else CONFORMANCE_BIN, else the debug build). Each client runs
every check over polling, WebSocket and the upgrade. Prints one line a check; exit code 0 if all
passed.
"""

import asyncio
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import socketio
from engineio.payload import Payload

# The client takes 16 packets in one polling answer unless told otherwise; a burst has more.
Payload.max_decode_packets = 10_000

WAIT = 8
RUN_MAX = 300
ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
TRANSPORTS = {
    "polling": ["polling"],
    "websocket": ["websocket"],
    "upgrade": ["polling", "websocket"],
}
TEXT = "Grüße, てすと, 👩‍🚀 \u2028"
NESTED = {"a": [1, 2.5, None, {"b": True}], "ключ": TEXT}
BYTES = bytes(range(256))


class Server:
    """The conformance program on a port the kernel chose."""

    def __init__(self, program):
        flags = "--listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --ping-interval 300"
        flags += " --ping-timeout 5000 --max-payload 1000000 --connect-timeout 1000"
        flags += f" --workers {os.environ.get('WORKERS', '1')}"
        self.process = subprocess.Popen(
            [program, *flags.split()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        for line in self.process.stdout:
            if found := re.match(r"listening on (\S+)$", line):
                self.url = f"http://{found[1]}"
                break
        else:
            raise SystemExit(f"{program} ended before it served")
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def stop(self):
        died = self.process.poll()
        self.process.kill()
        self.process.wait()
        if died is not None:
            raise SystemExit(f"the server died with {died}")


def check(got, expected):
    if got != expected:
        raise AssertionError(f"got {got!r}, expected {expected!r}")


# One face for both clients: every call of these is awaited by the checks below.


class Sync:
    """socketio.Client, whose handlers run on its own threads."""

    name = "Client"

    def __init__(self):
        self.client = socketio.Client(reconnection=False)
        self.heard = {}

    def listen(self, event, namespace="/", answer=None):
        heard = self.heard[(event, namespace)] = queue.Queue()

        def note(*args):
            heard.put(args)
            return answer

        self.client.on(event, note, namespace=namespace)

    async def heartbeat(self):
        """Waits for one answer to a ping of the server."""
        came, engine = threading.Event(), self.client.eio
        send = engine._send_packet
        engine._send_packet = lambda packet: (send(packet), packet.packet_type == 3 and came.set())
        check(came.wait(WAIT), True)
        engine._send_packet = send

    async def connect(self, url, **options):
        self.client.connect(url, wait_timeout=WAIT, **options)

    async def next(self, event, namespace="/"):
        return self.heard[(event, namespace)].get(timeout=WAIT)

    async def emit(self, event, *args, namespace="/"):
        self.client.emit(event, args, namespace=namespace)

    async def call(self, event, *args, namespace="/"):
        return self.client.call(event, args, namespace=namespace, timeout=WAIT)

    async def disconnect(self):
        self.client.disconnect()


class Async:
    """socketio.AsyncClient, on the loop the checks run on."""

    name = "AsyncClient"

    def __init__(self):
        self.client = socketio.AsyncClient(reconnection=False)
        self.heard = {}

    def listen(self, event, namespace="/", answer=None):
        heard = self.heard[(event, namespace)] = asyncio.Queue()

        async def note(*args):
            heard.put_nowait(args)
            return answer

        self.client.on(event, note, namespace=namespace)

    async def heartbeat(self):
        came, engine = asyncio.Event(), self.client.eio
        send = engine._send_packet

        async def note(packet):
            await send(packet)
            if packet.packet_type == 3:
                came.set()

        engine._send_packet = note
        await asyncio.wait_for(came.wait(), WAIT)
        engine._send_packet = send

    async def connect(self, url, **options):
        await self.client.connect(url, wait_timeout=WAIT, **options)

    async def next(self, event, namespace="/"):
        return await asyncio.wait_for(self.heard[(event, namespace)].get(), WAIT)

    async def emit(self, event, *args, namespace="/"):
        await self.client.emit(event, args, namespace=namespace)

    async def call(self, event, *args, namespace="/"):
        return await self.client.call(event, args, namespace=namespace, timeout=WAIT)

    async def disconnect(self):
        await self.client.disconnect()


class Context:
    """What a check needs: the server, and clients that are closed after it."""

    def __init__(self, kind, url, transports):
        self.kind, self.url, self.transports = kind, url, transports
        self.open = []

    def make(self):
        self.open.append(self.kind())
        return self.open[-1]

    async def connect(self, one=None, **options):
        one = one or self.make()
        await one.connect(self.url, transports=self.transports, **options)
        return one

    async def close(self):
        for one in self.open:
            await one.disconnect()


async def connects_and_hears_its_auth(at):
    one = at.make()
    one.listen("auth")
    await at.connect(one, auth={"token": "123", "n": [1]})
    check(await one.next("auth"), ({"token": "123", "n": [1]},))


async def messages_come_back(at):
    one = at.make()
    one.listen("message-back")
    await at.connect(one)
    for args in [
        ("text",), (TEXT, NESTED), (1, None, False, 0.5), (), (BYTES,),
        ({"deep": [BYTES, b""], "t": TEXT}, b"x"),
    ]:
        await one.emit("message", *args)
        check(await one.next("message-back"), args)


async def acknowledgements_both_ways(at):
    one = at.make()
    one.listen("question", answer=("yes", BYTES))
    one.listen("answer")
    await at.connect(one)
    check(await one.call("message-with-ack", "a", NESTED), ("a", NESTED))
    check(await one.call("message-with-ack", BYTES), BYTES)
    check(await one.call("bytes", 70_000), bytes([7]) * 70_000)
    await one.emit("ask", "why", 1)
    check(await one.next("question"), ("why", 1))
    check(await one.next("answer"), ("yes", BYTES))


async def rooms(at):
    one, two, three = at.make(), at.make(), at.make()
    for client in (one, two, three):
        client.listen("news")
        await at.connect(client)
    check(await one.call("join", "r"), "r")
    check(await two.call("join", "r"), "r")
    await three.call("room-emit", "r", "news", TEXT, {"b": BYTES})
    for client in (one, two):
        check(await client.next("news"), (TEXT, {"b": BYTES}))
    check(await two.call("leave", "r"), "r")
    await one.call("broadcast", "news", "all")
    check(await two.next("news"), ("all",))
    check(await three.next("news"), ("all",))
    check((await one.call("whoami"))["rooms"].count("r"), 1)


async def several_namespaces(at):
    one = at.make()
    one.listen("auth", "/custom")
    one.listen("message-back", "/custom")
    await at.connect(one, namespaces=["/", "/custom"], auth={"t": 1})
    check(await one.next("auth", "/custom"), ({"t": 1},))
    check(await one.call("message-with-ack", "main"), "main")
    check(await one.call("message-with-ack", "custom", namespace="/custom"), "custom")
    await one.emit("message", BYTES, namespace="/custom")
    check(await one.next("message-back", "/custom"), (BYTES,))


async def refusals(at):
    for namespace in ("/guarded", "/nowhere"):
        try:
            await at.connect(namespaces=[namespace], auth={"token": "wrong"})
        except socketio.exceptions.ConnectionError:
            continue
        raise AssertionError(f"{namespace} let us in")
    one = await at.connect(namespaces=["/guarded"], auth={"token": "secret"})
    check("/guarded" in one.client.namespaces, True)


async def a_burst_arrives(at):
    one = at.make()
    one.listen("seq")
    await at.connect(one)
    await one.emit("burst", 500, 20)
    heard = [await one.next("seq") for _ in range(500)]
    # The synchronous client handles each message on a thread of its own: they overtake there.
    check(heard if at.kind is Async else sorted(heard), [(i, "x" * 20) for i in range(500)])


async def heartbeats_and_facts(at):
    one = await at.connect()
    facts = await one.call("whoami")
    check(facts["sid"], one.client.get_sid())
    check(facts["transport"], "polling" if at.transports == ["polling"] else "websocket")
    for _ in range(3):
        await one.heartbeat()
    check(await one.call("message-with-ack", "alive"), "alive")


async def the_server_disconnects(at):
    one = at.make()
    one.listen("disconnect")
    await at.connect(one)
    await one.emit("disconnect-me", True)
    await one.next("disconnect")


CHECKS = [
    connects_and_hears_its_auth, messages_come_back, acknowledgements_both_ways, rooms,
    several_namespaces, refusals, a_burst_arrives, heartbeats_and_facts,
    the_server_disconnects,
]


async def run(url):
    passed = failed = 0
    for kind in (Sync, Async):
        for name, transports in TRANSPORTS.items():
            for one in CHECKS:
                at = Context(kind, url, transports)
                label = f"{kind.name}, {name}: {one.__name__.replace('_', ' ')}"
                try:
                    await one(at)
                    await at.close()
                    passed += 1
                    print(f"ok      {label}")
                except (Exception, queue.Empty) as error:
                    failed += 1
                    print(f"FAILED  {label}: {type(error).__name__}: {error}")
    print(f"{passed} passed, {failed} failed", flush=True)
    return failed


def main():
    default = os.environ.get("CONFORMANCE_BIN", TARGET / "debug/examples/conformance")
    server = Server(sys.argv[1] if len(sys.argv) > 1 else str(default))
    # Neither a hanging check nor a hanging thread of a client may hold up the run.
    signal.signal(signal.SIGALRM, lambda *_: (server.process.kill(), os._exit(2)))
    signal.alarm(RUN_MAX)
    try:
        failed = asyncio.run(run(server.url))
    finally:
        server.stop()
    os._exit(1 if failed else 0)


if __name__ == "__main__":
    main()
