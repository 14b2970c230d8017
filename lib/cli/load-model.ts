import { demoModelLabel } from "../demo-model/index.js";
import { Engine } from "../engine.js";
import { modelOfEnvironment } from "../environment.js";
import { GptOssError } from "../errors.js";
import type { EngineOptions } from "../generation/options.js";
import { type ResolvedModel, resolution, resolveModel } from "../models/index.js";
import { roundingNote } from "./conversion-text.js";
import { exitCodes, Interrupted } from "./exit.js";
import { Output } from "./output.js";

export interface ChosenModel {
  /** The name as it was typed. */
  model: string;
  isDemo: boolean;
  /** The name is that of GPT_OSS_MODEL. */
  isOfEnvironment: boolean;
}

export interface LoadedModel extends ChosenModel {
  engine: Engine;
}

/** The model that was named, or the default one. */
export function chosenModel(argument: string | undefined): ChosenModel {
  const ofEnvironment = argument === undefined ? modelOfEnvironment() : undefined;
  const model = argument ?? ofEnvironment ?? "demo";
  return { model, isDemo: model === "demo", isOfEnvironment: ofEnvironment !== undefined };
}

/** Finds the model. @throws GptOssError as `resolveModel`; it names GPT_OSS_MODEL where that was the name */
export async function resolveChosen({ model, isOfEnvironment }: ChosenModel): Promise<ResolvedModel> {
  try {
    return await resolveModel(model);
  } catch (error) {
    throw isOfEnvironment ? ofEnvironment(error, model) : error;
  }
}

function ofEnvironment(error: unknown, model: string): unknown {
  if (!(error instanceof GptOssError)) return error;
  const message = error.message.replace(/^Expected/, "expected");
  return new GptOssError(error.code, `GPT_OSS_MODEL is ${JSON.stringify(model)}, ${message}`, { cause: error });
}

/** Says which model answers, where the name alone does not. */
function tellModel(resolved: ResolvedModel, command: string, notes: Output): void {
  const { name, source } = resolved;
  if (source === "demo") notes.line(demoNote(command));
  if (source === "demo" || source === "synthetic" || source === "path") return;
  for (const outcome of passedOver(resolved)) notes.line(`Passed over: ${outcome}`);
  notes.line(`${name} from ${resolution(resolved)}`);
}

export const demoNote = (command: string) => `${demoModelLabel}. For a real one: gpt-oss ${command} openai/gpt-oss-20b`;

/** The incomplete models of this name. */
export function passedOver({ tried }: ResolvedModel): string[] {
  return tried.filter(({ isIncomplete }) => isIncomplete).map(({ outcome }) => outcome);
}

/** Loads a model and shows progress on stderr. Ctrl-C ends it after the current layer, a second one at once. */
export async function loadModel(chosen: ChosenModel, options: EngineOptions, command: string): Promise<LoadedModel> {
  const notes = Output.stderr();
  const loading = new AbortController();
  const interrupt = () => {
    if (loading.signal.aborted) process.exit(exitCodes.interrupted);
    loading.abort(new Interrupted());
  };
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
    tellModel(await resolveChosen(chosen), command, notes);
    const engine = await Engine.load(chosen.model, { ...options, onProgress, signal: loading.signal });
    notes.status("");
    const rounding = roundingNote(engine.info);
    if (rounding !== null) notes.line(rounding);
    return { ...chosen, engine };
  } finally {
    process.off("SIGINT", interrupt);
    notes.status("");
  }
}
