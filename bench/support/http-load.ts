// The clients of bench/serve.ts, in a separate process: several clients at once, each with one request after the other.
import http from "node:http";
import { performance } from "node:perf_hooks";

/** The parent's order. */
export interface LoadOrder {
  port: number;
  clients: number;
  requests: number;
  model: string;
  maxTokens: number;
  /** Client i begins with conversation i and continues from there. */
  questions: readonly string[];
}

/** The results; times are in milliseconds. */
export interface LoadReport {
  seconds: number;
  completionTokens: number;
  firstToken: number[];
  whole: number[];
}

interface Answer {
  firstToken: number;
  whole: number;
  completionTokens: number;
}

async function load({ port, clients, requests, model, maxTokens, questions }: LoadOrder): Promise<LoadReport> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: clients });
  const answers: Answer[] = [];
  let begun = 0;
  const started = performance.now();
  const client = async (_: unknown, first: number) => {
    for (let i = first; begun < requests; i++) {
      begun++;
      const messages = [{ role: "user", content: questions[i % questions.length] }];
      const body = { model, messages, temperature: 0, max_tokens: maxTokens, stream: true };
      answers.push(await ask(agent, port, { ...body, stream_options: { include_usage: true } }));
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  const seconds = (performance.now() - started) / 1000;
  agent.destroy();
  return {
    seconds,
    completionTokens: answers.reduce((sum, { completionTokens }) => sum + completionTokens, 0),
    firstToken: answers.map(({ firstToken }) => firstToken),
    whole: answers.map(({ whole }) => whole),
  };
}

function ask(agent: http.Agent, port: number, body: object): Promise<Answer> {
  const text = JSON.stringify(body);
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const options = { agent, port, host: "127.0.0.1", path: "/v1/chat/completions", method: "POST", headers };
    const request = http.request(options, (response) => {
      let heard = "";
      let firstToken = Number.NaN;
      response.setEncoding("utf8");
      response.on("data", (piece: string) => {
        heard += piece;
        // The first chunk has only the role.
        if (Number.isNaN(firstToken) && /"(content|reasoning)":"[^"]/.test(heard)) {
          firstToken = performance.now() - started;
        }
      });
      response.on("error", reject);
      response.on("end", () => {
        const usage = /"completion_tokens":(\d+)/.exec(heard.slice(heard.lastIndexOf('"usage":{')));
        if (response.statusCode !== 200 || !heard.endsWith("data: [DONE]\n\n") || !usage) {
          reject(new Error(`The server answered ${response.statusCode}: ${heard.slice(-300)}`));
          return;
        }
        resolve({ firstToken, whole: performance.now() - started, completionTokens: Number(usage[1]) });
      });
    });
    request.on("error", reject);
    request.end(text);
  });
}

process.on("message", (order: LoadOrder) => {
  load(order).then(
    (report) => process.send?.({ report }),
    (error: Error) => process.send?.({ failure: error.message }),
  );
});
