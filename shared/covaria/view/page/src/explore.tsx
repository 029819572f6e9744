// The cloud beside the map: what lies under the cursor is what the map shows.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Cloud } from "./cloud";
import { histogram } from "./density";
import { MapPanel, MOST_PINS, type Shown } from "./map";
import type { Run } from "./model";
import { ScatterPanel, type Tool } from "./scatter-panel";
import { columnsOf, joined, mask, type Condition, type Selection, type Term } from "./selection";
import { SelectionPanel } from "./selection-panel";
import type { Source } from "./source";

const TOOLS: [Tool, string][] = [["look", "Look"], ["lasso", "Lasso"], ["box", "Box"], ["polygon", "Polygon"]];
const SPAN = 3;
const REST_MS = 150;
const MOST_FILMED = 6;

export function Explore(props: {
  source: Source; name: string; run: Run; cloud: Cloud; canStart: boolean; onTrouble: (words: string) => void;
  onSelection?: (selection: Selection | null) => void; onPoint?: (z: number[]) => void;
}) {
  const { run, cloud } = props;
  const latent = run.columns.filter((c) => /^z\d+$/.test(c.name)).map((c) => c.name);
  const axes = run.columns.filter((c) => !c.name.includes("_correlation"));
  const [x, setX] = useState(latent[0] ?? "contrast");
  const [y, setY] = useState(latent[1] ?? "contrast");
  const [colour, setColour] = useState<string>(run.columns.some((c) => c.name === "cluster") ? "cluster" : "");
  const [tool, setTool] = useState<Tool>("look");
  const [shown, show] = useState<Shown>({ z: new Array(run.confirmed).fill(0), state: null });
  const [cursor, point] = useState<[number, number] | null>(null);
  const [pins, pin] = useState<number[][]>([]);
  const [terms, setTerms] = useKept<Term[]>(`covaria selection ${location.pathname} ${props.name}`, []);
  const [past, remember] = useState<Term[][]>([]);
  const [chosen, choose] = useState<Uint8Array | null>(null);
  const [playing, play] = useState<number | null>(null);

  useEffect(() => { latent.forEach((name) => cloud.values(name).catch(() => undefined)); }, [cloud]);

  useEffect(() => props.onSelection?.(joined(terms)), [terms]);
  useEffect(() => {
    const rested = setTimeout(() => props.onPoint?.(shown.z), REST_MS);
    return () => clearTimeout(rested);
  }, [shown]);

  useEffect(() => {
    if (!terms.length) return choose(null);
    Promise.all(columnsOf(terms).map((name) => cloud.values(name)))
      .then(() => choose(mask(terms, cloud)))
      .catch((error) => props.onTrouble(error.message));
  }, [terms, cloud]);

  useEffect(() => {
    if (playing === null) return;
    let frame = 0;
    const begin = performance.now();
    const step = (now: number) => {
      const value = 2 * Math.sin((now - begin) / 900);
      show((last) => ({ state: null, z: last.z.map((v, k) => (k === playing ? value : v)) }));
      frame = requestAnimationFrame(step);
    };
    frame = requestAnimationFrame(step);
    return () => cancelAnimationFrame(frame);
  }, [playing]);

  const moved = (at: [number, number], particle: number) => {
    const z = shown.z.slice();
    const place = (name: string, value: number) => { if (latent.includes(name)) z[latent.indexOf(name)] = value; };
    if (latent.includes(x) || latent.includes(y)) {
      place(x, at[0]);
      place(y, at[1]);
    } else if (particle >= 0) {
      latent.forEach((name, k) => { const value = cloud.valueAt(name, particle); if (Number.isFinite(value)) z[k] = value; });
    }
    point(at);
    show({ z, state: null });
  };

  const changed = (next: Term[]) => {
    remember([...past, terms].slice(-100));
    setTerms(next);
  };
  const region = (condition: Condition) => {
    if (condition.kind !== "where" && condition.columns.some((name) => !cloud.column(name)?.selectable)) {
      props.onTrouble("A selection cannot name these columns: choose components, UMAP or contrast as axes.");
      return;
    }
    changed([...terms, { joint: "and", condition }]);
  };

  const markers = useMemo(() => {
    const [i, j] = [latent.indexOf(x), latent.indexOf(y)];
    return i < 0 || j < 0 ? [] : run.states.map((state, k) => ({ name: String(k), at: [state.z[i]!, state.z[j]!] as [number, number] }));
  }, [run, x, y]);
  const paths = useMemo(() => {
    const [i, j] = [latent.indexOf(x), latent.indexOf(y)];
    return i < 0 || j < 0 ? [] : run.paths.map((path) => path.map((z) => [z[i]!, z[j]!] as [number, number]));
  }, [run, x, y]);

  // The same element until the selection changes: no frame looks at it.
  const selection = useMemo(() => (
    <SelectionPanel source={props.source} name={props.name} run={run} cloud={cloud} terms={terms} chosen={chosen} canStart={props.canStart}
          onChange={changed} onUndo={past.length ? () => { setTerms(past[past.length - 1]!); remember(past.slice(0, -1)); } : null} onTrouble={props.onTrouble} />
  ), [run, cloud, terms, chosen, past, props.canStart]);
  const motions = latent.slice(0, MOST_FILMED).map((name, k) => ({
    name: `component ${name.slice(1)}, -2 to 2 sd`,
    at: (part: number) => ({ state: null, z: shown.z.map((v, i) => (i === k ? 2 * Math.sin(2 * Math.PI * part) : v)) }),
  }));

  if (!latent.length || !run.maps) return <Nothing run={run} />;
  return (
    <div class="explore">
      <h1 class="unseen">Explore</h1>
      <section class="panel" aria-label="Particles">
        <div class="controls">
          <label>across <Choice of={axes} value={x} onChange={setX} /></label>
          <label>up <Choice of={axes} value={y} onChange={setY} /></label>
          <label>colour <Choice of={[{ name: "", label: "none" }, ...axes]} value={colour} onChange={setColour} /></label>
          <span class="tools" role="group" aria-label="What the pointer does">
            {TOOLS.map(([name, words]) => <button key={name} type="button" aria-pressed={tool === name} onClick={() => setTool(name)}>{words}</button>)}
          </span>
        </div>
        <ScatterPanel cloud={cloud} x={x} y={y} colour={colour || null} chosen={chosen} tool={tool} cursor={cursor} markers={markers} paths={paths}
          onMove={moved} onPick={() => pins.length < MOST_PINS && pin([...pins, shown.z])} onRegion={region} onTrouble={props.onTrouble} />
        {run.sampled && <p class="quiet">{run.drawn.toLocaleString("en")} of {run.sampled.toLocaleString("en")} particles are drawn, chosen at random.</p>}
        <p class="quiet">Lines: half and nine tenths of the particles. Cross: the map's point. Ellipse: one standard deviation of the
          particle's error. Click or Enter pins the map, double click shows all, the wheel zooms.</p>
        {selection}
      </section>
      <div>
        <MapPanel source={props.source} name={props.name} run={run} shown={shown} pins={pins}
          motions={motions} words={pins.length ? `first: at the cursor; then ${pins.length} pinned` : undefined} />
        {pins.length > 0 && <p><button type="button" onClick={() => pin([])}>Take the pins away</button></p>}
        <section class="panel sliders" aria-label="Components">
          {latent.map((name, k) => (
            <Slider key={name} cloud={cloud} name={name} share={run.components[k]?.share} value={shown.z[k] ?? 0} playing={playing === k}
              onPlay={() => play(playing === k ? null : k)}
              onInput={(value) => { play(null); point(null); show({ state: null, z: shown.z.map((v, i) => (i === k ? value : v)) }); }} />
          ))}
          {run.states.length > 0 && (
            <p class="chips" role="group" aria-label="Go to a state">
              {run.states.map((state, k) => (
                <button key={k} type="button" class="chip" onClick={() => { play(null); point(null); show({ state: null, z: state.z }); }}>to state {k}</button>
              ))}
            </p>
          )}
          <p class="quiet">Preview: the mean plus the components, added on this machine's graphics card.{run.states.some((state) => state.files) && " The states' own maps are under States."}</p>
        </section>
      </div>
    </div>
  );
}

