/** What one request was answered, as `record.mjs` writes it down. */
export interface Exchange {
  method: string;
  url: string;
  status: number;
  /** The header content-type. */
  type: string;
  body: string;
  /** False where the reader left, or the server was closed, before the end. */
  complete: boolean;
}

export interface StreamedEvent {
  name: string | undefined;
  data: string;
}

/** The events of a stream. What follows the last complete one is left out. */
export function eventsOf(body: string): StreamedEvent[] {
  const events: StreamedEvent[] = [];
  for (const frame of body.split("\n\n").slice(0, -1)) {
    const lines = frame.split("\n").filter((line) => !line.startsWith(":"));
    if (lines.length === 0) continue;
    const value = (field: string) =>
      lines.filter((line) => line.startsWith(field)).map((line) => line.slice(field.length));
    events.push({ name: value("event: ")[0], data: value("data: ").join("\n") });
  }
  return events;
}
