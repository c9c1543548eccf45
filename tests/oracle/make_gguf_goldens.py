"""Makes tests/data/gguf/*.gguf with the gguf library's writer.

all_types.gguf   every metadata type, arrays of them, tensors of several types, alignment 64
plain.gguf       default alignment, one tensor
no_tensors.gguf  metadata alone
Usage: python tests/oracle/make_gguf_goldens.py   (needs gguf, numpy)
"""

from pathlib import Path

import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType

OUT = Path(__file__).resolve().parent.parent / "data" / "gguf"


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def all_types() -> None:
    w = gguf.GGUFWriter(OUT / "all_types.gguf", "llama")
    w.add_custom_alignment(64)
    w.add_uint8("test.u8", 255)
    w.add_int8("test.i8", -128)
    w.add_uint16("test.u16", 65535)
    w.add_int16("test.i16", -32768)
    w.add_uint32("test.u32", 4294967295)
    w.add_int32("test.i32", -2147483648)
    w.add_uint64("test.u64", 18446744073709551615)
    w.add_int64("test.i64", -9223372036854775808)
    w.add_float32("test.f32", 0.1)
    w.add_float64("test.f64", 0.1)
    w.add_bool("test.true", True)
    w.add_bool("test.false", False)
    w.add_string("test.string", "Grüße, 世界 🌍")
    w.add_key_value("test.empty", "", gguf.GGUFValueType.STRING)
    w.add_array("test.strings", ["a", "", "ab", "Ġ t"])
    w.add_array("test.i32s", [1, -2, 3])
    w.add_array("test.f32s", [0.5, -1.5])
    w.add_array("test.bools", [True, False, True])
    w.add_key_value("test.u8s", [0, 128, 255], gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType.UINT8)
    w.add_key_value("test.i64s", [-1, 1 << 40], gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType.INT64)
    w.add_key_value("test.f64s", [1e300], gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType.FLOAT64)
    numbers = np.arange(192, dtype=np.float32).reshape(3, 64) / 7 - 10
    w.add_tensor("f32.weight", numbers)
    w.add_tensor("f16.weight", numbers.astype(np.float16))
    for name in ["BF16", "Q8_0", "Q4_1"]:
        kind = GGMLQuantizationType[name]
        w.add_tensor(f"{name.lower()}.weight", gguf.quantize(numbers, kind), raw_dtype=kind)
    w.add_tensor("i32", np.arange(24, dtype=np.int32).reshape(1, 2, 3, 4))
    w.add_tensor("i8", np.arange(5, dtype=np.int8))
    w.add_tensor("f64", np.array([0.25], dtype=np.float64))
    finish(w)


def plain() -> None:
    w = gguf.GGUFWriter(OUT / "plain.gguf", "llama")
    w.add_tensor("x", np.arange(3, dtype=np.float32))
    finish(w)


def no_tensors() -> None:
    w = gguf.GGUFWriter(OUT / "no_tensors.gguf", "llama")
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    w.close()


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    all_types()
    plain()
    no_tensors()
