import type { AdapterInfo, NativeAdapter, NativeEngine, NativeRequest } from "../binding.js";
import { aboutField, invalidArgument } from "../errors.js";
import type { GenerateOptions } from "../generation/generate-options.js";
import type { Message } from "../harmony/message.js";
import { parseMessagesFromCompletionTokens } from "../harmony/parser.js";
import { openingOf } from "../harmony/render.js";
import { tokenizer } from "../tokenizer/tokenizer.js";
import { type NativeScript, nativeScript, type Script } from "./script.js";

/** A request to a ScriptedEngine, by `generate`, by `chat` or through a server. */
export class EngineRequest {
  /** The prompt, as token ids. */
  readonly promptTokens: Uint32Array;
  /** Options of the request. Options of `chat` and of the server have the form of `generate`. */
  readonly options: GenerateOptions;
  /** The number of requests that the engine accepted before this one. */
  readonly index: number;

  /** @internal */
  constructor(index: number, promptTokens: Uint32Array, options: GenerateOptions) {
    this.index = index;
    this.promptTokens = promptTokens;
    this.options = options;
  }

  /** The prompt, with its control tokens spelled out. */
  get text(): string {
    return tokenizer.decode(this.promptTokens);
  }

  /**
   * The conversation of the prompt, with system and developer messages as texts. Null when the prompt is not a
   * conversation.
   */
  get messages(): Message[] | null {
    const opening = openingOf("assistant");
    const end = this.promptTokens.length - opening.length;
    const isOpen = opening.every((token, i) => this.promptTokens[end + i] === token);
    try {
      return parseMessagesFromCompletionTokens(isOpen ? this.promptTokens.subarray(0, end) : this.promptTokens);
    } catch {
      return null;
    }
  }
}

/**
 * Scripts for the requests in order, starting again after the last one; or a function that writes one for a request.
 */
export type Scripts = readonly Script[] | ((request: EngineRequest) => Script);

/** The addon's engine with a script in each request for a completion. */
export class ScriptedNative implements NativeEngine {
  readonly requests: EngineRequest[] = [];
  /** The options of the next request. */
  options: GenerateOptions = {};
  readonly #native: NativeEngine;
  readonly #scriptFor: (request: EngineRequest) => NativeScript;

  constructor(native: NativeEngine, scriptFor: (request: EngineRequest) => NativeScript) {
    this.#native = native;
    this.#scriptFor = scriptFor;
  }

  submit(request: NativeRequest): void {
    if (request.logitsLast > 0) {
      this.#native.submit(request);
      return;
    }
    const asked = new EngineRequest(this.requests.length, request.prompt, this.options);
    const scripted = { ...request, script: this.#scriptFor(asked) };
    this.#native.submit(scripted);
    this.requests.push(asked); // a refused request has used no script
  }

  get info() {
    return this.#native.info;
  }
  cancel(id: number, index?: number): void {
    this.#native.cancel(id, index);
  }
  pause(id: number, index: number, paused: boolean): void {
    this.#native.pause(id, index, paused);
  }
  supplyLogits(id: number, index: number, logits: Float32Array): void {
    this.#native.supplyLogits(id, index, logits);
  }
  stats() {
    return this.#native.stats();
  }
  bytesPerToken(context: number): number {
    return this.#native.bytesPerToken(context);
  }
  loadAdapter(adapter: NativeAdapter): Promise<AdapterInfo> {
    return this.#native.loadAdapter(adapter);
  }
  unloadAdapter(name: string): void {
    this.#native.unloadAdapter(name);
  }
  adapters(): AdapterInfo[] {
    return this.#native.adapters();
  }
  share(): number {
    return this.#native.share();
  }
  close(): Promise<void> {
    return this.#native.close();
  }
}

/** @throws GptOssError INVALID_ARGUMENT for an invalid script */
export function playing(scripts: Scripts): (request: EngineRequest) => NativeScript {
  if (typeof scripts === "function") {
    return (request) => {
      try {
        return nativeScript(scripts(request), `the script of request ${request.index}`);
      } catch (error) {
        throw aboutField(error, () => "scripts");
      }
    };
  }
  if (!Array.isArray(scripts) || scripts.length === 0) throw invalidArgument("scripts", "at least one script", scripts);
  const checked = scripts.map((script: Script, index) => nativeScript(script, `scripts[${index}]`));
  return ({ index }) => checked[index % checked.length]!;
}
