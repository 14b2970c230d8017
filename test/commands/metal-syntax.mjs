// npm run metal:syntax: reads the Metal sources as a compiler does, without a Mac. It needs clang 16 or later.
//
//   node test/commands/metal-syntax.mjs [SOURCE ...]      *.metal of kernels/metal, and metal_device.mm
//
// A kernel is parsed as C++14 with the address spaces of its pointers, and with declarations in the place of Metal's
// library (test/metal-syntax/include). Further rules of Metal 3.1 are read from the syntax tree: see problemsOfTree().
// metal_device.mm is parsed with declarations in the place of Apple's frameworks (test/metal-syntax/apple). Both were
// written after public documentation. So this finds our own mistakes; only Apple's compiler decides.
//
// Exits 1 when there is a problem, 2 without clang, when nothing was checked.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(import.meta.dirname, "../..");
const stubs = "test/metal-syntax";
export const noClang = "NOT RUN: no clang++ of version 16 or later on PATH";

/** The newest clang++ of version 16 or later, or undefined. */
export function findClang() {
  const names = ["clang++", ...Array.from({ length: 15 }, (_, i) => `clang++-${30 - i}`)];
  return names.find((program) => {
    const { stdout } = spawnSync(program, ["--version"], { encoding: "utf8" });
    return Number(/clang version (\d+)/.exec(stdout ?? "")?.[1]) >= 16;
  });
}

async function run(program, args, input = "") {
  const child = spawn(program, args, { cwd: root });
  const said = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"]) child[name].setEncoding("utf8").on("data", (chunk) => (said[name] += chunk));
  child.stdin.on("error", () => {}); // it ended before it read everything
  child.stdin.end(input);
  const status = await new Promise((resolve) => child.on("close", resolve));
  return { status, ...said };
}

// --- kernels

const language = ["-x", "c++", "-std=c++14", "-nostdinc", "-ffreestanding", "-fno-exceptions", "-fno-rtti"];
const spaces = { device: 1, constant: 2, threadgroup: 3 };
const keywords = [
  ...Object.entries(spaces).map(([name, number]) => `-D${name}=__attribute__((address_space(${number})))`),
  ...["thread", "kernel"].map((name) => `-D${name}=`),
  ...["vertex", "fragment", "sampler", "ray_data", "object_data"].map((name) => `-D${name}=1`), // not for our names
];
const warnings = [
  ...["-Wall", "-Wextra", "-Wno-unused", "-Wno-unused-parameter", "-Wno-unknown-attributes", "-Wno-gnu-line-marker"],
  ...["-Wno-unknown-pragmas", "-Werror", "-Wc++17-extensions", "-Wc++20-extensions", "-Wc99-designator"],
];

/** Words of C++ that Metal lacks, as [pattern, what it is]. */
const lacking = [
  [/\bdouble\b/, "double"],
  [/\bgoto\b/, "goto"],
  [/\bvirtual\b/, "virtual"],
  [/\b(?:new|delete)\b/, "new and delete"],
  [/\b(?:try|catch|throw)\b/, "exceptions"],
  [/\b(?:typeid|dynamic_cast)\b/, "run-time types"],
  [/\b(?:thread_local|register)\b/, "this storage class"],
  [/\bstd::/, "the C++ standard library"],
  [/\bclass\s+\w+\s*:|\bstruct\s+\w+\s*:/, "derived classes"],
];

/** Lines of a preprocessed source that are ours, as [file, line number, text]. */
function ourLines(preprocessed) {
  const lines = [];
  let [file, line] = ["", 0];
  for (const text of preprocessed.split("\n")) {
    const marker = /^# (\d+) "(.*?)"/.exec(text);
    if (marker) [file, line] = [marker[2], Number(marker[1])];
    else lines.push([file, line++, text]);
  }
  return lines.filter(([name]) => !name.includes(stubs) && !name.startsWith("<"));
}

