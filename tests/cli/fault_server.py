"""An OpenAI-compatible server that goes wrong on schedule. Python standard library, loopback only, ends with its owner.

Answers depend on the request alone, so that what a client makes of them can be compared to the byte. Before an answer
it may fail in one of FAULTS, drawn from the schedule's seed; after `patience` failures of one request it answers well.
"""
import gzip
import hashlib
import json
import random
import socket
import struct
import threading
import time
from email.utils import formatdate

FAULTS = ("429", "429-seconds", "429-date", "500", "502", "503", "reset-before", "reset-in-headers", "reset-after-headers",
          "cut-json", "cut-stream", "wrong-type", "stall", "repeat", "wrong-usage", "bomb", "error-body")
# What cannot befall an answer that is (or is not) streamed.
NOT_STREAMED, STREAMED = ("cut-stream", "repeat"), ("cut-json",)
BOMB = gzip.compress(b" " * (30 << 20), 9)


def text_of(body):
    """What the teacher says: the same words for the same request."""
    digest = hashlib.sha256(json.dumps({k: v for k, v in body.items() if k not in ("stream", "stream_options")},
                                       sort_keys=True).encode()).hexdigest()
    prompt = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
    return digest, f"On {prompt[:40]!r} I say {digest[:12]}, caf\u00e9 \u2192 {int(digest[:4], 16)}."


