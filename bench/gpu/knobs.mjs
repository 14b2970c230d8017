// The knobs of a decode step: numbers and choices in kernels/cuda that were derived, and that only a GPU can settle. Each value
// is a change of text; variants.mjs makes a module of each, `gpu:check --only knobs` measures them. What is said beside them in
// kernels/cuda/sm90/NOTES.md is when to turn which.
//
// The host plans with headers of kernels/cuda too: whether steps run fused (most_fused_tokens), and into how many parts keys
// are divided at most (visible_pages). It stays as it was built, so no value may change the first, nor make more parts than
// its launcher then allows for. test/gpu-knobs.test.ts holds the table to the sources.

const plan = "kernels/cuda/plan.h";
const launch = "kernels/cuda/launch.cuh";
const dependent = "kernels/cuda/dependent.cuh";
const fewExperts = "kernels/cuda/few_experts.cu";

/** `from` stands in the file exactly once. */
const change = (file, from, to) => ({ file, from, to });
const mostStages = (stages) => change(plan, "kMostStages = 6;", `kMostStages = ${stages};`);
/** Fewer stages than this beside the experts, and a block takes the multiprocessor for itself. */
const leastBeside = (stages) => change(plan, "if (stages < kMostStages / 2)", `if (stages < ${stages})`);

/**
 * All values that a knob is tried at, most telling first. `batches`: those where it makes a difference; all when absent.
 * `reorders`: sums are formed in another order, so the tokens may be others.
 */
export const knobs = [
  {
    name: "dependent launches",
    values: [
      {
        value: "off",
        changes: [
          change(
            launch,
            "config.numAttrs = can_start_early(reinterpret_cast<const void*>(kernel)) ? 1 : 0;",
            "config.numAttrs = 0;",
          ),
        ],
      },
    ],
  },
  {
    name: "prefetch of the next qkv",
    values: [
      ["none", "15"], // what is less than 16 bytes is nobody's share
      ["29 MB", "29 << 20"],
      ["7 MB", "7 << 20"],
    ].map(([value, bytes]) => ({
      value,
      changes: [change(plan, "kPrefetchBytes = 14 << 20;", `kPrefetchBytes = ${bytes};`)],
    })),
  },
  {
    name: "the next launch is let in",
    values: [
      {
        // Not by gate_up: down reads the logits before it waits, and they must be there.
        value: "before the wait",
        changes: [
          change(
            dependent,
            "friend __device__ Waited wait_for_earlier();",
            "friend __device__ Waited wait_for_earlier(bool);",
          ),
          change(
            dependent,
            "wait_for_earlier() {\n  grid_dependency_wait();\n  grid_dependency_launch();",
            "wait_for_earlier(bool before = true) {\n  if (before) grid_dependency_launch();\n  grid_dependency_wait();\n  if (!before) grid_dependency_launch();",
          ),
          change(
            fewExperts,
            "const Waited waited = wait_for_earlier();\n  route(routing, experts, top_k, *num_tokens, logits(waited));",
            "const Waited waited = wait_for_earlier(false);\n  route(routing, experts, top_k, *num_tokens, logits(waited));",
          ),
        ],
      },
      {
        value: "when all blocks have ended",
        changes: [change(dependent, "  grid_dependency_launch();\n", "")],
      },
    ],
  },
  {
    name: "experts",
    values: [
      { value: "3 stages", changes: [change(plan, "kExpertStages = 2;", "kExpertStages = 3;")] },
      {
        value: "1 block of 4 stages",
        changes: [
          change(plan, "kExpertBlocks = 2;", "kExpertBlocks = 1;"),
          change(plan, "kExpertStages = 2;", "kExpertStages = 4;"),
        ],
      },
      {
        value: "3 blocks",
        changes: [
          change(plan, "kExpertBlocks = 2;", "kExpertBlocks = 3;"),
          // beside three no other block finds shared memory, so they may have all registers
          change(fewExperts, "kRoomForBlocks = kExpertBlocks + 1;", "kRoomForBlocks = kExpertBlocks;"),
        ],
      },
    ],
  },
  {
    name: "blocks of a matrix stream",
    values: [
      {
        value: "2 on each multiprocessor, 3 stages",
        batches: [1, 8], // columns of 16 tokens leave no room for a second
        changes: [
          change(plan, "std::min(row_tiles, gpu.multiprocessors)", "std::min(row_tiles, 2 * gpu.multiprocessors)"),
          mostStages(3),
          leastBeside("kLeastStages"),
        ],
      },
    ],
  },
  {
    name: "stages of a matrix stream",
    values: [
      {
        value: "12, with no room for the experts",
        batches: [1, 8],
        changes: [change(plan, "stages_in(shared_beside_experts(gpu))", "stages_in(gpu.shared_bytes)"), mostStages(12)],
      },
      { value: "4", changes: [mostStages(4)] },
      { value: "3", changes: [mostStages(3), leastBeside("kLeastStages")] },
      { value: "10", batches: [8, 16], changes: [mostStages(10), leastBeside(3)] },
    ],
  },
  {
    name: "copies of a matrix stream",
    values: [
      {
        value: "4 KB",
        changes: [change(plan, "kStageTiles = 2;", "kStageTiles = 4;"), mostStages(3), leastBeside("kLeastStages")],
      },
      { value: "1 KB", changes: [change(plan, "kStageTiles = 2;", "kStageTiles = 1;"), mostStages(12)] },
    ],
  },
  {
    name: "weights in L2",
    values: [
      {
        value: "as anything else",
        changes: [
          change(
            "kernels/cuda/ptx/bulk_copy.cuh",
            "createpolicy.fractional.L2::evict_first.b64",
            "createpolicy.fractional.L2::evict_normal.b64",
          ),
        ],
      },
    ],
  },
  {
    name: "pages of a split",
    reorders: true,
    values: [
      {
        value: "2",
        changes: [
          change("kernels/cuda/layout.h", "kMinSplitPages = 4;", "kMinSplitPages = 2;"),
          // the host counts parts of 4
          change(
            "kernels/cuda/attention_split.cu",
            "args.kv_heads, splits),",
            "args.kv_heads, min(2 * splits, kMaxSplits)),",
          ),
        ],
      },
    ],
  },
  {
    name: "division of L1",
    values: [
      {
        value: "left to the driver",
        changes: [change(launch, "cudaSharedmemCarveoutMaxShared)", "cudaSharedmemCarveoutDefault)")],
      },
    ],
  },
];

/** One for each value: { name, knob, value, changes, batches, reorders }; `name` is a file name. */
export function variantsOf(table) {
  return table.flatMap(({ name: knob, reorders = false, values }) =>
    values.map(({ value, changes, batches = [1, 8, 16] }) => ({
      name: `${knob}: ${value}`.toLowerCase().replace(/[^a-z0-9]+/g, "-"),
      knob,
      value,
      changes,
      batches,
      reorders,
    })),
  );
}

/** The files that the changes are of, changed: Map of path to text. `read` gives a file's text as it stands. */
export function changed(changes, read) {
  const texts = new Map();
  for (const { file, from, to } of changes) {
    const parts = (texts.get(file) ?? read(file)).split(from);
    if (parts.length !== 2) throw new Error(`${file} has ${parts.length - 1} times: ${from}`);
    texts.set(file, parts.join(to));
  }
  return texts;
}
