import path from "node:path";
import { GptOssError } from "../errors.js";
import { readText } from "./disk.js";
import { few } from "./model-files.js";
import { releasedIn, repositoryName } from "./names.js";

/** The error for an adapter where a model is expected: what the adapter is, and how it is used. */
export async function adapterIsNoModel(folder: string): Promise<GptOssError> {
  const { facts, base } = await described(folder);
  const found = [`found a LoRA adapter${facts}`, "name the model that it was trained on, and give this folder to"];
  const command = base === null ? "" : `: "gpt-oss chat ${base} --adapter ${folder}"`;
  const message = `Expected a model in ${folder}, ${found.join("; ")} --adapter (in a program: adapters)${command}`;
  return new GptOssError("MODEL_FORMAT", message, { field: "model" });
}

const mostConfigBytes = 2 ** 20;

interface Described {
  /** Rank, matrices and base model in words; empty where the config does not say them. */
  facts: string;
  /** The name of the model that it was trained on; null: it is none that can be typed. */
  base: string | null;
}

/** What `adapter_config.json` says. Loading checks it; here a wrong value is left out. */
async function described(folder: string): Promise<Described> {
  const config = await configOf(folder);
  const rank = Number.isInteger(config.r) ? ` of rank ${config.r}` : "";
  const targets = [...namesIn(config.target_modules), ...namesIn(config.target_parameters)];
  const matrices = targets.length === 0 ? "" : ` for ${few(targets)}`;
  const trained = namesIn([config.base_model_name_or_path])[0] ?? null;
  const base = trained === null ? null : modelNamed(trained);
  return { facts: `${rank}${matrices}${base === null ? "" : `, trained on ${trained}`}`, base };
}

/** The released model that a base model is a form of, such as `unsloth/gpt-oss-20b-BF16`; else a repository itself. */
function modelNamed(base: string): string | null {
  const released = releasedIn(base);
  if (released !== null) return `openai/${released}`;
  return repositoryName(base)?.owner == null ? null : base;
}

async function configOf(folder: string): Promise<Record<string, unknown>> {
  const read = await readText(path.join(folder, "adapter_config.json"), mostConfigBytes);
  if (!("text" in read)) return {};
  try {
    return (JSON.parse(read.text) as Record<string, unknown> | null) ?? {};
  } catch {
    return {};
  }
}

const usualName = /^[\w./@:-]{1,200}$/;
const namesIn = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((each): each is string => typeof each === "string" && usualName.test(each)) : [];
