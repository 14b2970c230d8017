import { addon, type ModelConfig, type NativeBackendPlan } from "../binding.js";
import { fromNative, GptOssError } from "../errors.js";
import { adapterWithPath } from "../models/index.js";
import { type Change, changesFor } from "./changes.js";
import { type CheckedPlanOptions, type PlanOptions, readPlanOptions } from "./options.js";
import { type PlanTarget, planTarget, smallModel } from "./target.js";
import type { BackendPlan, ModelPlan, PlanChange } from "./types.js";

type Planned = NativeBackendPlan & { model: ModelConfig };

/**
 * Says what a model takes, and how many conversations fit, before anything is loaded. It computes with the code that
 * plans an engine, so an engine on such a machine keeps to it. It reads the `config.json` of a folder, whose weights need
 * not be there. `"20b"` and `"120b"` stand for OpenAI's models, and need no file. Where such a name means several models
 * of this machine, OpenAI's is planned, and `note` says so.
 *
 * @param model a folder with a `config.json`, a GGUF file, `"20b"`, `"120b"`, or another name that `Engine.load` takes
 * @throws GptOssError MODEL_NOT_FOUND, MODEL_FORMAT or UNSUPPORTED for a config that cannot be used. INVALID_ARGUMENT for
 *   a wrong option, or more context than the model has. UNSUPPORTED for options that no backend of the plan has.
 *
 * @example
 * ```ts
 * const plan = await planModel("120b", { memory: "84.5GB", backend: "cuda", contextLength: 32768 });
 * console.log(plan.fits, plan.backends[0]?.wanted.possible);
 * ```
 */
export async function planModel(model: string, options: PlanOptions = {}): Promise<ModelPlan> {
  const asked = await withPaths(readPlanOptions(options));
  const target = await planTarget(model);
  const { names, leftOut } = backendsFor(asked);
  const planned: { asked: CheckedPlanOptions; plan: Planned }[] = [];
  let refusal: unknown;
  for (const backend of names) {
    const one = { ...asked, engine: { ...asked.engine, backend } };
    try {
      planned.push({ asked: one, plan: await planOne(target, one) });
    } catch (error) {
      // Another backend may have what this one lacks.
      if (!(error instanceof GptOssError) || error.code !== "UNSUPPORTED" || names.length === 1) throw error;
      refusal ??= error;
      leftOut.push({ backend, reason: error.message });
    }
  }
  const [first] = planned;
  if (first === undefined) throw refusal;
  const backends: BackendPlan[] = [];
  for (const { asked: one, plan } of planned) {
    const { model: _, ...rest } = plan;
    backends.push({ ...rest, changes: plan.fits ? [] : await changesOf(plan, target, one) });
  }
  const { model: config } = first.plan;
  return {
    name: target.name,
    note: target.note,
    model: config,
    fits: backends.some(({ fits }) => fits),
    backends,
    leftOut,
  };
}

/** The same, where each adapter has its path. */
async function withPaths(asked: CheckedPlanOptions): Promise<CheckedPlanOptions> {
  const adapters = await Promise.all(asked.engine.adapters.map(adapterWithPath));
  return { ...asked, engine: { ...asked.engine, adapters } };
}

async function changesOf(plan: Planned, target: PlanTarget, options: CheckedPlanOptions): Promise<PlanChange[]> {
  // All plans are for the same memory, also where it is that of this machine.
  const asked = { ...options, memoryBytes: plan.memory.availableBytes };
  const { model } = await planOne(smallModel, withDefaults(asked));
  const isSmaller = model.parameters < plan.model.parameters && asked.wanted.contextLength <= model.maxContext;
  const replan = (change: Change) => {
    const one = changed(asked, change);
    if (change.model === undefined) return planOne(target, one);
    // Adapters and bf16 experts are of the other model.
    return planOne(smallModel, { ...one, engine: { ...one.engine, adapters: [], expertWeights: "mxfp4" } });
  };
  return changesFor(plan, asked, replan, isSmaller);
}

/** The backends to plan for. Without a given memory, they are those of this machine. */
function backendsFor({ engine, memoryBytes, isa }: CheckedPlanOptions): {
  names: string[];
  leftOut: ModelPlan["leftOut"];
} {
  if (engine.backend !== "auto") return { names: [engine.backend], leftOut: [] };
  if (isa !== "") return { names: ["cpu"], leftOut: [] };
  if (memoryBytes > 0) return { names: ["cpu", "cuda"], leftOut: [] };
  const gpus = addon()
    .listBackends()
    .filter(({ name }) => name !== "cpu");
  const usable = gpus.find(({ available }) => available);
  if (usable) return { names: [usable.name, "cpu"], leftOut: [] };
  const expected = process.platform === "darwin" ? "metal" : "cuda";
  const leftOut = gpus.filter(({ name }) => name === expected);
  return { names: ["cpu"], leftOut: leftOut.map(({ name, detail }) => ({ backend: name, reason: detail })) };
}

/** The same machine, with no wish that a model could refuse. */
function withDefaults({ engine, ...asked }: CheckedPlanOptions): CheckedPlanOptions {
  return {
    ...asked,
    engine: { ...engine, contextLength: 0, adapters: [], expertWeights: "mxfp4" },
    wanted: { conversations: 1, contextLength: 0 },
  };
}

function changed(asked: CheckedPlanOptions, { options = {} }: Change): CheckedPlanOptions {
  const { kvCache, ...others } = options;
  const engine = { ...asked.engine, ...others, ...(kvCache?.dtype !== undefined && { kvDtype: kvCache.dtype }) };
  const contextLength = options.contextLength ?? asked.wanted.contextLength;
  const isCounted = options.maxSequences !== undefined && contextLength > 0;
  const conversations = isCounted ? engine.maxSequences : asked.wanted.conversations;
  return { ...asked, engine, wanted: { conversations, contextLength } };
}

async function planOne(target: PlanTarget, { engine, memoryBytes, isa, wanted }: CheckedPlanOptions): Promise<Planned> {
  try {
    return await addon().planModel({
      model: target.path,
      hasFiles: target.hasFiles,
      options: engine,
      isa: engine.backend === "cpu" ? isa : "",
      memoryBytes,
      wantedContext: wanted.contextLength,
      wantedConversations: wanted.conversations,
    });
  } catch (error) {
    throw fromNative(error);
  }
}
