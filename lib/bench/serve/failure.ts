/** Why one request of a bench failed. The bench counts it and goes on. */
export class RequestFailure extends Error {
  override readonly name = "RequestFailure";
}

const mostCharacters = 300;

/** A server's own words, on one line and not too long. */
export function excerpt(text: string): string {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > mostCharacters ? `${line.slice(0, mostCharacters)}…` : line;
}

/** The message of an error object of any server, or else the text that it came in. */
export function errorText(error: unknown, whole: string): string {
  if (typeof error === "string") return excerpt(error);
  return excerpt(isObject(error) && typeof error.message === "string" ? error.message : whole);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
