/**
 * Yields the values of several sources in the order in which they arrive, until all sources have ended. Leaving early
 * ends the running sources, without waiting for their pending values.
 */
export async function* interleaved<T>(sources: readonly AsyncIterable<T>[]): AsyncGenerator<T, void, undefined> {
  const iterators = sources.map((source) => source[Symbol.asyncIterator]());
  const coming = new Map<number, Promise<{ from: number; result: IteratorResult<T> }>>();
  const ask = (from: number) =>
    coming.set(
      from,
      iterators[from]!.next().then((result) => ({ from, result })),
    );
  try {
    for (const from of iterators.keys()) ask(from);
    while (coming.size > 0) {
      const { from, result } = await Promise.race(coming.values());
      if (result.done) coming.delete(from);
      else {
        ask(from);
        yield result.value;
      }
    }
  } finally {
    for (const [from, next] of coming) {
      next.catch(() => {});
      iterators[from]!.return?.().catch(() => {});
    }
  }
}
