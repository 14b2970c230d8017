import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { addon } from "../lib/binding.js";

/** The build's results for the CUDA kernels. No GPU is needed; without nvcc it reports what was skipped. */
const absent = readFileSync(`.cmake/${process.platform}-${process.arch}/cuda-absent.txt`, "utf8");
const library = path.resolve("build/Release/libgptoss_cuda.so");

interface Examined {
  kernels: { file: string; architecture: string; name: string; registers: number; code: number }[];
  problems: string[];
}
interface Ptxas {
  noNvcc: string;
  parsePtxas(text: string): { kernels: object[]; warnings: string[] };
  problems(kernel: object, largest: number): string[];
}
const ptxas = (await import(path.resolve("test/commands/ptxas.mjs"))) as Ptxas;

function examine(...sources: string[]): Examined {
  const run = spawnSync(process.execPath, ["test/commands/ptxas.mjs", "--json", ...sources], {
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
  return JSON.parse(run.stdout) as Examined;
}

// Without nvcc one half of these tests runs, with it the other half.
const withCuda: typeof describe = absent ? ((() => undefined) as never) : describe;
const withoutCuda: typeof describe = absent ? describe : ((() => undefined) as never);
if (absent) console.warn(`NOT RUN: the CUDA kernels were not compiled: ${absent}`);

withoutCuda("CUDA left out", () => {
  it("leaves no module behind, and the backend says why", () => {
    expect(existsSync(library)).toBe(false);
    const cuda = addon()
      .listBackends()
      .find(({ name }) => name === "cuda");
    expect(cuda).toMatchObject({ available: false, detail: `not in this build (${absent})` });
  });

  if (absent.startsWith("no nvcc")) {
    it("npm run ptxas says that it looked at nothing", () => {
      const { status, stdout } = spawnSync(process.execPath, ["test/commands/ptxas.mjs"], { encoding: "utf8" });
      expect({ status, stdout }).toEqual({ status: 2, stdout: `${ptxas.noNvcc}\n` });
    });
  }
});

withCuda("libgptoss_cuda.so", () => {
  it("exports one symbol and needs no CUDA library", () => {
    const { stdout: symbols } = spawnSync("nm", ["-D", "--defined-only", library], { encoding: "utf8" });
    expect(symbols.trim().split("\n")).toEqual([expect.stringMatching(/ T gptoss_cuda_module$/)]);
    const { stdout: dynamic } = spawnSync("readelf", ["-d", library], { encoding: "utf8" });
    const needed = [...dynamic.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name]) => name);
    expect(needed.filter((name) => /cuda|nvidia|cublas/.test(name!))).toEqual([]);
    expect(needed).toContain("libc.so.6");
  });
});

withCuda("CUDA kernels as compiled", () => {
  const { kernels, problems } = absent ? { kernels: [], problems: [] } : examine();

  it.each([...new Set(kernels.map(({ file }) => file))])("%s: no spills, nothing empty, no warnings", (file) => {
    expect(problems.filter((problem) => problem.startsWith(file))).toEqual([]);
  });

  it("compiles for all architectures", () => {
    expect(problems.filter((problem) => problem.includes("does not compile"))).toEqual([]);
    const count = (architecture: string) => kernels.filter((kernel) => kernel.architecture === architecture).length;
    expect(count("80")).toBeGreaterThan(0);
    expect(count("90a")).toBe(count("80"));
  });

  it("what must not be is found", () => {
    const bad = "test/fixtures/bad-kernels.cu";
    expect(examine(bad).problems).toEqual([
      `${bad} for 80: guarded_kernel is empty`,
      expect.stringMatching(/for 80: spilling_kernel spills \d+ bytes$/),
      expect.stringMatching(/for 80: spilling_kernel has a stack frame of \d+ bytes$/),
      `${bad} for 80: indexed_kernel has a stack frame of 256 bytes`,
      expect.stringMatching(/for 90a: spilling_kernel spills \d+ bytes$/),
      expect.stringMatching(/for 90a: spilling_kernel has a stack frame of \d+ bytes$/),
      `${bad} for 90a: indexed_kernel has a stack frame of 256 bytes`,
    ]);
  });
});

describe("what the assembler says", () => {
  it("of registers, shared memory and spills", () => {
    const { kernels, warnings } = ptxas.parsePtxas(
      [
        "ptxas info    : 0 bytes gmem, 24 bytes cmem[4]",
        "ptxas info    : Compiling entry function '_Z1kv' for 'sm_90a'",
        "ptxas info    : Function properties for _Z1kv",
        "    40 bytes stack frame, 36 bytes spill stores, 44 bytes spill loads",
        "ptxas info    : Used 168 registers, used 1 barriers, 40 bytes cumulative stack size, 9216 bytes smem",
      ].join("\n"),
    );
    expect(kernels).toEqual([{ mangled: "_Z1kv", registers: 168, shared: 9216, stack: 40, spills: 80 }]);
    expect(warnings).toEqual([]);
  });

  it.each([
    "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized due to …",
    "ptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored to maintain minimum register requirement.",
    "ptxas warning : Value of threads per SM for entry _Z1kv is out of range. .minnctapersm will be ignored",
  ])("%s", (line) => expect(ptxas.parsePtxas(line).warnings).toEqual([line]));

  it("a body much smaller than on another architecture is a problem", () => {
    const kernel = { name: "kernel", spills: 0, stack: 0, code: 1024 };
    expect(ptxas.problems(kernel, 4096)).toEqual([]);
    expect(ptxas.problems(kernel, 4112)).toEqual(["has 1024 bytes of code, elsewhere 4112"]);
    expect(ptxas.problems({ ...kernel, name: "probe_kernel", code: 256 }, 256)).toEqual([]);
  });
});
