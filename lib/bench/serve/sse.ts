import { StringDecoder } from "node:string_decoder";
import { RequestFailure } from "./failure.js";

/** No event of an answer comes near this; a body without line ends must not fill the memory. */
const mostCharacters = 16 * 2 ** 20;

/** Reads a stream of server-sent events as the HTML standard defines it: LF, CRLF or CR, comments, data of several lines. */
export class EventStreamReader {
  readonly #onData: (data: string) => void;
  readonly #decoder = new StringDecoder("utf8");
  /** The line that has not ended yet. */
  #line = "";
  /** The data of the event that has not ended yet. */
  #data: string | null = null;
  #afterReturn = false;
  #atStart = true;

  constructor(onData: (data: string) => void) {
    this.#onData = onData;
  }

  push(chunk: Buffer): void {
    let text = this.#decoder.write(chunk);
    if (text === "") return;
    if (this.#atStart && text.startsWith("\ufeff")) text = text.slice(1);
    this.#atStart = false;
    // A CRLF that was cut in two ended its line at the CR.
    if (this.#afterReturn && text.startsWith("\n")) text = text.slice(1);
    this.#afterReturn = text.endsWith("\r");
    if (text.includes("\r")) text = text.replace(/\r\n?/g, "\n");
    this.#lines(this.#line + text);
  }

  /** Returns the data of an event that the stream did not end, or null. */
  end(): string | null {
    this.#lines(`${this.#line}${this.#decoder.end()}\n`);
    return this.#data;
  }

  #lines(text: string): void {
    let from = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", from)) {
      this.#read(text.slice(from, end));
      from = end + 1;
    }
    this.#line = text.slice(from);
    if (this.#line.length + (this.#data?.length ?? 0) > mostCharacters)
      throw new RequestFailure(`the server sent an event of more than ${mostCharacters} characters`);
  }

  #read(line: string): void {
    if (line === "") {
      const data = this.#data;
      this.#data = null;
      if (data !== null) this.#onData(data);
    } else if (line.startsWith("data:")) {
      const value = line.slice(line[5] === " " ? 6 : 5);
      this.#data = this.#data === null ? value : `${this.#data}\n${value}`;
    }
  }
}