class FaultServer:
    def __init__(self, seed=0, rate=0.0, faults=FAULTS, patience=3, answer=None, delay=0.0, models=("toy",), tls=None):
        self.random = random.Random(seed)
        self.rate, self.faults, self.patience, self.delay = rate, faults, patience, delay
        self.answer = answer or (lambda body: text_of(body)[1])
        self.models = models
        self.lock = threading.Lock()
        self.failed, self.well, self.seen, self.kinds, self.headers = {}, {}, 0, {}, []
        self.paths, self.bodies, self.open, self.most_open = [], [], 0, 0
        self.spent = 0
        self.stopping = False
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.socket.getsockname()[1]
        self.tls = tls  # an ssl.SSLContext
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.stopping = True
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def twice(self):
        """Answers that were sent whole more than once."""
        return sum(count - 1 for count in self.well.values())

    def accept(self):
        while not self.stopping:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as reader:
                while not self.stopping and self.one(connection, reader):
                    pass
        except (OSError, ValueError):
            pass

    def one(self, connection, reader):
        line = reader.readline()
        if not line:
            return False
        method, path, _ = line.decode().split()
        headers = {}
        while (line := reader.readline().decode().strip()):
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        body = reader.read(int(headers.get("content-length", 0)))
        if method == "GET":
            listed = {"object": "list", "data": [{"id": name} for name in self.models]}
            self.send(connection, 200, listed if isinstance(self.models, tuple) else self.models)
            return True
        body = json.loads(body)
        key, _ = text_of(body)
        with self.lock:
            self.seen += 1
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            self.paths.append(path)
            self.bodies.append(body)
            self.headers.append(headers)
            faulty = self.random.random() < self.rate and self.failed.get(key, 0) < self.patience
            other = STREAMED if body.get("stream", False) else NOT_STREAMED
            fault = self.random.choice([each for each in self.faults if each not in other]) if faulty else None
            if fault:
                self.failed[key] = self.failed.get(key, 0) + 1
                self.kinds[fault] = self.kinds.get(fault, 0) + 1
        try:
            if self.delay:
                time.sleep(self.delay)
            return self.reply(connection, body, key, fault)
        finally:
            with self.lock:
                self.open -= 1

    def reply(self, connection, body, key, fault):
        stream = body.get("stream", False)
        if fault and fault.startswith("429"):
            extra = {"429": {}, "429-seconds": {"Retry-After": "0"},
                     "429-date": {"Retry-After": formatdate(time.time() + 1, usegmt=True), "Date": formatdate(usegmt=True)}}[fault]
            self.send(connection, 429, {"error": {"message": "slow down"}}, extra)
            return True
        if fault in ("500", "502", "503"):
            self.send(connection, int(fault), {"error": {"message": "trouble"}})
            return True
        if fault == "reset-before":
            return self.reset(connection)
        if fault == "reset-in-headers":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Ty")
            return self.reset(connection)
        if fault == "error-body":
            self.send(connection, 200, {"error": {"message": "overloaded", "type": "server_error", "code": 503}})
            return True
        if fault == "wrong-type":
            self.raw(connection, b"<html>a proxy's greeting</html>", "text/html")
            return True
        if fault == "bomb":
            self.raw(connection, BOMB, "application/json", {"Content-Encoding": "gzip"})
            return True
        document, payload, kind = self.payload(body, stream, fault)
        if fault == "reset-after-headers":
            connection.sendall(self.head(200, len(payload), kind) + payload[:7])
            return self.reset(connection)
        if fault == "stall":
            connection.sendall(self.head(200, len(payload), kind) + payload[:9])
            time.sleep(1.5)
            return False
        if fault == "cut-json" or fault == "cut-stream":
            cut = payload[:len(payload) * 2 // 3] if not stream else payload[:payload.index(b"finish_reason\": \"stop")]
            self.raw(connection, cut, kind)
            return True
        self.raw(connection, payload, kind)
        with self.lock:
            self.well[key] = self.well.get(key, 0) + 1
            self.spent += document["usage"]["prompt_tokens"] + document["usage"]["completion_tokens"] if fault is None else 0
        return True

    def payload(self, body, stream, fault):
        text = self.answer(body)
        prompt = json.dumps(body.get("messages", body.get("prompt")))
        usage = {"prompt_tokens": len(prompt) // 5 + 3, "completion_tokens": min(len(text) // 4 + 1, body["max_tokens"])}
        if fault == "wrong-usage":
            usage = {"prompt_tokens": -5, "completion_tokens": 10 ** 12}
        chat = "messages" in body
        document = {"id": "x", "object": "chat.completion", "created": int(time.time()), "model": "toy-1", "usage": usage,
                    "choices": [{"index": 0, "finish_reason": "stop",
                                 **({"message": {"role": "assistant", "content": text}} if chat else {"text": text})}]}
        if not stream:
            return document, json.dumps(document).encode(), "application/json"
        pieces = [text[i:i + 5] for i in range(0, len(text), 5)]
        events = []
        for number, piece in enumerate(pieces):
            choice = {"index": 0, "finish_reason": None, **({"delta": {"content": piece}} if chat else {"text": piece})}
            event = f"id: {number}\ndata: " + json.dumps({"model": "toy-1", "choices": [choice]}) + "\n\n"
            events += [event] * (2 if fault == "repeat" and number % 3 == 1 else 1)
        last = "data: " + json.dumps({"model": "toy-1", "choices": [
            {"index": 0, "finish_reason": "stop", **({"delta": {}} if chat else {"text": ""})}]}) + "\n\n"
        events += [last] * (2 if fault == "repeat" else 1)
        events.append("data: " + json.dumps({"model": "toy-1", "choices": [], "usage": usage}) + "\n\n")
        events.append("data: [DONE]\n\n")
        return document, "".join(events).encode(), "text/event-stream; charset=utf-8"

    @staticmethod
    def head(status, length, kind, extra=None):
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {length}", f"Content-Type: {kind}"]
        lines += [f"{name}: {value}" for name, value in (extra or {}).items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def raw(self, connection, payload, kind, extra=None):
        connection.sendall(self.head(200, len(payload), kind, extra) + payload)

    def send(self, connection, status, document, extra=None):
        payload = json.dumps(document).encode()
        connection.sendall(self.head(status, len(payload), "application/json", extra) + payload)

    @staticmethod
    def reset(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False
