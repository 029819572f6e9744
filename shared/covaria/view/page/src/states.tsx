// The density in kT, its states, and what lies between two of them.
import { useEffect, useMemo, useState } from "preact/hooks";
import { Cloud, type Values } from "./cloud";
import { contour, marginal, shareLevels, type Grid } from "./density";
import { Choice } from "./explore";
import { MapPanel, type Shown } from "./map";
import { population, type Run } from "./model";
import { cividis, css } from "./palettes";
import { Axes, Bars, short } from "./plot";
import type { Source } from "./source";

const HIGHEST_KT = 6;
const NEAR_SD = 0.5;
const FEWEST = 5;
const STEPS = 60;
const SHEET = 6;

export function States(props: { source: Source; name: string; run: Run; cloud: Cloud }) {
  const { run, cloud } = props;
  const [flat, arrived] = useState<Float32Array | null>(null);
  const [values, have] = useState<Values[]>([]);
  const [first, setFirst] = useState(0);
  const [second, setSecond] = useState(Math.min(1, run.confirmed - 1));
  const [shown, show] = useState<Shown>({ z: run.states[0]?.z ?? [], state: 0 });
  const [ends, between] = useState<[number, number]>([0, Math.min(1, run.states.length - 1)]);
  const [stored, walk] = useState(run.paths.length ? 0 : -1);
  const [share, along] = useState(0);
  const [playing, play] = useState(false);
  const [by, spread] = useState<"length" | "population">("length");
  const [pins, pin] = useState<number[][]>([]);
  const [trouble, tell] = useState("");

  useEffect(() => {
    if (run.density) props.source.file(props.name, "density.f32").then((file) => arrived(new Float32Array(file))).catch((e) => tell(e.message));
    Promise.all(Array.from({ length: run.confirmed }, (_, k) => cloud.values(`z${k + 1}`))).then(have).catch((e) => tell(e.message));
  }, [run]);

  const path = useMemo(() => {
    const corners = stored >= 0 ? run.paths[stored]! : [run.states[ends[0]]?.z ?? [], run.states[ends[1]]?.z ?? []];
    return evenly(corners, STEPS);
  }, [run, stored, ends]);
  const counts = useMemo(() => (values.length ? near(path, values) : []), [path, values]);
  const energy = useMemo(() => profile(counts), [counts]);

  useEffect(() => {
    if (!playing) return;
    let frame = 0;
    const begin = performance.now();
    const step = (now: number) => {
      along(0.5 - 0.5 * Math.cos((now - begin) / 1200));
      frame = requestAnimationFrame(step);
    };
    frame = requestAnimationFrame(step);
    return () => cancelAnimationFrame(frame);
  }, [playing]);
  useEffect(() => { if (playing || share > 0) show({ z: path[Math.round(share * (path.length - 1))]!, state: null }); }, [share, path]);

  if (!run.states.length) return <section class="panel"><h1>No states</h1><p>{run.confirmed ? "`covaria analyze` makes them." : run.headline}</p></section>;

  const motions = [{ name: "the path, there and back", at: (part: number) => ({ state: null, z: path[Math.round((0.5 - 0.5 * Math.cos(2 * Math.PI * part)) * (path.length - 1))]! }) }];
  const dims = Math.min(run.density?.shape.length ?? 0, run.confirmed);
  const choices = Array.from({ length: dims }, (_, k) => ({ name: String(k), label: `component ${k + 1}` }));
  const grid = flat && run.density && dims > 1 ? marginal(flat, run.density.shape, run.density.bounds, first, second) : null;
  const line = flat && run.density && dims === 1 ? marginal(flat, run.density.shape, run.density.bounds, 0, -1) : null;
  const sheet = () => {
    const weight = by === "population" && counts.length ? counts : path.map(() => 1);
    const total = weight.reduce((a, b) => a + b, 0) || 1;
    const picked: number[][] = [];
    let sum = 0;
    weight.forEach((one, i) => {
      sum += one;
      while (picked.length < SHEET && sum >= (total * (picked.length + 0.5)) / SHEET) picked.push(path[i]!);
    });
    pin(picked);
  };
  return (
    <>
      <h1>States and paths</h1>
      {trouble && <p class="warning">{trouble}</p>}
      <div class="explore">
        <div>
          <section class="panel" aria-label="Density">
            {dims > 1 && (
              <div class="controls">
                <label>across <Choice of={choices} value={String(first)} onChange={(v) => setFirst(+v)} /></label>
                <label>up <Choice of={choices} value={String(second)} onChange={(v) => setSecond(+v)} /></label>
              </div>
            )}
            {grid && first !== second && <Energy grid={grid} run={run} first={first} second={second} path={path} at={shown.z} onState={(k) => { play(false); along(0); show({ z: run.states[k]!.z, state: k }); }}
              onPlace={(a, b) => { play(false); show({ state: null, z: shown.z.map((v, k) => (k === first ? a : k === second ? b : v)) }); }} />}
            {line && <Bars label="Density along the component" xLabel="component 1 (sd)" yLabel="density" x={line.x} series={[{ name: "density", counts: [...line.values], colour: css(cividis(0.3)) }]} />}
            {!run.density && <p>No density was made: `covaria density` makes one.</p>}
            <p class="quiet">Lines: half and nine tenths of the particles, their errors taken out. Click a state, or any place.</p>
          </section>
          <section class="panel" aria-label="Path">
            <div class="controls">
              <label>path <Choice value={String(stored)} onChange={(v) => walk(+v)}
                of={[...run.paths.map((_, k) => ({ name: String(k), label: `stored path ${k}` })), { name: "-1", label: "straight, between two states" }]} /></label>
              {stored < 0 && ends.map((end, side) => (
                <label key={side}>{side ? "to" : "from"} <Choice of={run.states.map((s, k) => ({ name: String(k), label: `${k}: ${population(s)}` }))} value={String(end)}
                  onChange={(v) => between(side ? [ends[0], +v] : [+v, ends[1]])} /></label>
              ))}
            </div>
            <Profile energy={energy} share={share} />
            <label class="wide">along the path <input type="range" min={0} max={1} step={1 / (STEPS - 1)} value={share} onInput={(e) => { play(false); along(+e.currentTarget.value); show({ z: path[Math.round(+e.currentTarget.value * (path.length - 1))]!, state: null }); }} /></label>
            <div class="controls">
              <button type="button" aria-pressed={playing} onClick={() => play(!playing)}>{playing ? "Stop" : "Play the path"}</button>
              <label>{SHEET} maps at equal <select value={by} onChange={(e) => spread(e.currentTarget.value as typeof by)}><option value="length">length</option><option value="population">population</option></select></label>
              <button type="button" onClick={sheet}>Show them</button>
              <button type="button" disabled={!pins.length} onClick={() => pin([])}>Take them away</button>
            </div>
            {stored < 0 && <p class="quiet">A straight line crosses places where nothing may be. The path of least cost, with maps of its own:
              <code> covaria trajectory {run.name} --from {ends[0]} --to {ends[1]} -o path</code></p>}
          </section>
        </div>
        <div>
          <MapPanel source={props.source} name={props.name} run={run} shown={shown} pins={pins} motions={motions} words={shown.state === null ? "preview at a point" : `state ${shown.state}: its own map`} />
          <section class="panel">
            <ul class="states">
              {run.states.map((state, k) => (
                <li key={k}>
                  <button type="button" aria-pressed={shown.state === k} onClick={() => { play(false); along(0); show({ z: state.z, state: k }); }}>state {k}</button>{" "}
                  population {population(state)}, {state.particles.toLocaleString("en")} particles nearest
                  {state.resolution_angstrom !== null && `, ${state.resolution_angstrom.toFixed(1)} Å`}
                  {state.agreement && `; preview: correlation ${state.agreement.maps.toFixed(4)}, of differences ${state.agreement.differences.toFixed(3)}`}
                </li>
              ))}
            </ul>
          </section>
        </div>
      </div>
    </>
  );
}

