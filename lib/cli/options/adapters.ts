import path from "node:path";
import type { EngineOptions } from "../../generation/options.js";
import { UsageError } from "../exit.js";

/** The adapters of a command line: `--adapter PATH` or `--adapter NAME=PATH`, any number of times. */
export interface AdapterFlags {
  adapter?: string[];
  mergeAdapters?: true;
}

/** @throws UsageError for two adapters of one name, and for --merge-adapters without an adapter */
export function adapterOptions({ adapter = [], mergeAdapters }: AdapterFlags): EngineOptions["adapters"] {
  if (adapter.length === 0 && mergeAdapters) throw new UsageError("--merge-adapters needs --adapter");
  const options: Record<string, { path: string; merge: boolean }> = {};
  for (const { name, path: where } of adapter.map(namedAdapter)) {
    if (Object.hasOwn(options, name)) {
      throw new UsageError(`Two adapters have the name ${name}: give one another name, --adapter NAME=PATH`);
    }
    options[name] = { path: where, merge: mergeAdapters === true };
  }
  return options;
}

/**
 * The adapter for the requests of a command that answers one person.
 *
 * @throws UsageError for more than one that is not merged
 */
export function adapterOfRequests({ adapter = [], mergeAdapters }: AdapterFlags): { adapter?: string } {
  if (adapter.length === 0 || mergeAdapters) return {};
  if (adapter.length > 1) throw new UsageError("Several adapters need --merge-adapters, or gpt-oss serve");
  return { adapter: namedAdapter(adapter[0]!).name };
}

/** Without a name, the adapter has that of its folder. */
function namedAdapter(text: string): { name: string; path: string } {
  const named = /^([A-Za-z0-9][A-Za-z0-9._-]{0,63})=(.+)$/s.exec(text);
  if (named) return { name: named[1]!, path: named[2]! };
  const whole = path.resolve(text);
  const base = path.basename(whole.endsWith(".safetensors") ? path.dirname(whole) : whole);
  const name = base.replaceAll(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "");
  return { name: name.slice(0, 64) || "adapter", path: text };
}
