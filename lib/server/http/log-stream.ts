/** stderr as a log. If a write fails, as on a full disk, the server still answers requests. */
export const logStream = {
  write(line: string): void {
    try {
      process.stderr.write(line);
    } catch {
      // There is no other place to report the failure.
    }
  },
};
