// The Mac that metal:check runs on, as far as it is known before anything is built.
import { spawnSync } from "node:child_process";

/** The first line that a program prints; undefined where it cannot run. */
export function firstLine(command, ...args) {
  const { status, stdout } = spawnSync(command, args, { encoding: "utf8" });
  return status === 0 ? stdout.trim().split("\n")[0] : undefined;
}

/** Returns { gpu, driver } of this Mac, or { why } there is no GPU that Metal can use. */
export function findMac(platform = process.platform, arch = process.arch, ask = firstLine) {
  const none = "there is no Metal GPU on this machine:";
  if (platform !== "darwin") return { why: `${none} it runs ${platform}, and Metal is a part of macOS.` };
  const macos = ask("sw_vers", "-productVersion") ?? "";
  if (arch !== "arm64") {
    const translated = ask("sysctl", "-n", "sysctl.proc_translated") === "1";
    if (translated) return { why: "this Node is for Intel processors; take the one for Apple silicon (arm64)." };
    return { why: `${none} an M1 or later is needed, and this is an Intel processor.` };
  }
  if (Number.parseInt(macos, 10) < 14) return { why: `${none} macOS 14 or later is needed, and this is ${macos}.` };
  return { gpu: ask("sysctl", "-n", "machdep.cpu.brand_string") ?? "Apple silicon", driver: `macOS ${macos}` };
}
