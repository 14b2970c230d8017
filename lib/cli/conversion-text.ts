import type { ConversionSummary, WeightConversion } from "../binding.js";
import type { EngineInfo } from "../engine.js";

/** What loading changes in the weights, in words: for `inspect`, and for the commands that load a model. */

/** Each kind of conversion that a checkpoint needs, and its error. */
export function conversionLines(
  { dense, experts }: WeightConversion,
  expertWeights: EngineInfo["expertWeights"] = "mxfp4",
): [string, string][] {
  const lines: [string, string][] = [];
  if (dense.values > 0) lines.push(["to bf16", errorText(dense)]);
  if (experts.values > 0) lines.push([expertWeights === "bf16" ? "experts to bf16" : "to MXFP4", errorText(experts)]);
  return lines;
}

function errorText({ values, changed, relativeRms, largestError, largestIn }: ConversionSummary): string {
  if (changed === 0) return `${values} values, all exact`;
  return (
    `${changed} of ${values} values, relative RMS ${relativeRms.toPrecision(3)}, ` +
    `largest error ${largestError.toPrecision(3)} in ${largestIn}`
  );
}

/** One line about the weights that loading rounded. Null: it changed none. */
export function roundingNote(
  info: Pick<EngineInfo, "conversion" | "mergedAdapters" | "model" | "packedWeights" | "expertWeights">,
) {
  const { conversion, mergedAdapters, expertWeights } = info;
  const parts: string[] = [];
  if (conversion !== null) {
    const { dense, experts } = conversion;
    const changed = {
      dense: dense.changed > 0 ? dense : { ...dense, values: 0 },
      experts: experts.changed > 0 ? experts : { ...experts, values: 0 },
    };
    parts.push(...conversionLines(changed, expertWeights).map(([kind, error]) => `${kind} ${error}`));
    if (wereRoundedEarlier(info)) parts.push("experts to MXFP4 when their packed file was made (see gpt-oss inspect)");
  }
  for (const { name, error } of mergedAdapters) {
    if (error === undefined || error.ofWeights === 0) continue;
    const { ofWeights, ofChange } = error;
    parts.push(
      `experts with the adapter ${name} to MXFP4, relative RMS ${ofWeights.toPrecision(3)} of the weights, ` +
        `${ofChange.toPrecision(3)} of its change`,
    );
  }
  return parts.length === 0 ? null : `Weights were rounded: ${parts.join("; ")}`;
}

/** A packed file of a merged fine-tune has its experts as they were rounded at an earlier start. */
function wereRoundedEarlier({
  conversion,
  model,
  packedWeights,
}: Pick<EngineInfo, "conversion" | "model" | "packedWeights">): boolean {
  const isFile = packedWeights.in === "file";
  return isFile && model.layout === "huggingface, bf16 experts" && conversion?.experts.values === 0;
}
