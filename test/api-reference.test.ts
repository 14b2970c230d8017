import path from "node:path";
import {
  Application,
  type DeclarationReflection,
  Logger,
  LogLevel,
  type ProjectReflection,
  ReflectionKind,
  TSConfigReader,
  TypeDocReader,
} from "typedoc";
import { beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../lib/package-root.js";

/** Collects TypeDoc's warnings. */
class Warnings extends Logger {
  readonly messages: string[] = [];
  override log(message: string, level: LogLevel): void {
    if (level >= LogLevel.Warn) this.messages.push(message);
  }
}

describe("the API reference", () => {
  const warnings = new Warnings();
  let project: ProjectReflection;

  beforeAll(async () => {
    const options = path.join(packageRoot, "typedoc.json");
    const app = await Application.bootstrap({ options }, [new TypeDocReader(), new TSConfigReader()]);
    app.logger = warnings;
    project = (await app.convert())!;
    app.validate(project);
  });

  it("has a comment on everything that is public, and no link that leads nowhere", () => {
    expect(warnings.messages).toEqual([]);
  });

  it("has an example for every function and method", () => {
    const called = project.getReflectionsByKind(
      ReflectionKind.Function | ReflectionKind.Method,
    ) as DeclarationReflection[];
    const without = called
      .filter(({ name, inheritedFrom }) => !name.startsWith("[") && !inheritedFrom)
      .filter(({ signatures = [] }) => !signatures.some(({ comment }) => comment?.getTag("@example")))
      .map((reflection) => reflection.getFullName());
    expect(called.length).toBeGreaterThan(40);
    expect(without).toEqual([]);
  });
});
