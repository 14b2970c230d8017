import type { NativeBackendPlan } from "../binding.js";
import type { CheckedPlanOptions } from "./options.js";
import { smallModel } from "./target.js";
import type { PlanChange } from "./types.js";

type Changed = NonNullable<PlanChange["options"]>;

/** Changed options, or another model. */
export interface Change {
  options?: Changed;
  model?: string;
}
/** Plans again. */
export type Replan = (change: Change) => Promise<NativeBackendPlan>;

/** A batch and a number of sequences that cost speed, and leave most memory. */
const smallBatchTokens = 256;
const fewSequences = 4;
/** Contexts are offered in multiples of this many tokens. */
const contextStep = 1024;

/** The smaller options that a plan could have, the one with the least loss first. The plan is that of `options`. */
const steps: ((plan: NativeBackendPlan, asked: CheckedPlanOptions, options: Changed) => Changed | null)[] = [
  // Prompts are read more slowly.
  (plan) => (plan.limits.maxBatchTokens > smallBatchTokens ? { maxBatchTokens: smallBatchTokens } : null),
  // Fewer requests run at once.
  ({ wanted, limits }, asked) => {
    const fewer =
      wanted.conversations > 1 ? Math.max(1, wanted.possible) : asked.wanted.contextLength > 0 ? 1 : fewSequences;
    return fewer < limits.maxSequences ? { maxSequences: fewer } : null;
  },
  // Keys and values are rounded more.
  ({ backend, kvCacheDtype }) => {
    const dtype = backend === "cpu" ? "bf16" : "fp8";
    return kvCacheDtype === dtype ? null : { kvCache: { dtype } };
  },
  // Conversations end sooner.
  (plan, { wanted }) => {
    const longest = plan.capacities.find(({ dtype }) => dtype === plan.kvCacheDtype)?.longestContext ?? 0;
    const rounded = longest < contextStep ? 0 : Math.floor(longest / contextStep) * contextStep;
    return rounded > 0 && rounded < wanted.contextLength ? { contextLength: rounded } : null;
  },
  // Weights are rounded.
  ({ backend }, { engine }) =>
    !backend.startsWith("cuda") && engine.denseWeights === "bf16" ? { denseWeights: "q8" as const } : null,
  // Experts are quantised.
  (_, { engine }) => (engine.expertWeights === "bf16" ? { expertWeights: "mxfp4" as const } : null),
];

/**
 * Finds changes with which a plan fits: each option alone, or several together where none suffices.
 *
 * @param canBeSmaller whether the smaller model of OpenAI is smaller, and takes conversations of this length
 */
export async function changesFor(
  plan: NativeBackendPlan,
  asked: CheckedPlanOptions,
  replan: Replan,
  canBeSmaller: boolean,
): Promise<PlanChange[]> {
  const found: PlanChange[] = [{ memoryBytes: plan.wanted.bytes }];
  const alone = await eachAlone(plan, asked, replan);
  found.push(...(alone.length > 0 ? alone : await together(plan, asked, replan)));
  if (canBeSmaller && (await replan({ model: smallModel.name })).fits) found.push({ model: smallModel.name });
  return found;
}

async function eachAlone(plan: NativeBackendPlan, asked: CheckedPlanOptions, replan: Replan): Promise<PlanChange[]> {
  const found: PlanChange[] = [];
  for (const step of steps) {
    const options = step(plan, asked, {});
    if (options !== null && (await replan({ options })).fits) found.push({ options });
  }
  return found;
}

async function together(plan: NativeBackendPlan, asked: CheckedPlanOptions, replan: Replan): Promise<PlanChange[]> {
  let options: Changed = {};
  let now = plan;
  for (const step of steps) {
    options = { ...options, ...step(now, asked, options) };
    now = await replan({ options });
    if (now.fits) return [{ options }];
  }
  return [];
}
