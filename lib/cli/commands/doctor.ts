import { availableParallelism, cpus, freemem, totalmem } from "node:os";
import { Command } from "commander";
import { addon, type NativeAddon, type NativeBackendStatus } from "../../binding.js";
import { demoModelPath } from "../../demo-model/index.js";
import { examineEnvironment, isSecret, modelOfEnvironment } from "../../environment.js";
import { packageVersion } from "../../version.js";
import { exitCodes } from "../exit.js";
import { chosenModel, resolveChosen } from "../load-model.js";
import { bytesText, Output } from "../output.js";

/** What the program finds on the machine; `problem` says why something is missing. */
interface Report {
  ok: boolean;
  version: string;
  node: string;
  platform: string;
  cpu: { model: string; cores: number };
  memory: { totalBytes: number; freeBytes: number };
  /** What affinity, cgroups and ulimits leave for this process. */
  usable: ReturnType<NativeAddon["usable"]> | { problem: string };
  addon: { path: string } | { problem: string };
  backends: NativeBackendStatus[];
  demoModel: { path: string } | { problem: string };
  environment: Record<string, string>;
  /** For each wrong variable, why no engine can be loaded with it. */
  environmentProblems: Record<string, string>;
}

export function doctorCommand(): Command {
  return new Command("doctor")
    .description(
      "Show what this program finds: addon, backends, why one is absent, demo model. Exits with 1 if it cannot run.",
    )
    .option("--json", "print one JSON object instead of text")
    .action(doctor);
}

async function doctor(flags: { json?: true }): Promise<void> {
  const report = await examine();
  const out = Output.stdout();
  if (flags.json) out.line(JSON.stringify(report));
  else print(out, report);
  if (!report.ok) process.exitCode = exitCodes.failure;
}

async function examine(): Promise<Report> {
  const { addon: found, backends, usable, problems } = examineAddon();
  const modelProblem = await problemOfModel();
  if (modelProblem !== null) problems.GPT_OSS_MODEL = modelProblem;
  const environment = Object.entries(process.env).filter(([name]) => name.startsWith("GPT_OSS_"));
  return {
    ok: backends.some((backend) => backend.available) && Object.keys(problems).length === 0,
    version: packageVersion(),
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    cpu: { model: cpus()[0]?.model ?? "unknown", cores: availableParallelism() },
    memory: { totalBytes: totalmem(), freeBytes: freemem() },
    usable,
    addon: found,
    backends,
    demoModel: await demoModelPath().then((folder) => ({ path: folder }), problem),
    environment: Object.fromEntries(
      environment.map(([name, value]) => [name, isSecret(name) && value ? "(secret)" : (value ?? "")]),
    ),
    environmentProblems: problems,
  };
}

function examineAddon(): Pick<Report, "addon" | "backends" | "usable"> & { problems: Record<string, string> } {
  let loaded: NativeAddon;
  try {
    loaded = addon();
  } catch (error) {
    const absent = problem(error);
    return { addon: absent, backends: [], usable: absent, problems: {} };
  }
  return {
    addon: { path: loaded.path ?? "unknown" },
    backends: loaded.listBackends(),
    usable: loaded.usable(),
    problems: examineEnvironment().problems,
  };
}

/** What is wrong with GPT_OSS_MODEL; null: nothing, or it is not set. */
async function problemOfModel(): Promise<string | null> {
  if (modelOfEnvironment() === undefined) return null;
  return resolveChosen(chosenModel(undefined)).then(
    () => null,
    (error: Error) => error.message,
  );
}

function problem(error: unknown): { problem: string } {
  return { problem: error instanceof Error ? error.message : String(error) };
}

function print(out: Output, report: Report): void {
  const { cpu, memory, usable } = report;
  const unread = "problem" in report.addon ? [] : examineEnvironment().unread;
  const variable = ([name, value]: [string, string]): [string, string] => [
    name,
    report.environmentProblems[name] ?? (unread.includes(name) ? `${value} (nothing reads this variable)` : value),
  ];
  const facts: [string, string][] = [
    ["gpt-oss-node", report.version],
    ["Node", `${report.node} on ${report.platform}`],
    ["CPU", `${cpu.model}, ${cpu.cores} cores`],
    ["memory", `${bytesText(memory.totalBytes)}, ${bytesText(memory.freeBytes)} free`],
    ...("problem" in usable
      ? []
      : ([
          ["threads", `${usable.threads}: ${usable.threadsReason}`],
          ["for a model", `${bytesText(usable.memoryBytes)}: ${usable.memoryReason}`],
        ] satisfies [string, string][])),
    ["addon", place(report.addon)],
    ...report.backends.map(({ name, available, detail }): [string, string] => [
      `backend ${name}`,
      available ? detail : `absent: ${detail}`,
    ]),
    ["demo model", place(report.demoModel)],
    ...Object.entries(report.environment).map(variable),
  ];
  const width = Math.max(...facts.map(([name]) => name.length)) + 2;
  for (const [name, value] of facts) out.line(`${name.padEnd(width)}${value}`);
  out.line();
  const problems = Object.values(report.environmentProblems);
  if (report.ok) out.line("Ready.");
  else out.line(`Not ready: ${problems.length > 0 ? problems.join("; ") : "no backend can be used"}.`);
}

function place(found: { path: string } | { problem: string }): string {
  return "path" in found ? found.path : `absent: ${found.problem}`;
}
