import { parseJson } from "../../common/exact-json.js";
import { GptOssError } from "../../errors.js";
import { ApiError } from "../http/errors.js";
import { refuseExcess } from "./json-structure.js";

/**
 * Parses the body of a request. A property may have any name, also `__proto__` and `constructor`: `JSON.parse` makes it
 * a member of the object itself. No code here assigns members by a name that a client chose.
 *
 * @throws ApiError for invalid JSON and for JSON that exceeds a limit
 */
export function readBody(body: Buffer): unknown {
  refuseExcess(body);
  const text = body.toString();
  try {
    return parseJson(text.startsWith("\u{FEFF}") ? text.slice(1) : text, isSchema);
  } catch (cause) {
    const why = cause instanceof GptOssError ? `: ${cause.message}` : "";
    throw new ApiError(400, `The body is not valid JSON${why}`, { cause });
  }
}

/** Whether a JSON schema stands at `path`: its bounds and values may be integers of 64 bits. */
function isSchema(path: readonly string[]): boolean {
  const last = path.at(-1);
  switch (path[0]) {
    case "tools":
    case "functions":
      return last === "parameters";
    case "response_format":
    case "text":
      return last === "schema";
    case "structured_outputs":
      return last === "json";
    default:
      return path.length === 1 && last === "guided_json";
  }
}
