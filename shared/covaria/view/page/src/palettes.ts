// Okabe and Ito's colours, cividis and a blue-red scale: colour-blind eyes can read them.

export const CATEGORIES = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C"];
const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];

export function rgb(hex: string): [number, number, number] {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)) as [number, number, number];
}

export function between(colours: string[], share: number): [number, number, number] {
  const place = Math.min(Math.max(share, 0), 1) * (colours.length - 1);
  const low = Math.min(Math.floor(place), colours.length - 2);
  const [a, b] = [rgb(colours[low]!), rgb(colours[low + 1]!)];
  return [0, 1, 2].map((c) => Math.round(a[c]! + (b[c]! - a[c]!) * (place - low))) as [number, number, number];
}

export const cividis = (share: number): [number, number, number] => between(CIVIDIS, share);
export const category = (code: number): string => CATEGORIES[code % CATEGORIES.length]!;
export const css = (colour: [number, number, number]): string => `rgb(${colour.join(",")})`;

/** 256 x 2 RGBA: numbers in the first row, categories in the second. */
export function paletteTexels(): Uint8Array {
  const texels = new Uint8Array(256 * 2 * 4);
  for (let i = 0; i < 256; i++) {
    texels.set([...cividis(i / 255), 255], 4 * i);
    texels.set([...rgb(category(i)), 255], 4 * (256 + i));
  }
  return texels;
}
