#!/usr/bin/env python3
"""Unpacks demo-model.safetensors into a checkpoint folder: the reference for lib/demo-model/expand.ts.

  python3 expand.py PACK OUT

OUT gets config.json and model.safetensors. The two token tables have all 201,088 rows; those that the pack does not list are
zeros, which stay holes in the file (105 MB long, 19 MB on disk).
"""
import json
import os
import struct
import sys

TABLES = ("model.embed_tokens.weight", "lm_head.weight")
BF16_BYTES = 2


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    pack, out = sys.argv[1:]
    with open(pack, "rb") as f:
        header_bytes = struct.unpack("<Q", f.read(8))[0]
        tensors = json.loads(f.read(header_bytes))
        data = f.read()
    config_text = tensors.pop("__metadata__")["config"]
    config = json.loads(config_text)
    row_bytes = config["hidden_size"] * BF16_BYTES

    def content(name):
        begin, end = tensors[name]["data_offsets"]
        return data[begin:end]

    tokens = struct.unpack(f"<{tensors['tokens']['shape'][0]}i", content("tokens"))
    names = [name for name in tensors if name != "tokens"]
    header, position = {"__metadata__": {"format": "pt"}}, 0
    for name in names:
        is_table = name in TABLES
        shape = [config["vocab_size"], config["hidden_size"]] if is_table else tensors[name]["shape"]
        end = position + (config["vocab_size"] * row_bytes if is_table else len(content(name)))
        header[name] = {"dtype": tensors[name]["dtype"], "shape": shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        base = f.tell()
        f.truncate(base + position)
        for name in names:
            at, stored = base + header[name]["data_offsets"][0], content(name)
            if name not in TABLES:
                f.seek(at)
                f.write(stored)
                continue
            for i, token in enumerate(tokens):
                f.seek(at + token * row_bytes)
                f.write(stored[i * row_bytes:(i + 1) * row_bytes])
    with open(os.path.join(out, "config.json"), "w", encoding="utf-8") as f:
        f.write(config_text)


if __name__ == "__main__":
    main()
