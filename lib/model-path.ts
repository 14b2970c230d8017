import path from "node:path";
import { demoModelPath } from "./demo-model/index.js";
import { invalidArgument } from "./errors.js";

/**
 * Where the checkpoint lies that a user named: a folder or file, or `"demo"` for the embedded demo model. The name of a
 * synthetic model, `"synthetic:20b?seed=1"`, stands for itself: it lies nowhere.
 */
export async function modelPath(model: string): Promise<string> {
  if (typeof model !== "string" || model === "" || model.includes("\0")) {
    throw invalidArgument("the model", 'the path of a checkpoint, or "demo"', model, "model");
  }
  if (model === "demo") return demoModelPath();
  if (model.startsWith("synthetic:")) return model;
  return path.resolve(model);
}
