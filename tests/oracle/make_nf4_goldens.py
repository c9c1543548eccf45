#!/usr/bin/env python3
"""Writes tests/data/quant/nf4.safetensors: values, and what NF4 with double quantisation and int8 rows make of them.

Plain numpy after bitsandbytes' definition: code book and thresholds of csrc/kernels.cu (dQuantizeNF4), blocks of 64 in
row-major order, maxima less their mean as 8-bit codes of functional.create_dynamic_map(signed=True) in blocks of 256;
int8 rows as LLM.int8 (round(127 x / max|x|)).
"""
import pathlib
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "quant" / "nf4.safetensors"
NF4 = np.array([-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
                -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
                0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023,
                1.0], np.float32)
THRESHOLDS = np.array([-0.8480964004993439, -0.6106329262256622, -0.4599952697753906, -0.33967943489551544,
                       -0.23460740596055984, -0.13791173323988914, -0.045525018125772476, 0.03979014977812767,
                       0.1202552504837513, 0.2035212516784668, 0.2920137718319893, 0.3893125355243683,
                       0.5016634166240692, 0.6427869200706482, 0.8614784181118011], np.float32)


def dynamic_map():
    data = [0.0, 1.0]
    for i in range(7):
        edges = np.linspace(0.1, 1, 2 ** i + 1)
        means = (edges[:-1] + edges[1:]) / 2
        data += list(10.0 ** (i - 6) * means) + list(-(10.0 ** (i - 6)) * means)
    return np.sort(np.array(data)).astype(np.float32)


def blocks(values, size):
    flat = values.reshape(-1)
    return [flat[i:i + size] for i in range(0, len(flat), size)]


def nf4(values):
    codes, maxima = [], []
    for block in blocks(values, 64):
        top = np.abs(block).max()
        maxima.append(top)
        scaled = block * (np.float32(1) / top)
        codes += list((scaled[:, None] > THRESHOLDS).sum(1))
    if len(codes) % 2:
        codes.append(0)
    packed = np.array([(a << 4) | b for a, b in zip(codes[::2], codes[1::2])], np.uint8)
    maxima = np.array(maxima, np.float32)
    mean = np.float32(maxima.astype(np.float64).mean())
    table, second, second_codes = dynamic_map(), [], []
    borders = ((table[:-1].astype(np.float64) + table[1:]) / 2).astype(np.float32)
    for block in blocks(maxima - mean, 256):
        top = np.abs(block).max()
        second.append(top)
        second_codes += list((block * (np.float32(1) / top) > borders[:, None]).sum(0))
    second, second_codes = np.array(second, np.float32), np.array(second_codes, np.uint8)
    restored = table[second_codes] * np.repeat(second, 256)[:len(maxima)] + mean
    values_again = NF4[np.array(codes[:values.size])] * np.repeat(restored, 64)[:values.size]
    return packed, maxima, second_codes, second, mean, values_again.reshape(values.shape)


def int8(values):
    top = np.abs(values).max(1, keepdims=True)
    codes = np.rint(values * (np.float32(127) / top)).astype(np.int8)
    return codes, codes.astype(np.float32) * (top / np.float32(127))


def make():
    generator = np.random.default_rng(5)
    out = {}
    # Rows that fill blocks; rows that do not; more than 256 blocks.
    for name, shape in {"even": (6, 128), "odd": (7, 37), "many": (40, 512)}.items():
        values = (generator.standard_normal(shape) * np.exp(generator.standard_normal((shape[0], 1)))).astype(np.float32)
        packed, maxima, codes, second, mean, again = nf4(values)
        bytes8, again8 = int8(values)
        out |= {f"{name}.values": values, f"{name}.codes": packed, f"{name}.maxima": maxima, f"{name}.scale_codes": codes,
                f"{name}.scale_maxima": second, f"{name}.mean": np.array([mean]), f"{name}.nf4": again,
                f"{name}.int8_codes": bytes8, f"{name}.int8": again8}
    return out


if __name__ == "__main__":
    made = make()
    if "--check" in sys.argv[1:]:
        stored = load_file(OUT)
        assert all(np.array_equal(stored[name], value) for name, value in made.items()), "the stored vectors differ"
        print(f"{len(made)} tensors are what the definition says today")
    else:
        save_file(made, OUT)
