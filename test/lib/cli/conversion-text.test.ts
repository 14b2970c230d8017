import { describe, expect, it } from "vitest";
import { conversionLines, roundingNote } from "../../../lib/cli/conversion-text.js";
import type { EngineInfo } from "../../../lib/engine.js";

type Info = Parameters<typeof roundingNote>[0];

const exact = { values: 32, changed: 0, relativeRms: 0, largestError: 0, largestIn: null };
const rounded = { values: 64, changed: 7, relativeRms: 0.11234, largestError: 0.25, largestIn: "experts.down_proj" };
const none = { ...exact, values: 0 };
const roundedText = "7 of 64 values, relative RMS 0.112, largest error 0.250 in experts.down_proj";
const adapter = { name: "support", path: "/a", scale: 1, merged: true, rank: 4, matrices: 2, bytes: 0 };

const note = (info: Partial<Info>, layout: EngineInfo["model"]["layout"] = "huggingface, bf16 experts") =>
  roundingNote({
    conversion: null,
    mergedAdapters: [],
    packedWeights: { in: "memory" },
    expertWeights: "mxfp4",
    ...info,
    model: { layout } as EngineInfo["model"],
  });

describe("what a conversion changed", () => {
  it("has a line for each kind that was converted", () => {
    expect(conversionLines({ dense: none, experts: none })).toEqual([]);
    expect(conversionLines({ dense: exact, experts: rounded })).toEqual([
      ["to bf16", "32 values, all exact"],
      ["to MXFP4", roundedText],
    ]);
  });

  it("is a note where a value is another one, and only there", () => {
    expect(note({})).toBeNull();
    expect(note({ conversion: { dense: exact, experts: exact } })).toBeNull();
    expect(note({ conversion: { dense: exact, experts: rounded } })).toBe(
      `Weights were rounded: to MXFP4 ${roundedText}`,
    );
  });

  it("names bf16 where experts stay in it", () => {
    const conversion = { dense: exact, experts: rounded };
    expect(conversionLines(conversion, "bf16")[1]).toEqual(["experts to bf16", roundedText]);
    expect(note({ conversion, expertWeights: "bf16" })).toBe(`Weights were rounded: experts to bf16 ${roundedText}`);
    expect(note({ conversion: { dense: exact, experts: none }, expertWeights: "bf16" })).toBeNull();
  });

  it("is told for each merged adapter that changes experts", () => {
    const mergedAdapters = [
      { ...adapter, name: "attention", error: { ofWeights: 0, ofChange: 0 } },
      { ...adapter, error: { ofWeights: 0.0895, ofChange: 1.5 } },
    ];
    expect(note({ mergedAdapters }, "huggingface")).toBe(
      "Weights were rounded: experts with the adapter support to MXFP4, relative RMS 0.0895 of the weights, " +
        "1.50 of its change",
    );
  });

  it("is told of experts that an earlier start rounded into a packed file", () => {
    const info = { conversion: { dense: none, experts: none }, packedWeights: { in: "file", path: "/p" } } as const;
    expect(note(info)).toBe(
      "Weights were rounded: experts to MXFP4 when their packed file was made (see gpt-oss inspect)",
    );
    expect(note(info, "gguf")).toBeNull();
  });
});
