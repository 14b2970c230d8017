/** stderr for a log: where it cannot be written, as on a full disk, requests are answered all the same. */
export const logStream = {
  write(line: string): void {
    try {
      process.stderr.write(line);
    } catch {
      // There is no place to tell of it.
    }
  },
};
