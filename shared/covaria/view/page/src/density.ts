// Histograms, smoothed counts, contours around shares of the particles, marginals of the density.
import type { Values } from "./cloud";
import { LEVELS, MISSING } from "./scatter";

export interface Grid {
  nx: number;
  ny: number;
  /** values[ix * ny + iy] */
  values: Float64Array;
  x: [number, number];
  y: [number, number];
}

export function histogram(values: Values, bins: number, low: number, high: number, only?: (i: number) => boolean): number[] {
  const counts = new Array<number>(bins).fill(0);
  const { column, codes } = values;
  const scale = column.category ? 1 : (column.high - column.low) / LEVELS;
  const from = column.category ? 0 : column.low;
  for (let i = 0; i < codes.length; i++) {
    if (codes[i] === MISSING || (only && !only(i))) continue;
    const bin = Math.floor(((from + codes[i]! * scale - low) / (high - low)) * bins);
    if (bin >= 0 && bin < bins) counts[bin]!++;
    else if (bin === bins) counts[bins - 1]!++;
  }
  return counts;
}

/** The span that holds all but a share of the values at each end. */
export function robust(values: Values, tail = 0.002): [number, number] {
  const { column, codes } = values;
  const seen: number[] = [];
  const step = Math.max(1, Math.floor(codes.length / 50_000));
  for (let i = 0; i < codes.length; i += step) if (codes[i] !== MISSING) seen.push(codes[i]!);
  if (!seen.length) return [0, 1];
  seen.sort((a, b) => a - b);
  const pick = (share: number) => {
    const code = seen[Math.min(Math.floor(share * seen.length), seen.length - 1)]!;
    return column.category ? code : column.low + ((column.high - column.low) * code) / LEVELS;
  };
  const [low, high] = [pick(tail), pick(1 - tail)];
  const pad = 0.05 * (high - low) || 0.5;
  return [low - pad, high + pad];
}

/** A histogram of the first particles (a fair sample) under a Gaussian, over codes. */
export function smoothed(x: Values, y: Values, bins = 96, most = 50_000): Grid {
  const values = new Float64Array(bins * bins);
  const count = Math.min(x.codes.length, most);
  for (let i = 0; i < count; i++) {
    if (x.codes[i] === MISSING || y.codes[i] === MISSING) continue;
    const a = Math.min(Math.floor((x.codes[i]! / LEVELS) * bins), bins - 1);
    values[a * bins + Math.min(Math.floor((y.codes[i]! / LEVELS) * bins), bins - 1)]!++;
  }
  const width = Math.max(1, (bins / 6) * Math.pow(Math.max(count, 2), -1 / 6));
  const spans: [number, number] = [0, LEVELS];
  return { nx: bins, ny: bins, values: blurred(blurred(values, bins, width, true), bins, width, false), x: spans, y: spans };
}

function blurred(values: Float64Array, bins: number, width: number, along: boolean): Float64Array {
  const reach = Math.ceil(3 * width);
  const kernel = Array.from({ length: 2 * reach + 1 }, (_, k) => Math.exp(-0.5 * ((k - reach) / width) ** 2));
  const total = kernel.reduce((a, b) => a + b);
  const [step, across] = along ? [bins, 1] : [1, bins];
  const out = new Float64Array(values.length);
  for (let row = 0; row < bins; row++)
    for (let i = 0; i < bins; i++) {
      let sum = 0;
      for (let k = -reach; k <= reach; k++)
        if (i + k >= 0 && i + k < bins) sum += kernel[k + reach]! * values[(i + k) * step + row * across]!;
      out[i * step + row * across] = sum / total;
    }
  return out;
}

/** The values above which each share of the whole lies. */
export function shareLevels(grid: Grid, shares: number[]): number[] {
  const ordered = Float64Array.from(grid.values).sort().reverse();
  const total = ordered.reduce((a, b) => a + b, 0);
  return shares.map((share) => {
    let sum = 0;
    for (const value of ordered) if ((sum += value) >= share * total) return value;
    return 0;
  });
}

/** Line pieces where the grid crosses a level, in its own coordinates: marching squares. */
export function contour(grid: Grid, level: number): [number, number, number, number][] {
  const { nx, ny, values } = grid;
  const px = (i: number) => grid.x[0] + ((grid.x[1] - grid.x[0]) * (i + 0.5)) / nx;
  const py = (j: number) => grid.y[0] + ((grid.y[1] - grid.y[0]) * (j + 0.5)) / ny;
  const pieces: [number, number, number, number][] = [];
  for (let i = 0; i + 1 < nx; i++)
    for (let j = 0; j + 1 < ny; j++) {
      const at = [values[i * ny + j]!, values[(i + 1) * ny + j]!, values[(i + 1) * ny + j + 1]!, values[i * ny + j + 1]!];
      const places = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
      const crossed: [number, number][] = [];
      for (let k = 0; k < 4; k++) {
        const [a, b] = [at[k]!, at[(k + 1) % 4]!];
        if (a > level === b > level) continue;
        const share = (level - a) / (b - a);
        const [p, q] = [places[k]!, places[(k + 1) % 4]!];
        crossed.push([px(p[0]! + share * (q[0]! - p[0]!)), py(p[1]! + share * (q[1]! - p[1]!))]);
      }
      for (let k = 0; k + 1 < crossed.length; k += 2) pieces.push([...crossed[k]!, ...crossed[k + 1]!]);
    }
  return pieces;
}

/** The density over two of its axes, the others summed. */
export function marginal(flat: Float32Array, shape: number[], bounds: [number, number][], first: number, second: number): Grid {
  const [nx, ny] = [shape[first]!, second < 0 ? 1 : shape[second]!];
  const values = new Float64Array(nx * ny);
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  for (let i = 0; i < flat.length; i++) {
    const a = Math.floor(i / strides[first]!) % shape[first]!;
    const b = second < 0 ? 0 : Math.floor(i / strides[second]!) % shape[second]!;
    values[a * ny + b]! += flat[i]!;
  }
  const edges = ([low, high]: [number, number], n: number): [number, number] => {
    const half = (high - low) / (n - 1) / 2;
    return [low - half, high + half];
  };
  return { nx, ny, values, x: edges(bounds[first]!, nx), y: second < 0 ? [0, 1] : edges(bounds[second]!, ny) };
}
