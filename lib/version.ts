import { packageManifest } from "./package-root.js";

/** The version of this package. */
export function packageVersion(): string {
  return packageManifest().version;
}
