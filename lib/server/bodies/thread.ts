// A thread that reads large bodies: what LargeBodies of one server asks, one body after the other.
import { setPriority } from "node:os";
import { parentPort } from "node:worker_threads";
import { toBigints } from "../../common/exact-json.js";
import { ApiError } from "../http/errors.js";
import type { BodyLimits, CheckedBody } from "./body-check.js";
import { refuseMany } from "./json-structure.js";
import { checkOf } from "./kinds.js";

export interface BodyTask {
  /** The name of its `BodyCheck`. */
  check: string;
  /** The bytes of the body, one behind the other. */
  chunks: Uint8Array<ArrayBuffer>[];
  limits: BodyLimits;
}

export type BodyReport =
  /** `exact`: bigints stand where numbers with all their digits do. */
  | { read: CheckedBody; exact: boolean }
  | { refused: Pick<ApiError, "status" | "message" | "code" | "param"> }
  /** A fault of ours, as text. */
  | { failed: string };

// On few cores the event loop and the engine come first. Elsewhere this would be the priority of the whole process.
if (process.platform === "linux") setPriority(10);

parentPort!.on("message", (task: BodyTask) => parentPort!.postMessage(report(task)));

function report({ check, chunks, limits }: BodyTask): BodyReport {
  try {
    const read = checkOf.get(check)!.read(Buffer.concat(chunks), limits);
    refuseMany(read.fields);
    return { read, exact: toBigints(read.fields) };
  } catch (error) {
    if (!(error instanceof ApiError)) return { failed: String((error as Error).stack) };
    const { status, message, code, param } = error;
    return { refused: { status, message, code, param } };
  }
}
