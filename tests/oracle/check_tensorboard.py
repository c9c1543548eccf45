#!/usr/bin/env python3
"""Event files of `lancet train` as TensorBoard's own reader and as a plain decoder see them.

    check_tensorboard.py LANCET
"""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "cli"))
import tiny_model  # noqa: E402


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frames(path):
    data, at = path.read_bytes(), 0
    while at < len(data):
        length, check = struct.unpack_from("<QI", data, at)
        payload = data[at + 12:at + 12 + length]
        assert check == masked(data[at:at + 8]) and len(payload) == length, f"{path}: frame at {at}"
        assert struct.unpack_from("<I", data, at + 12 + length)[0] == masked(payload), f"{path}: payload at {at}"
        yield payload
        at += 16 + length


def fields(message):
    """(number, value) of a protobuf: ints for varints, bytes for the rest."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        size = {0: None, 1: 8, 2: "length", 5: 4}[key & 7]
        if size is None:
            yield key >> 3, varint()
            continue
        size = varint() if size == "length" else size
        yield key >> 3, message[at:at + size]
        at += size


def plain(folder):
    """{tag: {step: value}} by the decoder above, with what a session start makes a reader forget."""
    found = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for number, payload in enumerate(frames(path)):
            event = dict(fields(payload))
            step = event.get(2, 0)
            if number == 0:
                assert event[3] == b"brain.Event:2", event
            if 7 in event:  # SessionLog START
                for values in found.values():
                    for old in [s for s in values if s >= step]:
                        del values[old]
            for kind, value in fields(event.get(5, b"")):
                assert kind == 1
                one = dict(fields(value))
                found.setdefault(one[1].decode(), {})[step] = struct.unpack("<f", one[2])[0]
    return found


def by_tensorboard(folder):
    try:
        from tensorboard.backend.event_processing import event_accumulator
    except ImportError:
        return None
    reader = event_accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    reader.Reload()
    return {tag: {e.step: e.value for e in reader.Scalars(tag)} for tag in reader.Tags()["scalars"]}


def by_lines(folder):
    found = {}
    for line in (folder / "steps.jsonl").read_text().splitlines():
        record = json.loads(line)
        group = "eval/" if record.get("eval") else "train/"
        for name, value in record.items():
            found.setdefault(group + name, {})[record["step"]] = value
    return found


def compare(folder):
    lines, events, theirs = by_lines(folder), plain(folder), by_tensorboard(folder)
    assert {"train/loss", "train/lr", "train/grad_norm", "train/tokens_per_second", "eval/loss"} <= set(events), set(events)
    for tag, values in events.items():
        wanted = {step: struct.unpack("<f", struct.pack("<f", v))[0] for step, v in lines[tag].items()}
        assert values == wanted, (tag, values, wanted)
        assert theirs is None or theirs[tag] == values, (tag, theirs[tag], values)
    return theirs is not None, len(events["train/loss"])


def main():
    lancet = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        model = tiny_model.write_model(work / "model")
        rows = [{"prompt": f"the {i} is ", "completion": f"{i * 7}"} for i in range(60)]
        (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        command = [lancet, "train", model, "--data", work / "rows.jsonl", "-o", work / "adapter", "--log-dir", work / "log",
                   "--batch-tokens", "64", "--eval-fraction", "0.2", "--save-every", "3", "--eval-every", "4", "--lr", "1e-2",
                   "--steps", "40", "--json"]
        # Killed after some steps, beyond the last checkpoint, then taken up again.
        first = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
        for line in first.stdout:
            record = json.loads(line)
            if not record.get("eval") and record["step"] >= 8:
                first.kill()
                break
        first.stdout.close()
        first.wait()
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        theirs, steps = compare(work / "log")
        assert steps == 40, steps
        print(f"{steps} steps; tensorboard's reader: {'agrees' if theirs else 'not installed'}")
        return 0 if theirs else 77


if __name__ == "__main__":
    sys.exit(main())
