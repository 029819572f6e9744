// The map beside the cloud: it turns, it is cut, it follows a point; pinned points stand beside it on one camera.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Run } from "./model";
import type { Source } from "./source";
import { VolumeView, type Look, type StateMap } from "./volume";

const FRAME_MS = 33;
const REST_MS = 160;
export const MOST_PINS = 8;

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

/** Draws when something has changed; where a frame takes long, coarsely while it moves. */
class Painter {
  readonly view: VolumeView;
  look: Look;
  shown: Shown = { z: [], state: null };
  pins: number[][] = [];
  states = new Map<string, StateMap>();
  private waiting = 0;
  private rest = 0;
  private busy = false;
  private dirty = false;
  private scale = 1;
  private fine = true;

  constructor(readonly canvas: HTMLCanvasElement, readonly run: Run, readonly source: Source, readonly name: string, readonly told: (words: string) => void) {
    this.view = new VolumeView(canvas, run.maps!);
    this.look = { mode: "surface", level: run.maps!.level, difference: true, axes: run.maps!.axes, zoom: 1, cuts: [0.5, 0.5, 0.5] };
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
    if (!this.waiting && !this.busy) this.waiting = requestAnimationFrame(() => this.paint(this.fine, this.scale));
  }

  private paint(fine: boolean, scale: number): void {
    this.waiting = 0;
    this.dirty = false;
    this.busy = true;
    clearTimeout(this.rest);
    const dots = window.devicePixelRatio * scale;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * dots));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * dots));
    this.view.use(fine);
    this.view.clear();
    if (this.view.sampling) this.all();
    performance.mark("map");
    this.view.done((took) => {
      this.busy = false;
      if (fine === this.fine && scale === this.scale) this.adapt(took);
      if (this.dirty) this.soon();
      else if (!fine || scale < 1) this.rest = window.setTimeout(() => !this.busy && this.paint(true, 1), REST_MS);
    });
  }

  /** The next frame's sampling and share of the pixels, from how long this one took. */
  private adapt(took: number): void {
    if (this.fine && this.view.depth > 1 && took > 2 * FRAME_MS) this.fine = false;
    else this.scale = Math.min(1, Math.max(0.2, this.scale * Math.min(1.15, Math.max(0.5, Math.sqrt(FRAME_MS / took)))));
    if (!this.fine && this.scale === 1 && took < FRAME_MS / 8) this.fine = true;
  }

  private all(): void {
    const count = this.pins.length + 1;
    const columns = this.look.mode === "slices" ? 1 : Math.ceil(Math.sqrt(count));
    const rows = Math.ceil(count / columns);
    const [w, h] = [Math.floor(this.canvas.width / columns), Math.floor(this.canvas.height / rows)];
    for (let i = 0; i < count; i++) {
      this.add(i === 0 ? this.shown : { z: this.pins[i - 1]!, state: null });
      this.view.draw(this.look, (i % columns) * w, (rows - 1 - Math.floor(i / columns)) * h, w, h);
    }
  }

  private add(shown: Shown): void {
    const key = `${shown.state} ${this.view.sampling}`;
    const state = shown.state === null ? undefined : this.states.get(key);
    if (state) this.view.state(state, key);
    else this.view.at(shown.z);
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
}

export function MapPanel(props: { source: Source; name: string; run: Run; shown: Shown; pins: number[][]; words?: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const painter = useRef<Painter | null>(null);
  const [said, say] = useState("loading the maps ...");
  const [look, change] = useState({ mode: "surface" as Look["mode"], difference: true, level: props.run.maps?.level ?? 0, cuts: [0.5, 0.5, 0.5] });

  useEffect(() => {
    let alive = true;
    try {
      painter.current = new Painter(canvas.current!, props.run, props.source, props.name, say);
      painter.current.load(() => alive).catch((error) => say(`${error.message} ${error.hint ?? ""}`));
    } catch (error) {
      say(`${(error as Error).message} ${(error as { hint?: string }).hint ?? ""}`);
    }
    const seen = new ResizeObserver(() => painter.current?.soon());
    seen.observe(canvas.current!);
    return () => {
      alive = false;
      seen.disconnect();
      painter.current?.view.end();
      painter.current = null;
    };
  }, [props.name, props.run]);

  useEffect(() => {
    const drawn = painter.current;
    if (!drawn) return;
    drawn.shown = props.shown;
    drawn.pins = props.pins;
    Object.assign(drawn.look, look);
    if (props.shown.state !== null) drawn.want(props.shown.state).catch((error) => say(error.message));
    drawn.soon();
  });

  const maps = props.run.maps!;
  const drag = useRef<[number, number] | null>(null);
  const keys: Record<string, [number, number]> = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] };
  const zoom = (by: number) => {
    if (!painter.current) return;
    painter.current.look.zoom = Math.min(Math.max(painter.current.look.zoom * by, 0.3), 12);
    painter.current.soon();
  };
  return (
    <section class="panel map" aria-label="Map">
      <canvas ref={canvas} class="map" tabIndex={0} role="img"
        aria-label="The map at the chosen point. Arrow keys turn it, plus and minus zoom."
        onPointerDown={(e) => { drag.current = [e.clientX, e.clientY]; e.currentTarget.setPointerCapture(e.pointerId); }}
        onPointerMove={(e) => {
          if (!drag.current) return;
          painter.current?.turn((e.clientX - drag.current[0]) * 0.01, (e.clientY - drag.current[1]) * 0.01);
          drag.current = [e.clientX, e.clientY];
        }}
        onPointerUp={() => (drag.current = null)}
        onWheel={(e) => { e.preventDefault(); zoom(Math.exp(-e.deltaY * 0.001)); }}
        onKeyDown={(e) => {
          if (keys[e.key]) painter.current?.turn(...keys[e.key]!);
          else if (e.key === "+" || e.key === "=") zoom(1.15);
          else if (e.key === "-") zoom(1 / 1.15);
          else return;
          e.preventDefault();
        }} />
      {props.words && <p class="over">{props.words}</p>}
      <div class="controls">
        <label>level <input type="range" min={0} max={maps.highest} step={maps.highest / 200} value={look.level}
          onInput={(e) => change({ ...look, level: +e.currentTarget.value })} /></label>
        <label><input type="checkbox" checked={look.difference} onChange={(e) => change({ ...look, difference: e.currentTarget.checked })} />
          difference from the mean <span class="key"><i class="less" /> less</span> <span class="key"><i class="more" /> more</span></label>
        <label>show <select value={look.mode} onChange={(e) => change({ ...look, mode: e.currentTarget.value as Look["mode"] })}>
          <option value="surface">surface</option><option value="slices">slices</option></select></label>
        {look.mode === "slices" && look.cuts.map((cut, axis) => (
          <label key={axis}>{"xyz"[axis]} <input type="range" min={0} max={1} step={0.01} value={cut}
            onInput={(e) => change({ ...look, cuts: look.cuts.map((c, i) => (i === axis ? +e.currentTarget.value : c)) })} /></label>
        ))}
      </div>
      <p class="quiet" role="status">{said}</p>
    </section>
  );
}
