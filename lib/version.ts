import { packageManifest } from "./package-root.js";

/** Of this package. */
export function packageVersion(): string {
  return packageManifest().version;
}
