/** The terminals that a Lark grammar can import from `common`, as regular expressions. */

const decimal = "[0-9]+\\.[0-9]*|\\.[0-9]+";
const exponent = "[eE][+-]?[0-9]+";
const float = `[0-9]+${exponent}|(?:${decimal})(?:${exponent})?`;

export const commonTerminals: ReadonlyMap<string, string> = new Map([
  ["DIGIT", "[0-9]"],
  ["HEXDIGIT", "[0-9A-Fa-f]"],
  ["INT", "[0-9]+"],
  ["SIGNED_INT", "[+-]?[0-9]+"],
  ["DECIMAL", decimal],
  ["FLOAT", float],
  ["SIGNED_FLOAT", `[+-]?(?:${float})`],
  ["NUMBER", `${float}|[0-9]+`],
  ["SIGNED_NUMBER", `[+-]?(?:${float}|[0-9]+)`],
  ["ESCAPED_STRING", '"(?:[^"\\\\\\n]|\\\\[^\\n])*"'],
  ["LCASE_LETTER", "[a-z]"],
  ["UCASE_LETTER", "[A-Z]"],
  ["LETTER", "[A-Za-z]"],
  ["WORD", "[A-Za-z]+"],
  ["CNAME", "[A-Za-z_][A-Za-z0-9_]*"],
  ["WS_INLINE", "[ \\t]+"],
  ["WS", "[ \\t\\f\\r\\n]+"],
  ["CR", "\\r"],
  ["LF", "\\n"],
  ["NEWLINE", "(?:\\r?\\n)+"],
]);
