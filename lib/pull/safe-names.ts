import { downloadError } from "./failure.js";

/**
 * The names of files come from a server, and become paths on this disk. Git itself refuses most of what is refused
 * here, so an honest hub has no such names.
 *
 * @throws GptOssError DOWNLOAD for a name that could lead out of the folder or be read in two ways
 */
export function refuseUnsafe(name: string): void {
  const parts = name.split("/");
  const isUnsafe =
    name.length > 1000 ||
    /[\\\p{Cc}]/u.test(name) ||
    parts.some((part) => part === "" || part === "." || part === ".." || part.length > 255);
  if (isUnsafe) {
    throw downloadError(
      `the hub lists a file ${JSON.stringify(name.slice(0, 100))}, which is no safe name for a file here; nothing was written`,
    );
  }
}

/** @throws GptOssError DOWNLOAD for two names of one place, also on disks that do not tell cases apart */
export function refuseCollisions(names: readonly string[]): void {
  const seen = new Map<string, string>();
  for (const name of names) {
    const plain = name.normalize("NFC").toLowerCase();
    const same = seen.get(plain);
    if (same !== undefined) throw collision(name, same);
    seen.set(plain, name);
  }
  for (const [plain, name] of seen) {
    for (let at = plain.indexOf("/"); at >= 0; at = plain.indexOf("/", at + 1)) {
      const file = seen.get(plain.slice(0, at));
      if (file !== undefined) throw collision(name, file);
    }
  }
}

function collision(one: string, other: string): Error {
  return downloadError(
    `the hub lists ${JSON.stringify(one)} and ${JSON.stringify(other)}, which cannot both be files here`,
  );
}
