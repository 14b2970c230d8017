import { ApiError } from "../http/errors.js";

/** The refusal of what does not fit into the store. Waiting would not help, so it is no 503. */
export function storeFull(what: string): ApiError {
  return new ApiError(413, `The store has no room for ${what}`, { code: "store_full" });
}
