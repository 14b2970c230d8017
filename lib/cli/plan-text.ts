import type { BackendPlan, ModelPlan, PlanChange } from "../plan/index.js";
import { bytesText, counted } from "./output.js";

/** The text of a plan, for people. */

/** The memory of an engine on one backend, and the conversations that fit. */
export function planLines(plan: BackendPlan): string[] {
  const { memory, limits, backend } = plan;
  const isMapped = backend !== "cuda"; // CUDA copies all weights to its device
  const facts: [string, number, string][] = [
    ["weights", isMapped ? memory.mappedBytes : memory.packedBytes, isMapped ? "in the mapped files" : ""],
    ["copies", isMapped ? memory.packedBytes : 0, copiesText(plan)],
    [
      "workspace",
      memory.workspaceBytes,
      `${counted(limits.maxSequences, "sequence")}, ${limits.maxBatchTokens} tokens a step`,
    ],
    ["reserved", memory.reservedBytes, isMapped ? "the process" : "driver and recorded graphs"],
    ["left", memory.leftBytes, "for the KV cache"],
    ["KV cache", memory.kvBytes, cacheText(plan)],
  ];
  const shown = facts.filter(([name, bytes]) => bytes > 0 || name === "left");
  return [
    `On ${placeOf(plan)}, ${bytesText(memory.availableBytes)} free${sourceOf(plan)}:`,
    "",
    ...shown.map(([name, bytes, note]) => `  ${name.padEnd(11)}${bytesText(bytes).padStart(8)}  ${note}`.trimEnd()),
    "",
    ...tableLines(plan),
  ];
}

/** What is copied beside the mapped files. */
function copiesText({ denseWeights, expertWeights, memory }: BackendPlan): string {
  const hasExperts = memory.mappedBytes < memory.weightsBytes / 2;
  const experts = expertWeights === "bf16" ? "experts in bf16" : "experts";
  const parts = [hasExperts && experts, denseWeights === "q8" && "q8 matrices", "norms and biases"];
  if (memory.adapterBytes > 0) parts.push("adapters");
  return parts.filter((part) => part !== false).join(", ");
}

function placeOf({ backend, device, isa }: BackendPlan): string {
  const what = { cpu: "a CPU", metal: "an Apple GPU" }[backend] ?? "a GPU with CUDA";
  return [what, ...[device, isa].filter((text) => text !== "")].join(", ");
}

function sourceOf({ memory }: BackendPlan): string {
  return memory.availableReason === "given" ? "" : ` (${memory.availableReason})`;
}

/** What an engine does with the memory that is left. */
function cacheText({ kvCacheDtype, memory, limits }: BackendPlan): string {
  const part = memory.kvBytes < 0.99 * memory.leftBytes ? " (--kv-bytes can take more)" : "";
  return `${kvCacheDtype}, ${memory.kvTokens} tokens, context of ${limits.contextLength}${part}`;
}

/** The conversations that run at once, by their length. */
function tableLines({ capacities }: BackendPlan): string[] {
  const lengths = capacities[0]?.conversations.map(({ contextLength }) => contextLength) ?? [];
  const row = (name: string, cells: readonly number[]) =>
    `  ${name.padEnd(11)}${cells.map((cell) => String(cell).padStart(8)).join("")}`;
  return [
    "  Conversations that run at once, by their tokens, if the KV cache takes all that is left:",
    "",
    row("KV cache", lengths),
    ...capacities.map(({ dtype, conversations }) =>
      row(
        dtype,
        conversations.map(({ count }) => count),
      ),
    ),
  ];
}

/** The kernels of each step, and the bytes that they must move. */
export function kernelLines({ kernels: steps }: BackendPlan): string[] {
  if (steps.length === 0) return ["", "  Kernels are shown for --backend metal without --repeatable."];
  return steps.flatMap(({ step, tokens, keys, kernels }) => {
    const what = step === "decode" ? `One token after ${keys}` : `The first ${tokens} tokens of a prompt`;
    const total = kernels.reduce((sum, { bytes }) => sum + bytes, 0);
    const width = Math.max(...kernels.map(({ name }) => name.length));
    const rows = kernels.map(({ name, dispatches, threadgroups, threads, bytes }) => {
      const grid = `${threadgroups.join(" x ")} of ${threads}`;
      return `  ${name.padEnd(width)}${String(dispatches).padStart(5)}  ${grid.padEnd(22)}${bytesText(bytes).padStart(8)}`;
    });
    const heading = `${"kernel".padEnd(width)}times  ${"threadgroups of threads".padEnd(24)} bytes`;
    return ["", `  ${what}: ${bytesText(total)} must move.`, "", `  ${heading}`, ...rows];
  });
}

/** Why a plan does not fit, without a full stop. */
export function misfitText({ wanted, memory, backend }: BackendPlan): string {
  const { conversations, contextLength, possible, bytes } = wanted;
  const what = `${counted(conversations, "conversation")} of ${contextLength} tokens`;
  const some = possible > 0 ? `; ${possible} would fit` : "";
  const where = backend === "cpu" ? "a CPU" : "a GPU";
  return `with ${what} it takes ${bytesText(bytes)} on ${where}, and ${bytesText(memory.availableBytes)} are free${some}`;
}

/** The plan to which the least memory is missing. */
export function nearestOf(backends: readonly BackendPlan[]): BackendPlan {
  const missing = ({ wanted, memory }: BackendPlan) => wanted.bytes - memory.availableBytes;
  return backends.reduce((best, one) => (missing(one) < missing(best) ? one : best));
}

/** Why a plan fits on no backend, about the one that comes nearest. */
export function nearestMisfit({ backends }: ModelPlan): string {
  return misfitText(nearestOf(backends));
}

/** A change as one would type it. */
export function changeText({ memoryBytes, options = {}, model }: PlanChange, plan: BackendPlan): string {
  if (memoryBytes !== undefined) {
    const more = memoryBytes - plan.memory.availableBytes;
    const have =
      plan.backend === "metal" ? `let the GPU use ${bytesText(memoryBytes)}` : `have ${bytesText(memoryBytes)} free`;
    return `${have}, ${bytesText(more)} more`;
  }
  if (model !== undefined) return `take ${model}`;
  const { maxBatchTokens, maxSequences, kvCache, contextLength, denseWeights, expertWeights } = options;
  const flags = [
    maxBatchTokens === undefined ? "" : `--batch-tokens ${maxBatchTokens}`,
    maxSequences === undefined ? "" : `--sequences ${maxSequences}`,
    kvCache?.dtype === undefined ? "" : `--kv-dtype ${kvCache.dtype}`,
    contextLength === undefined ? "" : `--context ${contextLength}`,
    denseWeights === undefined ? "" : `--dense-weights ${denseWeights}`,
    expertWeights === undefined ? "" : `--expert-weights ${expertWeights}`,
  ];
  return flags.filter((flag) => flag !== "").join(" ");
}
