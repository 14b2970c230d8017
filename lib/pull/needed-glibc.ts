import { readFile } from "node:fs/promises";

/** Node's own binaries need this minor version of glibc 2. */
const leastMinor = 28;
const symbolVersion = "GLIBC_2.";

/** The oldest glibc with which Node and the native files load, such as `2.34`: their symbols name the versions. */
export async function neededGlibc(files: readonly string[]): Promise<string> {
  let minor = leastMinor;
  for (const file of files) {
    const bytes = await readFile(file);
    for (let at = bytes.indexOf(symbolVersion); at >= 0; at = bytes.indexOf(symbolVersion, at + 1)) {
      const [digits = "0"] = /^\d{1,3}/.exec(bytes.toString("latin1", at + symbolVersion.length, at + 12)) ?? [];
      minor = Math.max(minor, Number(digits));
    }
  }
  return `2.${minor}`;
}
