// npm run bench:ab: can the comparison of two builds be trusted? A build with a planted slow-down of 3 % must be found
// in ten of ten trials, and a copy of the same build in none. Prints JSON lines; the last one has the counts.
import { execFileSync } from "node:child_process";
import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { about } from "../lib/bench/about.js";
import { compareKernels } from "../lib/bench/kernels/compare.js";
import { packageRoot } from "../lib/binding.js";
import { kernels, kernelsOf } from "../lib/kernels/kernels.js";
import { planModel } from "../lib/plan/index.js";

const trials = 10;
const slowDown = 0.03;

const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-ab-"));
process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

/** A text before `begin`, from there to `end`, and after that. */
function parts(text: string, begin: string, end: string): string[] {
  const from = text.indexOf(begin);
  if (from < 0) return [text];
  const body = from + begin.length;
  const to = text.indexOf(end, body);
  return [text.slice(0, from), text.slice(body, to), text.slice(to + end.length)];
}

/** The sources of the addon, with a wait in one operation, built elsewhere. */
function slowedBuild(): string {
  const sources = path.join(folder, "sources");
  for (const name of ["native", "kernels", "CMakeLists.txt"])
    cpSync(path.join(packageRoot, name), path.join(sources, name), { recursive: true });
  symlinkSync(path.join(packageRoot, "node_modules"), path.join(sources, "node_modules"));
  const file = path.join(sources, "native/backend/cpu/experts.cpp");
  const [begin, end] = ["  group_by_expert(args, index);\n", "\n}\n"];
  const [before, body, ...rest] = parts(readFileSync(file, "utf8"), begin, end);
  if (body === undefined) throw new Error(`${file} has no longer the line that this bench slows down`);
  const slowed = `  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
${begin}${body}
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>((Clock::now() - start) * ${slowDown});
  while (Clock::now() < end) {
  }`;
  writeFileSync(file, `#include <chrono>\n${before}${slowed}${end}${rest.join("")}`);
  const build = path.join(folder, "build");
  const cmake = (...args: string[]) => execFileSync("cmake", args, { stdio: ["ignore", 2, 2] });
  cmake("-S", sources, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DOSS_TESTS=OFF");
  cmake("--build", build, "--target", "gpt_oss", "--parallel", String(availableParallelism()));
  return path.join(build, "gpt_oss.node");
}

const same = path.join(folder, "same.node");
copyFileSync(path.join(packageRoot, "build/Release/gpt_oss.node"), same);
const slowed = slowedBuild();

const { model } = await planModel("20b", { backend: "cpu", memory: "1TB" });
const counts = { found: 0, falseAlarms: 0, differentBits: 0 };
const facts = about();
for (let trial = 1; trial <= trials; trial++) {
  for (const build of ["slowed", "same"] as const) {
    const options = { threads: 1, pinned: true };
    await using ours = kernelsOf(build === "slowed" ? slowed : same, "cpu", options);
    await using other = kernels("cpu", options);
    const comparison = {
      ...{ shape: "20b", model, ours, other, only: ["experts"], tokens: [1], contexts: [1024] },
      ...{ coldBytes: 2 ** 28, seconds: 20, least: 0.01 },
    };
    for await (const row of compareKernels(comparison, () => {})) {
      const { verdict, sameBits } = row.about!;
      if (build === "slowed" && verdict === "slower") counts.found++;
      if (build === "same" && verdict !== "same") counts.falseAlarms++;
      if (!sameBits) counts.differentBits++;
      const ratio = ["ratio", "ratioLow", "ratioHigh"].map((name) => row.values[name]!.median);
      const pairs = row.values.time!.samples!.length;
      process.stdout.write(`${JSON.stringify({ trial, build, verdict, ratio, pairs, sameBits })}\n`);
    }
  }
}
process.stdout.write(`${JSON.stringify({ bench: "ab", trials, slowDown, ...counts, about: facts })}\n`);
process.exitCode = counts.found === trials && counts.falseAlarms === 0 && counts.differentBits === 0 ? 0 : 1;
