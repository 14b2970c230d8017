import { apiError } from "../http/errors.js";

/** The codes of the Responses API that differ from those of other endpoints. */
const responseCodes: Readonly<Record<string, string>> = {
  invalid_value: "invalid_prompt",
  unsupported_parameter: "invalid_prompt",
  queue_full: "rate_limit_exceeded",
};

/** The `error` of a failed response. Details of a server fault are only in its log. */
export function failureOf(error: unknown): { code: string; message: string } {
  const { status, code, message } = apiError(error);
  if (status >= 500) return { code: "server_error", message };
  const ofStatus = status === 429 ? "rate_limit_exceeded" : "invalid_prompt";
  return { code: code === null ? ofStatus : (responseCodes[code] ?? code), message };
}
