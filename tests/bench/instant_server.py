#!/usr/bin/env python3
"""A server on loopback that answers every POST at once with the same small completion: what bench_teacher.py measures against.
Prints its port; ends when standard input closes."""
import asyncio
import json
import sys

BODY = json.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": "instant",
                   "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes, at once."}}],
                   "usage": {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16}}).encode()
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


class Instant(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.data = transport, b""

    def data_received(self, data):
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = self.data[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15:].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.data) < end + 4 + length:
                return
            self.data = self.data[end + 4 + length:]
            self.transport.write(REPLY)


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Instant, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()

asyncio.run(main())
