import { shortened } from "../../common/shortened.js";
import { ApiError } from "../http/errors.js";

/** A refusal of a value that is not as expected, in the wording of this endpoint. */
export function invalid(param: string, expected: string, received: unknown): ApiError {
  return new ApiError(400, `Expected ${expected} for '${param}' but received ${kindOf(received)}.`, {
    param,
    code: received === undefined ? "missing_required_parameter" : "invalid_value",
  });
}

/** A refusal of a feature that OpenAI's API has and this server does not. */
export function unsupported(param: string | null, message: string): ApiError {
  return new ApiError(400, message, { param, code: "unsupported_parameter" });
}

export function requiredString(value: unknown, param: string): string {
  if (typeof value !== "string") throw invalid(param, "a string", value);
  return value;
}

/** Returns a non-empty string, such as an id. */
export function requiredName(value: unknown, param: string): string {
  if (typeof value !== "string" || value === "") throw invalid(param, "a non-empty string", value);
  return value;
}

/** Returns null for an absent value. */
export function optionalString(value: unknown, param: string): string | null {
  return value === undefined || value === null ? null : requiredString(value, param);
}

/** Describes the received value, short enough for a message. */
function kindOf(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object" && value !== null) return "an object";
  return shortened(JSON.stringify(value), 80);
}
