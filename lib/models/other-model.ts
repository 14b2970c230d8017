/** Which files are those of another model than gpt-oss. The loader refuses by the same values (`native/checkpoint`). */

const modelType = "gpt_oss";
const className = "GptOssForCausalLM";
/** Ollama wrote the second one before August 2026. */
const architectures: readonly string[] = ["gpt-oss", "gptoss"];

/** @returns what a config names in place of gpt-oss, such as `model_type "llama"`; null: it names nothing else */
export function otherModelOfConfig(config: unknown): string | null {
  const { model_type: type, architectures: classes } = (config ?? {}) as Record<string, unknown>;
  if (typeof type === "string" && type !== modelType) return `model_type ${JSON.stringify(type)}`;
  if (!Array.isArray(classes) || classes.includes(className)) return null;
  return `architectures ${JSON.stringify(classes)}`;
}

/** The same for the architecture of a GGUF file; null also where that is not known. */
export function otherModelOfGguf(architecture: string | null): string | null {
  const isOther = architecture !== null && !architectures.includes(architecture);
  return isOther ? `general.architecture ${JSON.stringify(architecture)}` : null;
}