/** Points at equal distances along a line through corners. */
function evenly(corners: number[][], count: number): number[][] {
  const lengths = [0];
  for (let i = 1; i < corners.length; i++)
    lengths.push(lengths[i - 1]! + Math.hypot(...corners[i]!.map((v, k) => v - corners[i - 1]![k]!)));
  const total = lengths[lengths.length - 1]!;
  let at = 1;
  return Array.from({ length: count }, (_, n) => {
    const here = (total * n) / (count - 1);
    while (at < corners.length - 1 && lengths[at]! < here) at++;
    const span = lengths[at]! - lengths[at - 1]! || 1;
    const share = Math.min((here - lengths[at - 1]!) / span, 1);
    return corners[at - 1]!.map((v, k) => v + share * (corners[at]![k]! - v));
  });
}

/** How many particles lie within NEAR_SD of each point. */
function near(path: number[][], columns: Values[]): number[] {
  const counts = path.map(() => 0);
  const all = columns.length ? columns[0]!.codes.length : 0;
  const step = Math.max(1, Math.floor(all / 100_000));
  const z = columns.map(({ column, codes }) => ({ codes, low: column.low, scale: (column.high - column.low) / 65534 }));
  for (let i = 0; i < all; i += step)
    for (let p = 0; p < path.length; p++) {
      let away = 0;
      for (let k = 0; k < z.length && away <= NEAR_SD ** 2; k++) {
        const d = z[k]!.low + z[k]!.codes[i]! * z[k]!.scale - path[p]![k]!;
        away += d * d;
      }
      if (away <= NEAR_SD ** 2) counts[p]!++;
    }
  return counts.map((count) => count * step);
}

