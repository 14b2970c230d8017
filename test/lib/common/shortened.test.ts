import { expect, it } from "vitest";
import { shortened } from "../../../lib/common/shortened.js";

it("a text of a message is cut only where it is too long", () => {
  expect(shortened("a".repeat(400))).toBe("a".repeat(400));
  expect(shortened("a".repeat(401))).toBe(`${"a".repeat(400)}…`);
  expect(shortened("word", 3)).toBe("wor…");
});
