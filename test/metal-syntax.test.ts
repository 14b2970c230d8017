import { spawnSync } from "node:child_process";
import path from "node:path";
import { describe, expect, it } from "vitest";

/** What clang finds in the Metal sources. No Mac is needed; without clang it reports what was skipped. */
interface MetalSyntax {
  noClang: string;
  findClang(): string | undefined;
  allSources(): string[];
  examine(clang: string, sources: string[]): Promise<{ kernels: string[]; problems: string[] }>;
}
const syntax = (await import(path.resolve("test/commands/metal-syntax.mjs"))) as MetalSyntax;
const clang = syntax.findClang();
const withClang: typeof describe = clang ? describe : ((() => undefined) as never);
const withoutClang: typeof describe = clang ? ((() => undefined) as never) : describe;
if (!clang) console.warn(syntax.noClang);

const fixture = (name: string) => syntax.examine(clang!, [`test/fixtures/metal/${name}`]);

withoutClang("no clang", () => {
  it("is said, and nothing else", () => {
    const { status, stdout } = spawnSync(process.execPath, ["test/commands/metal-syntax.mjs"], { encoding: "utf8" });
    expect({ status, stdout }).toEqual({ status: 2, stdout: `${syntax.noClang}\n` });
  });
});

withClang("the Metal sources", () => {
  it("are without a mistake that clang finds", { timeout: 120_000 }, async () => {
    const { kernels, problems } = await syntax.examine(clang!, syntax.allSources());
    expect(problems).toEqual([]);
    expect(kernels).toContain("rms_norm");
  });
});

withClang("npm run metal:syntax", () => {
  it("accepts what Metal accepts", { timeout: 60_000 }, async () => {
    expect(await fixture("good.metal")).toEqual({ kernels: ["good"], problems: [] });
  });

  it("finds each mistake in a kernel, and no other", { timeout: 60_000 }, async () => {
    const file = "test/fixtures/metal/bad.metal";
    const { problems } = await fixture("bad.metal");
    const byClang = problems.filter((text) => text.includes(" error: "));
    const lineOf = (text: string) => Number(/bad\.metal:(\d+):\d+/.exec(text)?.[1]);
    expect(byClang.map(lineOf).sort((a, b) => a - b)).toEqual([24, 32, 33, 34, 35, 37, 38, 40, 41, 42, 44]);
    expect(problems.filter((text) => !byClang.includes(text))).toEqual([
      `${file}:43: Metal does not have double`,
      `${file}:44: Metal does not have the C++ standard library`,
      `${file}: the global variable global_count is not OSS_CONSTANT`,
      `${file}: not_constant() is constexpr, but fma is not`,
      `${file}: counts() has the static variable times`,
      `${file}: elsewhere() declares the threadgroup array mine; only kernels may`,
      `${file}: linked_twice() is not static: another source may have one of its name`,
      `${file}: bad() casts to another address space`,
      `${file}: bad() has a lambda, which Metal has from 3.2 on`,
      `${file}: the kernel hidden is in a namespace, so its name is another one`,
      `${file}: kernel bad parameter 1 must be [[buffer(1)]]: DevicePtr<const float> x [[buffer(2)]]`,
      `${file}: kernel bad parameter 2 must be [[buffer(2)]]: DevicePtr<float> y [[buffer(1)]]`,
      `${file}: kernel bad expects a DevicePtr: device float* z [[buffer(3)]]`,
      `${file}: kernel no_position must end with OSS_POSITION`,
      `${file}: kernel no_position must begin with a constant struct by reference`,
    ]);
  });

  it("finds a mistake in the code for Apple's frameworks", { timeout: 60_000 }, async () => {
    const { problems } = await fixture("bad.mm");
    expect(problems).toEqual([
      expect.stringMatching(/bad\.mm:5:\d+: error: .*'waitUntilComplete' not found/),
      expect.stringMatching(/bad\.mm:6:\d+: error: 'addResidencySet:' is only available on macOS 15/),
    ]);
  });
});
