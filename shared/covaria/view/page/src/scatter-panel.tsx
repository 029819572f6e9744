// The cloud: two columns, density contours beneath, the error of the particle under the cursor, regions drawn by hand.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Cloud, Nearest, codeOf, valueOf, type Values } from "./cloud";
import { contour, robust, shareLevels, smoothed } from "./density";
import { short, ticks } from "./plot";
import { ScatterView } from "./scatter";
import { crosses, simplified, type Condition } from "./selection";

export type Tool = "look" | "lasso" | "box" | "polygon";
export const PREVIEW = 50_000;
const NEAR_PX = 12;
const SHARES = [0.5, 0.9];
const REST_MS = 60;

export interface Marker {
  name: string;
  at: [number, number];
}

interface Props {
  cloud: Cloud;
  x: string;
  y: string;
  colour: string | null;
  chosen: Uint8Array | null;
  tool: Tool;
  cursor: [number, number] | null;
  markers: Marker[];
  paths: [number, number][][];
  onMove: (at: [number, number], particle: number) => void;
  onPick: (at: [number, number]) => void;
  onRegion: (condition: Condition) => void;
  onTrouble: (words: string) => void;
}

interface Here {
  x: Values;
  y: Values;
  nearest: Nearest | null;
  pieces: [number, number, number, number][][];
}

const EDGE = { left: 54, bottom: 40 };

