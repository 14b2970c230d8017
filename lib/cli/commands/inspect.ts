import { Command } from "commander";
import { demoModelLabel, demoModelTrained } from "../../demo-model/index.js";
import { GptOssError } from "../../errors.js";
import { type InspectedModel, inspectCheckpoint } from "../../inspect.js";
import { resolution } from "../../models/index.js";
import { conversionLines } from "../conversion-text.js";
import { modelNames } from "../options/engine.js";
import { bytesText, counted, Output, parametersText } from "../output.js";

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
  const { path, layout, fileBytes, files, model, tensors, stored, packed } = summary;
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
    ["formats", formats(stored.length > 0 ? stored : tensors, storedType(layout))],
    ...conversionFacts(summary),
    ...packed.map(({ path, bytes, damage }): [string, string] => [
      "packed",
      `${path}, ${bytesText(bytes)}, ${damage === null ? "whole" : "DAMAGED"}`,
    ]),
  ];
  for (const [name, value] of facts) out.line(`${name.padEnd(12)}${value}`);
  out.line();
  const listed = stored.length > 0 ? stored : tensors;
  const width = Math.max(...listed.map(({ name }) => name.length)) + 2;
  const dtypeWidth = Math.max(...listed.map(({ dtype }) => dtype.length)) + 2;
  for (const { name, dtype, shape, bytes } of listed) {
    out.line(
      `${name.padEnd(width)}${dtype.padEnd(dtypeWidth)}${`[${shape.join(", ")}]`.padEnd(22)}${bytesText(bytes).padStart(10)}`,
    );
  }
}

function place(files: number): string {
  return files === 0 ? "" : ` in ${counted(files, "file")}`;
}

/** How many bytes there are of each element type, largest first. */
function formats(tensors: InspectedModel["stored"], named: (dtype: string) => string): string {
  const bytesOf = new Map<string, { bytes: number; count: number }>();
  for (const { dtype, bytes } of tensors) {
    const sum = bytesOf.get(dtype) ?? { bytes: 0, count: 0 };
    bytesOf.set(dtype, { bytes: sum.bytes + bytes, count: sum.count + 1 });
  }
  const largest = [...bytesOf].sort(([, a], [, b]) => b.bytes - a.bytes);
  return largest
    .map(([dtype, { bytes, count }]) => `${named(dtype)} ${bytesText(bytes)} in ${counted(count, "tensor")}`)
    .join(", ");
}

/** What the element types of the files hold. */
function storedType(layout: InspectedModel["layout"]): (dtype: string) => string {
  const mlx: Record<string, string> = { U32: "U32 (codes)", U8: "U8 (scales of MXFP4)" };
  return (dtype) => (layout === "mlx" ? mlx[dtype] : loadedType(dtype)) ?? dtype;
}

const loadedType = (dtype: string) => (dtype === "U8" ? "MXFP4 (U8 blocks and scales)" : dtype);

/** What loading makes of the tensors in the files, where it converts some. */
function conversionFacts({ conversion, stored, tensors }: InspectedModel): [string, string][] {
  if (conversion === null) return [];
  const hasQ8 = stored.some(({ dtype }) => dtype === "Q8_0");
  const lines = conversionLines(conversion).map(([kind, text]): [string, string] => {
    if (kind === "to bf16" && hasQ8) return [kind, `${text}; a CPU keeps matrices in Q8_0 as they are`];
    const isRounded = kind === "to MXFP4" && conversion.experts.changed > 0;
    return [kind, isRounded ? `${text}; a CPU keeps them with --expert-weights bf16` : text];
  });
  return [["converted", formats(tensors, loadedType)], ...lines];
}

function trainedText(trained: typeof demoModelTrained | null, vocab: number): string {
  if (trained === null) return "";
  return `; ${parametersText(trained.parameters)} of them trained, the rows of ${vocab - trained.tokens} tokens are zero`;
}
