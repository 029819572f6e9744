// A selection as covaria.selection.model has it, and which particles it holds, as far as two bytes can tell.
import { Cloud, codeOf, valueOf, type Values } from "./cloud";
import { MISSING } from "./scatter";

export type Condition =
  | { kind: "polygon"; columns: [string, string]; points: [number, number][] }
  | { kind: "box"; columns: string[]; low: number[]; high: number[] }
  | { kind: "where"; expression: string; clusters: number[] };
export type Joint = "and" | "or" | "not";
export interface Term {
  joint: Joint;
  condition: Condition;
}
export type Selection =
  | { kind: "polygon"; columns: [string, string]; points: [number, number][] }
  | { kind: "box"; columns: string[]; low: number[]; high: number[] }
  | { kind: "where"; expression: string }
  | { kind: "and" | "or"; of: Selection[] }
  | { kind: "not"; of: Selection };

export const ofClusters = (clusters: number[]): Condition => ({
  kind: "where",
  expression: `cluster in (${clusters.join(", ")},)`,
  clusters,
});

function plain(condition: Condition): Selection {
  return condition.kind === "where" ? { kind: "where", expression: condition.expression } : condition;
}

/** The terms joined from left to right; null where there is none. */
export function joined(terms: Term[]): Selection | null {
  let whole: Selection | null = null;
  for (const { joint, condition } of terms) {
    const one = plain(condition);
    const part: Selection = joint === "not" ? { kind: "not", of: one } : one;
    whole = whole === null ? part : { kind: joint === "or" ? "or" : "and", of: [whole, part] };
  }
  return whole;
}

export function described(condition: Condition): string {
  if (condition.kind === "polygon") return `region of ${condition.columns.join(", ")}`;
  if (condition.kind === "where") return `cluster ${condition.clusters.join(", ")}`;
  return condition.columns
    .map((name, k) => `${condition.low[k]!.toPrecision(3)} ≤ ${name} ≤ ${condition.high[k]!.toPrecision(3)}`)
    .join(", ");
}

export function columnsOf(terms: Term[]): string[] {
  return terms.flatMap(({ condition }) => (condition.kind === "where" ? ["cluster"] : condition.columns));
}

/** One byte a particle. The columns must be here. */
export function mask(terms: Term[], cloud: Cloud): Uint8Array {
  const whole = new Uint8Array(cloud.count);
  terms.forEach(({ joint, condition }, position) => {
    const part = holds(condition, cloud);
    const flip = joint === "not" ? 1 : 0;
    for (let i = 0; i < whole.length; i++) {
      const one = part[i]! ^ flip;
      whole[i] = position === 0 ? one : joint === "or" ? whole[i]! | one : whole[i]! & one;
    }
  });
  return whole;
}

function holds(condition: Condition, cloud: Cloud): Uint8Array {
  const found = new Uint8Array(cloud.count);
  if (condition.kind === "where") {
    const codes = cloud.here.get("cluster")!.codes;
    for (let i = 0; i < found.length; i++) found[i] = condition.clusters.includes(codes[i]!) ? 1 : 0;
    return found;
  }
  const columns = condition.columns.map((name) => cloud.here.get(name)!);
  if (condition.kind === "box") {
    found.fill(1);
    columns.forEach(({ column, codes }, k) => {
      const [low, high] = [condition.low[k]!, condition.high[k]!];
      for (let i = 0; i < found.length; i++) {
        const value = valueOf(column, codes[i]!);
        if (codes[i] === MISSING || value < low || value > high) found[i] = 0;
      }
    });
    return found;
  }
  inside(columns[0]!, columns[1]!, condition.points, found);
  return found;
}

/** Even-odd rule, as covaria.selection.apply has it. */
function inside(x: Values, y: Values, corners: [number, number][], found: Uint8Array): void {
  const places = corners.map(([a, b]) => [codeOf(x.column, a), codeOf(y.column, b)] as const);
  const low = [0, 1].map((axis) => Math.min(...places.map((p) => p[axis]!)));
  const high = [0, 1].map((axis) => Math.max(...places.map((p) => p[axis]!)));
  for (let i = 0; i < found.length; i++) {
    const [a, b] = [x.codes[i]!, y.codes[i]!];
    if (a === MISSING || b === MISSING || a < low[0]! || a > high[0]! || b < low[1]! || b > high[1]!) continue;
    let odd = 0;
    for (let k = 0, last = places.length - 1; k < places.length; last = k++) {
      const [x0, y0] = places[last]!;
      const [x1, y1] = places[k]!;
      if (y0 > b !== y1 > b && a < x0 + ((b - y0) * (x1 - x0)) / (y1 - y0)) odd ^= 1;
    }
    found[i] = odd;
  }
}

/** Whether two sides of a closed line cross: what lies inside it is then not clear. */
export function crosses(corners: [number, number][]): boolean {
  const side = (a: number[], b: number[], c: number[]) =>
    Math.sign((b[0]! - a[0]!) * (c[1]! - a[1]!) - (b[1]! - a[1]!) * (c[0]! - a[0]!));
  const end = (i: number) => corners[(i + 1) % corners.length]!;
  for (let i = 0; i < corners.length; i++)
    for (let j = i + 2; j < corners.length; j++) {
      const [a, b, c, d] = [corners[i]!, end(i), corners[j]!, end(j)];
      if (side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0) return true;
    }
  return false;
}

/** A drawn line with fewer corners: none that moves it by less than `near`. */
export function simplified(points: [number, number][], near: number): [number, number][] {
  if (points.length < 3) return points;
  const [first, last] = [points[0]!, points[points.length - 1]!];
  const length = Math.hypot(last[0] - first[0], last[1] - first[1]);
  let [most, at] = [0, 0];
  points.forEach(([x, y], i) => {
    const away = length
      ? Math.abs((last[0] - first[0]) * (first[1] - y) - (first[0] - x) * (last[1] - first[1])) / length
      : Math.hypot(x - first[0], y - first[1]);
    if (away > most) [most, at] = [away, i];
  });
  if (most <= near) return [first, last];
  return [...simplified(points.slice(0, at + 1), near).slice(0, -1), ...simplified(points.slice(at), near)];
}