export function ScatterPanel(props: Props) {
  const { cloud } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const view = useRef<ScatterView | null>(null);
  const [here, arrived] = useState<Here | null>(null);
  const [shade, coloured] = useState<Values | null>(null);
  const [size, measured] = useState<[number, number]>([600, 480]);
  const [shown, look] = useState<{ x: [number, number]; y: [number, number] } | null>(null);
  const [line, drawn] = useState<[number, number][]>([]);
  const [particle, found] = useState(-1);
  const busy = useRef(false);

  useEffect(() => {
    try {
      view.current = new ScatterView(canvas.current!);
    } catch (error) {
      props.onTrouble((error as Error).message);
    }
    const seen = new ResizeObserver(() => canvas.current && measured([canvas.current.clientWidth, canvas.current.clientHeight]));
    seen.observe(canvas.current!);
    return () => seen.disconnect();
  }, []);

  useEffect(() => {
    let alive = true;
    arrived(null);
    Promise.all([cloud.values(props.x), cloud.values(props.y)]).then(([x, y]) => {
      if (!alive) return;
      const grid = smoothed(x, y);
      const pieces = shareLevels(grid, SHARES).map((level) => contour(grid, level));
      view.current?.points(x.codes, y.codes);
      look({ x: robust(x), y: robust(y) });
      arrived({ x, y, nearest: null, pieces });
      performance.mark("cloud");
    }).catch((error) => props.onTrouble(error.message));
    return () => { alive = false; };
  }, [cloud, props.x, props.y]);

  useEffect(() => {
    if (here) for (const name of errorColumns(cloud, props.x, props.y)) cloud.values(name).catch(() => undefined);
  }, [here]);

  useEffect(() => {
    let alive = true;
    if (!props.colour) return coloured(null);
    cloud.values(props.colour).then((values) => alive && coloured(values)).catch((error) => props.onTrouble(error.message));
    return () => { alive = false; };
  }, [cloud, props.colour]);

  const flat = useMemo(() => new Uint16Array(cloud.count), [cloud]);
  const nobody = useMemo(() => new Uint8Array(cloud.count), [cloud]);
  useEffect(() => {
    if (shade) view.current?.colours(shade.codes, shade.column.category);
    else view.current?.colours(flat, true);
  }, [shade, here]);
  useEffect(() => view.current?.chosen(props.chosen ?? nobody, props.chosen !== null), [props.chosen, here]);

  useEffect(() => {
    if (!here || !shown || !view.current) return undefined;
    const dots = window.devicePixelRatio;
    canvas.current!.width = Math.round(size[0] * dots);
    canvas.current!.height = Math.round(size[1] * dots);
    const whole = {
      low: [codeOf(here.x.column, shown.x[0]), codeOf(here.y.column, shown.y[0])] as [number, number],
      high: [codeOf(here.x.column, shown.x[1]), codeOf(here.y.column, shown.y[1])] as [number, number],
    };
    view.current.draw(whole, PREVIEW);
    performance.mark("preview");
    const rest = setTimeout(() => {
      if (cloud.count > PREVIEW) view.current?.draw(whole);
      performance.mark("drawn");
    }, cloud.count > PREVIEW ? REST_MS : 0);
    return () => clearTimeout(rest);
  }, [here, shown, size, shade, props.chosen]);

  const ready = here && shown;
  const px = (v: number) => ((v - shown!.x[0]) / (shown!.x[1] - shown!.x[0])) * size[0];
  const py = (v: number) => size[1] - ((v - shown!.y[0]) / (shown!.y[1] - shown!.y[0])) * size[1];
  const place = (e: { clientX: number; clientY: number }): [number, number] => {
    const box = canvas.current!.getBoundingClientRect();
    const [u, v] = [(e.clientX - box.left) / box.width, 1 - (e.clientY - box.top) / box.height];
    return [shown!.x[0] + u * (shown!.x[1] - shown!.x[0]), shown!.y[0] + v * (shown!.y[1] - shown!.y[0])];
  };

  const moved = (at: [number, number]) => {
    const wide = (codeOf(here!.x.column, shown!.x[1]) - codeOf(here!.x.column, shown!.x[0])) * (NEAR_PX / size[0]);
    const high = (codeOf(here!.y.column, shown!.y[1]) - codeOf(here!.y.column, shown!.y[0])) * (NEAR_PX / size[1]);
    here!.nearest ??= new Nearest(here!.x, here!.y); // a million particles take some tenths of a second
    const one = here!.nearest.find(codeOf(here!.x.column, at[0]), codeOf(here!.y.column, at[1]), wide, high);
    found(one);
    props.onMove(at, one);
  };

  const close = (points: [number, number][]) => {
    drawn([]);
    busy.current = false;
    if (props.tool === "box") {
      const [a, b] = [points[0]!, points[points.length - 1]!];
      if (a[0] === b[0] || a[1] === b[1]) return;
      props.onRegion({
        kind: "box", columns: [props.x, props.y],
        low: [Math.min(a[0], b[0]), Math.min(a[1], b[1])], high: [Math.max(a[0], b[0]), Math.max(a[1], b[1])],
      });
      return;
    }
    const [ux, uy] = [(shown!.x[1] - shown!.x[0]) / size[0], (shown!.y[1] - shown!.y[0]) / size[1]];
    const pixels = points.map(([a, b]): [number, number] => [a / ux, b / uy]);
    const corners = (props.tool === "lasso" ? simplified(pixels, 0.75) : pixels).map(([a, b]): [number, number] => [a * ux, b * uy]);
    if (corners.length < 3) return;
    if (crosses(corners)) props.onTrouble("The line crosses itself, so what lies inside is not clear. Draw it without a crossing.");
    else props.onRegion({ kind: "polygon", columns: [props.x, props.y], points: corners });
  };

  const pressed = (e: PointerEvent) => {
    if (!ready) return;
    const at = place(e);
    if (props.tool === "look") return props.onPick(at);
    if (props.tool === "polygon") return drawn([...line, at]);
    canvas.current!.setPointerCapture(e.pointerId);
    busy.current = true;
    drawn([at]);
  };

  const zoomed = (e: WheelEvent) => {
    e.preventDefault();
    if (!ready) return;
    const at = place(e);
    const by = Math.exp(e.deltaY * 0.001);
    look({
      x: shown.x.map((v) => at[0] + (v - at[0]) * by) as [number, number],
      y: shown.y.map((v) => at[1] + (v - at[1]) * by) as [number, number],
    });
  };

  const keyed = (e: KeyboardEvent) => {
    if (!ready) return;
    const step = 0.02;
    const from = props.cursor ?? [(shown.x[0] + shown.x[1]) / 2, (shown.y[0] + shown.y[1]) / 2];
    const by: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const to = (b: [number, number]): [number, number] =>
      [from[0] + b[0] * step * (shown.x[1] - shown.x[0]), from[1] + b[1] * step * (shown.y[1] - shown.y[0])];
    if (by[e.key]) moved(to(by[e.key]!));
    else if (e.key === "Enter" && props.tool === "polygon" && props.cursor) drawn([...line, props.cursor]);
    else if (e.key === "Enter") props.onPick(from);
    else if (e.key === " " && props.tool === "polygon") close(line);
    else if (e.key === "Escape") { drawn([]); busy.current = false; }
    else return;
    e.preventDefault();
  };

  const label = (name: string) => cloud.column(name)?.label ?? name;
  // What does not move with the cursor: the same elements until the view changes, so that no frame draws them again.
  const still = useMemo(() => {
    if (!ready) return null;
    const contours = here.pieces.map((pieces) => pieces.map(([a, b, c, d]) =>
      `M${px(valueOf(here.x.column, a))} ${py(valueOf(here.y.column, b))}L${px(valueOf(here.x.column, c))} ${py(valueOf(here.y.column, d))}`).join(""));
    return (
      <svg class="overlay" style={{ left: 0, top: 0 }} width={size[0] + EDGE.left} height={size[1] + EDGE.bottom} aria-hidden="true">
        <g transform={`translate(${EDGE.left} 0)`}>
          {ticks(...shown.x).map((t) => <text key={t} x={px(t)} y={size[1] + 16} text-anchor="middle">{short(t)}</text>)}
          {ticks(...shown.y).map((t) => <text key={t} x={-6} y={py(t) + 4} text-anchor="end">{short(t)}</text>)}
          <text x={size[0] / 2} y={size[1] + 34} text-anchor="middle">{label(props.x)}</text>
          <text transform={`translate(-42 ${size[1] / 2}) rotate(-90)`} text-anchor="middle">{label(props.y)}</text>
          <svg width={size[0]} height={size[1]}>
            {contours.map((line, k) => <path key={k} class="contour" stroke-dasharray={k ? "5 4" : undefined} d={line} />)}
            {props.paths.map((path, k) => <polyline key={k} class="path" points={path.map(([a, b]) => `${px(a)},${py(b)}`).join(" ")} />)}
            {props.markers.map(({ name, at }) => (
              <g key={name} transform={`translate(${px(at[0])} ${py(at[1])})`}><circle r={9} class="marker" /><text y={4} text-anchor="middle">{name}</text></g>
            ))}
          </svg>
        </g>
      </svg>
    );
  }, [here, shown, size, props.markers, props.paths]);

  const ellipse = ready && particle >= 0 ? errorEllipse(cloud, props.x, props.y, particle) : null;
  return (
    <div class="scatter" style={{ paddingLeft: `${EDGE.left}px`, paddingBottom: `${EDGE.bottom}px` }}>
      <canvas ref={canvas} class="cloud" tabIndex={0} role="img" style={{ cursor: props.tool === "look" ? "crosshair" : "cell" }}
        aria-label={`${cloud.count.toLocaleString("en")} particles by ${label(props.x)} and ${label(props.y)}. Arrow keys move the point, Enter pins it.`}
        onPointerDown={pressed} onWheel={zoomed} onKeyDown={keyed}
        onPointerMove={(e) => {
          if (!ready) return;
          if (busy.current) drawn([...line, place(e)]);
          else if (props.tool === "look") moved(place(e));
        }}
        onPointerUp={() => busy.current && close(line)}
        onDblClick={() => props.tool === "polygon" ? close(line.slice(0, -1)) : ready && look({ x: robust(here.x), y: robust(here.y) })} />
      {still}
      {ready && (
        <svg class="overlay" style={{ left: `${EDGE.left}px`, top: 0 }} width={size[0]} height={size[1]} aria-hidden="true">
          {ellipse && <path class="ellipse" d={"M" + ellipse.map(([a, b]) => `${px(a)} ${py(b)}`).join("L") + "Z"} />}
          {props.cursor && <path class="cursor" d={`M${px(props.cursor[0])} ${py(props.cursor[1])}m-9 0h18m-9 -9v18`} />}
          {line.length > 1 && props.tool === "box"
            ? <rect class="drawing" x={Math.min(px(line[0]![0]), px(line.at(-1)![0]))} y={Math.min(py(line[0]![1]), py(line.at(-1)![1]))}
                width={Math.abs(px(line.at(-1)![0]) - px(line[0]![0]))} height={Math.abs(py(line.at(-1)![1]) - py(line[0]![1]))} />
            : line.length > 0 && <polygon class="drawing" points={line.map(([a, b]) => `${px(a)},${py(b)}`).join(" ")} />}
        </svg>
      )}
    </div>
  );
}

