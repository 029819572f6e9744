// The columns of a run, fetched when first needed, and who lies where.
import type { Column, Run } from "./model";
import { LEVELS, MISSING } from "./scatter";
import type { Source } from "./source";

export interface Values {
  column: Column;
  codes: Uint16Array;
}

export const valueOf = (column: Column, code: number): number =>
  column.category ? code : column.low + ((column.high - column.low) * code) / LEVELS;
export const codeOf = (column: Column, value: number): number =>
  column.category ? value : ((value - column.low) * LEVELS) / (column.high - column.low);

export class Cloud {
  private readonly asked = new Map<string, Promise<Values>>();
  private rowNumbers: Promise<Uint32Array> | null = null;
  readonly here = new Map<string, Values>();

  constructor(readonly source: Source, readonly name: string, readonly run: Run) {}

  get count(): number {
    return this.run.drawn;
  }

  column(name: string): Column | undefined {
    return this.run.columns.find((column) => column.name === name);
  }

  values(name: string): Promise<Values> {
    const column = this.column(name);
    if (!column) return Promise.reject(new Error(`no column ${name}`));
    if (!this.asked.has(name)) {
      const coming = this.source.file(this.name, `columns/${name}.u16`).then((file) => {
        const found = { column, codes: new Uint16Array(file) };
        this.here.set(name, found);
        return found;
      });
      coming.catch(() => this.asked.delete(name));
      this.asked.set(name, coming);
    }
    return this.asked.get(name)!;
  }

  rows(): Promise<Uint32Array> {
    this.rowNumbers ??= this.source.file(this.name, "rows.u32").then((file) => new Uint32Array(file));
    return this.rowNumbers;
  }

  /** A particle's value; NaN where it has none, or the column is not here yet. */
  valueAt(name: string, particle: number): number {
    const found = this.here.get(name);
    const code = found?.codes[particle] ?? MISSING;
    return code === MISSING || !found ? NaN : valueOf(found.column, code);
  }
}

const CELLS = 256;

/** Particles sorted into the cells of a grid over two columns: who is nearest to a place. */
export class Nearest {
  private readonly start = new Uint32Array(CELLS * CELLS + 1);
  private readonly order: Uint32Array;

  constructor(readonly x: Values, readonly y: Values) {
    const [a, b] = [x.codes, y.codes];
    const cell = (i: number) => (a[i]! >> 8) * CELLS + (b[i]! >> 8);
    const known = (i: number) => a[i] !== MISSING && b[i] !== MISSING;
    for (let i = 0; i < a.length; i++) if (known(i)) this.start[cell(i) + 1]!++;
    for (let c = 0; c < CELLS * CELLS; c++) this.start[c + 1]! += this.start[c]!;
    const next = this.start.slice();
    this.order = new Uint32Array(this.start[CELLS * CELLS]!);
    for (let i = 0; i < a.length; i++) if (known(i)) this.order[next[cell(i)]!++] = i;
  }

  /** The particle nearest to a place in codes, where `wide` and `high` codes count alike; -1 where nobody is within them. */
  find(cx: number, cy: number, wide: number, high: number): number {
    const within = (v: number) => Math.min(Math.max(v, 0), MISSING) >> 8;
    let best = -1;
    let least = 1;
    for (let i = within(cx - wide); i <= within(cx + wide); i++)
      for (let j = within(cy - high); j <= within(cy + high); j++)
        for (let at = this.start[i * CELLS + j]!; at < this.start[i * CELLS + j + 1]!; at++) {
          const particle = this.order[at]!;
          const dx = (this.x.codes[particle]! - cx) / wide;
          const dy = (this.y.codes[particle]! - cy) / high;
          const distance = dx * dx + dy * dy;
          if (distance <= least) [best, least] = [particle, distance];
        }
    return best;
  }
}
