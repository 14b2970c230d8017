// Finds out whether a CMake folder is stale: it is valid only in the place and with the programs that made it.
import { existsSync, readFileSync, realpathSync } from "node:fs";
import path from "node:path";

/** Returns why CMake cannot reuse `folder`, which built `source` with `generator`; undefined: it can, or it is new. */
export function whyStale(folder, source, generator) {
  const cache = path.join(folder, "CMakeCache.txt");
  if (!existsSync(cache)) return undefined;
  const entries = new Map();
  for (const [, name, type, value] of readFileSync(cache, "utf8").matchAll(/^([\w-]+):(\w+)=(.*)$/gm)) {
    entries.set(name, value);
    if (type === "FILEPATH" && path.isAbsolute(value) && !existsSync(value)) return `${value} is gone`;
  }
  for (const [name, now] of [
    ["CMAKE_CACHEFILE_DIR", folder],
    ["CMAKE_HOME_DIRECTORY", source],
  ]) {
    const then = entries.get(name);
    if (!then || !same(then, now)) return `it was made for ${then ?? "another folder"}`;
  }
  if (entries.get("CMAKE_GENERATOR") !== generator) return `it was made for ${entries.get("CMAKE_GENERATOR")}`;
  return undefined;
}

/** Whether two paths name the same existing folder. */
function same(a, b) {
  return existsSync(a) && existsSync(b) && realpathSync(a) === realpathSync(b);
}
