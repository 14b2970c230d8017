import { fromNative } from "../errors.js";

/** Calls the addon, which may throw at once or reject later. @throws GptOssError */
export async function settled<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw fromNative(error);
  }
}
