// The shapes of the released models, for use without an engine.
import { stepBytes } from "./report.mjs";

const of20b = {
  layers: 24,
  hidden: 2880,
  intermediate: 2880,
  heads: 64,
  kvHeads: 8,
  headDim: 64,
  experts: 32,
  expertsPerToken: 4,
  vocab: 201_088,
  slidingWindow: 128,
};
const layerTypes = (layers) => Array.from({ length: layers }, (_, i) => (i % 2 === 0 ? "sliding" : "full"));

/** By the name of the model for an engine. */
export const shapes = {
  "synthetic:20b": { ...of20b, layerTypes: layerTypes(24) },
  "synthetic:120b": { ...of20b, layers: 36, experts: 128, layerTypes: layerTypes(36) },
};

/** Bytes of a decode step; undefined if the model is not listed. */
export function stepBytesOf(model, batch, context) {
  const shape = shapes[model];
  return shape && Math.round(stepBytes(shape, batch, context));
}
