// Where the surface cannot lie: the least and the most of each map in each block of voxels, known once, bound every sum
// of them. So a ray passes what is empty in a few steps.
import { BLOCK } from "./shaders";

const FARTHEST = 12;

/** Least and most byte of some maps in each block, the voxels around it included, for they are mixed in. */
export class Bounds {
  readonly counts: [number, number, number];
  readonly least: Uint8Array[];
  readonly most: Uint8Array[];

  /** maps: voxels with `step` bytes each, of which `channels` are maps. */
  constructor(readonly size: number[], maps: Uint8Array, step: number, channels: number) {
    const counts = (this.counts = size.map((n) => Math.ceil(n / BLOCK)) as [number, number, number]);
    const all = counts[0] * counts[1] * counts[2];
    this.least = Array.from({ length: channels }, () => new Uint8Array(all).fill(255));
    this.most = Array.from({ length: channels }, () => new Uint8Array(all));
    const blocksOf = (n: number, count: number) => Array.from({ length: n }, (_, v) => [Math.floor(Math.max(v - 1, 0) / BLOCK), Math.min(Math.floor((v + 1) / BLOCK), count - 1)] as const);
    const [bx, by, bz] = [0, 1, 2].map((axis) => blocksOf(size[axis]!, counts[axis]!)) as [ReturnType<typeof blocksOf>, ReturnType<typeof blocksOf>, ReturnType<typeof blocksOf>];
    let at = 0;
    for (const [z0, z1] of bz)
      for (const [y0, y1] of by)
        for (const [x0, x1] of bx) {
          for (let c = 0; c < channels; c++) {
            const value = maps[at + c]!;
            const [low, high] = [this.least[c]!, this.most[c]!];
            for (let k = z0; k <= z1; k++)
              for (let j = y0; j <= y1; j++)
                for (let i = x0; i <= x1; i++) {
                  const block = (k * counts[1] + j) * counts[0] + i;
                  if (value < low[block]!) low[block] = value;
                  if (value > high[block]!) high[block] = value;
                }
          }
          at += step;
        }
  }
}

/** How far, in blocks, the nearest block lies whose bound exceeds the level: 0 within such a one. */
export function distances(counts: readonly [number, number, number], bound: Float32Array, level: number): Uint8Array {
  const [nx, ny, nz] = counts;
  const least = level - 0.002 * Math.abs(level); // the sum is kept in half precision
  const found = Uint8Array.from(bound, (value) => (value > least ? 0 : FARTHEST));
  const along = (start: number, stride: number, n: number) => {
    for (let i = 1, at = start + stride; i < n; i++, at += stride) found[at] = Math.min(found[at]!, found[at - stride]! + 1);
    for (let i = n - 2, at = start + stride * (n - 2); i >= 0; i--, at -= stride) found[at] = Math.min(found[at]!, found[at + stride]! + 1);
  };
  for (let z = 0; z < nz; z++) for (let y = 0; y < ny; y++) along((z * ny + y) * nx, 1, nx);
  // A square's side grows by one with each step aside: the larger of the ways along the axes counts.
  widen(found, nz, nx * ny, ny, nx, nx, 1);
  widen(found, ny, nx, nz, nx * ny, nx, 1);
  return found;
}

/** Along one more axis: the least over steps aside of the larger of the step and what lies there. */
function widen(found: Uint8Array, n: number, stride: number, m: number, mStride: number, l: number, lStride: number): void {
  const line = new Uint8Array(n);
  for (let j = 0; j < m; j++)
    for (let i = 0; i < l; i++) {
      const start = j * mStride + i * lStride;
      for (let k = 0; k < n; k++) line[k] = found[start + k * stride]!;
      for (let k = 0; k < n; k++) {
        let best = line[k]!;
        for (let step = 1; step < best; step++) {
          const near = Math.min(k >= step ? line[k - step]! : FARTHEST, k + step < n ? line[k + step]! : FARTHEST);
          best = Math.min(best, Math.max(step, near));
        }
        found[start + k * stride] = best;
      }
    }
}
