import type { LoadedModel } from "../load-model.js";
import { Output } from "../output.js";
import { speedLine } from "../speed.js";
import { ChoicesInOrder } from "./choices-in-order.js";
import { type CompletionRequest, Interruption } from "./request.js";

/** Continues a text or token ids as they are. */
export async function continuePlain(
  { engine, model }: LoadedModel,
  prompt: string | number[],
  request: CompletionRequest & { stopTokens: number[] | undefined },
): Promise<void> {
  const { sampling, n, stop, logprobs, format, json, speed, stopTokens } = request;
  const started = performance.now();
  let firstMilliseconds: number | undefined;
  const run = engine.generate(prompt, {
    ...sampling,
    n,
    stop,
    ...(logprobs !== null && { logprobs }),
    ...(format !== null && { constraint: { kind: "text", format } }),
    ...(stopTokens !== undefined && { stopTokens }),
  });
  const out = Output.stdout();
  using _ = new Interruption(run);
  const choices = json ? null : new ChoicesInOrder<string>(n, out, (text) => out.text(text));
  for await (const { text, index, last } of run) {
    firstMilliseconds ??= performance.now() - started;
    choices?.push(index, text);
    if (last !== undefined) choices?.end(index);
  }
  const result = await run.result;
  const totalMilliseconds = performance.now() - started;
  if (json) out.line(JSON.stringify({ model, ...result }));
  else choices?.close();
  if (speed) {
    Output.stderr().line(
      speedLine({ ...result.usage, firstMilliseconds: firstMilliseconds ?? totalMilliseconds, totalMilliseconds }),
    );
  }
}