/** The kernels of a preprocessed source, as { name, parameters: [text] }. */
export function kernelsOf(preprocessed) {
  const text = ourLines(preprocessed)
    .map(([, , line]) => line)
    .join("\n");
  return [...text.matchAll(/\bkernel\s+void\s+(\w+)\s*\(([^{;]*)\)\s*\{/g)].map(([, name, list]) => ({
    name,
    parameters: list.split(/,(?![^<]*>)/).map((parameter) => parameter.trim().replace(/\s+/g, " ")),
  }));
}

const positions = [
  "uint3 group [[threadgroup_position_in_grid]]",
  "uint index [[thread_index_in_threadgroup]]",
  "uint lane [[thread_index_in_simdgroup]]",
  "uint simdgroup [[simdgroup_index_in_threadgroup]]",
];

/** What is wrong with the parameters of a kernel: the encoder numbers the arguments from 0 on. */
export function problemsOfKernel({ name, parameters }) {
  const found = [];
  const buffers = parameters.slice(0, -positions.length);
  if (parameters.slice(-positions.length).join() !== positions.join()) found.push("must end with OSS_POSITION");
  buffers.forEach((parameter, i) => {
    if (!parameter.endsWith(`[[buffer(${i})]]`)) found.push(`parameter ${i} must be [[buffer(${i})]]: ${parameter}`);
  });
  if (!/^constant \w+& \w+ \[\[/.test(buffers[0] ?? "")) found.push("must begin with a constant struct by reference");
  for (const parameter of buffers.slice(1)) {
    if (!/^DevicePtr<.*> \w+ \[\[/.test(parameter)) found.push(`expects a DevicePtr: ${parameter}`);
  }
  return found.map((problem) => `kernel ${name} ${problem}`);
}

/**
 * Reads clang's dump of the syntax tree for what C++ allows and Metal 3.1 does not: lambdas, static variables and
 * threadgroup arrays outside of kernels, casts to another address space, global variables that are not constant,
 * kernels in a namespace, functions that the linker sees twice, and constant functions that cannot be constant.
 */
export function problemsOfTree(dump, kernels) {
  const found = new Set();
  const notConstant = new Map();
  const stack = []; // { kind, depth, line }
  const around = (kind) => stack.findLast((node) => node.kind === kind);
  for (const line of dump.split("\n")) {
    const node = /^([ |`-]*)(\w+) (0x[0-9a-f]+)/.exec(line);
    if (!node) continue;
    const [, indent, kind, address] = node;
    while (stack.length > 0 && stack.at(-1).depth >= indent.length) stack.pop();
    const parent = stack.at(-1);
    const isGlobal = stack.every((each) => ["TranslationUnitDecl", "NamespaceDecl"].includes(each.kind));
    const current = around("FunctionDecl");
    const isTemplate = around("FunctionTemplateDecl") !== undefined;
    const [, name = "", type = ""] = /(\S+) '([^']*)'(?::'[^']*')?(?: [\w -]*)?$/.exec(line) ?? [];
    const inside = current ? `${current.name}()` : "a declaration";

    if (kind === "LambdaExpr") found.add(`${inside} has a lambda, which Metal has from 3.2 on`);
    if (line.includes("<AddressSpaceConversion>")) found.add(`${inside} casts to another address space`);
    if (kind === "VarDecl") {
      // clang names an address space by the macro that it was written with.
      const isThreadgroup = /^(?:const )?threadgroup\b/.test(type);
      if (isGlobal && !/\bconstant\b/.test(type)) found.add(`the global variable ${name} is not OSS_CONSTANT`);
      if (current && / static(?: |$)/.test(line) && !isThreadgroup)
        found.add(`${inside} has the static variable ${name}`);
      if (current && isThreadgroup && !type.endsWith("*") && !kernels.has(current.name))
        found.add(`${inside} declares the threadgroup array ${name}; only kernels may`);
    }
    const isConstexpr = / constexpr(?: |$)/.test(line);
    if (kind === "FunctionDecl") {
      if (kernels.has(name) && stack.some((each) => each.kind === "NamespaceDecl"))
        found.add(`the kernel ${name} is in a namespace, so its name is another one`);
      if (!isConstexpr) notConstant.set(address, name);
    }
    if (kind === "CompoundStmt" && parent?.kind === "FunctionDecl" && !isTemplate) {
      if (!/ (?:static|inline|implicit-inline)(?: |$)/.test(parent.line) && !kernels.has(parent.name))
        found.add(`${parent.name}() is not static: another source may have one of its name`);
    }
    const called = /\bFunction (0x[0-9a-f]+)/.exec(line)?.[1];
    if (called && current?.isConstexpr && !isTemplate && notConstant.has(called))
      found.add(`${inside} is constexpr, but ${notConstant.get(called).replace(/^oss_as_type$/, "as_type")} is not`);
    stack.push({ kind, depth: indent.length, line, name, isConstexpr });
  }
  return [...found];
}

/**
 * The errors in clang's words, without those on copies of structs from or to another address space: Metal has such
 * copies, C++ has not.
 */
export function errorsOf(said) {
  const blocks = said
    .split(/^(?=\S+:\d+:\d+: (?:error|warning|fatal error):)/m)
    .filter((text) => /^\S+:\d+/.test(text));
  const isCopy = (text) =>
    /error: (?:no matching constructor for initialization of|no viable overloaded '=')/.test(text) &&
    /implicit copy (?:constructor|assignment operator)\) not viable: (?:cannot bind reference in|'this' object is in) address space/.test(
      text,
    );
  const short = (text) => text.split("\n").filter((line) => line.length <= 240); // not the macros of the library
  return blocks.filter((text) => !isCopy(text)).map((text) => short(text).join("\n").trim());
}

async function checkKernels(clang, source) {
  const first = await run(clang, [
    ...["-E", ...language, "-D__METAL_VERSION__=310", "-D__METAL__=1", "-I", `${stubs}/include`, "-I", ".", source],
  ]);
  if (first.status !== 0) return { kernels: [], problems: errorsOf(first.stderr) };
  const kernels = kernelsOf(first.stdout);
  // C++ has variables with an address space as static ones only.
  const statics = first.stdout.replace(/([;{}](?:\s|#[^\n]*\n)*)threadgroup\b/g, "$1static threadgroup");
  const { stdout, stderr } = await run(
    clang,
    [
      ...[...language, "-fsyntax-only", "-fno-color-diagnostics", "-ferror-limit=100", ...keywords, ...warnings],
      ...["-Xclang", "-cl-single-precision-constant", "-Xclang", "-ast-dump", "-"],
    ],
    statics,
  );
  const names = kernels.map(({ name }) => name);
  const problems = [
    ...errorsOf(stderr),
    ...ourLines(first.stdout).flatMap(([file, line, content]) =>
      lacking
        .filter(([pattern]) => pattern.test(content.replace(/"[^"]*"/g, '""')))
        .map(([, what]) => `${file}:${line}: Metal does not have ${what}`),
    ),
    ...problemsOfTree(stdout, new Set(names)).map((problem) => `${source}: ${problem}`),
    ...kernels.flatMap(problemsOfKernel).map((problem) => `${source}: ${problem}`),
  ];
  return { kernels: names, problems };
}

// --- metal_device.mm

async function checkDevice(clang, source) {
  // The C++ library of this machine, with the target of a Mac: so availability of Apple's interfaces is checked.
  const { stderr: paths } = await run(clang, ["-x", "c++", "-E", "-v", "/dev/null"]);
  const searched = /^#include <...>[^\n]*\n((?: [^\n]*\n)*)/m.exec(paths)?.[1] ?? "";
  const folders = [...searched.matchAll(/^ (\S+)/gm)]
    .map(([, folder]) => folder)
    .filter((folder) => !/\/clang\/\d+/.test(folder));
  const hosts = ["__linux__", "__gnu_linux__", "__unix__", "_GNU_SOURCE"].map((name) => `-D${name}`);
  const target = [...hosts, "-U__nonnull", ...folders.flatMap((folder) => ["-isystem", folder])];
  const { stderr } = await run(clang, [
    ...["-x", "objective-c++", "-std=c++20", "-fsyntax-only", "-fobjc-arc", "-fno-color-diagnostics", "-Werror"],
    ...["-Wall", "-Wextra", "-Wpedantic", "-Wunguarded-availability", "-Wno-nullability-completeness"],
    ...["-Wno-nullability-extension", "--target=x86_64-apple-macosx13.3", ...target],
    ...["-I", ".", "-I", `${stubs}/apple`, source],
  ]);
  return { kernels: [], problems: errorsOf(stderr) };
}

/** Returns { kernels: [name], problems: [text] } of all sources. */
export async function examine(clang, sources) {
  const waiting = [...sources];
  const results = new Map();
  await Promise.all(
    Array.from({ length: availableParallelism() }, async () => {
      for (let source = waiting.shift(); source; source = waiting.shift()) {
        results.set(source, await (source.endsWith(".mm") ? checkDevice : checkKernels)(clang, source));
      }
    }),
  );
  const all = sources.map((source) => results.get(source));
  const kernels = all.flatMap((each) => each.kernels);
  const twice = kernels.filter((name, i) => kernels.indexOf(name) !== i);
  return {
    kernels,
    problems: [
      ...new Set(all.flatMap((each) => each.problems)),
      ...twice.map((name) => `two kernels have the name ${name}`),
    ],
  };
}

export const allSources = () => [
  ...readdirSync(path.join(root, "kernels/metal"))
    .filter((name) => name.endsWith(".metal"))
    .sort()
    .map((name) => path.join("kernels/metal", name)),
  "native/backend/metal/metal_device.mm",
];

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const named = process.argv.slice(2);
  const missing = named.filter((source) => !existsSync(path.join(root, source)));
  if (missing.length > 0) {
    console.error(`no such source: ${missing.join(", ")}; expected paths such as kernels/metal/rms_norm.metal`);
    process.exit(1);
  }
  const clang = findClang();
  if (!clang) {
    console.log(noClang);
    process.exit(2);
  }
  const sources = named.length > 0 ? named : allSources();
  const { kernels, problems } = await examine(clang, sources);
  for (const problem of problems) console.log(`PROBLEM ${problem}`);
  console.log(`${sources.length} sources, ${kernels.length} kernels, ${problems.length} problems`);
  process.exitCode = problems.length > 0 ? 1 : 0;
}
