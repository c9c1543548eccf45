#!/usr/bin/env python3
"""Writes tests/data/safetensors: files made by the `safetensors` library that our writer must equal byte for byte.

    make_safetensors_goldens.py [GGUF]

Every tensor's bytes are (7 * i + length of the name) mod 251. With the embedded GGUF given, also stores the SHA-256
of what save_file writes for it: gguf-py's dequantised values with q and k rows in transformers' order.
"""
import ctypes
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import safetensors
from safetensors.numpy import save_file

OUT = Path(__file__).resolve().parent.parent / "data" / "safetensors"

# name -> (dtype as the library spells it, shape, bytes)
MIXED = {
    "model.layers.10.weight": ("float32", [2, 3], 24), "model.layers.2.weight": ("float32", [3], 12),
    "half": ("float16", [5], 10), "brain": ("bfloat16", [1, 2, 1], 4), "scalar": ("int64", [], 8),
    "none": ("int32", [2, 0], 0), "flags": ("bool", [3], 3), "double": ("float64", [1], 8), "u8": ("uint8", [1], 1),
    "i8": ("int8", [2], 2), "i16": ("int16", [1], 2), "u16": ("uint16", [1], 2), "u32": ("uint32", [1], 4),
    "u64": ("uint64", [1], 8), "c64": ("complex64", [1], 8), "e4m3": ("float8_e4m3fn", [3], 3),
    "e5m2": ("float8_e5m2", [3], 3), "e8m0": ("float8_e8m0fnu", [2], 2), "e4m3z": ("float8_e4m3fnuz", [1], 1),
    "e5m2z": ("float8_e5m2fnuz", [1], 1), "quote\"back\\slash": ("float32", [1], 4),
    "Gewichte.größe/日本": ("float32", [1], 4),
}
CASES = {
    "empty": ({}, None), "metadata": ({}, {"format": "pt"}),
    "one": ({"attn.0": ("float32", [3], 12)}, None), "padded": ({"attn0": ("float32", [1, 1, 2, 3], 24)}, None),
    "mixed": (MIXED, {"format": "pt"}),
}


def pattern(name, size):
    return bytes((7 * i + len(name.encode())) % 251 for i in range(size))


def serialize(tensors, metadata):
    keep, specs = [], {}
    for name, (dtype, shape, size) in tensors.items():
        buffer = ctypes.create_string_buffer(pattern(name, size), max(size, 1))
        keep.append(buffer)
        specs[name] = safetensors.TensorSpec(dtype=dtype, shape=shape, data_ptr=ctypes.addressof(buffer), data_len=size)
    return safetensors.serialize(specs, metadata)


def converted_sha256(path):
    import gguf
    from check_converted import hf_tensors
    tensors = hf_tensors(gguf.GGUFReader(path))
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, file.name, {"format": "pt"})
        return hashlib.sha256(Path(file.name).read_bytes()).hexdigest()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    listing = {}
    for case, (tensors, metadata) in CASES.items():
        (OUT / f"{case}.safetensors").write_bytes(serialize(tensors, metadata))
        listing[case] = {"metadata": metadata or {}, "tensors": [
            {"name": n, "shape": s, "bytes": b} for n, (_, s, b) in tensors.items()]}
    goldens = {"cases": listing}
    if len(sys.argv) > 1:
        goldens["converted_float32_sha256"] = converted_sha256(sys.argv[1])
    (OUT / "goldens.json").write_text(json.dumps(goldens, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
