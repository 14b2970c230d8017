"""Reads and writes safetensors files with numpy only.

A file is a u64 (little-endian) header length, a JSON header {name: {dtype, shape, data_offsets: [begin, end]}} and raw
little-endian data; the offsets count from the end of the header. numpy has no bf16: `raw` returns
such tensors as uint16 bit patterns, and `get` widens them.
"""
import json
import os
import struct

import numpy as np

NUMPY = {"F64": np.float64, "F32": np.float32, "BF16": np.uint16, "I32": np.int32, "U8": np.uint8}
SAFETENSORS = {np.dtype(numpy): name for name, numpy in NUMPY.items() if name != "BF16"}
FLOATS = ("F64", "F32", "BF16")


def bf16_to_f32(bits):
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def f32_to_bf16(x):
    """Rounds to nearest, ties to even; returns uint16 bits. Finite values only."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)


def round_to_bf16(x):
    """Rounds x to bf16 and returns the values in the dtype of x."""
    return bf16_to_f32(f32_to_bf16(x)).astype(x.dtype)


def num_bytes(dtype, shape):
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(NUMPY[dtype]).itemsize


class Reader:
    """The tensors of one file, or of every *.safetensors in a folder. Files are mapped and read on demand."""

    def __init__(self, path):
        files = [path] if os.path.isfile(path) else sorted(
            os.path.join(path, name) for name in os.listdir(path) if name.endswith(".safetensors"))
        if not files:
            raise FileNotFoundError(f"no .safetensors file in {path}")
        self.tensors = {}
        for file in files:
            with open(file, "rb") as f:
                header_bytes = struct.unpack("<Q", f.read(8))[0]
                header = json.loads(f.read(header_bytes))
            data = np.memmap(file, np.uint8, "c")[8 + header_bytes:]
            header.pop("__metadata__", None)
            for name, tensor in header.items():
                self.tensors[name] = (data, tensor)

    def raw(self, name):
        data, tensor = self.tensors[name]
        begin, end = tensor["data_offsets"]
        return data[begin:end].view(NUMPY[tensor["dtype"]]).reshape(tensor["shape"])

    def get(self, name, dtype):
        """Returns a floating tensor as `dtype`, and an integer tensor as it is stored."""
        kind = self.tensors[name][1]["dtype"]
        values = bf16_to_f32(self.raw(name)) if kind == "BF16" else self.raw(name)
        return values.astype(dtype) if kind in FLOATS else np.array(values)


def write(path, tensors, metadata=None):
    """Writes one file. tensors: [(name, dtype, shape, chunks)]. chunks() yields arrays whose concatenation is the
    tensor, so that only one of them is in memory at a time."""
    header, position = ({"__metadata__": metadata} if metadata else {}), 0
    for name, dtype, shape, _ in tensors:
        end = position + num_bytes(dtype, shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, _, _, chunks in tensors:
            begin, end = header[name]["data_offsets"]
            written = sum(f.write(np.ascontiguousarray(chunk).data) for chunk in chunks())
            assert written == end - begin, (name, written, end - begin)


def save(path, arrays):
    """arrays: {name: numpy array}, written in that order."""
    write(path, [(name, SAFETENSORS[a.dtype], a.shape, lambda a=a: [a]) for name, a in arrays.items()])
