"""Makes tests/data/quant: stored values and what the reference libraries make of them.

decode_NAME.stored / decode_NAME.f32   raw bytes and the float32 values that they decode to
encode.f32 / encode_NAME.stored        float32 values and the bytes that they are encoded to

Block types and F16/BF16: the gguf library. FP8: torch. Integers and F64: numpy. Q8_K, F4 and F6, which no
library here decodes: the formulas of ggml-quants.c and the OCP tables, written out below.
Usage: python tests/oracle/make_quant_goldens.py   (needs gguf, numpy, torch)
"""

from pathlib import Path

import gguf
import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

OUT = Path(__file__).resolve().parent.parent / "data" / "quant"
RNG = np.random.default_rng(20240229)

# bytes at which a block keeps its IEEE half scales
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [],
}
# zero, -zero, least subnormals, largest subnormal, least normal, largest, infinities, NaN
SPECIAL_HALVES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00]


def save(name: str, array: np.ndarray) -> None:
    (OUT / name).write_bytes(np.ascontiguousarray(array).tobytes())


def golden(name: str, stored: np.ndarray, values: np.ndarray) -> None:
    assert values.dtype == np.float32
    save(f"decode_{name}.stored", stored)
    save(f"decode_{name}.f32", values)


def random_blocks(name: str, size: int, count: int) -> np.ndarray:
    blocks = RNG.integers(0, 256, (count, size), dtype=np.uint8)
    for at in HALVES[name]:
        scales = RNG.normal(0, 0.05, count).astype(np.float16)
        scales[count // 2:] = RNG.integers(0, 0x7C00, count - count // 2, dtype=np.uint16).view(np.float16)
        blocks[:, at:at + 2] = scales.view(np.uint8).reshape(count, 2)
    specials = RNG.integers(0, 256, (len(SPECIAL_HALVES), size), dtype=np.uint8)
    for n, at in enumerate(HALVES[name]):
        rolled = np.roll(np.array(SPECIAL_HALVES, dtype=np.uint16), 3 * n)
        specials[:, at:at + 2] = rolled.view(np.uint8).reshape(-1, 2)
    if name == "MXFP4":
        specials[:, 0] = [0, 1, 2, 3, 127, 128, 200, 252, 253, 254, 255]
    return np.concatenate([blocks, specials])


def decode_blocks() -> None:
    for name in HALVES:
        kind = GGMLQuantizationType[name]
        elements, size = GGML_QUANT_SIZES[kind]
        blocks = random_blocks(name, size, 24 if elements == 32 else 6)
        with np.errstate(all="ignore"):
            golden(name, blocks, gguf.dequantize(blocks.reshape(-1), kind))
    # Q8_K: float32 d, 256 signed bytes, 16 sums; x = d * q
    blocks = RNG.integers(0, 256, (8, 292), dtype=np.uint8)
    d = np.array([1.0, -0.01, 0.0, -0.0, 1e-45, 3e38, np.inf, 2.5e-39], dtype=np.float32)
    blocks[:, :4] = d.view(np.uint8).reshape(8, 4)
    with np.errstate(all="ignore"):
        golden("Q8_K", blocks, d[:, None] * blocks[:, 4:260].view(np.int8).astype(np.float32))


def decode_plain() -> None:
    halves = RNG.integers(0, 1 << 16, 1021, dtype=np.uint16)
    halves[:len(SPECIAL_HALVES)] = SPECIAL_HALVES
    golden("F16", halves, gguf.dequantize(halves.view(np.float16), GGMLQuantizationType.F16))
    golden("BF16", halves, gguf.dequantize(halves.view(np.uint8), GGMLQuantizationType.BF16))
    doubles = np.concatenate([RNG.normal(0, 1, 200), [0.0, -0.0, 1e300, -1e300, 1e-300, 5e-324, 1e-40, 1 + 2**-24,
                                                       1 + 3 * 2**-24, np.inf, -np.inf, np.nan]])
    with np.errstate(all="ignore"):
        golden("F64", doubles, doubles.astype(np.float32))
    for kind in ["U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"]:
        dtype = np.dtype(kind.replace("U", "uint").replace("I", "int"))
        info = np.iinfo(dtype)
        numbers = RNG.integers(info.min, info.max, 100, dtype=dtype, endpoint=True)
        numbers[:4] = [info.min, info.max, 0, info.max // 2 + 1]
        golden(kind, numbers, numbers.astype(np.float32))


def decode_small_floats() -> None:
    codes = torch.arange(256, dtype=torch.int32).to(torch.uint8)
    for name, dtype in [("F8_E4M3", torch.float8_e4m3fn), ("F8_E5M2", torch.float8_e5m2),
                        ("F8_E4M3FNUZ", torch.float8_e4m3fnuz), ("F8_E5M2FNUZ", torch.float8_e5m2fnuz),
                        ("F8_E8M0", torch.float8_e8m0fnu)]:
        golden(name, codes.numpy(), codes.view(dtype).to(torch.float32).numpy())
    e2m1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=np.float32)
    e2m3 = np.concatenate([np.arange(16) / 8, np.arange(8, 16) / 4, np.arange(8, 16) / 2]).astype(np.float32)
    e3m2 = np.array([m / 16 if e == 0 else (1 + m / 4) * 2.0 ** (e - 3) for e in range(8) for m in range(4)],
                    dtype=np.float32)
    for name, bits, positive in [("F4", 4, e2m1), ("F6_E2M3", 6, e2m3), ("F6_E3M2", 6, e3m2)]:
        values = np.concatenate([positive, -positive])
        codes = np.concatenate([np.arange(1 << bits), RNG.integers(0, 1 << bits, 64)]).astype(np.uint8)
        stream = ((codes[:, None] >> np.arange(bits)) & 1).astype(np.uint8).reshape(-1)
        golden(name, np.packbits(stream, bitorder="little"), values[codes])


def encode() -> None:
    rows = [RNG.normal(0, 0.02, (40, 32)), RNG.normal(0, 1, (8, 32)) * 10.0 ** RNG.integers(-44, 38, (8, 32))]
    ties = np.zeros((6, 32))
    ties[0] = np.arange(32) / 2 - 8  # with the largest at 127: q = x, halves rounded away from zero
    ties[0, 0] = 127
    ties[1] = -ties[0]
    ties[2] = 1 + np.arange(32) * 2.0**-11  # ties of half precision
    ties[3] = (np.arange(32) - 16) * 2.0**-25  # ties among subnormal halves
    ties[4] = 1 + np.arange(32) * 2.0**-8  # ties of bfloat16
    ties[5, ::2] = -0.0
    extreme = np.zeros((8, 32))
    extreme[0] = np.linspace(-3.4e38, 3.4e38, 32)
    extreme[1] = np.linspace(65472, 65536, 32)  # around the largest half
    extreme[2, 5] = 1e-45
    extreme[3] = np.linspace(-1e-43, 1e-43, 32)
    extreme[4] = np.linspace(-4e-37, 4e-37, 32)
    extreme[5] = np.linspace(-2e-5, 2e-5, 32) * 127  # d among subnormal halves
    extreme[6, 3], extreme[6, 4] = np.inf, -np.inf
    extreme[7, 3], extreme[7, 4] = np.nan, 1.0
    with np.errstate(all="ignore"):
        values = np.concatenate([*rows, ties, extreme]).astype(np.float32)
        save("encode.f32", values)
        save("encode_F64.stored", values.astype(np.float64))
        for name in ["F16", "BF16", "Q8_0"]:
            save(f"encode_{name}.stored", gguf.quantize(values, GGMLQuantizationType[name]))


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    decode_blocks()
    decode_plain()
    decode_small_floats()
    encode()
