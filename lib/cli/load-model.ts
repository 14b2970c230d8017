import { demoModelLabel } from "../demo-model/index.js";
import { Engine } from "../engine.js";
import { modelOfEnvironment } from "../environment.js";
import { GptOssError } from "../errors.js";
import type { EngineOptions } from "../generation/options.js";
import { exitCodes, Interrupted } from "./exit.js";
import { type KnownModel, knownRepository } from "./known-models.js";
import { Output } from "./output.js";

export interface ChosenModel {
  model: string;
  isDemo: boolean;
}

export interface LoadedModel extends ChosenModel {
  engine: Engine;
}

/** The model that was named, or the default one. */
export function chosenModel(argument: string | undefined): ChosenModel {
  const model = argument ?? modelOfEnvironment() ?? "demo";
  return { model, isDemo: model === "demo" };
}

/** Says that the demo model answers, and how to use a real one. */
export function tellDemo({ isDemo }: ChosenModel, command: string, notes: Output): void {
  if (isDemo) notes.line(`${demoModelLabel}. For a real one: gpt-oss ${command} /path/to/gpt-oss-20b`);
}

/** Loads a model and shows progress on stderr. Ctrl-C ends it after the current layer, a second one at once. */
export async function loadModel(chosen: ChosenModel, options: EngineOptions, command: string): Promise<LoadedModel> {
  const notes = Output.stderr();
  const loading = new AbortController();
  const interrupt = () => {
    if (loading.signal.aborted) process.exit(exitCodes.interrupted);
    loading.abort(new Interrupted());
  };
  tellDemo(chosen, command, notes);
  process.on("SIGINT", interrupt);
  let told = false;
  const onProgress: EngineOptions["onProgress"] = ({ loadedBytes, totalBytes, writes }) => {
    if (writes !== undefined && !told) {
      notes.status("");
      notes.line(
        `Packing the experts for this CPU, once, into ${writes} (--packed-weights memory does without the file)`,
      );
      told = true;
    }
    const percent = totalBytes > 0 ? Math.floor((100 * loadedBytes) / totalBytes) : 0;
    notes.status(`Loading ${chosen.model}: ${percent} %`);
  };
  try {
    const engine = await Engine.load(chosen.model, { ...options, onProgress, signal: loading.signal });
    return { ...chosen, engine };
  } catch (error) {
    throw explained(error, chosen.model);
  } finally {
    process.off("SIGINT", interrupt);
    notes.status("");
  }
}

/** Adds to the error how to get the model, if a repository was named instead of a folder. */
export function explained(error: unknown, model: string): unknown {
  const known = knownRepository(model);
  if (!(error instanceof GptOssError) || error.code !== "MODEL_NOT_FOUND") return error;
  if (known !== null) return new GptOssError(error.code, `${error.message}; ${howToGet(known)}`, { cause: error });
  if (model.toLowerCase() === "demo") {
    return new GptOssError(error.code, `${error.message}; did you mean demo?`, { cause: error });
  }
  return error;
}

function howToGet({ repository }: KnownModel): string {
  return `"gpt-oss pull ${repository}" downloads it`;
}
