// The knobs of a decode step: derived numbers and choices in kernels/cuda that only a measurement on a GPU can settle.
// Each value is a patch, knobs/NAME.patch. variants.mjs makes a module of each, and the steps `knobs` and
// `knobs:batches` of gpu:check measure them. docs/performance/sm90.md says when to turn which. None is settled yet,
// because none has run on a GPU. When a result file settles a knob, its value goes into the sources, and its patches
// are deleted.
//
// The host plans with headers of kernels/cuda, too: whether steps run fused (most_fused_tokens), and the greatest
// number of parts of the keys (visible_pages). The host is not rebuilt. So a value must not change the first, and must
// not make more parts than its launcher allows. test/gpu-knobs.test.ts applies every patch to the sources.

/**
 * All values of each knob, the most useful first. `batches`: the batches where it matters; 1, 8 and 16 if absent.
 * `reorders`: sums are formed in another order, so the tokens can differ.
 */
export const knobs = [
  { name: "dependent launches", values: [{ value: "off" }] },
  { name: "prefetch of the next qkv", values: [{ value: "none" }, { value: "29 MB" }, { value: "7 MB" }] },
  {
    name: "the next launch is let in",
    // Before the wait, except for gate_up: down reads the logits before it waits, and they must be complete.
    values: [{ value: "before the wait" }, { value: "when all blocks have ended" }],
  },
  {
    name: "experts",
    // With three blocks there is no shared memory for other blocks, so they can use all registers.
    values: [{ value: "3 stages" }, { value: "1 block of 4 stages" }, { value: "3 blocks" }],
  },
  {
    name: "blocks of a matrix stream",
    // Columns of 16 tokens leave no room for a second block.
    values: [{ value: "2 on each multiprocessor, 3 stages", batches: [1, 8] }],
  },
  {
    name: "stages of a matrix stream",
    values: [
      { value: "12, with no room for the experts", batches: [1, 8] },
      { value: "4" },
      { value: "3" },
      { value: "10", batches: [8, 16] },
    ],
  },
  { name: "copies of a matrix stream", values: [{ value: "4 KB" }, { value: "1 KB" }] },
  { name: "weights in L2", values: [{ value: "as anything else" }] },
  // The host counts parts of 4 pages.
  { name: "pages of a split", reorders: true, values: [{ value: "2" }] },
  { name: "division of L1", values: [{ value: "left to the driver" }] },
];

/** Turns words into a file name. */
const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-");

/** One variant for each value: { name, knob, value, patch, batches, reorders }; `name` is a file name. */
export function variantsOf(table) {
  return table.flatMap(({ name: knob, reorders = false, values }) =>
    values.map(({ value, batches = [1, 8, 16] }) => {
      const name = slug(`${knob}: ${value}`);
      return { name, knob, value, patch: `bench/gpu/knobs/${name}.patch`, batches, reorders };
    }),
  );
}

/** Not a knob: traps if the experts that few_down chose before its wait differ from those after it. */
export const routeAgain = { name: "route-again", patch: "bench/gpu/checks/route-again.patch" };