interface Point { kt: number; error: number; known: boolean }

function profile(counts: number[]): Point[] {
  const most = Math.max(1, ...counts);
  return counts.map((count) => ({ kt: Math.log(most / Math.max(count, 1)), error: 1 / Math.sqrt(Math.max(count, 1)), known: count >= FEWEST }));
}

function Profile({ energy, share }: { energy: Point[]; share: number }) {
  const frame = { width: 440, height: 220, x: [0, 1] as [number, number], y: [-0.2, Math.max(1, ...energy.map((e) => e.kt + e.error)) * 1.05] as [number, number] };
  const px = (v: number) => 52 + v * (440 - 64);
  const py = (v: number) => 180 - ((v - frame.y[0]) / (frame.y[1] - frame.y[0])) * 170;
  const x = (i: number) => px(i / Math.max(energy.length - 1, 1));
  const band = [...energy.map((e, i) => `${x(i)},${py(e.kt + e.error)}`), ...energy.map((e, i) => `${x(i)},${py(e.kt - e.error)}`).reverse()].join(" ");
  const pieces = energy.slice(1).map((e, i) => ({ d: `M${x(i)} ${py(energy[i]!.kt)}L${x(i + 1)} ${py(e.kt)}`, known: e.known && energy[i]!.known }));
  return (
    <figure>
      <Axes {...frame} label="Energy along the path" xLabel="share of the path's length" yLabel="energy (kT)">
        <polygon points={band} fill="#56b4e955" />
        {pieces.map(({ d, known }, i) => <path key={i} d={d} stroke="#0072b2" stroke-width="2" fill="none" stroke-dasharray={known ? undefined : "2 4"} />)}
        <line x1={px(share)} x2={px(share)} y1={10} y2={180} class="level" />
      </Axes>
      <figcaption>From particles within {NEAR_SD} sd, their errors included; band: counting error; dotted: fewer than {FEWEST} particles.</figcaption>
    </figure>
  );
}

