import path from "node:path";
import { GptOssError } from "../errors.js";
import { releasedName, releasedOfOllama, repositoryName, repositoryToPull, resolveModel } from "../models/index.js";

/** What a name means to `planModel`. */
export interface PlanTarget {
  /** The name of the model, for people. */
  name: string;
  /** What the addon reads the config from. */
  path: string;
  /** Whether the weights are, or would be, in files. */
  hasFiles: boolean;
  /** What the user should know about the choice; null: nothing. */
  note: string | null;
}

/** The models of OpenAI, whose configs are known without a file. */
const shapes: Readonly<Record<string, string>> = { "gpt-oss-20b": "synthetic:20b", "gpt-oss-120b": "synthetic:120b" };

/** The smaller model of OpenAI. */
export const smallModel: PlanTarget = shapeOf("gpt-oss-20b");

/** A model of this machine goes before the known shape of its name, unless the name means several. */
export async function planTarget(model: string): Promise<PlanTarget> {
  try {
    const { source, path: found } = await resolveModel(model);
    const isNamed = source !== "path";
    return {
      name: isNamed ? model : path.basename(found) || found,
      path: found,
      hasFiles: source !== "synthetic",
      note: null,
    };
  } catch (error) {
    const isAbsent = error instanceof GptOssError && error.code === "MODEL_NOT_FOUND";
    const isRefused = error instanceof GptOssError && error.code === "INVALID_ARGUMENT";
    const isAmbiguous = isRefused && typeof model === "string";
    if (!isAbsent && !isAmbiguous) throw error;
    const known = (releasedRepository(model) ?? releasedOfOllama(model))?.replace("safeguard-", "");
    if (known !== undefined) return shapeOf(known, isAmbiguous ? severalModels(model) : null);
    if (isAmbiguous) throw error;
    const message = `${error.message}; a plan needs no file for "20b" and "120b"`;
    throw new GptOssError(error.code, message, { cause: error, field: "model" });
  }
}

/** The released model of a name, with or without a revision, or of an address; one file of it is another format. */
function releasedRepository(text: string): string | null {
  const name = repositoryName(text);
  return name === null || name.selection !== null ? null : releasedName(repositoryToPull(name) ?? "");
}

function shapeOf(name: string, note: string | null = null): PlanTarget {
  return { name, path: shapes[name]!, hasFiles: true, note };
}

function severalModels(name: string): string {
  return `${JSON.stringify(name)} means several models of this machine, so this is the plan of OpenAI's release; "gpt-oss models" lists them`;
}
