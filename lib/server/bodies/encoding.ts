import type { FastifyInstance } from "fastify";
import { ApiError } from "../http/errors.js";

/** Names of UTF-8 and its subset. JSON between programs is always UTF-8. */
const charsets: ReadonlySet<string> = new Set(["utf-8", "utf8", "us-ascii"]);

/** Refuses a body that is compressed or not in UTF-8: its bytes would not parse as JSON. */
export function refuseOtherEncodings(app: FastifyInstance): void {
  app.addHook("preParsing", async ({ headers }, reply, payload) => {
    const hasBody = headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
    if (!hasBody) return payload;
    const encoding = headers["content-encoding"]?.trim().toLowerCase() ?? "";
    if (encoding !== "" && encoding !== "identity") {
      reply.header("accept-encoding", "identity");
      throw notSupported(`a body that is not compressed, but its content-encoding is ${JSON.stringify(encoding)}`);
    }
    const charset = /;\s*charset\s*=\s*"?([^";]*)/i
      .exec(headers["content-type"] ?? "")?.[1]
      ?.trim()
      .toLowerCase();
    if (charset && !charsets.has(charset)) {
      throw notSupported(`a body in UTF-8, but its content-type has charset ${JSON.stringify(charset)}`);
    }
    return payload;
  });
}

function notSupported(expected: string): ApiError {
  return new ApiError(415, `Expected ${expected}`);
}
