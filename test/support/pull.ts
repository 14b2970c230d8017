import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeEach } from "vitest";
import { type Machine, thisMachine } from "../../lib/pull/machine.js";
import { type PullOptions, readPullOptions } from "../../lib/pull/options.js";
import { pullOn } from "../../lib/pull/pull.js";
import type { PulledModel } from "../../lib/pull/pulled-model.js";
import { type FakeFile, FakeHub } from "./hub.js";
import { seededRandom } from "./random.js";

/** What the tests of downloads share: a hub, an empty disk, and a machine whose limits fit small files. */

export const rangeBytes = 1000;

export function large(length: number, seed: number): FakeFile {
  const random = seededRandom(seed);
  return { bytes: Buffer.from(Uint8Array.from({ length }, () => random() * 256)), isLarge: true };
}

/** The names of OpenAI's repositories, with the copies of the weights that nobody needs. */
export function modelFiles(): Record<string, FakeFile | string> {
  return {
    "config.json": '{"model_type":"gpt_oss"}',
    "generation_config.json": "{}",
    "tokenizer.json": large(2500, 1),
    "chat_template.jinja": "{{ messages }}",
    LICENSE: "Apache",
    "README.md": "# a model",
    ".gitattributes": "*.safetensors filter=lfs",
    "model.safetensors.index.json":
      '{"weight_map":{"a":"model-00000-of-00001.safetensors","b":"model-00001-of-00001.safetensors"}}',
    "model-00000-of-00001.safetensors": large(7300, 2),
    "model-00001-of-00001.safetensors": large(4100, 3),
    "original/model.safetensors": large(9000, 4),
    "original/config.json": "{}",
    "metal/model.bin": large(9000, 5),
  };
}

export const neededFiles = [
  ...["LICENSE", "README.md", "chat_template.jinja", "config.json", "generation_config.json"],
  ...["model-00000-of-00001.safetensors", "model-00001-of-00001.safetensors"],
  ...["model.safetensors.index.json", "tokenizer.json"],
];

export interface Setting {
  hub: FakeHub;
  /** An empty folder. */
  folder: string;
  machine: Machine;
  cache: string;
  pull: (options?: Partial<PullOptions>, machine?: Partial<Machine>) => Promise<PulledModel>;
}

/** Makes a setting for each test. Files of more than `rangeBytes` come in ranges, because small ones are few bytes. */
export function setting(): Setting {
  const current = {} as Setting;
  const folders: string[] = [];
  beforeEach(async () => {
    const hub = await FakeHub.start();
    hub.add("openai/gpt-oss-20b", modelFiles());
    const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-pull-"));
    folders.push(folder);
    const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: folder };
    const { limits, ...rest } = thisMachine();
    const machine: Machine = {
      ...rest,
      env,
      freeBytes: async () => 1e12,
      limits: { ...limits, rangeBytes, smallBytes: rangeBytes, firstPauseMilliseconds: 1, stallMilliseconds: 2000 },
    };
    const pull: Setting["pull"] = (options, other) =>
      pullOn({ ...machine, ...other }, readPullOptions({ repository: "openai/gpt-oss-20b", ...options }));
    Object.assign(current, { hub, folder, machine, cache: path.join(folder, "hub"), pull });
  });
  afterEach(() => current.hub.close());
  afterAll(() => {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });
  return current;
}
