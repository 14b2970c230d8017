import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // "auto" means the same on every machine, whether it has a GPU or not.
    env: { GPT_OSS_BACKEND: process.env.GPT_OSS_BACKEND ?? "cpu" },
    pool: "forks", // each file in a process of its own: an addon that crashes takes down one file, and says which
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