export function Choice(props: { of: { name: string; label: string }[]; value: string; onChange: (name: string) => void }) {
  return (
    <select value={props.value} onChange={(e) => props.onChange(e.currentTarget.value)}>
      {props.of.map(({ name, label }) => <option key={name} value={name}>{label}</option>)}
    </select>
  );
}

function Slider(props: { cloud: Cloud; name: string; share?: number; value: number; playing: boolean; onPlay: () => void; onInput: (value: number) => void }) {
  const [counts, counted] = useState<number[]>([]);
  useEffect(() => { props.cloud.values(props.name).then((values) => counted(histogram(values, 60, -SPAN, SPAN))).catch(() => undefined); }, [props.cloud, props.name]);
  const bars = useMemo(() => {
    const most = Math.max(1, ...counts);
    return (
      <svg viewBox="0 0 60 12" preserveAspectRatio="none" aria-hidden="true">
        {counts.map((count, i) => <rect key={i} x={i} width={1} y={12 - (12 * count) / most} height={(12 * count) / most} />)}
      </svg>
    );
  }, [counts]);
  const words = `Component ${props.name.slice(1)}`;
  return (
    <div class="slider">
      <span>{words}{props.share === undefined ? "" : `, ${(100 * props.share).toFixed(0)} %`}</span>
      <span class="track">
        {bars}
        <input type="range" min={-SPAN} max={SPAN} step={0.01} value={props.value} aria-label={`${words}, standard deviations`}
          onInput={(e) => props.onInput(+e.currentTarget.value)} />
      </span>
      <output>{props.value.toFixed(2)} sd</output>
      <button type="button" aria-pressed={props.playing} aria-label={`Play ${words.toLowerCase()}`} onClick={props.onPlay}>{props.playing ? "Stop" : "Play"}</button>
    </div>
  );
}

export function Nothing({ run }: { run: Run }) {
  return (
    <section class="panel">
      <h1>{run.headline}</h1>
      <p>There are no confirmed components to move through. Overview and Quality show what is there.</p>
    </section>
  );
}

/** State that a closed or reloaded window does not lose. */
function useKept<T>(key: string, first: T): [T, (value: T) => void] {
  const start = useRef<T | null>(null);
  if (start.current === null) {
    try {
      start.current = JSON.parse(localStorage.getItem(key) ?? "null") ?? first;
    } catch {
      start.current = first;
    }
  }
  const [value, set] = useState<T>(start.current!);
  return [value, (next) => {
    set(next);
    try { localStorage.setItem(key, JSON.stringify(next)); } catch { /* a full or forbidden store: this window still has it */ }
  }];
}
