import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type CheckpointShape, presets, writeCheckpoint } from "../../test/support/checkpoint.js";
import { convertToGguf, type DenseType } from "./convert.js";

/** The same random weights for both engines, in one folder. */

export const shapes: Record<string, CheckpointShape> = {
  ...presets,
  "20b": {
    layers: 24,
    hidden: 2880,
    intermediate: 2880,
    heads: 64,
    kvHeads: 8,
    headDim: 64,
    experts: 32,
    topK: 4,
    vocab: 201088,
    window: 128,
  },
};

const shardBytes = 4.8e9; // as in the released checkpoints

/** Existing files are not written again: a folder holds one shape and one seed. */
export class Weights {
  readonly checkpoint: string;

  constructor(
    readonly folder: string,
    readonly shape: CheckpointShape,
    readonly seed: number,
  ) {
    this.checkpoint = path.join(folder, "checkpoint");
    const stamp = path.join(folder, "shape.json");
    const content = JSON.stringify({ ...shape, seed });
    if (existsSync(stamp) && readFileSync(stamp, "utf8") !== content) {
      throw new Error(`${folder} holds other weights: ${readFileSync(stamp, "utf8")}`);
    }
    if (existsSync(stamp)) return;
    writeCheckpoint(this.checkpoint, { ...shape, seed, shardBytes });
    writeFileSync(stamp, content);
  }

  gguf(dense: DenseType): string {
    const file = path.join(this.folder, `${dense}.gguf`);
    const done = `${file}.done`;
    if (!existsSync(done)) {
      convertToGguf(this.checkpoint, file, dense);
      writeFileSync(done, "");
    }
    return file;
  }

  /** The same files with a config that rounds YaRN's bounds to whole numbers, as llama.cpp does with every gpt-oss. */
  roundedRope(): string {
    const folder = path.join(this.folder, "rounded-rope");
    if (existsSync(folder)) return folder;
    mkdirSync(folder);
    for (const file of readdirSync(this.checkpoint)) {
      if (file.endsWith(".safetensors") || file.endsWith(".index.json"))
        linkSync(path.join(this.checkpoint, file), path.join(folder, file));
    }
    const config = JSON.parse(readFileSync(path.join(this.checkpoint, "config.json"), "utf8"));
    config.rope_scaling.truncate = true;
    writeFileSync(path.join(folder, "config.json"), JSON.stringify(config));
    return folder;
  }
}
