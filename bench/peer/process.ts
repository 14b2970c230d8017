import { readFileSync } from "node:fs";
import { cpus } from "node:os";

/** The memory of the process, and the load from other programs. Only Linux reports all of it. */

export interface Memory {
  /** The greatest resident memory so far, mapped files included. */
  peakBytes: number;
  residentBytes: number;
  /**
   * The parts of the resident memory: private pages, and pages of mapped files, which are shared and can be dropped.
   */
  anonymousBytes?: number;
  fileBytes?: number;
}

export function memory(): Memory {
  const all = { peakBytes: process.resourceUsage().maxRSS * 1024, residentBytes: process.memoryUsage.rss() };
  if (process.platform !== "linux") return all;
  const status = readFileSync("/proc/self/status", "utf8");
  const kilobytes = (key: string) => 1024 * Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(status)?.[1]);
  // this process's high-water mark: that of getrusage starts with the parent's
  const peakBytes = kilobytes("VmHWM");
  return { ...all, peakBytes, anonymousBytes: kilobytes("RssAnon"), fileBytes: kilobytes("RssFile") };
}

/** Milliseconds since boot, of all cores together. */
interface ProcessorTimes {
  total: number;
  idle: number;
  steal: number;
  own: number;
}

export function processorTimes(): ProcessorTimes {
  const { user, system } = process.cpuUsage();
  const own = (user + system) / 1000;
  if (process.platform === "linux") {
    const [line] = readFileSync("/proc/stat", "utf8").split("\n");
    const ticks = line!.trim().split(/\s+/).slice(1, 9).map(Number); // user nice system idle iowait irq softirq steal
    const total = ticks.reduce((a, b) => a + b, 0);
    return { total: 10 * total, idle: 10 * (ticks[3]! + ticks[4]!), steal: 10 * ticks[7]!, own };
  }
  const times = cpus().map((cpu) => cpu.times);
  const sum = (of: (t: (typeof times)[number]) => number) => times.reduce((all, t) => all + of(t), 0);
  return { total: sum((t) => t.user + t.nice + t.sys + t.idle + t.irq), idle: sum((t) => t.idle), steal: 0, own };
}

export interface Disturbance {
  /** Shares of all processor time since the start: used by other processes, and taken by the hypervisor. */
  others: number;
  steal: number;
}

export function disturbanceSince(before: ProcessorTimes): Disturbance {
  const now = processorTimes();
  const share = (value: number) => Number(Math.max(0, value / (now.total - before.total)).toFixed(3));
  const busy = now.total - now.idle - now.steal - (before.total - before.idle - before.steal);
  return { others: share(busy - (now.own - before.own)), steal: share(now.steal - before.steal) };
}
