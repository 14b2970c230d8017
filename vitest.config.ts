import { existsSync } from "node:fs";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";
import { builtFiles, builtLibrary } from "./test/support/built-library.js";
import { isThorough } from "./test/support/thorough.js";

/** They take minutes: `npm run test:thorough` alone runs them. */
const thoroughOnly = ["test/lib/soak.test.ts", "test/ptx.test.ts"];

/** They pack the packages of a release and install them: `npm run test:packages` alone runs them. */
const ofPackages = ["test/package-install.test.ts", "test/package-laid-out.test.ts"];

/** They ask `isThorough` or `draws()`: part of every run, and larger in a thorough one. */
const largerWhenThorough = [
  "test/native.test.ts",
  "test/gpu-knobs.test.ts",
  ...[
    "cuda",
    "edge-cases",
    "chat/forced-calls",
    "generation/constraint",
    "generation/constraint-schemas",
    "generation/fuzz-schemas",
    "server/edge-cases-responses",
  ].map((name) => `test/lib/${name}.test.ts`),
];

/** `npm run check` runs these alone: they load no model, and take seconds in all. */
const fast = [
  "chat/messages",
  "chat/stop-matcher",
  "cli/output",
  "cli/word-wrap",
  "common/exact-json",
  "common/hostile-values",
  "common/raw-json",
  "common/unknown-option",
  "dependencies",
  "errors",
  "generation/event-log",
  "generation/generate-options",
  "generation/token-log",
  "harmony/builders",
  "harmony/json-schema-type",
  "harmony/parser",
  "harmony/recovering-parser",
  "harmony/render",
  "platform-package",
  "server/json-body",
].map((name) => `test/lib/${name}.test.ts`);

/** Those that take longest come first, so that no worker is left alone with one at the end. */
const longest = ["ptx", "native", "constraint", "edge-cases", "cli", "forced-calls", "cuda", "soak"];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = longest.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
      return at < 0 ? longest.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

const isFast = process.env.TEST_FAST === "1";
const isOfPackages = process.env.TEST_PACKAGES === "1";
const missing = fast.filter((file) => !existsSync(file));
if (isFast && missing.length > 0) throw new Error(`vitest.config.ts names tests that are not there: ${missing}`);

function included(): string[] {
  if (isThorough) return [...thoroughOnly, ...largerWhenThorough];
  if (isOfPackages) return ofPackages;
  return isFast ? fast : ["test/**/*.test.ts"];
}

export default defineConfig({
  plugins: [builtLibrary()],
  test: {
    globalSetup: "test/support/built-library.ts",
    server: { deps: { external: [builtFiles] } },
    include: included(),
    exclude: [...(isThorough ? [] : thoroughOnly), ...(isOfPackages ? [] : ofPackages)],
    sequence: { sequencer: LongestFirst },
    // "auto" means the same on every machine, whether it has a GPU or not.
    env: { GPT_OSS_BACKEND: process.env.GPT_OSS_BACKEND ?? "cpu" },
    pool: "forks", // each file in a process of its own: an addon that crashes takes down one file, and says which
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
