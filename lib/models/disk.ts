import { constants } from "node:fs";
import { open, opendir, stat } from "node:fs/promises";
import { GptOssError, refusalOf } from "../errors.js";

/** Reads folders that other programs fill. Every listing has a bound, and nothing is opened that could wait forever. */

/** Entries of one folder that are looked at. */
export const mostEntries = 4096;

export interface Entry {
  /** "absent" also for a symbolic link that leads nowhere. "other": a pipe, a device, a socket. */
  kind: "folder" | "file" | "other" | "absent" | "unreadable";
  /** The size of a file. */
  bytes: number;
  /** What was found, in words, where it is neither a folder nor a file. */
  found: string;
}

/** What lies at a path. Symbolic links are followed. @throws GptOssError where the process lacks a resource */
export async function look(path: string): Promise<Entry> {
  try {
    const info = await stat(path);
    if (info.isDirectory()) return { kind: "folder", bytes: 0, found: "a folder" };
    if (info.isFile()) return { kind: "file", bytes: info.size, found: "a file" };
    return { kind: "other", bytes: 0, found: "neither a folder nor a regular file" };
  } catch (error) {
    const { code } = refuse(error, path);
    const isAbsent = code === "ENOENT" || code === "ENOTDIR" || code === "ENAMETOOLONG" || code === "EINVAL";
    return { kind: isAbsent ? "absent" : "unreadable", bytes: 0, found: words(error) };
  }
}

export const isFile = async (path: string) => (await look(path)).kind === "file";
export const isFolder = async (path: string) => (await look(path)).kind === "folder";

export interface Listing {
  /** The names in the folder, sorted. */
  names: string[];
  /** The folder has more than `mostEntries`; the others were not looked at. */
  isCut: boolean;
  /** Why there is no listing; null: there is one. */
  problem: string | null;
}

/** Usual problems of a listing. */
export const noListing = { absent: "no such folder", file: "something that is not a folder" } as const;

/** The names in a folder, `mostEntries` of them at most. */
export async function list(folder: string): Promise<Listing> {
  const names: string[] = [];
  let isCut = false;
  try {
    for await (const { name } of await opendir(folder)) {
      isCut = names.length === mostEntries;
      if (isCut) break;
      names.push(name);
    }
    return { names: names.sort(), isCut, problem: null };
  } catch (error) {
    refuse(error, folder);
    return { names: [], isCut, problem: words(error, noListing.absent) };
  }
}

/**
 * The text of a small file.
 *
 * @returns the problem, in words, where it cannot be read, is longer than `most` bytes or is no regular file
 */
export async function readText(path: string, most: number): Promise<{ text: string } | { problem: string }> {
  try {
    const start = await bytesOf(path, most + 1);
    if (start === null) return { problem: "not a regular file" };
    return start.length > most ? { problem: `longer than ${most} bytes` } : { text: start.toString("utf8") };
  } catch (error) {
    refuse(error, path);
    return { problem: words(error) };
  }
}

/** The first bytes of a file; empty where it cannot be read. */
export async function readStart(path: string, bytes: number): Promise<Buffer> {
  try {
    return (await bytesOf(path, bytes)) ?? Buffer.alloc(0);
  } catch (error) {
    refuse(error, path);
    return Buffer.alloc(0);
  }
}

/** The first bytes of a file, `most` of them at most. Null: it is no regular file. */
async function bytesOf(path: string, most: number): Promise<Buffer | null> {
  // Opening a pipe without this flag would wait for a writer.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const info = await file.stat();
    if (!info.isFile()) return null;
    const bytes = Buffer.alloc(Math.min(info.size, most));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Throws when the process itself lacks a resource: then nothing can be said about the path. */
function refuse(cause: unknown, path: string): NodeJS.ErrnoException {
  const refusal = refusalOf(cause);
  if (refusal) {
    const more = refusal === "RESOURCE_LIMIT" ? "; raise the limit of open files (ulimit -n)" : "";
    throw new GptOssError(refusal, `${path} could not be read: ${(cause as Error).message}${more}`, { cause });
  }
  return cause as NodeJS.ErrnoException;
}

function words(error: unknown, absent = "nothing"): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return absent;
  if (code === "ENOTDIR") return noListing.file;
  if (code === "ENAMETOOLONG") return "a name that is too long for a file";
  if (code === "EACCES" || code === "EPERM") return "something that this user cannot read";
  if (code === "ELOOP") return "a loop of symbolic links";
  return message;
}