function Energy(props: {
  grid: Grid; run: Run; first: number; second: number; path: number[][]; at: number[];
  onState: (k: number) => void; onPlace: (a: number, b: number) => void;
}) {
  const { grid, first, second } = props;
  const [width, height] = [440, 360];
  const px = (v: number) => 52 + ((v - grid.x[0]) / (grid.x[1] - grid.x[0])) * (width - 64);
  const py = (v: number) => height - 40 - ((v - grid.y[0]) / (grid.y[1] - grid.y[0])) * (height - 50);
  const most = Math.max(...grid.values);
  const kt = (value: number) => Math.min(Math.log(most / Math.max(value, 1e-30)), HIGHEST_KT);
  const [dx, dy] = [(grid.x[1] - grid.x[0]) / grid.nx, (grid.y[1] - grid.y[0]) / grid.ny];
  const picture = useMemo(() => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [grid.nx, grid.ny];
    const pixels = new ImageData(grid.nx, grid.ny);
    for (let i = 0; i < grid.nx; i++)
      for (let j = 0; j < grid.ny; j++) pixels.data.set([...cividis(1 - kt(grid.values[i * grid.ny + j]!) / HIGHEST_KT), 255], 4 * ((grid.ny - 1 - j) * grid.nx + i));
    canvas.getContext("2d")!.putImageData(pixels, 0, 0);
    return canvas.toDataURL();
  }, [grid]);
  const lines = shareLevels(grid, [0.5, 0.9]).map((level) => contour(grid, level));
  const place = (e: MouseEvent & { currentTarget: Element }) => {
    const box = e.currentTarget.getBoundingClientRect();
    const [u, v] = [((e.clientX - box.left) / box.width) * width, ((e.clientY - box.top) / box.height) * height];
    props.onPlace(grid.x[0] + ((u - 52) / (width - 64)) * (grid.x[1] - grid.x[0]), grid.y[0] + ((height - 40 - v) / (height - 50)) * (grid.y[1] - grid.y[0]));
  };
  return (
    <figure onClick={(e) => (e.target as Element).closest("svg") && place({ ...e, clientX: e.clientX, clientY: e.clientY, currentTarget: (e.target as Element).closest("svg")! } as MouseEvent & { currentTarget: Element })}>
      <Axes width={width} height={height} x={grid.x} y={grid.y} label="Energy over two components" xLabel={`component ${first + 1} (sd)`} yLabel={`component ${second + 1} (sd)`}>
        <image href={picture} x={px(grid.x[0])} y={py(grid.y[1])} width={px(grid.x[0] + dx * grid.nx) - px(grid.x[0])} height={py(grid.y[0]) - py(grid.y[0] + dy * grid.ny)} preserveAspectRatio="none" />
        {lines.map((pieces, k) => <path key={k} d={pieces.map(([a, b, c, d]) => `M${px(a)} ${py(b)}L${px(c)} ${py(d)}`).join("")} fill="none" stroke="#fff" stroke-width="1.4" stroke-dasharray={k ? "5 4" : undefined} />)}
        <polyline points={props.path.map((z) => `${px(z[first]!)},${py(z[second]!)}`).join(" ")} class="path" />
        {props.run.states.map((state, k) => (
          <g key={k} transform={`translate(${px(state.z[first]!)} ${py(state.z[second]!)})`} style={{ cursor: "pointer" }} onClick={(e) => { e.stopPropagation(); props.onState(k); }}>
            <circle r={10} class="marker" /><text y={4} text-anchor="middle">{k}</text>
          </g>
        ))}
        <path d={`M${px(props.at[first]!)} ${py(props.at[second]!)}m-8 0h16m-8 -8v16`} stroke="#d55e00" stroke-width="2.5" />
      </Axes>
      <figcaption>
        <span class="key"><i style={{ background: css(cividis(1)) }} /> 0</span>
        <span class="key"><i style={{ background: css(cividis(0)) }} /> {short(HIGHEST_KT)} kT or more</span>
      </figcaption>
    </figure>
  );
}
