import type { NativeAdapter } from "../binding.js";
import { refuseUnknown } from "../common/unknown-option.js";
import { invalidArgument } from "../errors.js";

/** An adapter to load with the model: LoRA, in PEFT's files. */
export interface AdapterOptions {
  /**
   * The folder with `adapter_config.json` and `adapter_model.safetensors`, or the path of the latter file. A name such as
   * `"owner/name"` or `"owner/name@revision"` that is no path is a repository in the Hugging Face cache.
   */
  path: string;
  /** Multiplies what the adapter adds, in [-100, 100]. Default 1: as it was trained. */
  scale?: number;
  /**
   * `true`: the adapter is added to the weights while loading, for every request. Experts are rounded to MXFP4 again;
   * `engine.info.mergedAdapters` has the error. This costs no time later. `false`, the default: a request chooses the
   * adapter by its name.
   */
  merge?: boolean;
}

/** Options of `Engine.loadAdapter`. */
export type LoadAdapterOptions = Pick<AdapterOptions, "scale">;

/** The greatest factor of an adapter: above, float32 would overflow before it helps anybody. */
const mostScale = 100;

/**
 * The name of an adapter. The server appends it to the name of the model after a colon, so it has no colon.
 *
 * @throws GptOssError INVALID_ARGUMENT
 */
export function checkAdapterName(field: string, name: unknown): string {
  if (typeof name === "string" && /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) return name;
  throw invalidArgument(field, "a name of 1 to 64 letters, digits, dots, hyphens and underscores", name);
}

/**
 * The path can still be the name of a repository.
 *
 * @param field the option with these options; "": they are arguments of a call
 * @throws GptOssError INVALID_ARGUMENT
 */
export function checkAdapter(field: string, name: string, given: AdapterOptions): NativeAdapter {
  refuseUnknown(field, given, new Set(["path", "scale", "merge"]));
  const at = (option: string) => (field === "" ? option : `${field}.${option}`);
  const { path: where, scale = 1, merge = false } = given;
  if (typeof where !== "string" || where === "" || where.includes("\0")) {
    throw invalidArgument(at("path"), "the folder of a LoRA adapter", where);
  }
  if (typeof scale !== "number" || !(Math.abs(scale) <= mostScale)) {
    throw invalidArgument(at("scale"), `a number in [-${mostScale}, ${mostScale}]`, scale);
  }
  if (typeof merge !== "boolean") throw invalidArgument(at("merge"), "true or false", merge);
  return { name, path: where, scale, merge };
}

/**
 * Reads the option `adapters` of `Engine.load`: names, with paths or options.
 *
 * @throws GptOssError INVALID_ARGUMENT
 */
export function readAdapters(given: unknown): NativeAdapter[] {
  if (given === undefined) return [];
  if (given === null || typeof given !== "object" || Array.isArray(given)) {
    throw invalidArgument("adapters", "an object with a path or options for each name", given);
  }
  return Object.entries(given).map(([key, value]: [string, unknown]) => {
    const name = checkAdapterName("a name of adapters", key);
    if (typeof value === "string") return checkAdapter(`adapters.${name}`, name, { path: value });
    return checkAdapter(`adapters.${name}`, name, value as AdapterOptions);
  });
}
