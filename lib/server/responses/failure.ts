import { GptOssError } from "../../errors.js";
import { ApiError } from "../http/errors.js";

/** The `error` of a failed response; of what is not meant for clients it says nothing. */
export function failureOf(error: unknown): { code: string; message: string } {
  const { code, status } = error as { code?: unknown; status?: unknown };
  if (error instanceof ApiError) {
    const { message } = error;
    // The API has a word of its own for what only shows once the answer has begun.
    const isRefusal = code === "invalid_value" || code === "unsupported_parameter";
    return { code: isRefusal ? "invalid_prompt" : (error.code ?? codeOf(status)), message };
  }
  if (!(error instanceof GptOssError)) return { code: "server_error", message: "The server failed." };
  switch (code) {
    case "CONTEXT_OVERFLOW":
      return { code: "context_length_exceeded", message: error.message };
    case "QUEUE_FULL":
      return { code: "rate_limit_exceeded", message: error.message };
    case "INVALID_ARGUMENT":
    case "UNSUPPORTED":
      return { code: "invalid_prompt", message: error.message };
    default:
      return { code: "server_error", message: error.message };
  }
}

function codeOf(status: unknown): string {
  if (status === 429) return "rate_limit_exceeded";
  return typeof status === "number" && status < 500 ? "invalid_prompt" : "server_error";
}
