// The map beside the cloud: it turns, it is cut, it follows a point; pinned points stand beside it on one camera.
import { useEffect, useRef, useState } from "preact/hooks";
import { FRAMES, pictures, recorded } from "./film";
import type { Run } from "./model";
import { Painter, type Shown } from "./painter";
import { keep, told, type Source } from "./source";
import { moved, readTrace, type Trace } from "./trace";
import type { Look, Paint } from "./volume";

export const MOST_PINS = 8;
export type { Shown };

/** Something that can be filmed, beside a turn. */
export interface Motion {
  name: string;
  at: (share: number) => Shown;
}

interface Props {
  source: Source;
  name: string;
  run: Run;
  shown: Shown;
  pins: number[][];
  words?: string;
  motions?: Motion[];
}

const TURN = "a turn";

export function MapPanel(props: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const painter = useRef<Painter | null>(null);
  const [said, say] = useState("loading the maps ...");
  const [look, change] = useState({ mode: "surface" as Look["mode"], paint: "difference" as Paint, level: props.run.maps?.level ?? 0, cuts: [0.5, 0.5, 0.5] });

  useEffect(() => {
    let alive = true;
    try {
      painter.current = new Painter(canvas.current!, props.run, props.source, props.name, say);
      painter.current.load(() => alive).catch((error) => say(told(error)));
    } catch (error) {
      say(told(error));
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
    if (props.shown.state !== null) drawn.want(props.shown.state).catch((error) => say(told(error)));
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
        <Colours components={Math.min(props.run.confirmed, 6)} paint={look.paint} onChange={(paint) => change({ ...look, paint })} />
        <label>show <select value={look.mode} onChange={(e) => change({ ...look, mode: e.currentTarget.value as Look["mode"] })}>
          <option value="surface">surface</option><option value="slices">slices</option></select></label>
        {look.mode === "slices" && look.cuts.map((cut, axis) => (
          <label key={axis}>{"xyz"[axis]} <input type="range" min={0} max={1} step={0.01} value={cut}
            onInput={(e) => change({ ...look, cuts: look.cuts.map((c, i) => (i === axis ? +e.currentTarget.value : c)) })} /></label>
        ))}
      </div>
      <p class="quiet" role="status">{said}</p>
      <details>
        <summary>Atomic model, picture, movie</summary>
        <Model source={props.source} run={props.run} painter={() => painter.current} panel={() => canvas.current?.parentElement ?? null} />
        <Film painter={() => painter.current} motions={props.motions ?? []} />
      </details>
    </section>
  );
}

function Colours(props: { components: number; paint: Paint; onChange: (paint: Paint) => void }) {
  const { paint } = props;
  const chosen = (value: string): Paint => (/^\d+$/.test(value) ? +value : (value as Paint));
  return (
    <>
      <label>colour <select value={String(paint)} onChange={(e) => props.onChange(chosen(e.currentTarget.value))}>
        <option value="difference">difference from the mean</option>
        {props.components > 0 && <option value="motion">how much it moves</option>}
        {Array.from({ length: props.components }, (_, k) => <option key={k} value={k}>motion of component {k + 1}</option>)}
        <option value="plain">none</option>
      </select></label>
      {paint !== "plain" && <span>{paint !== "motion" && <span class="key"><i class="less" /> less</span>} <span class="key"><i class="more" /> more</span></span>}
    </>
  );
}

/** An atomic model: the one that the server was given, one that is chosen, one that is dropped on the map. */
function Model(props: { source: Source; run: Run; painter: () => Painter | null; panel: () => HTMLElement | null }) {
  const [trace, have] = useState<Trace | null>(null);
  const [centred, centre] = useState(false);
  const [trouble, tell] = useState("");
  const read = (name: string, text: Promise<string>) =>
    text.then((content) => { have(readTrace(name, content)); centre(false); tell(""); }).catch((error) => tell(told(error)));
  useEffect(() => { props.source.model?.().then((one) => one && read(one.name, Promise.resolve(one.text))).catch((error) => tell(told(error))); }, []);
  useEffect(() => {
    const panel = props.panel();
    const over = (e: DragEvent) => e.preventDefault();
    const drop = (e: DragEvent) => {
      e.preventDefault();
      const file = e.dataTransfer?.files[0];
      if (file) read(file.name, file.text());
    };
    panel?.addEventListener("dragover", over);
    panel?.addEventListener("drop", drop);
    return () => { panel?.removeEventListener("dragover", over); panel?.removeEventListener("drop", drop); };
  }, []);
  const { maps } = props.run;
  const middle = maps!.origin_angstrom.map((from) => from + (maps!.box / 2) * maps!.pixel_angstrom);
  useEffect(() => {
    const painter = props.painter();
    painter?.view.model(trace && centred ? moved(trace, middle.map((v, k) => v - trace.middle[k]!)) : trace);
    painter?.soon();
  });
  const outside = trace !== null && !centred && trace.middle.some((v, k) => Math.abs(v - middle[k]!) > 0.5 * maps!.box * maps!.pixel_angstrom);
  return (
    <>
      <p class="controls">
        <label>atomic model (or drop one on the map) <input type="file" accept=".pdb,.ent,.cif,.mmcif"
          onChange={(e) => { const file = e.currentTarget.files?.[0]; if (file) read(file.name, file.text()); }} /></label>
        {trace && <label><input type="checkbox" checked={centred} onChange={(e) => centre(e.currentTarget.checked)} /> move it to the box's centre</label>}
        {trace && <button type="button" onClick={() => have(null)}>Take the model away</button>}
      </p>
      <p class="quiet" role="status">
        {trace && `${trace.name}: backbone of ${trace.residues.toLocaleString("en")} residues in ${trace.chains} chain${trace.chains > 1 ? "s" : ""}.`}
        {outside && " It lies outside of the map: is it fitted into this one?"}
      </p>
      {trouble && <p class="warning" role="alert">{trouble}</p>}
    </>
  );
}

function Film(props: { painter: () => Painter | null; motions: Motion[] }) {
  const [what, choose] = useState(TURN);
  const [said, say] = useState("");
  const [busy, work] = useState(false);
  const movie = async (make: typeof recorded) => {
    const painter = props.painter();
    if (!painter) return;
    work(true);
    try {
      const motion = props.motions.find((one) => one.name === what);
      const frames = await painter.film(FRAMES, motion?.at ?? null, (n) => say(`drawing frame ${n} of ${FRAMES}`));
      say("writing ...");
      const file = await make(frames);
      frames.forEach((frame) => frame.close());
      keep(file.name, file.content);
      say(`${file.name}, ${(file.content.size / 1e6).toFixed(1)} MB`);
    } catch (error) {
      say(told(error));
    }
    work(false);
  };
  const picture = () => props.painter()?.picture().then((content) => content && keep("map.png", content)).catch((error) => say(told(error)));
  return (
    <>
      <p class="controls">
        <button type="button" disabled={busy} onClick={picture}>Save picture (PNG)</button>
        <label>movie of <select value={what} onChange={(e) => choose(e.currentTarget.value)}>
          {[TURN, ...props.motions.map((one) => one.name)].map((one) => <option key={one}>{one}</option>)}</select></label>
        <button type="button" disabled={busy} onClick={() => movie(recorded)}>Save movie</button>
        <button type="button" disabled={busy} onClick={() => movie(pictures)}>Save its frames (PNG)</button>
      </p>
      <p class="quiet" role="status">{said}</p>
    </>
  );
}
