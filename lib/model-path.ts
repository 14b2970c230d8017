import path from "node:path";
import { demoModelPath } from "./demo-model/index.js";
import { invalidArgument } from "./errors.js";

/**
 * Returns the path of the checkpoint for a user's name: a folder or file, or `"demo"` for the embedded demo model. The
 * name of a synthetic model, `"synthetic:20b?seed=1"`, is returned unchanged, because it has no file.
 */
export async function modelPath(model: string): Promise<string> {
  if (typeof model !== "string" || model === "" || model.includes("\0")) {
    throw invalidArgument("the model", 'the path of a checkpoint, or "demo"', model, "model");
  }
  if (model === "demo") return demoModelPath();
  if (model.startsWith("synthetic:")) return model;
  return path.resolve(model);
}
