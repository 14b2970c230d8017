import path from "node:path";
import type { ModelSource, ResolvedModel } from "./types.js";

/** Sources in words, for messages and the command line. */

const words: Readonly<Record<ModelSource, string>> = {
  demo: "embedded demo model",
  synthetic: "synthetic, random weights without a file",
  path: "path",
  "huggingface-cache": "Hugging Face cache",
  "lm-studio": "LM Studio",
  ollama: "Ollama",
};

export const sourceWords = (source: ModelSource) => words[source];

/** How a name was resolved, in one line. */
export function resolution({ source, details }: ResolvedModel): string {
  const { repository, revision, commit, file, manifest } = details;
  const at = revision === undefined || revision === commit ? "" : `${revision}, `;
  const parts = [repository, commit && `${at}commit ${commit}`, file, manifest && `manifest ${manifest}`].filter(
    Boolean,
  );
  return parts.length === 0 ? words[source] : `${words[source]}: ${parts.join(", ")}`;
}

/**
 * The name under which a server offers a model: `gpt-oss-20b` for `/models/gpt-oss-20b/` and `openai/gpt-oss-20b@main`,
 * `gpt-oss:20b` for Ollama's, `synthetic:20b` for `synthetic:20b?seed=1`, `demo` for `/models/demo-00001-of-00003.gguf`.
 */
export function servedName({ name, path: file, source, details }: ResolvedModel): string {
  if (source === "synthetic") return name.split("?", 1)[0]!;
  if (source === "path") return path.basename(file).replace(/(-\d{5}-of-\d{5})?\.(gguf|safetensors)$/i, "");
  return details.repository === undefined ? name : path.posix.basename(details.repository);
}