const component = (name: string): number => (/^z\d+$/.test(name) ? +name.slice(1) : 0);

function errorColumns(cloud: Cloud, x: string, y: string): string[] {
  const [i, j] = [component(x), component(y)].sort((a, b) => a - b) as [number, number];
  if (!i || i === j) return [];
  return [`z${i}_error`, `z${j}_error`, `z${i}_z${j}_correlation`].filter((name) => cloud.column(name));
}

/** One standard deviation of a particle's error around it; null where it is not known on these axes. */
function errorEllipse(cloud: Cloud, x: string, y: string, particle: number): [number, number][] | null {
  const names = errorColumns(cloud, x, y);
  if (names.length < 3) return null;
  const [sx, sy] = [cloud.valueAt(`${x}_error`, particle), cloud.valueAt(`${y}_error`, particle)];
  const rho = cloud.valueAt(names[2]!, particle);
  const [cx, cy] = [cloud.valueAt(x, particle), cloud.valueAt(y, particle)];
  if (![sx, sy, rho, cx, cy].every(Number.isFinite)) return null;
  return Array.from({ length: 48 }, (_, k): [number, number] => {
    const [c, s] = [Math.cos((2 * Math.PI * k) / 48), Math.sin((2 * Math.PI * k) / 48)];
    return [cx + sx * c, cy + sy * (rho * c + Math.sqrt(Math.max(1 - rho * rho, 0)) * s)];
  });
}

