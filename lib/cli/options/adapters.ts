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

const expected =
  "Expected PATH or NAME=PATH for --adapter, with 1 to 64 letters, digits, dots, hyphens and underscores";

/** Without a name, the adapter has that of its folder or repository. */
function namedAdapter(text: string): { name: string; path: string } {
  const [, given, where] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
  if (given !== undefined && where !== undefined) {
    if (isName(given) && where !== "") return { name: given, path: where };
    throw new UsageError(`${expected} in NAME, but received ${JSON.stringify(text)}`);
  }
  if (text.trim() === "") throw new UsageError(`${expected} in NAME, but received ${JSON.stringify(text)}`);
  const whole = path.resolve(text.replace(/^([^/]+\/[^/@]+)@.*$/s, "$1")); // without the revision of a repository
  const base = path.basename(whole.endsWith(".safetensors") ? path.dirname(whole) : whole);
  const name = base.replaceAll(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "");
  return { name: name.slice(0, 64) || "adapter", path: text };
}

const isName = (text: string) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(text);
