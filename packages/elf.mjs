// What a file of Linux asks of the system that loads it.
import { spawnSync } from "node:child_process";

/**
 * Libraries that Node's own binary for Linux needs as well, so that they are wherever Node runs. A name may have the
 * version of the library.
 */
const withNode = /^(lib(c|m|dl|pthread|rt|stdc\+\+|gcc_s)|ld-linux-(x86-64|aarch64))\.so\.\d+$/;

/** Returns the needed libraries, and for each family of symbol versions (GLIBC, GLIBCXX, …) the newest one. */
export function examine(file) {
  const { status, stdout, stderr, error } = spawnSync("readelf", ["-d", "-V", "-W", file], {
    encoding: "utf8",
    maxBuffer: 2 ** 28, // the table of versions has a line for each symbol
  });
  if (error) throw new Error(`readelf of binutils (Debian/Ubuntu: apt-get install binutils): ${error.message}`);
  const needed = [...stdout.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name]) => name);
  if (status !== 0 || needed.length === 0) throw new Error(`${file} is no shared library of Linux: ${stderr.trim()}`);
  const newest = {};
  const needs = stdout.slice(stdout.indexOf("Version needs section"));
  for (const [, family, version] of needs.matchAll(/Name: ([A-Z]+)_([\d.]+) /g)) {
    if (!newest[family] || isNewer(version, newest[family])) newest[family] = version;
  }
  return { needed, newest };
}

export function isNewer(a, b) {
  const [left, right] = [a, b].map((version) => version.split(".").map(Number));
  const at = left.findIndex((part, i) => part !== (right[i] ?? 0));
  return at >= 0 ? left[at] > (right[at] ?? 0) : false;
}

/** Returns a sentence for each demand that goes beyond `floor`, and for each library that Node does not bring. */
export function problems({ needed, newest }, floor) {
  return [
    ...needed.filter((name) => !withNode.test(name)).map((name) => `it needs ${name}, which Node does not`),
    ...Object.entries(floor)
      .filter(([family, oldest]) => newest[family] && isNewer(newest[family], oldest))
      .map(([family, oldest]) => `it needs ${family}_${newest[family]}, and the oldest system has ${family}_${oldest}`),
  ];
}
