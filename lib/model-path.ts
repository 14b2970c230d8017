import path from "node:path";
import { demoModelPath } from "./demo-model/index.js";
import { GptOssError, invalidArgument } from "./errors.js";

/** Where the checkpoint lies that a user named: a folder or file, or `"demo"` for the embedded demo model. */
export async function modelPath(model: string): Promise<string> {
  if (typeof model !== "string" || model === "" || model.includes("\0")) {
    throw invalidArgument("the model", 'the path of a checkpoint, or "demo"', model);
  }
  if (model === "demo") return demoModelPath();
  if (model.startsWith("synthetic:")) {
    throw new GptOssError(
      "UNSUPPORTED",
      `Synthetic models are not in this build: ${JSON.stringify(model)} needs a checkpoint`,
    );
  }
  return path.resolve(model);
}
