// Draws the map when something has changed: roughly while it moves, whole when it rests.
import type { Run } from "./model";
import type { Source } from "./source";
import { VolumeView, type Look, type StateMap } from "./volume";

const FRAME_MS = 33;
const REST_MS = 160;
const LEAST_SCALE = 0.2;

export interface Shown {
  z: number[];
  /** Index of a state whose own map is shown instead of the sum. */
  state: number | null;
}

type Vector = number[];

function turned(axes: number[][], about: Vector, angle: number): number[][] {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return axes.map((v) => {
    const dot = v[0]! * about[0]! + v[1]! * about[1]! + v[2]! * about[2]!;
    const cross = [
      about[1]! * v[2]! - about[2]! * v[1]!, about[2]! * v[0]! - about[0]! * v[2]!, about[0]! * v[1]! - about[1]! * v[0]!,
    ];
    return v.map((x, i) => x * c + cross[i]! * s + about[i]! * dot * (1 - c));
  });
}

export class Painter {
  readonly view: VolumeView;
  look: Look;
  shown: Shown = { z: [], state: null };
  pins: number[][] = [];
  states = new Map<string, StateMap>();
  private waiting = 0;
  private rest = 0;
  private busy = false;
  private dirty = false;
  private filming = false;
  private scale = 1;
  private fine = true;

  constructor(readonly canvas: HTMLCanvasElement, readonly run: Run, readonly source: Source, readonly name: string, readonly told: (words: string) => void) {
    this.view = new VolumeView(canvas, run.maps!);
    this.look = { mode: "surface", level: run.maps!.level, paint: "difference", axes: run.maps!.axes, zoom: 1, cuts: [0.5, 0.5, 0.5] };
    (canvas as unknown as { painter: Painter }).painter = this;
  }

  async load(alive: () => boolean): Promise<void> {
    for (const level of this.run.maps!.levels) {
      const files = await Promise.all(level.files.slice(0, 6).map((file) => this.source.file(this.name, file)));
      if (!alive()) return;
      this.view.load(level, files);
      const whole = this.run.maps!.box;
      this.told(`${level.sampling}³ voxels${level.sampling < whole ? ` (the maps have ${whole}³: drawn more coarsely here)` : ""}, ${this.view.components + 1} maps, ${(this.view.bytes / 1e6).toFixed(1)} MB`);
      this.soon();
    }
  }

  soon(): void {
    this.dirty = true;
    if (!this.waiting && !this.busy && !this.filming) this.waiting = requestAnimationFrame(() => this.paint(this.fine, this.scale, true));
  }

  private paint(fine: boolean, scale: number, rough: boolean): void {
    this.waiting = 0;
    this.dirty = false;
    this.busy = true;
    clearTimeout(this.rest);
    this.sized(scale);
    this.view.use(fine);
    this.view.clear();
    if (this.view.sampling) this.all(rough);
    performance.mark("map");
    this.view.done((took) => {
      this.busy = false;
      if (rough) this.adapt(took);
      if (this.filming) return;
      if (this.dirty) this.soon();
      else if (rough) this.rest = window.setTimeout(() => !this.busy && !this.filming && this.paint(true, 1, false), REST_MS);
    });
  }

  private sized(scale: number): void {
    const dots = window.devicePixelRatio * scale;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight].map((side) => Math.max(1, Math.round(side * dots)));
    if (this.canvas.width !== width) this.canvas.width = width!;
    if (this.canvas.height !== height) this.canvas.height = height!;
  }

  /** The next frame's sampling and share of the pixels, from how long this one took. */
  private adapt(took: number): void {
    if (this.fine && this.view.depth > 1 && took > 2 * FRAME_MS) this.fine = false;
    else {
      const by = Math.min(1.15, Math.max(0.5, Math.sqrt(FRAME_MS / took)));
      const next = Math.min(1, Math.max(LEAST_SCALE, this.scale * by));
      if (Math.abs(next - this.scale) > 0.08 || next === 1) this.scale = next; // another size is another buffer
    }
    if (!this.fine && this.scale === 1 && took < FRAME_MS / 8) this.fine = true;
  }

  private all(rough: boolean): void {
    const count = this.pins.length + 1;
    const columns = this.look.mode === "slices" ? 1 : Math.ceil(Math.sqrt(count));
    const rows = Math.ceil(count / columns);
    const [w, h] = [Math.floor(this.canvas.width / columns), Math.floor(this.canvas.height / rows)];
    for (let i = 0; i < count; i++) {
      this.add(i === 0 ? this.shown : { z: this.pins[i - 1]!, state: null });
      this.view.draw(this.look, (i % columns) * w, (rows - 1 - Math.floor(i / columns)) * h, w, h, rough);
    }
  }

  private add(shown: Shown): void {
    const key = `${shown.state} ${this.view.sampling}`;
    const state = shown.state === null ? undefined : this.states.get(key);
    if (state) this.view.state(state, key, this.look.paint);
    else this.view.at(shown.z, this.look.paint);
  }

  /** Fetch a state's own map, in every sampling. */
  async want(state: number): Promise<void> {
    const said = this.run.states[state];
    for (const [sampling, name] of Object.entries(said?.files ?? {})) {
      const key = `${state} ${sampling}`;
      if (this.states.has(key)) continue;
      const file = await this.source.file(this.name, name);
      this.states.set(key, { bytes: new Uint8Array(file), range: said!.ranges[sampling]! });
      this.soon();
    }
  }

  turn(dx: number, dy: number): void {
    const axes = this.look.axes;
    this.look.axes = turned(turned(axes, axes[1]!, -dx), axes[0]!, -dy);
    this.soon();
  }

  /** The map as it stands, whole, as a PNG. */
  picture(): Promise<Blob | null> {
    this.whole();
    return new Promise((done) => this.canvas.toBlob(done, "image/png"));
  }

  /** Frames at full quality; `shown` of a share of the movie, or a turn about the upright axis where it is null. */
  async film(count: number, shown: ((share: number) => Shown) | null, told: (done: number) => void): Promise<ImageBitmap[]> {
    const before = { shown: this.shown, axes: this.look.axes };
    const frames: ImageBitmap[] = [];
    this.filming = true;
    try {
      for (let n = 0; n < count; n++) {
        if (shown) this.shown = shown(n / count);
        else this.look.axes = turned(before.axes, before.axes[1]!, (2 * Math.PI * n) / count);
        this.whole();
        frames.push(await createImageBitmap(this.canvas));
        told(n + 1);
      }
    } finally {
      this.filming = false;
      this.shown = before.shown;
      this.look.axes = before.axes;
      this.soon();
    }
    return frames;
  }

  private whole(): void {
    clearTimeout(this.rest);
    this.sized(1);
    this.view.use(true);
    this.view.clear();
    this.all(false);
  }
}
