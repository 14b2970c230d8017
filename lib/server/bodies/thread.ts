// A thread that reads large bodies, one after the other, for the LargeBodies of one server.
import { setPriority } from "node:os";
import { parentPort } from "node:worker_threads";
import { toBigints } from "../../common/exact-json.js";
import { ApiError } from "../http/errors.js";
import { refuseMany } from "./json-structure.js";
import { checkOf } from "./kinds.js";
import type { BodyReport, BodyTask } from "./large-bodies.js";

// On few cores the event loop and the engine come first. On other systems this would set the whole process's priority.
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
