#!/usr/bin/env python3
"""Writes tests/data/torch/*.bin: what torch.save makes of state dicts, and of what is none.

    make_torch_goldens.py [--check]    --check: the stored files hold these tensors for torch today
"""
import pathlib
import sys

import torch

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "torch"
GRID = torch.arange(12, dtype=torch.float32).reshape(3, 4)


class Call:
    """Runs a command where it is unpickled by a reader that runs things."""

    def __reduce__(self):
        import os
        return os.system, ("true",)


def state_dicts():
    torch.manual_seed(0)
    return {
        "linear": torch.nn.Linear(3, 4).state_dict(),  # an OrderedDict with _metadata
        "views": {"whole": GRID, "row": GRID[1], "rows": GRID[1:], "thin": GRID[:, :1].contiguous()},  # one storage
        "adapter": {"base_model.model.model.layers.0.q.lora_A.weight": GRID[:2], "base_model.model.model.layers.0.q.lora_B.weight": GRID[:, :2].contiguous()},
        "kinds": {"parameter": torch.nn.Parameter(GRID.clone()), "f64": GRID.double(), "f16": GRID.half(), "bf16": GRID.bfloat16(),
                  "f8": GRID.to(torch.float8_e4m3fn), "i64": torch.arange(3) - 1, "i32": torch.arange(3, dtype=torch.int32),
                  "i16": torch.arange(3, dtype=torch.int16), "i8": torch.arange(3, dtype=torch.int8), "u8": torch.arange(3, dtype=torch.uint8),
                  "u16": torch.arange(3).to(torch.uint16), "bool": torch.tensor([True, False]), "scalar": torch.tensor(3.5),
                  "empty": torch.zeros(0, 3)},
    }


def refused():
    return {
        "strided": ({"turned": GRID.t()}, {}),
        "program": ({"x": Call()}, {}),
        "module": (torch.nn.Linear(3, 4), {}),
        "nested": ({"model": {"x": GRID}}, {}),
        "number": ({"x": GRID, "step": 3}, {}),
        "protocol4": ({"x": GRID}, {"pickle_protocol": 4}),
        "legacy": ({"x": GRID}, {"_use_new_zipfile_serialization": False}),
    }


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for name, state in state_dicts().items():
        path = OUT / f"{name}.bin"
        if "--check" not in sys.argv:
            torch.save(state, path)
        stored = torch.load(path, weights_only=True)
        assert list(stored) == list(state), name
        for key, tensor in state.items():
            assert stored[key].dtype == tensor.dtype and stored[key].shape == tensor.shape, key
            assert torch.equal(stored[key].double(), tensor.double()), key
    if "--check" not in sys.argv:
        for name, (thing, options) in refused().items():
            torch.save(thing, OUT / f"{name}.bin", **options)


if __name__ == "__main__":
    main()
