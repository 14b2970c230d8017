// The victim's process of bench/hostile.ts: reads one stream after the other and reports the longest wait between two
// tokens.
import http from "node:http";
import { servedModel } from "./requests.js";

const port = Number(process.argv[2]);
let last: number | null = null;
let worst = 0;

function heard(): void {
  const now = performance.now();
  if (last !== null) worst = Math.max(worst, now - last);
  last = now;
}

/** Reads one stream to its end. The time before its first token is not a gap. */
function read(): Promise<void> {
  last = null;
  const asked = { prompt: "Once upon a time", max_tokens: 30_000, ignore_eos: true, stream: true };
  const body = JSON.stringify({ model: servedModel, ...asked });
  const headers = { "content-type": "application/json" };
  return new Promise((resolve, reject) => {
    const request = http.request({ host: "127.0.0.1", port, method: "POST", path: "/v1/completions", headers });
    request.on("response", (response) => {
      if (response.statusCode !== 200) reject(new Error(`The victim's stream was refused with ${response.statusCode}`));
      response.on("data", heard).on("end", resolve).on("error", reject);
    });
    request.on("error", reject).end(body);
  });
}

process.on("message", (order: "begin" | "end") => {
  if (order === "end") {
    // A wait that has not ended counts, too.
    if (last !== null) worst = Math.max(worst, performance.now() - last);
    process.send!({ gap: worst });
  } else {
    worst = 0;
    if (last !== null) last = performance.now();
    process.send!("begun");
  }
});
process.on("disconnect", () => process.exit());
for (;;) await read();
