import { Command } from "commander";
import { demoModelLabel, demoModelTrained } from "../../demo-model/index.js";
import { GptOssError } from "../../errors.js";
import { type InspectedModel, inspectCheckpoint } from "../../inspect.js";
import { resolution } from "../../models/index.js";
import { modelNames } from "../options/engine.js";
import { bytesText, Output, parametersText } from "../output.js";

export function inspectCommand(): Command {
  return new Command("inspect")
    .description("Check a checkpoint as loading would, and show its config, files and tensors.")
    .argument("<model>", `${modelNames}, or "synthetic:20b"`)
    .option("--json", "print one JSON object instead of text")
    .action(inspect);
}

async function inspect(model: string, flags: { json?: true }): Promise<void> {
  const summary = await inspectCheckpoint(model);
  const out = Output.stdout();
  if (model === "demo") Output.stderr().line(demoModelLabel);
  const trained = model === "demo" ? demoModelTrained : null;
  if (flags.json) out.line(JSON.stringify({ ...summary, ...(trained && { trainedParameters: trained.parameters }) }));
  else print(out, summary, trained);
  const damaged = summary.packed.find(({ damage }) => damage !== null);
  if (damaged) throw new GptOssError("MODEL_FORMAT", `${damaged.damage}; remove it, and the next start makes it again`);
}

const layouts: Record<InspectedModel["layout"], string> = {
  huggingface: "Hugging Face layout",
  "huggingface, bf16 experts": "Hugging Face layout, experts as floats",
  original: "OpenAI's original layout",
  mlx: "MLX layout",
  gguf: "GGUF",
  "gguf (Ollama)": "GGUF of Ollama",
  synthetic: "synthetic, random weights without a file",
};

function print(out: Output, summary: InspectedModel, trained: typeof demoModelTrained | null): void {
  const { path, layout, fileBytes, files, model, tensors, packed } = summary;
  const { rope } = model;
  const sliding = model.layerTypes.filter((type) => type === "sliding").length;
  const facts: [string, string][] = [
    ["source", resolution(summary)],
    ["checkpoint", path],
    ["format", `${layouts[layout]}, ${bytesText(fileBytes)}${place(files.length)}`],
    ["parameters", parametersText(model.parameters) + trainedText(trained, model.vocab)],
    ["layers", `${model.layers}, ${sliding} of them with a sliding window of ${model.slidingWindow}`],
    ["hidden", String(model.hidden)],
    ["attention", `${model.heads} heads and ${model.kvHeads} kv_heads of ${model.headDim}`],
    ["experts", `${model.experts}, ${model.expertsPerToken} per token, intermediate ${model.intermediate}`],
    ["vocabulary", `${model.vocab}; ends with ${model.eosTokens.join(", ")}`],
    ["context", `${model.maxContext} tokens`],
    ["RoPE", `theta ${rope.theta}, YaRN factor ${rope.factor} over ${rope.originalContext} tokens`],
    ["formats", formats(tensors)],
    ...(summary.conversion === null ? [] : conversionLines(summary.conversion)),
    ...packed.map(({ path, bytes, damage }): [string, string] => [
      "packed",
      `${path}, ${bytesText(bytes)}, ${damage === null ? "whole" : "DAMAGED"}`,
    ]),
  ];
  for (const [name, value] of facts) out.line(`${name.padEnd(12)}${value}`);
  out.line();
  const width = Math.max(...tensors.map(({ name }) => name.length)) + 2;
  const dtypeWidth = Math.max(...tensors.map(({ dtype }) => dtype.length)) + 2;
  for (const { name, dtype, shape, bytes } of tensors) {
    out.line(
      `${name.padEnd(width)}${dtype.padEnd(dtypeWidth)}${`[${shape.join(", ")}]`.padEnd(22)}${bytesText(bytes).padStart(10)}`,
    );
  }
}

function place(files: number): string {
  return files === 0 ? "" : ` in ${files} file${files === 1 ? "" : "s"}`;
}

/** How many bytes there are of each element type, largest first. */
function formats(tensors: InspectedModel["tensors"]): string {
  const bytesOf = new Map<string, { bytes: number; count: number }>();
  for (const { dtype, bytes } of tensors) {
    const sum = bytesOf.get(dtype) ?? { bytes: 0, count: 0 };
    bytesOf.set(dtype, { bytes: sum.bytes + bytes, count: sum.count + 1 });
  }
  const largest = [...bytesOf].sort(([, a], [, b]) => b.bytes - a.bytes);
  const named = (dtype: string) => (dtype === "U8" ? "MXFP4 (U8 blocks and scales)" : dtype);
  return largest
    .map(([dtype, { bytes, count }]) => `${named(dtype)} ${bytesText(bytes)} in ${count} tensors`)
    .join(", ");
}

/** What loading changes, for weights that are converted. */
function conversionLines({ dense, experts }: NonNullable<InspectedModel["conversion"]>): [string, string][] {
  const text = ({ values, changed, relativeRms, largestError, largestIn }: typeof dense) =>
    changed === 0
      ? `${values} values, all exact`
      : `${changed} of ${values} values, relative RMS ${relativeRms.toPrecision(3)}, ` +
        `largest error ${largestError.toPrecision(3)} in ${largestIn}`;
  const lines: [string, string][] = [];
  if (dense.values > 0) lines.push(["to bf16", text(dense)]);
  if (experts.values > 0) lines.push(["to MXFP4", text(experts)]);
  return lines;
}

function trainedText(trained: typeof demoModelTrained | null, vocab: number): string {
  if (trained === null) return "";
  return `; ${parametersText(trained.parameters)} of them trained, the rows of ${vocab - trained.tokens} tokens are zero`;
}
