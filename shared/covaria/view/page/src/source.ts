// Where the data come from: the server, a folder beside the page, or the page itself. Nothing else is ever asked.
import type { Card, Run } from "./model";

export class Told extends Error {
  constructor(message: string, readonly hint: string) {
    super(message);
  }
}

export interface Started {
  name: string;
  line: string;
  status: string;
  said: string;
}

/** What the server tells whenever it changes. jobs: null where nothing may be started; model: the name of an atomic one. */
export interface Standing {
  runs: Card[];
  model?: string | null;
  jobs: { command: string; started: Started[] } | null;
}

export interface Source {
  readonly served: boolean;
  file(run: string, name: string): Promise<ArrayBuffer>;
  standing(): Promise<Standing>;
  get<T>(path: string): Promise<T>;
  /** An atomic model that belongs to what is shown; null where there is none. */
  model?(): Promise<{ name: string; text: string } | null>;
}

/** What is the matter, and what to do, as two sentences. */
export function words(message: string, hint = ""): string {
  const first = hint.slice(0, 1);
  return hint ? `${message}${/[.!?]$/.test(message) ? "" : "."} ${first.toUpperCase()}${hint.slice(1)}` : message;
}

export const told = (error: unknown): string => words((error as Error).message, (error as { hint?: string }).hint);

const GONE = "The server does not answer.";
const GONE_HINT = "Start `covaria view` again and open its new address. What you selected stays in this page: save it as JSON.";

async function answered(response: Promise<Response>): Promise<Response> {
  let got: Response;
  try {
    got = await response;
  } catch {
    throw new Told(GONE, GONE_HINT);
  }
  if (got.ok) return got;
  const said = await got.json().catch(() => ({}));
  throw new Told(said.message ?? `The server answered ${got.status}.`, said.hint ?? "Reload the page.");
}

class Server implements Source {
  readonly served = true;
  private modelName: string | null = null;

  async file(run: string, name: string): Promise<ArrayBuffer> {
    return (await answered(fetch(`file?${new URLSearchParams({ run, name })}`))).arrayBuffer();
  }

  async standing(): Promise<Standing> {
    const found = await this.get<Standing>("runs");
    this.modelName = found.model ?? null;
    return found;
  }

  async model(): Promise<{ name: string; text: string } | null> {
    if (!this.modelName) return null;
    return { name: this.modelName, text: await (await answered(fetch("model"))).text() };
  }

  async get<T>(path: string): Promise<T> {
    return (await answered(fetch(path))).json();
  }
}

class Beside implements Source {
  readonly served = false;

  async file(_: string, name: string): Promise<ArrayBuffer> {
    return (await answered(fetch(`data/${name}`))).arrayBuffer();
  }

  standing = () => alone(this);
  get = onlyServed;
}

class Inside implements Source {
  readonly served = false;

  constructor(readonly files: Record<string, string>) {}

  async file(_: string, name: string): Promise<ArrayBuffer> {
    const text = this.files[name];
    if (text === undefined) throw new Told(`This file does not hold ${name}.`, "Export it again.");
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  }

  standing = () => alone(this);
  get = onlyServed;
}

/** As `Inside`, each file packed by gzip. */
class Packed extends Inside {
  override async file(run: string, name: string): Promise<ArrayBuffer> {
    const packed = await super.file(run, name);
    return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }
}

async function alone(source: Source): Promise<Standing> {
  const run = await readRun(source, ".");
  return { runs: [{ ...run, name: ".", label: run.name, error: run.error?.message }], jobs: null };
}

export function onlyServed(): Promise<never> {
  return Promise.reject(new Told("This needs a server.", "covaria view OUT"));
}

export async function readRun(source: Source, run: string): Promise<Run> {
  return JSON.parse(new TextDecoder().decode(await source.file(run, "run.json")));
}

export async function ask(path: string, run: string, body: unknown): Promise<Response> {
  const headers = { "x-covaria": "1", "content-type": "application/json" };
  return answered(fetch(`${path}?${new URLSearchParams({ run })}`, { method: "POST", headers, body: JSON.stringify(body) }));
}

export function findSource(): Source {
  const inside = document.getElementById("covaria-data");
  if (inside) return new (document.getElementById("covaria-explore") ? Packed : Inside)(JSON.parse(inside.textContent!));
  return document.querySelector('meta[name="covaria-source"]') ? new Beside() : new Server();
}

export function keep(name: string, content: BlobPart): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content]));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
