/**
 * Words a refusal by the engine for the client that wrote the grammar. The engine knows a schema and a pattern, which
 * the client did not write.
 *
 * @param at the place of the grammar in the request
 * @param originOf the place in the client's text of a byte of the pattern; null: it is not known
 */
export function grammarRefusal(at: string, message: string, originOf: ((byte: number) => number) | null): string {
  const reason = message
    .replace(/^the parameters of tool "(?:[^"\\]|\\.)*": /, "")
    .replace(/^schema #\/properties\/input: "pattern": /, "");
  const placed = /^(.*) at byte (\d+) of ".*" is not supported$/s.exec(reason);
  if (placed === null) return refusal(at, reason);
  const place = originOf === null ? "" : ` at character ${originOf(Number(placed[2]))}`;
  return refusal(at, `${placed[1]}${place} is not supported`);
}

function refusal(at: string, reason: string): string {
  return `The grammar in '${at}' cannot be enforced: ${reason}.`;
}
