// A movie of the map: every frame drawn at full quality first, then played into a recorder at the right speed; or the
// frames themselves as pictures in a .zip.
import { Told } from "./source";

export const FRAMES = 60;
const FPS = 30;
const KINDS = ["video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm", "video/mp4"];

export async function recorded(frames: ImageBitmap[]): Promise<{ name: string; content: Blob }> {
  const kind = typeof MediaRecorder === "undefined" ? undefined : KINDS.find((one) => MediaRecorder.isTypeSupported(one));
  if (!kind) throw new Told("This browser records no movies.", "Save the frames as PNG, or use another browser.");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [frames[0]!.width, frames[0]!.height];
  const place = canvas.getContext("2d")!;
  place.drawImage(frames[0]!, 0, 0);
  const recorder = new MediaRecorder(canvas.captureStream(FPS), { mimeType: kind, videoBitsPerSecond: 8e6 });
  const parts: Blob[] = [];
  recorder.ondataavailable = (e) => parts.push(e.data);
  const ended = new Promise<void>((done, fail) => {
    recorder.onstop = () => done();
    recorder.onerror = () => fail(new Told("The movie could not be recorded.", "Save the frames as PNG."));
  });
  recorder.start();
  for (const frame of frames) {
    place.drawImage(frame, 0, 0);
    await new Promise((next) => setTimeout(next, 1000 / FPS));
  }
  recorder.stop();
  await ended;
  return { name: `map.${kind.includes("mp4") ? "mp4" : "webm"}`, content: new Blob(parts, { type: kind }) };
}

export async function pictures(frames: ImageBitmap[]): Promise<{ name: string; content: Blob }> {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [frames[0]!.width, frames[0]!.height];
  const place = canvas.getContext("2d")!;
  const files: [string, Uint8Array][] = [];
  for (const [n, frame] of frames.entries()) {
    place.drawImage(frame, 0, 0);
    const picture = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/png"));
    if (!picture) throw new Told("A frame could not be written as PNG.", "Make the window smaller.");
    files.push([`frame${String(n).padStart(3, "0")}.png`, new Uint8Array(await picture.arrayBuffer())]);
  }
  return { name: "map-frames.zip", content: zip(files) };
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function crc(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (const byte of bytes) c = TABLE[(c ^ byte) & 255]! ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

/** Files as they are, in a .zip (APPNOTE.TXT 4.3.7, 4.3.12, 4.3.16). */
export function zip(files: [string, Uint8Array][]): Blob {
  const parts: BlobPart[] = [];
  const entries: BlobPart[] = [];
  let [at, size] = [0, 0];
  for (const [name, content] of files) {
    const word = new TextEncoder().encode(name);
    const facts = new DataView(new ArrayBuffer(26));
    facts.setUint16(0, 20, true);
    facts.setUint16(8, 0x21, true); // 1 January 1980
    facts.setUint32(10, crc(content), true);
    facts.setUint32(14, content.length, true);
    facts.setUint32(18, content.length, true);
    facts.setUint16(22, word.length, true);
    const tail = new DataView(new ArrayBuffer(14));
    tail.setUint32(10, at, true);
    parts.push(new Uint8Array([0x50, 0x4b, 3, 4]), facts, word, content as BlobPart);
    entries.push(new Uint8Array([0x50, 0x4b, 1, 2, 20, 0]), facts, tail, word);
    at += 30 + word.length + content.length;
    size += 46 + word.length;
  }
  const end = new DataView(new ArrayBuffer(18));
  end.setUint16(4, files.length, true);
  end.setUint16(6, files.length, true);
  end.setUint32(8, size, true);
  end.setUint32(12, at, true);
  return new Blob([...parts, ...entries, new Uint8Array([0x50, 0x4b, 5, 6]), end], { type: "application/zip" });
}
