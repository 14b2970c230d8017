import { describe, expect, it } from "vitest";
import { schemaType } from "../../../lib/harmony/json-schema-type.js";

/** The lines of a property `p` of an object, without the enclosing `{` and `}`. */
function property(schema: unknown, required: string[] = []): string {
  const text = schemaType({ type: "object", properties: { p: schema }, required }, "");
  return text.slice("{\n".length, -"}".length);
}

describe("a type by itself", () => {
  const cases: [unknown, string][] = [
    [{}, "any"],
    [true, "any"],
    [null, "any"],
    [{ type: "null" }, "any"],
    [{ $ref: "#/x" }, "any"],
    [{ anyOf: [{ type: "string" }] }, "any"],
    [{ enum: ["a"] }, "any"],
    [{ type: "string" }, "string"],
    [{ type: "string", enum: ["a", 'b"', 3] }, '"a" | "b""'],
    [{ type: "string", enum: [] }, "string"],
    [{ type: "string", enum: [1] }, "string"],
    [{ type: "number" }, "number"],
    [{ type: "integer" }, "number"],
    [{ type: "boolean" }, "boolean"],
    [{ type: ["integer", "null", 5] }, "number | null"],
    [{ type: [] }, "any"],
    [{ type: "array" }, "Array<any>"],
    [{ type: "array", items: { type: "array", items: { type: "string" } } }, "string[][]"],
    [{ type: "array", items: { type: ["string", "null"] } }, "string | null[]"],
    [{ type: "object" }, "{\n}"],
    [{ type: "object", description: "d", properties: {} }, "// d\n{\n}"],
    [{ oneOf: [{ type: "string" }, { type: "null" }] }, "\n | string\n | any"],
    [
      { oneOf: [{ type: "string", nullable: true, description: "d", default: "x" }] },
      '\n | string | null // d default: "x"',
    ],
    [{ oneOf: [{ type: "string", enum: ["x"], default: "x" }] }, '\n | "x" // default: "x"'],
    [{ oneOf: [] }, ""],
    [{ oneOf: {}, type: "string" }, "string"],
  ];
  it.each(cases)("%j", (schema, type) => expect(schemaType(schema, "")).toBe(type));
});

describe("a property", () => {
  const cases: [unknown, string][] = [
    [{ type: "string" }, "p?: string,\n"],
    [{ type: "string", title: "T", description: "a\nb" }, "// T\n//\n// a\nb\np?: string,\n"],
    [{ type: "string", examples: ["x", 1, "y"] }, '// Examples:\n// - "x"\n// - "y"\np?: string,\n'],
    [{ type: "string", examples: [] }, "p?: string,\n"],
    [{ type: "string", nullable: true, default: 'a"b' }, 'p?: string | null, // default: "a"b"\n'],
    [{ type: "string", nullable: "yes" }, "p?: string,\n"],
    [{ type: ["string", "null"], nullable: true }, "p?: string | null,\n"],
    [{ type: "string", enum: ["a"], default: "a" }, 'p?: "a", // default: a\n'],
    [{ type: "number", default: -1 }, "p?: number, // default: -1\n"],
    [{ default: { b: [1, null] } }, 'p?: any, // default: {"b":[1,null]}\n'],
    [{ default: null }, "p?: any, // default: null\n"],
    [
      { type: "object", description: "d", properties: { q: { type: "string" } } },
      "// d\np?:     // d\n{\n    q?: string,\n    },\n",
    ],
    [{ type: "array", items: { type: "object", properties: { q: {} } } }, "p?: {\n    q?: any,\n    }[],\n"],
    [
      {
        description: "d",
        default: "x",
        oneOf: [
          { type: "string", description: "one" },
          { type: "number", description: "two" },
        ],
      },
      '// d\n// default: "x"\np?:\n | string\n | number // two\n,\n',
    ],
    [
      {
        description: "d",
        oneOf: [
          { type: "string", description: "d" },
          { type: "number", nullable: true, default: 2 },
        ],
      },
      "p?:\n | string\n | number | null // default: 2\n,\n",
    ],
    [
      { oneOf: [{ type: "string", enum: ["x"], default: "x", description: "one" }] },
      'p?:\n | "x" // one default: x\n,\n',
    ],
    [{ description: "d", default: 1, oneOf: {} }, "p?: any,\n"],
  ];
  it.each(cases)("%j", (schema, lines) => expect(property(schema)).toBe(lines));

  it("has no question mark when it is required", () => {
    expect(property({ type: "string" }, ["p"])).toBe("p: string,\n");
  });
});
